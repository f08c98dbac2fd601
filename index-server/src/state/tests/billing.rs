//! What jobs cost: set aside with the submit, charged with the end, once.

use super::*;

const HOUR: u64 = 3_600_000;

/// A client with money, and a node that asks a millionth for each millisecond.
fn world(money: u64) -> (World, Keypair) {
    let mut world = World::new();
    world.deposit(world.client.peer_id(), money);
    world.price = HOUR;
    let node = key(1);
    world.register(&node, 2);
    (world, node)
}

/// A job that may take a second.
fn brief(name: &str) -> JobSpec {
    JobSpec {
        limits: Limits {
            wall: units::Millis(1_000),
            ..Limits::default()
        },
        ..spec(name)
    }
}

impl World {
    fn own_funds(&self) -> (i64, i64) {
        self.funds(self.client.peer_id())
    }

    /// A started job with a budget, and its first attempt.
    fn started_for(&mut self, node: &Keypair, spec: JobSpec, budget: u64) -> TaskKey {
        let assigned = self.submit_for(spec, budget).unwrap();
        let first = task(assigned.job.job.id, 1);
        assert!(
            assigned.assignment.is_some(),
            "{:?}",
            assigned.job.passed_over
        );
        let started = self.started(first);
        self.report(node, first, started).unwrap();
        first
    }

    /// The time passes with the node alive.
    fn run_for(&mut self, node: &Keypair, running: &[TaskKey], millis: u64) {
        for _ in 0..millis / 100 {
            self.wait(Duration::from_millis(100));
            self.heartbeat(node, running);
        }
    }

    /// A report of the end that says that it ran since `began`.
    fn ended(&self, node: &Keypair, key: TaskKey, outcome: Outcome, began: UnixMillis) -> Report {
        let receipt = Receipt {
            started_at: began,
            ..self.receipt(node, key, outcome)
        };
        let receipt = statement::sign(&receipt, node).unwrap().bytes().to_vec();
        let message = String::new();
        let kind = EventKind::Finished {
            outcome,
            receipt,
            message,
        };
        self.event(key, 9, kind)
    }

    fn charged(&mut self, job: JobId) -> Option<u64> {
        let summary = self.state.summary(job).unwrap();
        summary.charge.unwrap().charged.map(|micros| micros.0)
    }
}

#[test]
fn too_little_money_is_refused_and_leaves_nothing_behind() {
    let (mut world, _) = world(1_000);
    world.writes();
    let refused = world.submit_for(brief("dear"), 1_001).unwrap_err();
    let Refused::Ledger(why) = &refused else {
        panic!("{refused}");
    };
    assert_eq!(why.code(), "insufficient_funds");
    assert!(world.writes().is_empty());
    assert_eq!(world.own_funds(), (1_000, 0));
    assert_eq!((world.state.queued(), world.state.jobs().count()), (0, 0));
    world.submit_for(brief("fits"), 1_000).unwrap();
    assert_eq!(world.own_funds(), (0, 1_000));
}

#[test]
fn a_done_job_pays_its_node_for_the_time_it_ran_and_gets_the_rest_back() {
    let (mut world, node) = world(5_000);
    let assigned = world.submit_for(brief("a"), 3_000).unwrap();
    let job = assigned.job.job.id;
    let quoted = assigned.job.charge.unwrap();
    assert_eq!(quoted.budget, Some(MicroUnits(3_000)));
    assert_eq!(quoted.price, Some(MicroUnits(HOUR)));
    assert_eq!((quoted.at_most, quoted.charged), (MicroUnits(1_000), None));
    assert_eq!(world.own_funds(), (2_000, 3_000));
    let first = task(job, 1);
    let began = world.now;
    world.report(&node, first, world.started(first)).unwrap();
    world.run_for(&node, &[first], 400);
    let end = world.ended(&node, first, Outcome::Succeeded, began);
    assert!(world.report(&node, first, end.clone()).unwrap());
    assert_eq!(world.own_funds(), (4_600, 0));
    assert_eq!(world.funds(node.peer_id()), (400, 0));
    assert_eq!(world.charged(job), Some(400));
    // The end, its receipt and its money are one transaction.
    let writes = world.writes();
    assert_eq!((writes.jobs.len(), writes.receipts.len()), (1, 1));
    assert_eq!(writes.ledger.unwrap().transactions.len(), 3);
    assert!(world.report(&node, first, end).unwrap());
    world.wait(LEASE);
    assert_eq!(world.funds(node.peer_id()), (400, 0));
    assert!(world.writes().ledger.is_none(), "nothing is paid twice");
}

