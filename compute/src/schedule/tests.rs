//! Each schedule beside `torch.optim.lr_scheduler` of PyTorch 2.9.1.

use super::*;

fn course(schedule: &str, warmup: u64, total: u64) -> Course {
    Course {
        schedule: serde_json::from_str(schedule).unwrap(),
        warmup,
        rest: (total - warmup).max(1),
        steps_per_pass: 2,
    }
}

fn check(schedule: &str, expected: &[f64]) {
    let course = course(schedule, 0, expected.len() as u64);
    for (step, expected) in (1..).zip(expected) {
        let found = course.factor(step);
        assert!(
            (found - expected).abs() < 1e-8,
            "{schedule} {step}: {found}"
        );
    }
}

#[test]
fn each_schedule_is_that_of_pytorch() {
    check(
        r#"{"step":{"every":{"steps":3},"gamma":0.5}}"#,
        &[1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25],
    );
    check(
        r#"{"exponential":{"gamma":0.9,"every":{"steps":1}}}"#,
        &[1.0, 0.9, 0.81, 0.729, 0.6561],
    );
    check(
        r#"{"cosine":{"end_factor":0.1,"over":{"passes":4}}}"#,
        &[
            1.0,
            0.965_745_79,
            0.868_198_052,
            0.722_207_545,
            0.55,
            0.377_792_455,
            0.231_801_948,
            0.134_254_21,
            0.1,
            0.1,
        ],
    );
    check(
        r#"{"linear":{"end_factor":0.2,"over":{"steps":4}}}"#,
        &[1.0, 0.8, 0.6, 0.4, 0.2, 0.2],
    );
    check(
        r#"{"polynomial":{"power":2,"over":{"steps":5}}}"#,
        &[1.0, 0.64, 0.36, 0.16, 0.04, 0.0],
    );
    check(
        r#"{"one_cycle":{}}"#,
        &[
            0.04,
            0.52,
            1.0,
            0.950_484_632,
            0.811_745_654,
            0.611_262_022,
            0.388_741_978,
            0.188_258_346,
            0.049_519_368,
            4e-6,
        ],
    );
}

#[test]
fn a_warm_up_rises_evenly_and_the_course_follows() {
    let course = course(r#"{"linear":{}}"#, 4, 8);
    let factors: Vec<f64> = (1..=8).map(|step| course.factor(step)).collect();
    assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]);
}

#[test]
fn no_factor_leaves_the_numbers() {
    for schedule in [
        r#""constant""#,
        r#"{"one_cycle":{"pct_start":0}}"#,
        r#"{"one_cycle":{"pct_start":0.9}}"#,
        r#"{"cosine":{}}"#,
        r#"{"polynomial":{"power":0.5}}"#,
    ] {
        for total in 1..5 {
            let course = course(schedule, 0, total);
            for step in 1..=total {
                let factor = course.factor(step);
                assert!((0.0..=1.0).contains(&factor), "{schedule} {total} {step}");
            }
        }
    }
}
