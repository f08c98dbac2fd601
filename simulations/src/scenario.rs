//! Nodes join, jobs come, a third of the nodes dies: two thirds of those for
//! good, the others for a minute, in which they go on working on what is no
//! longer theirs.

use std::time::Duration;

use embermesh_crypto::UnixMillis;
use embermesh_index_server::state::Settings;
use rand::Rng;

use crate::{Violation, World, happening::Happening, invariants::Known, world::EPOCH};

/// What is to be simulated.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many jobs.
    pub jobs: usize,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Virtual time, from the first join to the end.
    pub virtual_time: Duration,
    /// From the last join until every node knew every other.
    pub whole_table: Duration,
    /// From the deaths until every job had ended.
    pub recovery: Duration,
    /// Things that happened.
    pub happenings: u64,
    /// Messages sent.
    pub messages: u64,
    /// Reports of replaced attempts that were refused.
    pub fenced: u64,
    /// Attempts beyond the first of each job.
    pub more_attempts: u64,
    /// Events that the client was told it would not get.
    pub missed: u64,
    /// The hash of everything that happened.
    pub trace: String,
}

/// Nodes join within this time.
const JOINING: Duration = Duration::from_secs(5);
/// Jobs are submitted within this time, after the joins.
const SUBMITTING: Duration = Duration::from_secs(20);
/// A third dies this long after the first submit.
const UNTIL_KILL: Duration = Duration::from_secs(30);
/// A bound on waiting for anything.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often a condition that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Runs the scenario.
///
/// # Errors
/// The first invariant that does not hold, with the seed.
pub fn run(scenario: Scenario) -> Result<Summary, Violation> {
    play(scenario).map(|(_, summary)| summary)
}

/// Runs the scenario, and shows the world as it is in the end.
fn play(scenario: Scenario) -> Result<(World, Summary), Violation> {
    let mut world = World::new(scenario.seed, scenario.nodes, Settings::default())?;
    world.command = format!(
        "run --seed {} --nodes {} --jobs {}",
        scenario.seed, scenario.nodes, scenario.jobs
    );
    let mut known = Known::default();
    for peer in 0..scenario.nodes {
        let share = JOINING.as_millis() as u64 * peer as u64 / scenario.nodes as u64;
        world.schedule(Duration::from_millis(share), Happening::Join(peer));
    }
    world.run_until(EPOCH.saturating_add(JOINING))?;
    let joined = world.now;
    wait(&mut world, &mut known, |world| world.check_tables())?;
    let whole_table = world.now.since(joined);

    for _ in 0..scenario.jobs {
        let delay = world.rng.random_range(0..SUBMITTING.as_millis() as u64);
        world.schedule(Duration::from_millis(delay), Happening::Submit(None));
    }
    world.schedule(UNTIL_KILL, Happening::Kill);
    let killed = world.now.saturating_add(UNTIL_KILL);
    world.run_until(killed)?;
    wait(&mut world, &mut known, |world| {
        world.check_all_done(scenario.jobs)
    })?;
    let recovery = world.now.since(killed);

    // The adverts of the dead lapse after five minutes at most.
    wait(&mut world, &mut known, |world| world.check_tables())?;
    let attempts: usize = world.index.jobs().map(|job| job.attempts.len()).sum();
    let summary = Summary {
        virtual_time: world.now.since(EPOCH),
        whole_table,
        recovery,
        happenings: world.counts.happenings,
        messages: world.counts.messages,
        fenced: world.counts.fenced,
        more_attempts: (attempts - scenario.jobs) as u64,
        missed: world.counts.missed,
        trace: world.trace_hash(),
    };
    Ok((world, summary))
}

/// Lets time pass until `condition` holds; what must always hold is looked at
/// on the way.
pub(crate) fn wait(
    world: &mut World,
    known: &mut Known,
    condition: impl Fn(&World) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let until: UnixMillis = world.now.saturating_add(PATIENCE);
    loop {
        world.check_jobs_since(known)?;
        world.check_all()?;
        match condition(world) {
            Ok(()) => return Ok(()),
            Err(unmet) if world.now >= until => return Err(unmet),
            Err(_) => world.run_until(world.now.saturating_add(LOOK))?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::Seen, tasks::LAST_EVENT};

    #[test]
    fn a_job_whose_last_event_the_client_missed_is_not_done() {
        let scenario = Scenario {
            seed: 3,
            nodes: 9,
            jobs: 4,
        };
        let (mut world, _) = play(scenario).unwrap();
        world.check_all_done(scenario.jobs).unwrap();
        let seen = world.client.seen.values_mut().next().unwrap();
        *seen = Seen::default();
        for seq in 1..LAST_EVENT {
            seen.take(seq).unwrap();
        }
        let missed = world.check_all_done(scenario.jobs).unwrap_err();
        assert!(missed.to_string().contains("the client saw 40"), "{missed}");
        assert!(missed.to_string().contains("--seed 3"), "{missed}");
    }
}
