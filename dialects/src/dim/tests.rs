//! Configurations become plans, in either form of their names, or are refused by name.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use embermesh_job::plan::{Combine, OnFailure, Wish, average, vote};
use serde_json::{Value as Json, json};

use super::config::{Pattern, plan};
use crate::ErrorCode;

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