#[test]
fn a_job_that_is_impossible_pays_and_one_that_its_node_lost_does_not() {
    let (mut world, node) = world(5_000);
    let first = world.started_for(&node, brief("impossible"), 1_000);
    let began = world.now;
    world.run_for(&node, &[first], 200);
    let end = world.ended(&node, first, Outcome::Failed, began);
    world.report(&node, first, end).unwrap();
    assert_eq!(world.state_of(first.job), JobState::Failed);
    assert_eq!(world.funds(node.peer_id()), (200, 0));

    let lost = JobSpec {
        attempts: 1,
        ..brief("lost")
    };
    let first = world.started_for(&node, lost.clone(), 1_000);
    world.run_for(&node, &[first], 200);
    let failed = Report::AttemptFailed {
        code: "finished".to_owned(),
        message: "pay me all the same".to_owned(),
    };
    world.report(&node, first, failed).unwrap();
    assert_eq!(world.state_of(first.job), JobState::Failed);
    assert_eq!(world.charged(first.job), Some(0));
    let first = world.started_for(&node, lost, 1_000);
    world.wait(LEASE * 2);
    assert_eq!(world.state_of(first.job), JobState::Failed);
    assert_eq!(world.funds(node.peer_id()), (200, 0));
    assert_eq!(world.own_funds(), (4_800, 0));
}

#[test]
fn only_the_node_that_brings_a_job_to_its_end_is_paid() {
    let (mut world, node) = world(5_000);
    let first = world.started_for(&node, brief("moves"), 1_000);
    world.run_for(&node, &[first], 300);
    let other = key(2);
    world.price = HOUR / 2;
    world.register(&other, 1);
    let failed = Report::AttemptFailed {
        code: "device_lost".to_owned(),
        message: String::new(),
    };
    world.report(&node, first, failed).unwrap();
    assert_eq!(world.own_funds(), (4_000, 1_000), "it is still set aside");
    let second = task(first.job, 2);
    let began = world.now;
    world.report(&other, second, world.started(second)).unwrap();
    world.run_for(&other, &[second], 200);
    let end = world.ended(&other, second, Outcome::Succeeded, began);
    world.report(&other, second, end).unwrap();
    assert_eq!(world.funds(node.peer_id()), (0, 0));
    assert_eq!(world.funds(other.peer_id()), (100, 0));
    assert_eq!(world.own_funds(), (4_900, 0));
}

#[test]
fn who_cancels_pays_for_what_ran_and_nothing_before_the_start() {
    let (mut world, node) = world(5_000);
    let owner = world.client.peer_id();
    let cancel = |world: &mut World, job| {
        world
            .handle(Command::Cancel { job, caller: owner })
            .unwrap();
    };
    let waits = world.submit_for(brief("placed"), 1_000).unwrap().job.job.id;
    world.wait(Duration::from_millis(100));
    cancel(&mut world, waits);
    assert_eq!(
        (world.own_funds(), world.charged(waits)),
        ((5_000, 0), Some(0))
    );
    let queued = JobSpec {
        requires: memory(1 << 50),
        ..brief("queued")
    };
    let queued = world.submit_for(queued, 1_000).unwrap().job.job.id;
    cancel(&mut world, queued);
    assert_eq!(world.own_funds(), (5_000, 0));
    let runs = world.started_for(&node, brief("runs"), 1_000);
    world.run_for(&node, &[runs], 300);
    cancel(&mut world, runs.job);
    cancel(&mut world, runs.job);
    assert_eq!(world.own_funds(), (4_700, 0));
    assert_eq!(world.funds(node.peer_id()), (300, 0));
}

#[test]
fn a_node_that_signs_for_more_time_than_went_by_is_not_believed() {
    let (mut world, node) = world(9_000_000);
    let hours = spec("greedy");
    let first = world.started_for(&node, hours, 9_000_000);
    world.run_for(&node, &[first], 200);
    let end = world.ended(&node, first, Outcome::Succeeded, UnixMillis(1));
    world.report(&node, first, end).unwrap();
    assert_eq!(world.funds(node.peer_id()), (200, 0));
}

