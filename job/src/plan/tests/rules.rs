//! Which plans are refused, and that the refusal names the task.

use super::{
    super::chain::{Source, Step, chain},
    *,
};

fn refusal(change: impl Fn(&mut Draft<()>)) -> String {
    let mut changed = draft(vec![task("a", &[]), task("b", &["a"]), task("c", &["b"])]);
    change(&mut changed);
    Plan::new(changed).map_or_else(|error| error.to_string(), |_| "taken".to_owned())
}

#[test]
fn each_rule_has_its_refusal() {
    type Case = (fn(&mut Draft<()>), &'static str);
    let cases: [Case; 19] = [
        (|_| {}, "taken"),
        (|d| d.tasks.clear(), "1 to 512 tasks, this one has 0"),
        (|d| d.tasks[1].name = "a".into(), "two tasks are called `a`"),
        (|d| d.tasks[1].name.clear(), "task 1"),
        (
            |d| d.tasks[2].reads = vec!["x".into()],
            "task `c` waits for `x`",
        ),
        (
            |d| d.tasks[0].after = vec!["c".into()],
            "waits for itself: a <- c <- b <- a",
        ),
        (
            |d| d.tasks[1].after = vec!["b".into()],
            "waits for itself: b <- b",
        ),
        (
            |d| d.tasks[2].reads = vec!["a".into(), "a".into()],
            "task `c` names `a` twice",
        ),
        (|d| d.tasks[1].attempts = 0, "task `b` has 0 attempts"),
        (|d| d.tasks[1].attempts = 17, "task `b` has 17 attempts"),
        (
            |d| d.tasks[1].timeout = Duration::ZERO,
            "task `b`: its timeout",
        ),
        (|d| d.tasks[1].weight = f64::NAN, "task `b`: its weight"),
        (|d| d.tasks[0].wish = Wish::First, "task `a` wants the node"),
        (|d| d.need = Need::Quorum(2), "task `b` waits for another"),
        (
            |d| d.on_failure = OnFailure::RollBack(17),
            "16 times at most, not 17",
        ),
        (|d| d.lease = Duration::ZERO, "`lease`"),
        (|d| d.timeout = Duration::MAX, "`timeout`"),
        (
            |d| {
                d.apart = true;
                d.tasks[0].wish = Wish::Only(node("n"));
                d.tasks[2].wish = Wish::Only(node("n"));
            },
            "task `c` wants the node of `a`",
        ),
        (
            |d| d.tasks = (0..513).map(|n| task(&n.to_string(), &[])).collect(),
            "this one has 513",
        ),
    ];
    for (place, (change, wants)) in cases.iter().enumerate() {
        let said = refusal(change);
        assert!(said.contains(wants), "case {place}: {said}");
    }
    let mut alone = draft(vec![task("a", &[])]);
    for (least, fits) in [(0, false), (1, true), (2, false)] {
        alone.need = Need::Quorum(least);
        assert_eq!(Plan::new(alone.clone()).is_ok(), fits, "{least}");
    }
}

#[test]
fn a_stored_plan_is_checked_again() {
    let plan = Plan::new(draft(vec![task("a", &[]), task("b", &["a"])])).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan<()>>(&text).unwrap(), plan);
    let broken = text.replace(r#""reads":["a"]"#, r#""reads":["b"]"#);
    assert_ne!(broken, text);
    let error = serde_json::from_str::<Plan<()>>(&broken).unwrap_err();
    assert!(error.to_string().contains("b <- b"), "{error}");
}

fn step(number: u32, source: &str) -> Step<()> {
    Step {
        number,
        name: "s".into(),
        source: source.parse().unwrap(),
        node: None,
        timeout: None,
        what: (),
    }
}

#[test]
fn steps_follow_each_other_and_read_what_is_before_them() {
    let said = |steps: Vec<Step<()>>| {
        chain(steps, OnFailure::Fail, 1, PATIENCE)
            .map_or_else(|error| error.to_string(), |_| "taken".to_owned())
    };
    let first = || step(1, "client_data");
    assert_eq!(said(vec![first(), step(2, "step_1_output")]), "taken");
    assert_eq!(said(vec![first(), step(2, "client_data")]), "taken");
    for (steps, wants) in [
        (vec![first()], "at least 2 steps"),
        (
            vec![first(), step(3, "step_1_output")],
            "number 3, its place is 2",
        ),
        (
            vec![step(2, "client_data"), first()],
            "number 2, its place is 1",
        ),
        (vec![first(), step(2, "step_2_output")], "output of step 2"),
        (vec![step(1, "step_2_output"), first()], "output of step 2"),
    ] {
        let said = said(steps);
        assert!(said.contains(wants), "{said}");
    }
}

#[test]
fn sources_have_one_text() {
    for text in ["client_data", "step_1_output", "step_12_output"] {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
    for bad in [
        "",
        "step_0_output",
        "step__output",
        "step_-1_output",
        "step_+1_output",
        "step_99999999999_output",
        "Client_Data",
    ] {
        assert!(bad.parse::<Source>().is_err(), "{bad}");
    }
}
