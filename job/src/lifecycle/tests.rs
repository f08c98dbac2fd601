//! The lifecycle's rules, one by one and under random inputs.

use embermesh_crypto::Keypair;
use proptest::prelude::*;

use super::*;

fn peer(seed: u8) -> PeerId {
    Keypair::from_seed(&[seed; 32]).peer_id()
}

const NOW: UnixMillis = UnixMillis(1_000);

fn job() -> Job {
    let id = JobId::v7(NOW, [1; 10]);
    Job::new(id, "job".into(), peer(1), Digest::of(b"spec"), 3, NOW)
}

fn assign(node: u8) -> Input {
    Input::Assign {
        node: peer(node),
        token_id: TokenId([node; 16]),
        lease_until: UnixMillis(2_000),
    }
}

fn progress(epoch: u64, seq: u64) -> Event {
    Event {
        seq,
        epoch: Epoch(epoch),
        at: NOW,
        kind: EventKind::Evaluated {
            samples: 1,
            loss: 0.5,
            accuracy: None,
        },
    }
}

fn finished(epoch: u64, outcome: Outcome) -> Input {
    Input::Finished {
        epoch: Epoch(epoch),
        event: Event {
            kind: EventKind::Finished {
                outcome,
                receipt: Vec::new(),
                message: String::new(),
            },
            ..progress(epoch, 99)
        },
    }
}

fn run(job: &mut Job, inputs: impl IntoIterator<Item = Input>) -> Vec<Effect> {
    inputs
        .into_iter()
        .flat_map(|input| job.handle(input, NOW).unwrap())
        .collect()
}

#[test]
fn the_common_path() {
    let mut job = job();
    run(&mut job, [assign(2)]);
    assert_eq!((job.state, job.epoch), (JobState::Assigned, Epoch(1)));
    run(&mut job, [Input::Heard(progress(1, 1))]);
    assert_eq!(job.state, JobState::Running);
    let effects = run(&mut job, [finished(1, Outcome::Succeeded)]);
    assert!(effects.contains(&Effect::Ended));
    assert_eq!(job.state, JobState::Succeeded);
    let states: Vec<_> = job
        .journal
        .iter()
        .map(|entry| entry.state.as_str())
        .collect();
    assert_eq!(states, ["queued", "assigned", "running", "succeeded"]);
}

#[test]
fn a_lapsed_lease_raises_the_epoch_and_fences_the_old_node() {
    let mut job = job();
    run(&mut job, [assign(2), Input::Started { epoch: Epoch(1) }]);
    let checkpoint = Checkpoint {
        blob: BlobRef {
            digest: Digest::of(b"c"),
            size: 1,
            holders: Vec::new(),
        },
        step: 10,
        seq: 4,
    };
    let at = |epoch| Input::Checkpoint {
        epoch: Epoch(epoch),
        checkpoint: checkpoint.clone(),
    };
    run(&mut job, [at(1)]);
    let effects = run(&mut job, [Input::LeaseLapsed { epoch: Epoch(1) }]);
    assert!(effects.contains(&Effect::Requeue));
    assert!(effects.contains(&Effect::StopAttempt {
        epoch: Epoch(1),
        node: peer(2)
    }));
    run(&mut job, [assign(3)]);
    assert_eq!(job.epoch, Epoch(2));
    assert_eq!(job.checkpoint.as_ref(), Some(&checkpoint));
    let before = job.clone();
    for late in [
        finished(1, Outcome::Succeeded),
        Input::Heard(progress(1, 50)),
        at(1),
        Input::LeaseLapsed { epoch: Epoch(1) },
        Input::Started { epoch: Epoch(1) },
        Input::AttemptFailed {
            epoch: Epoch(1),
            code: "x".into(),
            message: String::new(),
        },
    ] {
        let refused = job.handle(late, NOW).unwrap_err();
        assert!(matches!(refused, Refused::StaleEpoch { .. }), "{refused}");
        assert_eq!(job, before);
    }
}

#[test]
fn attempts_run_out() {
    let mut job = job();
    for epoch in 1..=3u64 {
        assert_eq!(job.state, JobState::Queued);
        let failed = Input::AttemptFailed {
            epoch: Epoch(epoch),
            code: "out_of_memory".into(),
            message: "killed".into(),
        };
        run(&mut job, [assign(2), failed]);
    }
    assert_eq!(job.state, JobState::Failed);
    let reason = &job.journal.last().unwrap().reason;
    assert!(
        reason.contains("out_of_memory") && reason.contains("of 3"),
        "{reason}"
    );
}

#[test]
fn cancelling_wins_and_is_idempotent() {
    let mut job = job();
    run(&mut job, [assign(2), Input::Started { epoch: Epoch(1) }]);
    let effects = run(&mut job, [Input::Cancel { by: peer(1) }]);
    assert!(matches!(effects[0], Effect::StopAttempt { .. }));
    assert!(job.handle(finished(1, Outcome::Succeeded), NOW).is_err());
    assert_eq!(run(&mut job, [Input::Cancel { by: peer(1) }]), []);
    assert_eq!(job.state, JobState::Cancelled);
    let mut done = self::job();
    run(&mut done, [assign(2), finished(1, Outcome::Succeeded)]);
    assert!(done.handle(Input::Cancel { by: peer(1) }, NOW).is_err());
}

#[test]
fn reports_may_come_twice() {
    let mut job = job();
    run(&mut job, [assign(2), finished(1, Outcome::Succeeded)]);
    let before = job.clone();
    assert_eq!(run(&mut job, [finished(1, Outcome::Succeeded)]), []);
    assert_eq!(job, before);
    let mut job = self::job();
    let failed = || Input::AttemptFailed {
        epoch: Epoch(1),
        code: "x".into(),
        message: String::new(),
    };
    run(&mut job, [assign(2), failed()]);
    assert_eq!(run(&mut job, [failed()]), []);
}

