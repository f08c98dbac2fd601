//! Values beside the references, splits, and what is learnt.

use embermesh_compute::pipe::{WorkOrder, WorkerEventKind};
use embermesh_job::event::EventKind;
use serde_json::{Value, json};

use crate::support::Bench;
use crate::support::runs::{refusal, run};
use crate::{IRIS, TOKENIZER, csv, golden, made, named, numbers, order, record};

/// Puts inputs where a case only names them.
fn with_tokenizer(steps: &mut Value, tokenizer: &Value) {
    for step in steps.as_array_mut().unwrap() {
        if let Some(tokenise) = step.get_mut("tokenise") {
            tokenise["tokenizer"] = tokenizer.clone();
        }
    }
}

#[test]
fn values_are_those_of_the_references() {
    let mut bench = Bench::new();
    let tokenizer = TOKENIZER;
    let tokenizer = named(bench.input(tokenizer));
    let pictures = std::fs::read(golden().join("pictures.tar")).unwrap();
    let pictures = named(bench.input(&pictures));
    let mut count = 0;
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let mut steps = case["steps"].clone();
        with_tokenizer(&mut steps, &tokenizer);
        let data = match case["csv"].as_str() {
            Some(text) => json!({"csv": {"file": named(bench.input(text.as_bytes()))}}),
            None => json!({"images": {"archive": pictures}}),
        };
        let order = order(&mut bench, json!({"data": data, "steps": steps}));
        if let Err(failed) = run(&order) {
            panic!("{name}: {failed}");
        }
        let tolerance = case["tolerance"].as_f64();
        let found = made(&order, "prepared.parquet");
        let expected = case["expected"].as_object().unwrap();
        assert!(
            found.keys().eq(expected.keys()),
            "{name}: {:?}",
            found.keys()
        );
        for (column, expected) in expected {
            let expected = expected.as_array().unwrap();
            let found = &found[column];
            assert_eq!(found.len(), expected.len(), "{name}, {column}");
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let same = match (found.as_f64(), expected.as_f64()) {
                    (Some(found), Some(expected)) => {
                        let usual = 1e-9 * expected.abs().max(1.0);
                        (found - expected).abs() <= tolerance.unwrap_or(usual)
                    }
                    _ => found == expected,
                };
                assert!(same, "{name}, {column}, {at}: {found} for {expected}");
            }
        }
        count += 1;
    }
    assert!(count >= 24, "{count}");
}

#[test]
fn a_split_is_disjoint_whole_stratified_and_of_its_seed() {
    let mut bench = Bench::new();
    let numbered = |text: &str| -> String {
        let lines = text.lines().enumerate();
        lines
            .map(|(at, line)| match at {
                0 => format!("id,{line}\n"),
                _ => format!("{at},{line}\n"),
            })
            .collect()
    };
    let text = numbered(IRIS);
    let mut split = |seed: u32, stratify: Option<&str>| {
        let steps = json!([
            {"split": {"validation": 0.2, "test": 0.1, "stratify": stratify, "seed": seed}},
            {"standardise": {"columns": ["petal_width"]}},
        ]);
        let order = csv(&mut bench, &text, steps);
        let ran = run(&order).unwrap();
        (order, ran)
    };
    let (order, ran) = split(3, Some("species"));
    let parts = ["train", "validation", "test"].map(|name| {
        let file = format!("{name}.parquet");
        made(&order, &file)
    });
    let mut all: Vec<f64> = parts.iter().flat_map(|part| numbers(&part["id"])).collect();
    for part in &parts {
        assert!(numbers(&part["id"]).is_sorted());
    }
    all.sort_by(f64::total_cmp);
    assert!(all.into_iter().eq((1..=150).map(f64::from)));
    for (part, each) in parts.iter().zip([35, 10, 5]) {
        for species in ["setosa", "versicolor", "virginica"] {
            let count = part["species"].iter().filter(|it| *it == species);
            assert_eq!(count.count(), each, "{species}");
        }
    }
    // What was learnt is of the rows that train alone.
    let width = |id: f64| -> f64 {
        let line = IRIS.lines().nth(id as usize).unwrap();
        line.split(',').nth(3).unwrap().parse().unwrap()
    };
    let trains: Vec<f64> = numbers(&parts[0]["id"]).into_iter().map(width).collect();
    let mean = trains.iter().sum::<f64>() / trains.len() as f64;
    let spread = trains.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    let deviation = (spread / trains.len() as f64).sqrt();
    let learnt = &record(&order)["learnt"][0];
    assert!((learnt["is"]["scale"]["mean"][0].as_f64().unwrap() - mean).abs() < 1e-12);
    let found = learnt["is"]["scale"]["deviation"][0].as_f64().unwrap();
    assert!((found - deviation).abs() < 1e-12);
    for (id, found) in numbers(&parts[2]["id"])
        .into_iter()
        .zip(numbers(&parts[2]["petal_width"]))
    {
        assert!((found - (width(id) - mean) / deviation).abs() < 1e-12);
    }
    let prepared = ran.events.iter().find_map(|event| match &event.kind {
        WorkerEventKind::Plain(EventKind::Prepared { rows, columns }) => Some((rows, *columns)),
        _ => None,
    });
    let expected = [("test", 15), ("train", 105), ("validation", 30)];
    let expected = expected
        .map(|(name, count)| (name.to_owned(), count))
        .into();
    assert_eq!(prepared, Some((&expected, 6)));
    assert_eq!(ran.summary.samples, 150);
    // The same seed draws the same rows, another others.
    let ids = |order: &WorkOrder| numbers(&made(order, "test.parquet")["id"]);
    let (again, _) = split(3, Some("species"));
    assert_eq!(ids(&again), ids(&order));
    let (other, _) = split(4, Some("species"));
    assert_ne!(ids(&other), ids(&order));
    let (plain, _) = split(3, None);
    assert_eq!(ids(&plain).len(), 15);
}

