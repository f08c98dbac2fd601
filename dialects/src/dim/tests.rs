//! Configurations become plans, in either form of their names, or are refused by name.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use embermesh_crypto::UnixMillis;
use embermesh_job::{
    lifecycle::JobState,
    plan::{Combine, OnFailure, Value, Wish, average, vote},
};
use serde_json::{Value as Json, json};

use super::{
    config::{Pattern, plan},
    render,
};
use crate::{
    Dialect, ErrorCode,
    port::{
        Principal,
        plans::{PlanView, TaskView},
    },
};

fn refusal(pattern: Pattern, config: &Json) -> String {
    let failure = plan(pattern, &config.to_string()).unwrap_err();
    assert_eq!(failure.code, ErrorCode::Invalid);
    failure.message
}

#[test]
fn both_forms_of_the_names_give_the_same_plan() {
    let snake = json!({
        "model_id": "m", "nodes": ["a", "b"], "timeout": 5, "input_data": {"a": [[1]], "b": [[2]]},
        "aggregation": {"method": "median", "differential_privacy": {"enabled": true, "epsilon": 0.5}},
    });
    let camel = json!({
        "modelId": "m", "nodes": ["a", "b"], "timeout": 5, "inputData": {"a": [[1]], "b": [[2]]},
        "aggregation": {"method": "median", "differentialPrivacy": {"enabled": true, "epsilon": 0.5}},
    });
    let read = plan(Pattern::Collaborative, &snake.to_string()).unwrap();
    assert_eq!(
        plan(Pattern::Collaborative, &camel.to_string()).unwrap(),
        read
    );
    let tasks = read.tasks();
    assert_eq!(tasks.len(), 2);
    // Each node is asked of its own data alone, and nobody else will do.
    assert_eq!(tasks[1].what.data, Some(json!([[2]])));
    assert!(matches!(&tasks[1].wish, Wish::Only(node) if node.as_str() == "b"));
    let Combine::Average(how) = read.draft().combine else {
        panic!("{:?}", read.draft().combine);
    };
    assert_eq!(how.method, average::Method::Median);
    assert!((how.privacy.unwrap().epsilon - 0.5).abs() < f64::EPSILON);
}

#[test]
fn a_collaboration_without_data_is_taken_on_and_asks_nothing() {
    for config in [
        json!({"model_id": "model-abc", "nodes": ["node-001"]}),
        json!({"modelId": "model-abc", "nodes": ["node-001"], "inputData": null}),
    ] {
        let read = plan(Pattern::Collaborative, &config.to_string()).unwrap();
        let [task] = read.tasks() else {
            panic!("{config}");
        };
        assert_eq!((&*task.what.model, &task.what.data), ("model-abc", &None));
        assert!(matches!(&task.wish, Wish::Only(node) if node.as_str() == "node-001"));
    }
}

#[test]
fn a_comparison_votes_and_a_chain_feeds() {
    let config = json!({
        "model_ids": ["m1", "m2", "m3"], "input_data": "Why?",
        "consensus": {"method": "weighted_vote", "min_agreement": 0.6, "weights": {"m2": 3}},
    });
    let read = plan(Pattern::Comparative, &config.to_string()).unwrap();
    let Combine::Vote(how) = read.draft().combine else {
        panic!("{:?}", read.draft().combine);
    };
    assert_eq!(how.method, vote::Method::WeightedVote);
    let weights: Vec<f64> = read.tasks().iter().map(|task| task.weight).collect();
    assert_eq!(weights, [1.0, 3.0, 1.0]);
    let config = json!({
        "pipeline": [
            {"step": 1, "name": "read", "model_id": "m1", "input_source": "client_data"},
            {"step": 2, "name": "judge", "model_id": "m2", "input_source": "step_1_output"},
        ],
        "input_data": "Why?",
        "error_handling": {"on_failure": "rollback_and_retry", "max_retries": 2},
    });
    let read = plan(Pattern::Chained, &config.to_string()).unwrap();
    assert_eq!(read.tasks()[0].what.data, Some(json!("Why?")));
    assert_eq!(read.tasks()[1].what.data, None);
    assert_eq!(read.draft().on_failure, OnFailure::RollBack(2));
}

