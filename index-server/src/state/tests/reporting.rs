//! Reports: idempotent, fenced, and with the right receipt.

use embermesh_job::wire::MAX_TEXT;

use super::*;

fn assigned(world: &mut World, node: &Keypair) -> JobId {
    world.register(node, 1);
    world.submit(spec("a")).unwrap().job.job.id
}

#[test]
fn a_job_succeeds_with_its_receipt_and_only_once() {
    let mut world = World::new();
    let node = key(1);
    let job = assigned(&mut world, &node);
    world.writes();
    let report = world.finished(&node, task(job, 1), Outcome::Succeeded);
    assert!(world.report(&node, task(job, 1), report.clone()).unwrap());
    let writes = world.writes();
    assert_eq!(writes.receipts.len(), 1);
    assert_eq!(world.out.ended.len(), 1);
    assert!(
        world.report(&node, task(job, 1), report).unwrap(),
        "sent again"
    );
    assert_eq!(world.out.ended.len(), 1);
    assert!(world.state.job(&job).unwrap().finished.is_some());
}

#[test]
fn only_its_node_reports_and_only_of_an_attempt_that_was() {
    let mut world = World::new();
    let node = key(1);
    let job = assigned(&mut world, &node);
    let report = world.started(task(job, 1));
    let refused = world.report(&key(2), task(job, 1), report).unwrap_err();
    assert!(matches!(refused, Refused::NotItsNode { .. }));
    let report = world.started(task(job, 2));
    let refused = world.report(&node, task(job, 2), report).unwrap_err();
    assert!(matches!(refused, Refused::StaleEpoch { .. }));
    let nowhere = JobId::v7(world.now, [3; 10]);
    let report = world.started(task(nowhere, 1));
    let refused = world.report(&node, task(nowhere, 1), report).unwrap_err();
    assert!(matches!(refused, Refused::UnknownJob(_)));
}

#[test]
fn a_receipt_must_be_for_this_attempt_and_by_this_node() {
    let mut world = World::new();
    let (node, other) = (key(1), key(2));
    let job = assigned(&mut world, &node);
    let right = world.receipt(&node, task(job, 1), Outcome::Succeeded);
    let wrongs = [
        Receipt {
            node: other.peer_id(),
            ..right.clone()
        },
        Receipt {
            client: other.peer_id(),
            ..right.clone()
        },
        Receipt {
            epoch: Epoch(2),
            ..right.clone()
        },
        Receipt {
            spec: Digest::of(b"another"),
            ..right.clone()
        },
        Receipt {
            job: JobId::v7(world.now, [4; 10]),
            ..right.clone()
        },
        Receipt {
            outcome: Outcome::Failed,
            ..right.clone()
        },
    ];
    for wrong in wrongs {
        let signer = if wrong.node == other.peer_id() {
            &other
        } else {
            &node
        };
        let receipt = statement::sign(&wrong, signer).unwrap().bytes().to_vec();
        let report = world.event(
            task(job, 1),
            9,
            EventKind::Finished {
                outcome: Outcome::Succeeded,
                receipt,
                message: String::new(),
            },
        );
        let refused = world.report(&node, task(job, 1), report).unwrap_err();
        assert!(matches!(refused, Refused::Receipt { .. }), "{refused}");
        assert_eq!(world.state_of(job), JobState::Assigned);
    }
    let mut forged = statement::sign(&right, &node).unwrap().bytes().to_vec();
    forged[3] ^= 1;
    let report = world.event(
        task(job, 1),
        9,
        EventKind::Finished {
            outcome: Outcome::Succeeded,
            receipt: forged,
            message: String::new(),
        },
    );
    let refused = world.report(&node, task(job, 1), report).unwrap_err();
    assert!(matches!(refused, Refused::Statement(_)), "{refused}");
}

#[test]
fn only_real_inputs_have_holders() {
    let mut world = World::new();
    let node = key(1);
    let job = assigned(&mut world, &node);
    let blob = |name: &[u8]| embermesh_job::address::BlobRef {
        digest: Digest::of(name),
        size: 6,
        holders: Vec::new(),
    };
    let report = Report::Inputs(vec![blob(b"digits"), blob(b"something else")]);
    world.report(&node, task(job, 1), report).unwrap();
    let holders = &world.state.job(&job).unwrap().inputs_holders;
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].digest, Digest::of(b"digits"));
    let many = Report::Inputs(vec![blob(b"x"); 100]);
    let refused = world.report(&node, task(job, 1), many).unwrap_err();
    assert!(matches!(refused, Refused::TooMany { .. }));
}

#[test]
fn a_cancelled_job_still_gets_its_receipt() {
    let mut world = World::new();
    let node = key(1);
    let job = assigned(&mut world, &node);
    let report = world.started(task(job, 1));
    world.report(&node, task(job, 1), report).unwrap();
    let caller = world.client.peer_id();
    world.handle(Command::Cancel { job, caller }).unwrap();
    world.writes();
    let report = world.finished(&node, task(job, 1), Outcome::Cancelled);
    assert!(world.report(&node, task(job, 1), report).unwrap());
    assert_eq!(world.state_of(job), JobState::Cancelled);
    assert_eq!(world.writes().receipts.len(), 1);
}

#[test]
fn whatever_a_node_says_of_a_failure_can_be_read_by_a_client() {
    let mut world = World::new();
    let nodes = [key(1), key(2), key(3)];
    for node in &nodes {
        world.register(node, 1);
    }
    // The longest text that the wire lets through, of letters of four bytes.
    let long = "\u{10330}".repeat(MAX_TEXT / 4);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    for epoch in 1..=3 {
        let at = world.state.job(&job).unwrap().attempts.last().unwrap().node;
        let node = nodes.iter().find(|node| node.peer_id() == at).unwrap();
        let failed = Report::AttemptFailed {
            code: long.clone(),
            message: long.clone(),
        };
        assert!(world.report(node, task(job, epoch), failed).unwrap());
    }
    assert_eq!(world.state_of(job), JobState::Failed);
    for entry in &world.state.job(&job).unwrap().journal {
        assert!(entry.reason.len() <= MAX_TEXT, "{}", entry.reason.len());
    }
    let last = &world
        .state
        .job(&job)
        .unwrap()
        .journal
        .last()
        .unwrap()
        .reason;
    assert!(last.len() > 2_000, "what fits is kept: {}", last.len());
}
