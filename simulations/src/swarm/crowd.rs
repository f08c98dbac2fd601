//! All meshes of a swarm: how they start, and what is waited for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_mesh::{Limits, MeshError, memory::Fabric};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use rand::{SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;

use super::{member::Member, meter, scenario::Scenario};

/// Bootstrap peers that each mesh knows.
const BOOTSTRAP_EACH: usize = 3;
/// Meshes that are started at once.
const STARTING: usize = 16;

/// The pause between two looks at one table, for each member of the swarm: a look goes
/// over all of them.
const LOOK_PER_MEMBER: Duration = Duration::from_micros(200);

/// The pause between two looks at how far a wait has come.
const LOOK_AT_PROGRESS: Duration = Duration::from_secs(3);

/// Why a scenario could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// A mesh refused.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// Something did not happen in time.
    #[error("{what} did not happen within {after:?}: {missing} of {of} are missing")]
    Patience {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// How many it did not happen to.
        missing: usize,
        /// Of how many.
        of: usize,
    },
}

/// All meshes of a swarm.
#[derive(Debug)]
pub struct Crowd {
    /// The network between them.
    pub fabric: Fabric,
    /// Those that are there.
    pub members: Vec<Member>,
    /// What is left to chance.
    pub rng: ChaCha8Rng,
    bootstrap: Vec<String>,
    seed: u64,
    next_port: u64,
    patience: Duration,
    progress: ProgressBar,
}

impl Crowd {
    /// Starts the meshes of a scenario, all at once.
    ///
    /// # Errors
    /// When one cannot be started.
    pub async fn start(scenario: &Scenario) -> Result<Self, SwarmError> {
        let mut crowd = Self {
            fabric: Fabric::new(scenario.delay()),
            members: Vec::with_capacity(scenario.nodes),
            rng: ChaCha8Rng::seed_from_u64(scenario.seed),
            bootstrap: Vec::new(),
            seed: scenario.seed,
            next_port: first_port(scenario.seed),
            patience: scenario.patience(),
            progress: progress(),
        };
        crowd.add(scenario.bootstrap).await?;
        let addresses = crowd.members.iter().map(|member| member.mesh.addresses());
        crowd.bootstrap = addresses.flatten().collect();
        crowd.introduce().await;
        crowd.add(scenario.nodes - scenario.bootstrap).await?;
        Ok(crowd)
    }

    /// Starts the meshes of a scenario, waits until all know each other, and lets them
    /// settle.
    ///
    /// # Errors
    /// When one cannot be started, or it takes longer than the scenario's patience.
    pub async fn settled(scenario: &Scenario) -> Result<Self, SwarmError> {
        let crowd = Self::start(scenario).await?;
        crowd.whole(Instant::now()).await?;
        tokio::time::sleep(Duration::from_secs(scenario.settle_s)).await;
        Ok(crowd)
    }

    /// The bootstrap peers of a network know each other.
    async fn introduce(&self) {
        for (number, member) in self.members.iter().enumerate() {
            for address in &self.bootstrap[..number.min(self.bootstrap.len())] {
                // Where both dial at once, one of the two fails.
                let _ = member.mesh.dial(address).await;
            }
        }
    }

    /// Starts more.
    ///
    /// # Errors
    /// When one cannot be started.
    pub async fn add(&mut self, count: usize) -> Result<(), SwarmError> {
        let starts: Vec<_> = (0..count)
            .map(|_| (self.port(), self.some_bootstrap()))
            .collect::<Vec<(u64, Vec<String>)>>()
            .into_iter()
            .map(|(port, bootstrap)| {
                Member::start(self.seed, port, bootstrap, Limits::default(), &self.fabric)
            })
            .collect();
        let started = stream::iter(starts).buffered(STARTING);
        let started: Vec<Member> = started.try_collect().await?;
        self.members.extend(started);
        Ok(())
    }

