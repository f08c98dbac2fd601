//! Votes, tolerance and audits.

use super::{
    super::{
        alike::{Tolerance, alike},
        replicas::{Replica, audit, compare},
        vote::{Method, Vote},
    },
    *,
};

fn voting(vote: Vote, weights: &[f64], answers: &[serde_json::Value]) -> Run<()> {
    let replicas = weights.iter().zip('a'..).map(|(&weight, name)| Replica {
        name: name.to_string(),
        node: None,
        weight,
        what: (),
    });
    let plan = compare(replicas.collect(), vote, Need::All, 1, PATIENCE).unwrap();
    let (mut run, _) = begin(plan);
    // The order in which answers come must not matter.
    for (place, answer) in (0..).zip(answers).collect::<Vec<_>>().into_iter().rev() {
        run.handle(done(place, 1, answer.clone()), NOW).unwrap();
    }
    run
}

fn combined(run: &Run<()>) -> &Combined {
    match run.ended() {
        Some(Ended::Done(combined)) => combined,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_majority_decides_if_enough_agree() {
    let majority = Vote::of(Method::MajorityVote);
    let answers = [json!("yes"), json!("no"), json!("yes"), json!("yes")];
    let run = voting(majority, &[1.0; 4], &answers);
    assert_eq!(output(&run), json!("yes"));
    let result = combined(&run);
    assert_eq!(result.agreement, Some(0.75));
    assert_eq!(result.agreed, [TaskIndex(0), TaskIndex(2), TaskIndex(3)]);
    assert_eq!(result.accused, [TaskIndex(1)]);
    let run = voting(majority, &[1.0; 3], &answers[..3]);
    assert_eq!(failure(&run).0, "no_agreement");
    // The answers are still there to be shown.
    assert_eq!(
        run.findings().filter_map(|finding| finding.value).count(),
        3
    );
}

#[test]
fn weights_decide_a_weighted_vote_only() {
    let answers = [json!(1), json!(2), json!(2)];
    let half = |method| Vote {
        min_agreement: 0.5,
        ..Vote::of(method)
    };
    let weights = [8.0, 1.0, 1.0];
    let run = voting(half(Method::WeightedVote), &weights, &answers);
    assert_eq!(output(&run), json!(1));
    assert_eq!(combined(&run).agreement, Some(0.8));
    // A heavy voice alone accuses nobody.
    assert!(combined(&run).accused.is_empty());
    let run = voting(half(Method::MajorityVote), &weights, &answers);
    assert_eq!(output(&run), json!(2));
}

#[test]
fn an_expert_is_asked_only_where_answers_differ() {
    let expert = Vote::of(Method::ExpertReview);
    let run = voting(expert, &[1.0; 2], &[json!("a"), json!("a")]);
    assert_eq!(output(&run), json!("a"));
    let run = voting(expert, &[1.0; 2], &[json!("a"), json!("b")]);
    let result = combined(&run);
    assert!(result.needs_review && result.output.is_none());
    assert_eq!(result.agreement, Some(0.5));
}

#[test]
fn a_silent_replica_agrees_with_nobody() {
    let replicas = ["a", "b", "c", "d"].map(|name| Replica {
        name: name.into(),
        node: None,
        weight: 1.0,
        what: (),
    });
    let vote = Vote::of(Method::MajorityVote);
    let plan = compare(replicas.to_vec(), vote, Need::Quorum(3), 1, PATIENCE).unwrap();
    let (mut run, _) = begin(plan);
    for place in 0..3 {
        run.handle(done(place, 1, json!(1)), NOW).unwrap();
    }
    assert_eq!(run.ended(), None);
    let outputs = run.handle(failed(3, 1, false), NOW).unwrap();
    assert_eq!(outputs, [Output::Ended]);
    assert_eq!(combined(&run).agreement, Some(0.75));
    assert!(compare(vec![replicas[0].clone()], vote, Need::All, 1, PATIENCE).is_err());
    for share in [0.0, 1.1, f64::NAN] {
        let vote = Vote {
            min_agreement: share,
            ..vote
        };
        let refused = compare(replicas.to_vec(), vote, Need::All, 1, PATIENCE).unwrap_err();
        assert!(refused.to_string().contains("min_agreement"), "{refused}");
    }
}

#[test]
fn a_vector_is_compared_by_its_scale() {
    let json = |json: serde_json::Value| Value::Json(json);
    let single = Tolerance::SINGLE;
    let same = |a, b| alike(&json(a), &json(b), single);
    // What is left of a cancellation is not worth an accusation.
    assert!(same(json!([100.0, 0.001]), json!([100.0, 0.005])));
    assert!(!same(json!([0.001]), json!([0.005])));
    assert!(!same(json!([100.0, 0.0]), json!([100.0, 0.1])));
    assert!(same(
        json!({"x": 1.0, "n": "a"}),
        json!({"x": 1.000_01, "n": "a"})
    ));
    for (a, b) in [
        (json!({"x": 1}), json!({"y": 1})),
        (json!([1, 2]), json!([1])),
        (json!("1"), json!(1)),
        (json!(null), json!(0)),
    ] {
        assert!(!same(a, b));
    }
    let numbers = Value::Numbers(vec![1.0, 2.0]);
    assert!(alike(&json(json!([1, 2])), &numbers, Tolerance::EXACT));
    // Whole numbers beyond what a float holds.
    let (a, b) = (json!(u64::MAX), json!(u64::MAX - 1));
    assert!(!alike(&Value::Json(a), &Value::Json(b), Tolerance::EXACT));
    let row = |word| {
        Value::Rows(vec![Row {
            group: 0,
            words: vec![word],
        }])
    };
    assert!(!alike(
        &row(1),
        &row(2),
        Tolerance {
            relative: 1.0,
            absolute: 1.0
        }
    ));
}

fn auditing(answers: &[f64]) -> Run<()> {
    let plan = audit(&(), answers.len(), Tolerance::SINGLE, 2, PATIENCE).unwrap();
    let (mut run, _) = begin(plan);
    for (place, answer) in (0..).zip(answers) {
        run.handle(started(place, 1, &format!("n{place}")), NOW)
            .unwrap();
        run.handle(done(place, 1, json!([*answer, 100.0])), NOW)
            .unwrap();
    }
    run
}

#[test]
fn auditors_accuse_a_liar_and_not_another_device() {
    let run = auditing(&[1.0, 1.001, 1.002, 50.0, 0.999]);
    assert_eq!(combined(&run).accused, [TaskIndex(3)]);
    // Outvoted, and still within doubt.
    let run = auditing(&[1.0, 1.001, 1.02]);
    let result = combined(&run);
    assert_eq!(result.agreed, [TaskIndex(0), TaskIndex(1)]);
    assert!(result.accused.is_empty());
    // Nobody is right alone.
    assert_eq!(failure(&auditing(&[1.0, 2.0, 3.0])).0, "no_agreement");
    for runs in [0, 2, MAX_TASKS + 1] {
        assert!(audit(&(), runs, Tolerance::SINGLE, 1, PATIENCE).is_err());
    }
}

#[test]
fn a_node_does_not_audit_itself() {
    let (mut run, _) = begin(audit(&(), 3, Tolerance::SINGLE, 2, PATIENCE).unwrap());
    let early = run.handle(done(0, 1, json!(1)), NOW).unwrap_err();
    assert_eq!(early.code(), "not_started");
    run.handle(started(0, 1, "n"), NOW).unwrap();
    assert_eq!(
        run.handle(started(1, 1, "n"), NOW).unwrap_err().code(),
        "not_apart"
    );
    run.handle(done(0, 1, json!(1)), NOW).unwrap();
    // Nor after it has given its result.
    assert_eq!(
        run.handle(started(1, 1, "n"), NOW).unwrap_err().code(),
        "not_apart"
    );
    run.handle(started(1, 1, "m"), NOW).unwrap();
    let outputs = run.handle(failed(1, 1, true), NOW).unwrap();
    let Output::Start { avoid, .. } = &outputs[0] else {
        panic!("{outputs:?}");
    };
    assert_eq!(*avoid, [node("m"), node("n")]);
}
