//! Everything goes wrong at once: nodes and the index crash, the network falls in two,
//! messages are lost, late and doubled, clocks are off, peers lie, and jobs and money
//! must come out right.

use std::time::Duration;

use embermesh_crypto::UnixMillis;
use embermesh_index_server::state::Settings;
use embermesh_job::units::MicroUnits;
use rand::Rng;

use crate::{
    Violation, World,
    client::DEPOSIT_PAYMENT,
    faults::{Faults, Plan, Sabotage},
    gossip::WHOLE_AFTER,
    happening::Happening,
    invariants::Known,
    links::SEEDS,
    scenario::wait,
    world::{Counts, EPOCH, PeerIndex},
};

/// Nodes join within this time.
const JOINING: Duration = Duration::from_secs(5);
/// Before the network falls in two.
const BEFORE: Duration = Duration::from_secs(60);
/// After it is whole again.
const AFTER: Duration = Duration::from_secs(60);
/// A clock that is wrong is off by this much, in milliseconds, either way.
const WRONG_BY_MS: std::ops::RangeInclusive<i64> = 90_000..=900_000;
/// Everything is looked at so often, beside each step's own part.
const LOOK: Duration = Duration::from_secs(1);
/// The budget of a job that has one, and what an hour of a node costs at most, in
/// millionths of a unit.
const BUDGET: MicroUnits = MicroUnits(5_000_000);
const DEAREST: u64 = 2_000_000;

/// What came of a storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calm {
    /// Virtual time, from the first join until every job had ended.
    pub virtual_time: Duration,
    /// From the heal of the network until every table was whole.
    pub whole_after: Duration,
    /// Attempts beyond the first of each job.
    pub more_attempts: u64,
    /// What was counted.
    pub counts: Counts,
    /// The hash of everything that happened.
    pub trace: String,
}

/// Plays a storm.
///
/// # Errors
/// The first invariant that does not hold, with the command that shows it again.
pub fn weather(plan: &Plan, seed: u64) -> Result<Calm, Violation> {
    play(plan, seed, "", None)
}

/// The same, where the plan came from a file: the command that repeats it names that.
///
/// # Errors
/// As [`weather`].
pub fn weather_of(plan: &Plan, seed: u64, arguments: &str) -> Result<Calm, Violation> {
    play(plan, seed, arguments, None)
}

/// Plays a storm in a world that is broken on purpose.
///
/// # Errors
/// What the checks saw of it.
pub fn weather_broken(plan: &Plan, seed: u64, sabotage: Sabotage) -> Result<Calm, Violation> {
    play(plan, seed, "", Some(sabotage))
}

fn play(
    plan: &Plan,
    seed: u64,
    arguments: &str,
    sabotage: Option<Sabotage>,
) -> Result<Calm, Violation> {
    let mut world = World::new(seed, plan.nodes + plan.liars, Settings::default())?;
    world.command = format!("run --storm{arguments} --seed {seed}");
    world.sabotage = sabotage;
    let late = world.cast(plan);
    for peer in (0..world.peers.len()).filter(|peer| !late.contains(peer)) {
        let share = JOINING.as_millis() as u64 * peer as u64 / world.peers.len() as u64;
        world.schedule(Duration::from_millis(share), Happening::Join(peer));
    }
    let mut known = Known::default();
    let start = EPOCH.saturating_add(JOINING + WHOLE_AFTER);
    world.look_until(start, &mut known)?;
    world.check_whole(EPOCH.saturating_add(JOINING))?;

    world.faults = plan.messages;
    let healed = world.brew(plan, &late);
    world.look_until(healed, &mut known)?;
    // A table that is lost on its way is asked for a minute later: what is promised after
    // a heal is promised where connections hold.
    world.faults = Faults::default();
    let whole_after = world.until_whole(healed, &mut known)?;
    world.faults = plan.messages;
    let ended = healed.saturating_add(WHOLE_AFTER + AFTER);
    world.look_until(ended, &mut known)?;

    world.faults = Faults::default();
    wait(&mut world, &mut known, |world| {
        world.check_all_done(plan.jobs)
    })?;
    wait(&mut world, &mut known, World::check_paid)?;
    world.check_payments()?;
    let attempts: usize = world.index.jobs().map(|job| job.attempts.len()).sum();
    Ok(Calm {
        virtual_time: world.now.since(EPOCH),
        whole_after,
        more_attempts: (attempts - plan.jobs) as u64,
        counts: world.counts,
        trace: world.trace_hash(),
    })
}