#[test]
fn nodes_that_ask_more_than_a_job_pays_say_so() {
    let (mut world, node) = world(5_000);
    let why = |assigned: &Assigned| {
        assert!(assigned.assignment.is_none());
        assigned.job.passed_over[0].code
    };
    let without = world.submit(brief("without")).unwrap();
    assert_eq!(why(&without), "no_budget");
    let message = &without.job.passed_over[0].message;
    assert!(message.contains("submit it with one"), "{message}");
    assert!(without.job.charge.is_none());
    let little = world.submit_for(brief("little"), 999).unwrap();
    assert_eq!(why(&little), "over_budget");
    let owner = world.client.peer_id();
    for job in [without, little] {
        let job = job.job.job.id;
        world
            .handle(Command::Cancel { job, caller: owner })
            .unwrap();
    }
    // A price that rises after the job was placed is not for that job.
    let first = world.started_for(&node, brief("agreed"), 1_000);
    world.price = HOUR * 9;
    let dearer = world.advert(&node, 2, 2, 1);
    let heartbeat = Command::Heartbeat {
        node: node.peer_id(),
        advert: Some(dearer),
        running: Vec::new(),
        draining: false,
    };
    world.handle(heartbeat).unwrap();
    world.wait(Duration::from_millis(100));
    world
        .handle(Command::Cancel {
            job: first.job,
            caller: owner,
        })
        .unwrap();
    assert_eq!(world.funds(node.peer_id()), (100, 0));
}

#[test]
fn a_submit_sent_again_sets_nothing_more_aside() {
    let (mut world, _) = world(5_000);
    let owner = world.client.peer_id();
    let mut send = |budget| {
        let budget = Some(MicroUnits(budget));
        world.submit_with(owner, brief("once"), [9; 16], budget)
    };
    let first = send(2_000).unwrap();
    let again = send(2_000).unwrap();
    assert_eq!(first.job.job.id, again.job.job.id);
    let other = send(2_001).unwrap_err();
    assert!(matches!(other, Refused::KeyReused { .. }), "{other}");
    assert_eq!(world.own_funds(), (3_000, 2_000));
}

#[test]
fn what_the_index_has_set_aside_is_not_the_payers_to_take_back() {
    let (mut world, node) = world(5_000);
    let first = world.started_for(&node, brief("held"), 1_000);
    let owner = world.client.peer_id();
    let hold = *world.state.ledger().holds().keys().next().unwrap();
    let settle = |world: &mut World, caller| {
        let entry = Entry {
            caller,
            key: [7; 16].into(),
            ask: Ask::Release { hold },
            seen: Seen::NotUpTo(world.state.ledger().last()),
        };
        world.handle(Command::Enter(Box::new(entry)))
    };
    assert!(settle(&mut world, owner).is_err());
    world.wait(Duration::from_secs(400 * 24 * 3_600));
    assert_eq!(
        world.state.ledger().holds().len(),
        1,
        "it has no end of its own"
    );
    // An operator may, and then there is nothing left to charge.
    let operator = world.identity.peer_id();
    settle(&mut world, operator).unwrap();
    world
        .handle(Command::Cancel {
            job: first.job,
            caller: owner,
        })
        .unwrap();
    assert_eq!(world.charged(first.job), Some(0));
    assert_eq!(world.own_funds(), (5_000, 0));
}

#[test]
fn whose_node_it_is_pays_nothing_for_it() {
    let mut world = World::new();
    world.price = HOUR;
    let node = key(100);
    world.register(&node, 1);
    let assigned = world.submit(brief("own")).unwrap();
    assert!(
        assigned.assignment.is_some(),
        "{:?}",
        assigned.job.passed_over
    );
}

#[test]
fn a_quote_is_by_the_nodes_that_could_run_it_if_they_were_free() {
    let (mut world, _) = world(5_000);
    world.price = 2 * HOUR;
    world.register(&key(2), 1);
    world.submit_for(brief("takes a slot"), 5_000).unwrap();
    world.submit_for(brief("takes a slot"), 0).unwrap_err();
    let caller = world.client.peer_id();
    let mut quote = |spec: JobSpec| {
        let spec = Box::new(spec);
        match world.handle(Command::Quote { caller, spec }).unwrap() {
            Reply::Quoted(quoted) => *quoted,
            other => panic!("a quote was answered with {other:?}"),
        }
    };
    let both = quote(brief("job")).quote;
    assert_eq!((both.nodes, both.least.0, both.most.0), (2, 1_000, 2_000));
    let cheap = Requirements {
        max_price: Some(MicroUnits(HOUR)),
        ..Requirements::default()
    };
    let one = quote(JobSpec {
        requires: cheap,
        ..brief("job")
    });
    assert_eq!((one.quote.nodes, one.quote.most.0), (1, 1_000));
    assert_eq!(one.passed_over[0].1, "too_dear");
}
