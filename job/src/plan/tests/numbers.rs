//! Averages over shards, quorums, and privacy.

use super::{
    super::{
        average::{Average, Method},
        privacy::{Noise, Privacy},
        shards::{Shard, collaborate},
    },
    *,
};

fn average(method: Method) -> Average {
    Average {
        method,
        privacy: None,
    }
}

fn shards(weights: &[f64], how: Average, quorum: usize) -> Run<()> {
    seeded(weights, how, quorum, [7; 32])
}

fn seeded(weights: &[f64], how: Average, quorum: usize, seed: [u8; 32]) -> Run<()> {
    let shards = weights.iter().enumerate().map(|(place, &weight)| Shard {
        name: format!("shard-{place}"),
        node: None,
        weight,
        what: (),
    });
    let plan = collaborate(shards.collect(), how, quorum, 1, PATIENCE).unwrap();
    Run::start(plan, Epoch(0), seed, NOW).0
}

fn give(run: &mut Run<()>, task: u32, value: Value, samples: u64) {
    let input = Input::Done {
        task: TaskIndex(task),
        epoch: Epoch(1),
        value,
        samples: Some(samples),
    };
    run.handle(input, NOW).unwrap();
}

fn numbers(run: &Run<()>) -> Vec<f64> {
    match run.ended() {
        Some(Ended::Done(Combined {
            output: Some(Value::Numbers(numbers)),
            ..
        })) => numbers.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_method_weighs_in_its_way() {
    let rows = [[1.0, 10.0], [2.0, 20.0], [9.0, 0.0]];
    let samples = [1, 1, 2];
    for (method, wants) in [
        (Method::FederatedAveraging, [5.25, 7.5]),
        (Method::WeightedAverage, [2.0, 14.0]),
        (Method::Median, [2.0, 10.0]),
    ] {
        let mut run = shards(&[2.0, 2.0, 1.0], average(method), 3);
        for place in [2, 0, 1] {
            let row = Value::Numbers(rows[place].to_vec());
            give(&mut run, u32::try_from(place).unwrap(), row, samples[place]);
        }
        let wants = if method == Method::WeightedAverage {
            [0.4 * 1.0 + 0.4 * 2.0 + 0.2 * 9.0, 0.4 * 10.0 + 0.4 * 20.0]
        } else {
            wants
        };
        for (got, want) in numbers(&run).iter().zip(wants) {
            assert!((got - want).abs() < 1e-12, "{method:?}: {got} {want}");
        }
    }
}

#[test]
fn objects_of_numbers_keep_their_form() {
    let mut run = shards(&[1.0, 1.0], average(Method::Median), 2);
    let first = json!({"w": {"b": [1, 2], "a": 3}, "bias": -1});
    let second = json!({"bias": 1, "w": {"a": 5, "b": [3, 4]}});
    run.handle(done(0, 1, first), NOW).unwrap();
    run.handle(done(1, 1, second), NOW).unwrap();
    let wants = json!({"w": {"a": 4.0, "b": [2.0, 3.0]}, "bias": 0.0});
    assert_eq!(output(&run), wants);
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_place() {
    let said = |values: [serde_json::Value; 2]| {
        let mut run = shards(&[1.0, 1.0], average(Method::Median), 2);
        for (place, value) in (0..).zip(values) {
            run.handle(done(place, 1, value), NOW).unwrap();
        }
        let (code, text) = failure(&run);
        assert_eq!(code, "unfit");
        text
    };
    for (values, wants) in [
        ([json!([1]), json!([1, 2])], "`shard-1` has another form"),
        (
            [json!({"a": 1}), json!({"b": 1})],
            "`shard-1` has another form",
        ),
        (
            [json!({"a": [1, "x"]}), json!(1)],
            "`shard-0`: `a[1]` is a text",
        ),
        ([json!(1), json!({"a": {"b": null}})], "`a.b` is null"),
        ([json!(true), json!(1)], "`result` is true or false"),
        ([json!([]), json!([])], "holds no numbers"),
    ] {
        let said = said(values);
        assert!(said.contains(wants), "{said}");
    }
    let mut run = shards(&[1.0, 1.0], average(Method::FederatedAveraging), 2);
    give(&mut run, 0, Value::Numbers(vec![1.0]), 0);
    give(&mut run, 1, Value::Numbers(vec![1.0]), 1);
    assert!(failure(&run).1.contains("claims 0 samples"));
    let mut run = shards(&[1.0, 1.0], average(Method::FederatedAveraging), 2);
    run.handle(done(0, 1, json!(1)), NOW).unwrap();
    give(&mut run, 1, Value::Json(json!(1)), 1);
    assert!(failure(&run).1.contains("does not say"));
}

#[test]
fn a_quorum_is_enough_when_time_is_over_and_not_before() {
    let mut run = shards(&[1.0; 4], average(Method::FederatedAveraging), 2);
    give(&mut run, 0, Value::Numbers(vec![1.0]), 1);
    give(&mut run, 2, Value::Numbers(vec![4.0]), 2);
    assert_eq!(run.ended(), None);
    // One is silent until its lease lapses, the other one lives to the end.
    let end = NOW.saturating_add(PATIENCE.plan);
    for second in 0..60 {
        let now = NOW.saturating_add(Duration::from_secs(second));
        run.handle(progress(3, 1), now).unwrap();
        run.handle(Input::Tick, now).unwrap();
    }
    assert_eq!(run.findings().nth(1).unwrap().state, "failed");
    let outputs = run.handle(Input::Tick, end).unwrap();
    assert_eq!(cancels(&outputs), [(3, 1)]);
    // Nothing is made up for the missing.
    assert_eq!(numbers(&run), [3.0]);
}

#[test]
fn a_quorum_that_cannot_be_reached_fails_at_once() {
    let mut run = shards(&[1.0; 3], average(Method::Median), 2);
    run.handle(failed(0, 1, false), NOW).unwrap();
    assert_eq!(run.ended(), None);
    let outputs = run.handle(failed(1, 1, false), NOW).unwrap();
    assert_eq!(cancels(&outputs), [(2, 1)]);
    let (code, text) = failure(&run);
    assert_eq!(code, "too_few");
    assert!(text.ends_with("2 must be done: broken"), "{text}");
}

fn private(noise: Noise, epsilon: f64) -> Average {
    Average {
        method: Method::WeightedAverage,
        privacy: Some(Privacy {
            noise,
            ..Privacy::of(epsilon)
        }),
    }
}

#[test]
fn a_single_result_is_clipped() {
    // So large a budget that the noise is below what is looked at.
    for (noise, wants) in [
        (Noise::Gaussian, [0.3, 0.4]),
        (Noise::Laplace, [0.214, 0.286]),
    ] {
        let mut how = private(noise, 1000.0);
        if let Some(privacy) = &mut how.privacy {
            privacy.delta = 0.99;
        }
        let mut run = shards(&[1.0, 1.0], how, 2);
        give(&mut run, 0, Value::Numbers(vec![3e300, 4e300]), 1);
        give(&mut run, 1, Value::Numbers(vec![0.0, 0.0]), 1);
        for (got, want) in numbers(&run).iter().zip(wants) {
            let slack = if noise == Noise::Gaussian { 0.15 } else { 0.01 };
            assert!((got - want).abs() < slack, "{noise:?}: {got} {want}");
        }
    }
}

#[test]
fn noise_has_the_stated_scale_and_follows_its_seed() {
    const WIDTH: usize = 4000;
    for noise in [Noise::Gaussian, Noise::Laplace] {
        let how = private(noise, 0.5);
        let result = |seed: u8| {
            let mut run = seeded(&[3.0, 1.0], how, 2, [seed; 32]);
            for place in 0..2 {
                give(&mut run, place, Value::Numbers(vec![0.0; WIDTH]), 1);
            }
            numbers(&run)
        };
        assert_eq!(result(1), result(1));
        assert_ne!(result(1), result(2));
        // One result of three quarters of the weight moves the mean by 1.5.
        let scale = how.privacy.unwrap().scale(1.5);
        let wants = match noise {
            Noise::Gaussian => scale,
            Noise::Laplace => scale * std::f64::consts::SQRT_2,
        };
        let got = result(1);
        #[allow(clippy::cast_precision_loss, reason = "a small count")]
        let count = WIDTH as f64;
        let mean = got.iter().sum::<f64>() / count;
        let deviation = (got.iter().map(|n| n * n).sum::<f64>() / count).sqrt();
        assert!(
            (deviation / wants - 1.0).abs() < 0.06,
            "{deviation} {wants}"
        );
        assert!(mean.abs() < wants * 0.06, "{mean}");
    }
}

#[test]
fn less_budget_is_more_noise() {
    for noise in [Noise::Gaussian, Noise::Laplace] {
        let scale = |epsilon| private(noise, epsilon).privacy.unwrap().scale(1.0);
        assert!(scale(0.1) > 5.0 * scale(1.0));
        assert!(scale(1.0) > scale(10.0));
    }
    let gaussian = private(Noise::Gaussian, 1.0).privacy.unwrap();
    // By hand: ln(1e6) = 13.8155; (sqrt(14.8155) - sqrt(13.8155))^2 = 0.017481.
    assert!(
        (gaussian.scale(1.0) - 5.348).abs() < 0.01,
        "{}",
        gaussian.scale(1.0)
    );
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let how = Average {
            privacy: Some(Privacy::of(bad)),
            ..average(Method::Median)
        };
        let two = ["a", "b"].map(|name| Shard {
            name: name.into(),
            node: None,
            weight: 1.0,
            what: (),
        });
        let refused = collaborate(two.to_vec(), how, 1, 1, PATIENCE).unwrap_err();
        assert!(refused.to_string().contains("epsilon"), "{refused}");
    }
}