    /// Starts one that takes other limits, and adds it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn add_with(&mut self, limits: Limits) -> Result<Member, SwarmError> {
        let (port, bootstrap) = (self.port(), self.some_bootstrap());
        let member = Member::start(self.seed, port, bootstrap, limits, &self.fabric).await?;
        self.members.push(member.clone());
        Ok(member)
    }

    /// A port that nobody has.
    pub fn port(&mut self) -> u64 {
        self.next_port += 1;
        self.next_port
    }

    /// A few peers to join through, by chance.
    pub fn some_bootstrap(&mut self) -> Vec<String> {
        let some = self
            .bootstrap
            .choose_multiple(&mut self.rng, BOOTSTRAP_EACH);
        some.cloned().collect()
    }

    /// Takes one away by chance, but none of the first `spared`.
    pub fn take(&mut self, spared: usize) -> Member {
        let at = rand::Rng::random_range(&mut self.rng, spared..self.members.len());
        self.members.swap_remove(at)
    }

    /// Waits until every mesh has every advert of the crowd, and says after how long each
    /// had.
    ///
    /// # Errors
    /// When it takes longer than the scenario's patience.
    pub async fn whole(&self, since: Instant) -> Result<Vec<f64>, SwarmError> {
        self.all_have_seen(0, since).await
    }

    /// Waits until every mesh has seen this round of everybody.
    ///
    /// # Errors
    /// When it takes longer than the scenario's patience.
    pub async fn all_have_seen(&self, round: u32, since: Instant) -> Result<Vec<f64>, SwarmError> {
        let all = self.members.len();
        let what = format!("every mesh knowing round {round} of {all}");
        self.every(&what, since, move |member| member.seen(round) >= all)
            .await
    }

    /// Waits until something holds of every mesh, and says after how many seconds it did.
    ///
    /// # Errors
    /// When it takes longer than the scenario's patience.
    pub async fn every(
        &self,
        what: &str,
        since: Instant,
        holds: impl Fn(&Member) -> bool + Send + Sync + 'static,
    ) -> Result<Vec<f64>, SwarmError> {
        let holds = Arc::new(holds);
        let mut waits = JoinSet::new();
        for member in &self.members {
            let (member, holds, pause) = (member.clone(), Arc::clone(&holds), self.pause());
            waits.spawn(async move {
                until(&member, pause, |member| holds(member)).await;
                since.elapsed().as_secs_f64()
            });
        }
        let mut times = Vec::new();
        let all = async {
            let mut looks = tokio::time::interval(LOOK_AT_PROGRESS);
            loop {
                tokio::select! {
                    wait = waits.join_next() => match wait {
                        Some(time) => times.extend(time),
                        None => return,
                    },
                    _ = looks.tick() => self.tell(what, times.len()),
                }
            }
        };
        let in_time = tokio::time::timeout(self.patience, all).await.is_ok();
        self.progress.set_message("");
        if in_time {
            return Ok(times);
        }
        Err(SwarmError::Patience {
            what: what.to_owned(),
            after: self.patience,
            missing: self.members.len() - times.len(),
            of: self.members.len(),
        })
    }

    /// Waits until a condition holds of one mesh, and says after how many seconds it did.
    ///
    /// # Errors
    /// When it takes longer than the scenario's patience.
    pub async fn one(
        &self,
        what: &str,
        member: &Member,
        holds: impl Fn(&Member) -> bool,
    ) -> Result<f64, SwarmError> {
        let since = Instant::now();
        tokio::time::timeout(self.patience, until(member, self.pause(), holds))
            .await
            .map_err(|_| SwarmError::Patience {
                what: what.to_owned(),
                after: self.patience,
                missing: 1,
                of: 1,
            })?;
        Ok(since.elapsed().as_secs_f64())
    }

    /// Says on a terminal how far a wait for all has come.
    fn tell(&self, what: &str, done: usize) {
        if self.progress.is_hidden() {
            return;
        }
        let all = self.members.len();
        let entries: usize = self.members.iter().map(|member| member.seen(0)).sum();
        self.progress.set_message(format!(
            "{what}: {done} of {all}; tables are {:.1} % whole, {:.1} connections each",
            100.0 * entries as f64 / (all * all) as f64,
            meter::connections_each(self),
        ));
    }

    /// How exact times are: looking at every table at every change would cost more than
    /// the meshes themselves.
    fn pause(&self) -> Duration {
        LOOK_PER_MEMBER * u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Ends every mesh, all at once.
    pub async fn end(self) {
        let ends = self.members.iter().map(|member| member.mesh.shutdown());
        futures::future::join_all(ends).await;
    }
}

/// Waits until something holds, looking again after a pause whenever the table has changed.
async fn until(member: &Member, pause: Duration, holds: impl Fn(&Member) -> bool) {
    let mut changes = member.mesh.changes();
    loop {
        changes.borrow_and_update();
        if holds(member) || changes.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// What is being waited for, on stderr where that is a terminal.
fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed:>4} {wide_msg}");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Ports are the process's: swarms of different seeds can run beside each other.
fn first_port(seed: u64) -> u64 {
    (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1) | (1 << 20)
}
