//! Scenario files: what ships is sound, and a mistake is named with its cure.

use embermesh_simulations::swarm::{
    Scenario, draw,
    report::{Chart, Form, Limit},
};

use crate::support::folder;

const JOIN: &str = r#"
title = "A trial"
seed = 1
nodes = 30
bootstrap = 3
patience_s = 60
[what.join]
joiners = 2
[at_most]
joiner_max_s = 5
"#;

fn refused(from: &str, to: &str) -> String {
    let text = JOIN.replace(from, to);
    assert_ne!(text, JOIN);
    Scenario::parse(&text, "trial.toml")
        .unwrap_err()
        .to_string()
}

#[test]
fn every_file_that_ships_is_sound() {
    let files = std::fs::read_dir(folder()).unwrap();
    let mut kinds: Vec<&str> = files
        .map(|file| Scenario::read(&file.unwrap().path()).unwrap().what.name())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "churn",
            "flood",
            "idle",
            "join",
            "partition",
            "spread",
            "sybils"
        ]
    );
}

#[test]
fn a_mistake_is_named_with_its_cure() {
    Scenario::parse(JOIN, "trial.toml").unwrap();
    let error = refused("patience_s = 60", "patience_s = 60\ncolour = 3");
    assert!(
        error.contains("colour") && error.contains("patience_s"),
        "{error}"
    );
    let error = refused("joiners = 2", "joiner = 2");
    assert!(
        error.contains("joiner") && error.contains("joiners"),
        "{error}"
    );
    let error = refused("what.join", "what.joins");
    assert!(
        error.contains("joins") && error.contains("partition"),
        "{error}"
    );
    assert_eq!(
        refused("nodes = 30", "nodes = 3"),
        "nodes is 3: write a number from 4 to 5000"
    );
    assert_eq!(
        refused("bootstrap = 3", "bootstrap = 31"),
        "bootstrap is 31: write a number from 1 to 30"
    );
    assert_eq!(
        refused("joiners = 2", "joiners = 0"),
        "joiners is 0: write a number from 1 to 100000"
    );
    let error = refused("joiner_max_s = 5", "whole_after_heal_s = 5");
    assert!(
        error.contains("whole_after_heal_s") && error.contains("joiner_max_s"),
        "{error}"
    );
    let missing = Scenario::read(&folder().join("nowhere.toml")).unwrap_err();
    assert!(missing.to_string().contains("simulations/scenarios"));
}

#[test]
fn a_plot_says_what_it_shows() {
    let chart = |form, upright| Chart {
        file: "trial",
        title: "How many there are".to_owned(),
        x: "seconds",
        y: "share, %",
        form,
        limits: vec![Limit {
            name: "the aim".to_owned(),
            at: 2.5,
            upright,
        }],
    };
    let line = ("one line".to_owned(), vec![(0.0, 1.0), (4.0, 3.0)]);
    let svg = draw(&chart(Form::Lines(vec![line]), true)).unwrap();
    for text in [
        "How many there are",
        "seconds",
        "share, %",
        "one line",
        "the aim: 2.5",
    ] {
        assert!(svg.contains(text), "{text} is missing");
    }
    let bars = vec![("one bar".to_owned(), 1.25)];
    let svg = draw(&chart(Form::Bars(bars), false)).unwrap();
    for text in [
        "How many there are",
        "share, %",
        "one bar: 1.25",
        "the aim: 2.5",
    ] {
        assert!(svg.contains(text), "{text} is missing");
    }
}