#[test]
fn what_was_learnt_is_applied_to_other_rows() {
    let mut bench = Bench::new();
    let steps = |split: bool| {
        let mut steps = vec![
            json!({"fill": {"columns": ["x"], "with": "median"}}),
            json!({"standardise": {"columns": ["x"]}}),
            json!({"min_max": {"columns": ["y"]}}),
            json!({"one_hot": {"columns": ["c"], "unknown": "zeros"}}),
            json!({"label_encode": {"column": "d"}}),
        ];
        if split {
            steps.insert(0, json!({"shuffle": {"seed": 1}}));
        }
        Value::from(steps)
    };
    let first = csv(
        &mut bench,
        "x,y,c,d\n1,0,b,p\n,5,a,q\n3,10,b,p\n8,2,a,p\n",
        steps(true),
    );
    run(&first).unwrap();
    let learnt = std::fs::read(first.workdir.join("prepared.json")).unwrap();
    let learnt = named(bench.input(&learnt));
    let file = named(bench.input(b"x,y,c,d\n3,20,a,q\n,0,z,p\n"));
    let form = json!({
        "data": {"csv": {"file": file}}, "steps": steps(false), "learnt": learnt,
    });
    let second = order(&mut bench, form);
    run(&second).unwrap();
    let found = made(&second, "prepared.parquet");
    // The median of 1, 3 and 8 is 3; the mean of 1, 3, 3 and 8 is 3.75.
    let deviation = ((2.75_f64.powi(2) + 2.0 * 0.75_f64.powi(2) + 4.25_f64.powi(2)) / 4.0).sqrt();
    let scaled = (3.0 - 3.75) / deviation;
    for x in numbers(&found["x"]) {
        assert!((x - scaled).abs() < 1e-12, "{x} {scaled}");
    }
    assert_eq!(numbers(&found["y"]), [2.0, 0.0]);
    assert_eq!(numbers(&found["c"]), [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(numbers(&found["d"]), [1.0, 0.0]);
    let columns = &record(&second)["columns"];
    assert_eq!(columns[2]["classes"], json!(["a", "b"]));
    assert_eq!(columns[3]["classes"], json!(["p", "q"]));
    // Other steps have learnt nothing there.
    let file = named(bench.input(b"x\n1\n"));
    let form = json!({
        "data": {"csv": {"file": file}},
        "steps": [{"standardise": {"columns": ["x"]}}],
        "learnt": learnt,
    });
    let said = refusal(&order(&mut bench, form)).to_string();
    assert!(
        said.contains("step 1 (standardise): `learnt` has a `fill` of column \"x\""),
        "{said}"
    );
}