#[test]
fn pausing_is_heard_in_heartbeats() {
    let mut job = job();
    let renew = |paused| Input::Renew {
        epoch: Epoch(1),
        lease_until: UnixMillis(9_000),
        paused,
    };
    run(&mut job, [assign(2), renew(true)]);
    assert_eq!(job.state, JobState::Paused);
    assert_eq!(job.attempts[0].lease_until, UnixMillis(9_000));
    run(&mut job, [renew(false)]);
    assert_eq!(job.state, JobState::Running);
    assert_eq!(run(&mut job, [renew(false)]), []);
}

fn any_input() -> impl Strategy<Value = Input> {
    let epoch = 0..4u64;
    prop_oneof![
        (2..6u8).prop_map(assign),
        epoch
            .clone()
            .prop_map(|e| Input::Started { epoch: Epoch(e) }),
        (epoch.clone(), 1..50u64).prop_map(|(e, seq)| Input::Heard(progress(e, seq))),
        (epoch.clone(), any::<bool>()).prop_map(|(e, paused)| Input::Renew {
            epoch: Epoch(e),
            lease_until: UnixMillis(5_000),
            paused,
        }),
        (epoch.clone(), 0..3u8).prop_map(|(e, outcome)| finished(
            e,
            [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled][usize::from(outcome)],
        )),
        epoch.clone().prop_map(|e| Input::AttemptFailed {
            epoch: Epoch(e),
            code: "crashed".into(),
            message: String::new(),
        }),
        epoch.prop_map(|e| Input::LeaseLapsed { epoch: Epoch(e) }),
        Just(Input::Cancel { by: peer(1) }),
    ]
}

proptest! {
    #[test]
    fn the_invariants_hold_under_any_inputs(inputs in prop::collection::vec(any_input(), 0..60)) {
        let mut job = job();
        for input in inputs {
            let before = job.clone();
            match job.handle(input, NOW) {
                Err(_) => prop_assert_eq!(&job, &before, "a refused input changes nothing"),
                Ok(effects) => {
                    let entries: Vec<_> = effects
                        .iter()
                        .filter_map(|effect| match effect {
                            Effect::Journal(entry) => Some(entry.number),
                            _ => None,
                        })
                        .collect();
                    let first = before.journal.last().unwrap().number + 1;
                    let expected: Vec<_> = (first..first + entries.len() as u64).collect();
                    prop_assert_eq!(entries, expected, "numbers are contiguous");
                    prop_assert_eq!(
                        effects.contains(&Effect::Ended),
                        job.state.is_final() && !before.state.is_final()
                    );
                }
            }
            prop_assert!(job.epoch >= before.epoch, "the epoch never falls");
            if before.state.is_final() {
                prop_assert_eq!(job.state, before.state, "an ended job stays ended");
            }
            prop_assert_eq!(job.epoch.0 as usize, job.attempts.len());
            prop_assert!(job.attempts.len() <= 3);
            let open = job.attempts.iter().filter(|attempt| attempt.ended.is_none()).count();
            prop_assert_eq!(open, usize::from(job.state.is_placed()), "one node at a time");
        }
    }
}

fn declined(epoch: u64, code: &str) -> Input {
    Input::AttemptFailed {
        epoch: Epoch(epoch),
        code: code.to_owned(),
        message: "every slot is taken".to_owned(),
    }
}

#[test]
fn nodes_without_room_use_up_no_attempt_and_are_remembered_within_a_bound() {
    let mut job = job();
    let many = 5 * MAX_DECLINED as u64;
    for epoch in 1..=many {
        let code = NO_ROOM[usize::try_from(epoch).unwrap() % NO_ROOM.len()];
        let effects = run(&mut job, [assign(2), declined(epoch, code)]);
        assert!(effects.contains(&Effect::Requeue), "{effects:?}");
    }
    assert_eq!(job.attempts.len(), MAX_DECLINED);
    assert_eq!(job.attempts.last().unwrap().epoch, Epoch(many));
    // What has begun counts, whatever its node calls the end of it.
    for epoch in many + 1..=many + 3 {
        assert_eq!(job.state, JobState::Queued);
        let begun = Input::Started {
            epoch: Epoch(epoch),
        };
        run(&mut job, [assign(2), begun, declined(epoch, "busy")]);
    }
    assert_eq!(job.state, JobState::Failed);
}

#[test]
fn what_a_node_cannot_do_uses_up_an_attempt() {
    let mut job = job();
    for epoch in 1..=3 {
        run(&mut job, [assign(2), declined(epoch, "invalid_spec")]);
    }
    assert_eq!(job.state, JobState::Failed);
}

#[test]
fn a_job_that_nobody_comes_for_is_called_off() {
    let mut job = job();
    run(&mut job, [assign(2)]);
    let refused = job.handle(Input::NotClaimed { epoch: Epoch(2) }, NOW);
    assert!(matches!(refused, Err(Refused::StaleEpoch { .. })));
    let effects = run(&mut job, [Input::NotClaimed { epoch: Epoch(1) }]);
    let stop = Effect::StopAttempt {
        epoch: Epoch(1),
        node: peer(2),
    };
    assert!(effects.contains(&stop) && effects.contains(&Effect::Ended));
    assert_eq!(job.state, JobState::Cancelled);
    assert!(job.journal.last().unwrap().reason.contains("elsewhere"));
    let late = job.handle(finished(1, Outcome::Succeeded), NOW);
    assert!(late.is_err(), "{late:?}");
}
