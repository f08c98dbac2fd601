//! The engine's rules one by one: order, epochs, leases, rollback, ends.

use super::{
    super::chain::{Source, Step, chain},
    *,
};

fn later(seconds: u64) -> UnixMillis {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn two() -> Run<()> {
    let plan = Plan::new(draft(vec![task("a", &[]), task("b", &["a"])])).unwrap();
    let (run, first) = begin(plan);
    assert_eq!(starts(&first), [(0, 1)]);
    run
}

#[test]
fn a_task_starts_when_what_it_reads_is_there() {
    let mut run = two();
    assert!(run.inputs(TaskIndex(1)).is_empty());
    run.handle(started(0, 1, "n"), NOW).unwrap();
    let next = run.handle(done(0, 1, json!(5)), NOW).unwrap();
    assert_eq!(starts(&next), [(1, 1)]);
    let five = Value::Json(json!(5));
    assert_eq!(run.inputs(TaskIndex(1)), [("a", &five)]);
    assert_eq!(run.progress(), (1, 2));
    let last = run.handle(done(1, 1, json!(6)), NOW).unwrap();
    assert_eq!(last, [Output::Ended]);
    assert_eq!(output(&run), json!(6));
    assert_eq!(run.wake_at(), None);
}

#[test]
fn an_old_attempt_is_not_heard() {
    let mut run = two();
    run.handle(started(0, 1, "n"), NOW).unwrap();
    assert_eq!(run.wake_at(), Some(later(10)));
    // A sign of life holds the lease; silence ends it, and the node is avoided.
    run.handle(progress(0, 1), later(9)).unwrap();
    assert!(run.handle(Input::Tick, later(18)).unwrap().is_empty());
    let outputs = run.handle(Input::Tick, later(19)).unwrap();
    assert_eq!(cancels(&outputs), [(0, 1)]);
    assert_eq!(starts(&outputs), [(0, 2)]);
    assert!(matches!(&outputs[1], Output::Start { avoid, .. } if *avoid == [node("n")]));
    let before = run.clone();
    for late in [
        done(0, 1, json!(1)),
        failed(0, 1, true),
        progress(0, 1),
        started(0, 1, "n"),
    ] {
        let refused = run.handle(late, later(20)).unwrap_err();
        assert_eq!(refused.code(), "stale_epoch");
    }
    assert_eq!(
        run.handle(progress(9, 1), NOW).unwrap_err().code(),
        "no_task"
    );
    assert_eq!(
        run.handle(progress(1, 0), NOW).unwrap_err().code(),
        "not_live"
    );
    assert_eq!(run, before);
    // The new one's report may come twice.
    run.handle(done(0, 2, json!(2)), later(20)).unwrap();
    assert!(
        run.handle(done(0, 2, json!(3)), later(21))
            .unwrap()
            .is_empty()
    );
    let two = Value::Json(json!(2));
    assert_eq!(run.inputs(TaskIndex(1)), [("a", &two)]);
}

#[test]
fn an_attempt_that_talks_for_ever_ends_by_its_timeout() {
    let mut run = two();
    for second in 0..60 {
        run.handle(progress(0, 1), later(second)).unwrap();
    }
    let outputs = run.handle(Input::Tick, later(60)).unwrap();
    assert_eq!(starts(&outputs), [(0, 2)]);
}

#[test]
fn attempts_are_spent() {
    let mut run = two();
    let outputs = run.handle(failed(0, 1, true), NOW).unwrap();
    assert_eq!(starts(&outputs), [(0, 2)]);
    let outputs = run.handle(failed(0, 2, true), NOW).unwrap();
    assert_eq!(outputs, [Output::Ended]);
    assert_eq!(
        failure(&run),
        ("task_failed", "task `a` failed: broken".into())
    );
    // A lasting failure does not wait for attempts.
    let mut run = two();
    run.handle(failed(0, 1, false), NOW).unwrap();
    assert_eq!(failure(&run).0, "task_failed");
    for after in [
        done(0, 1, json!(1)),
        Input::Cancel {
            reason: String::new(),
        },
    ] {
        assert_eq!(run.handle(after, NOW), Err(Refused::Ended));
    }
    assert_eq!(run.handle(Input::Tick, later(9_999)), Ok(Vec::new()));
}

#[test]
fn one_attempt_has_one_node() {
    let mut run = two();
    run.handle(started(0, 1, "n"), NOW).unwrap();
    run.handle(started(0, 1, "n"), NOW).unwrap();
    let refused = run.handle(started(0, 1, "m"), NOW).unwrap_err();
    assert_eq!(refused.code(), "wrong_node");
    let mut pinned = draft(vec![task("a", &[])]);
    pinned.tasks[0].wish = Wish::Only(node("p"));
    let (mut run, first) = begin(Plan::new(pinned).unwrap());
    assert!(matches!(&first[0], Output::Start { node: Some(at), .. } if *at == node("p")));
    assert!(run.handle(started(0, 1, "m"), NOW).is_err());
    run.handle(started(0, 1, "p"), NOW).unwrap();
}

#[test]
fn a_preferred_node_is_left_after_a_failure() {
    let mut drafted = draft(vec![task("a", &[])]);
    drafted.tasks[0].wish = Wish::Prefer(node("p"));
    let (mut run, first) = begin(Plan::new(drafted).unwrap());
    assert!(matches!(&first[0], Output::Start { node: Some(at), .. } if *at == node("p")));
    let again = run.handle(Input::Lost { node: node("p") }, NOW).unwrap();
    assert!(
        matches!(&again[..], [Output::Start { node: None, avoid, .. }] if *avoid == [node("p")])
    );
    assert!(
        run.handle(Input::Lost { node: node("q") }, NOW)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_plan_itself_runs_out_of_time() {
    let mut run = two();
    run.handle(done(0, 1, json!(1)), later(599)).unwrap();
    let outputs = run.handle(Input::Tick, later(600)).unwrap();
    assert_eq!(cancels(&outputs), [(1, 1)]);
    assert_eq!(failure(&run).0, "out_of_time");
}

#[test]
fn a_cancelled_plan_stops_what_runs() {
    let mut run = two();
    let cancel = Input::Cancel {
        reason: "enough".into(),
    };
    let outputs = run.handle(cancel, NOW).unwrap();
    assert_eq!(cancels(&outputs), [(0, 1)]);
    assert_eq!(outputs.last(), Some(&Output::Ended));
    assert_eq!(
        run.ended(),
        Some(&Ended::Cancelled {
            reason: "enough".into()
        })
    );
}

#[test]
fn a_result_that_cannot_be_kept_is_a_failure() {
    for value in [
        Value::Numbers(vec![0.0, f64::NAN]),
        Value::Json(json!("x".repeat(MAX_VALUE + 1))),
        Value::Numbers(vec![0.0; MAX_VALUE / 8 + 1]),
    ] {
        let mut run = two();
        let input = Input::Done {
            task: TaskIndex(0),
            epoch: Epoch(1),
            value,
            samples: None,
        };
        run.handle(input, NOW).unwrap();
        assert_eq!(failure(&run).0, "task_failed");
    }
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let mut run = two();
    run.handle(done(0, 1, deep), NOW).unwrap();
    assert!(failure(&run).1.contains("nested"), "{:?}", failure(&run));
}

fn three_steps(on_failure: OnFailure) -> Run<()> {
    let step = |number, source| Step {
        number,
        name: format!("s{number}"),
        source,
        node: None,
        timeout: None,
        what: (),
    };
    let steps = vec![
        step(1, Source::ClientData),
        step(2, Source::Step(1)),
        step(3, Source::Step(2)),
    ];
    begin(chain(steps, on_failure, 1, PATIENCE).unwrap()).0
}

#[test]
fn a_chain_fails_fast_or_rolls_back() {
    let mut run = three_steps(OnFailure::Fail);
    run.handle(done(0, 1, json!(1)), NOW).unwrap();
    run.handle(failed(1, 1, true), NOW).unwrap();
    assert_eq!(failure(&run).0, "task_failed");

    let mut run = three_steps(OnFailure::RollBack(1));
    run.handle(done(0, 1, json!(1)), NOW).unwrap();
    run.handle(done(1, 1, json!(2)), NOW).unwrap();
    let outputs = run.handle(failed(2, 1, false), NOW).unwrap();
    // The step that fed it runs again, and the first one's output stands.
    assert_eq!(starts(&outputs), [(1, 2)]);
    assert_eq!(
        run.handle(done(1, 1, json!(9)), NOW).unwrap_err().code(),
        "stale_epoch"
    );
    assert_eq!(run.progress(), (1, 3));
    let outputs = run.handle(done(1, 2, json!(20)), NOW).unwrap();
    assert_eq!(starts(&outputs), [(2, 2)]);
    let twenty = Value::Json(json!(20));
    assert_eq!(run.inputs(TaskIndex(2)), [("2: s2", &twenty)]);
    let undone = run
        .trace()
        .iter()
        .filter(|moment| moment.what == run::What::RolledBack);
    assert_eq!(undone.count(), 2);
    // Rollbacks are spent too.
    run.handle(failed(2, 2, true), NOW).unwrap();
    assert_eq!(
        failure(&run),
        ("task_failed", "task `3: s3` failed: broken".into())
    );
}

#[test]
fn a_first_step_that_cannot_work_is_not_tried_again() {
    let mut run = three_steps(OnFailure::RollBack(3));
    let outputs = run.handle(failed(0, 1, true), NOW).unwrap();
    assert_eq!(starts(&outputs), [(0, 2)]);
    run.handle(failed(0, 2, false), NOW).unwrap();
    assert_eq!(failure(&run).0, "task_failed");
}

#[test]
fn results_can_stand_beside_each_other() {
    let mut both = draft(vec![task("a", &[]), task("b", &[])]);
    both.combine = Combine::Each;
    let (mut run, first) = begin(Plan::new(both).unwrap());
    assert_eq!(starts(&first), [(0, 1), (1, 1)]);
    run.handle(done(1, 1, json!("y")), NOW).unwrap();
    run.handle(done(0, 1, json!([1])), NOW).unwrap();
    assert_eq!(output(&run), json!({"a": [1], "b": "y"}));
}