impl World {
    /// Gives each node its part: clocks, prices, who lies. Says who joins late.
    fn cast(&mut self, plan: &Plan) -> Vec<PeerIndex> {
        let skew = i64::try_from(plan.skew_ms).unwrap_or(i64::MAX);
        for peer in &mut self.peers {
            peer.skew_ms = self.rng.random_range(-skew..=skew);
            peer.price = if self.rng.random_bool(0.5) {
                self.rng.random_range(1..=DEAREST)
            } else {
                0
            };
        }
        for peer in &mut self.peers[plan.nodes..] {
            peer.lies = true;
            peer.price = 0;
        }
        let wrong = plan.nodes - plan.wrong_clocks..plan.nodes;
        for peer in &mut self.peers[wrong.clone()] {
            let by = self.rng.random_range(WRONG_BY_MS);
            peer.skew_ms = if self.rng.random_bool(0.5) { by } else { -by };
            peer.wrong_clock = true;
        }
        (wrong.start - plan.late_nodes..wrong.start).collect()
    }

    /// Decides when what goes wrong; says when the network is whole again.
    fn brew(&mut self, plan: &Plan, late: &[PeerIndex]) -> UnixMillis {
        let apart = Duration::from_secs(plan.partition_s);
        let all = BEFORE + apart + WHOLE_AFTER + AFTER;
        self.schedule(Duration::ZERO, Happening::Pay(DEPOSIT_PAYMENT));
        for _ in 0..plan.jobs {
            let budget = self.rng.random_bool(0.5).then_some(BUDGET);
            // The deposit comes first, unless it is lost on its way.
            let at = Duration::from_secs(10) + self.within(BEFORE + apart);
            self.schedule(at, Happening::Submit(budget));
        }
        for number in 1..=plan.payments as u64 {
            let at = Duration::from_secs(10) + self.within(all / 2);
            self.schedule(at, Happening::Pay(number));
        }
        if !apart.is_zero() {
            self.schedule(BEFORE, Happening::Partition);
            self.schedule(BEFORE + apart, Happening::Heal);
        }
        for peer in late {
            let at = BEFORE + self.within(apart.max(LOOK));
            self.schedule(at, Happening::Join(*peer));
        }
        for _ in 0..plan.node_crashes {
            let peer = self.rng.random_range(0..plan.nodes);
            let at = self.within(all);
            self.schedule(at, Happening::Crash(peer));
        }
        for _ in 0..plan.index_crashes {
            let at = self.within(all);
            self.schedule(at, Happening::IndexCrash);
        }
        for _ in 0..if plan.liars == 0 { 0 } else { plan.lies } {
            let liar = plan.nodes + self.rng.random_range(0..plan.liars);
            let at = self.within(all);
            self.schedule(at, Happening::Lie(liar));
        }
        self.now.saturating_add(BEFORE + apart)
    }

    fn within(&mut self, span: Duration) -> Duration {
        let most = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.rng.random_range(0..most.max(1)))
    }

    /// Lets time pass, and looks at everything now and then.
    fn look_until(&mut self, until: UnixMillis, known: &mut Known) -> Result<(), Violation> {
        while self.now < until {
            self.run_until(self.now.saturating_add(LOOK).min(until))?;
            self.check_jobs_since(known)?;
            self.check_all()?;
        }
        Ok(())
    }

    /// Lets time pass until every table is whole again; a bound on that is an invariant.
    fn until_whole(
        &mut self,
        healed: UnixMillis,
        known: &mut Known,
    ) -> Result<Duration, Violation> {
        let bound = healed.saturating_add(WHOLE_AFTER);
        loop {
            match self.check_whole(healed) {
                Ok(()) => return Ok(self.now.since(healed)),
                Err(not_yet) if self.now >= bound => return Err(not_yet),
                Err(_) => self.look_until(self.now.saturating_add(LOOK), known)?,
            }
        }
    }

    /// Every payment was answered.
    fn check_paid(&self) -> Result<(), Violation> {
        if self.client.owes() {
            return Err(self.violation("a payment was never answered"));
        }
        Ok(())
    }
}

const _: () = assert!(SEEDS >= 2, "one to join through on each side");