#[test]
fn how_far_a_job_is_are_the_tasks_that_are_done() {
    let task = |state, value: Option<Json>| TaskView {
        name: "m".to_owned(),
        node: Some("node-1".to_owned()),
        state,
        value: value.map(Value::Json),
        reason: None,
        started_at: Some(UnixMillis(1000)),
        ended_at: None,
    };
    let view = PlanView {
        id: "job-1".to_owned(),
        owner: Principal {
            dialect: Dialect::Dim,
            name: "ada".to_owned(),
        },
        state: JobState::Running,
        tasks: vec![
            task("done", Some(json!("a"))),
            task("running", None),
            task("waiting", None),
            task("waiting", None),
        ],
        combined: None,
        message: String::new(),
        submitted_at: UnixMillis(500),
        ended_at: None,
        notes: [("pattern".to_owned(), "chained".to_owned())].into(),
    };
    let status = render::status(&view);
    let progress = status.progress.unwrap();
    assert_eq!((progress.completed_steps, progress.total_steps), (1, 4));
    assert_eq!(progress.percent_complete, 25);
    assert_eq!(status.created_at, "1970-01-01T00:00:00.500Z");
    assert_eq!(status.started_at, "1970-01-01T00:00:01.000Z");
    // What has not been is not said, and nothing comes out before the end.
    assert!(status.completed_at.is_empty() && status.result_json.is_empty());
    let words: Vec<&str> = status.nodes.iter().map(|node| &*node.status).collect();
    assert_eq!(words, ["completed", "running", "pending", "pending"]);
}

#[test]
fn what_is_wrong_is_named() {
    use Pattern::{Chained, Collaborative, Comparative};
    let step = |step: u32, more: Json| {
        let mut fields = json!({"step": step, "name": "s", "model_id": "m"});
        for (name, value) in more.as_object().unwrap() {
            fields[name] = value.clone();
        }
        fields
    };
    let cases = [
        (Collaborative, json!({}), "model_id"),
        (Collaborative, json!({"model_id": "m"}), "nodes"),
        (
            Collaborative,
            json!({"model_id": "m", "nodes": []}),
            "nodes",
        ),
        (Comparative, json!({"model_ids": ["m", "n"]}), "input_data"),
        (
            Chained,
            json!({"pipeline": [step(1, json!({})), step(2, json!({}))]}),
            "input_data",
        ),
        (
            Collaborative,
            json!({"model_id": "m", "nodes": ["a", "b"], "aggregation": {"method": "mode"}}),
            "aggregation.method",
        ),
        (
            Collaborative,
            json!({"model_id": "m", "nodes": ["a", "b"], "input_data": [[1]], "timeout": 0}),
            "timeout",
        ),
        (
            Comparative,
            json!({"model_ids": ["m"], "input_data": "x"}),
            "at least 2",
        ),
        (
            Comparative,
            json!({"model_ids": ["m", "n"], "input_data": "x", "consensus": {"min_agreement": 7}}),
            "min_agreement",
        ),
        (
            Comparative,
            json!({"model_ids": ["m", "m"], "input_data": "x"}),
            "m",
        ),
        (Chained, json!({"input_data": "x"}), "pipeline"),
        (
            Chained,
            json!({"input_data": "x", "pipeline": [step(1, json!({}))]}),
            "at least 2",
        ),
        (
            Chained,
            json!({"input_data": "x", "pipeline": [step(1, json!({})), step(3, json!({}))]}),
            "step 2 says 3",
        ),
        (
            Chained,
            json!({"input_data": "x", "pipeline": [
                step(1, json!({"input_source": "step_2_output"})), step(2, json!({})),
            ]}),
            "step",
        ),
        (
            Chained,
            json!({"input_data": "x", "pipeline": [step(1, json!({})), step(2, json!({}))],
                "error_handling": {"on_failure": "shrug"}}),
            "on_failure",
        ),
    ];
    for (pattern, config, named) in cases {
        let said = refusal(pattern, &config);
        assert!(said.contains(named), "{config}: {said}");
    }
    for garbage in ["", "{", "[]", "7", "\"x\""] {
        assert!(plan(Collaborative, garbage).is_err(), "{garbage}");
    }
    let long = format!("\"{}\"", "x".repeat(super::config::MAX_CONFIG));
    assert!(plan(Collaborative, &long).is_err());
}
