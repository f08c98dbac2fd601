//! Silero VAD and Magika, against what onnxruntime makes of them.

use std::collections::BTreeMap;

use embermesh_job::program::Kind;
use serde::Deserialize;

use super::{differs, fetched, given, read, run, single};

/// What they give: made by `scripts/onnx-samples.py`.
#[derive(Deserialize)]
struct Golden {
    magika: Vec<f32>,
    silero: Vec<f32>,
    /// The beginning of it.
    state: Vec<f32>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

#[test]
fn magika_knows_kinds_of_files() {
    let Some(path) = fetched("magika.onnx") else {
        return;
    };
    let file = read(&path);
    let bound = BTreeMap::from([("bytes".to_owned(), given(&[2, 2048]))]);
    let imported = file.import(&bound, &["target_label".to_owned()]).unwrap();
    println!("{:?}", imported.program.cost);
    let first = (0..2048).map(|at| ((at * 37 + 11) % 257) as f32);
    let second = (0..2048_u32).map(|at| (at * at % 256) as f32);
    let bytes = first.chain(second).collect();
    let since = std::time::Instant::now();
    let results = run(imported, &BTreeMap::from([("bytes".to_owned(), bytes)])).unwrap();
    println!("magika: 2 files in {:.1?}", since.elapsed());
    assert_eq!(differs(&results[0], &golden().magika, 1e-5), None);
}

#[test]
fn silero_hears_voices() {
    let Some(path) = fetched("silero-vad.onnx") else {
        return;
    };
    let file = read(&path);
    // Which of its many branches are taken follows from the shapes.
    let bound = BTreeMap::from([
        ("input".to_owned(), given(&[2, 576])),
        ("state".to_owned(), single(0.0, Kind::Float, &[2, 2, 128])),
        ("sr".to_owned(), single(16_000.0, Kind::Int, &[])),
    ]);
    let outputs = ["output".to_owned(), "stateN".to_owned()];
    let imported = file.import(&bound, &outputs).unwrap();
    println!("{:?}", imported.program.cost);
    let first = (0..576).map(|at| 0.5 * (f64::from(at) * 0.05).sin());
    let second =
        (0..576).map(|at| 0.3 * (f64::from(at) * 0.02).sin() * (f64::from(at) * 0.31).sin());
    let sound = first.chain(second).map(|value| value as f32).collect();
    let results = run(imported, &BTreeMap::from([("input".to_owned(), sound)])).unwrap();
    let golden = golden();
    assert_eq!(differs(&results[0], &golden.silero, 1e-5), None);
    assert_eq!(results[1].len(), 2 * 2 * 128);
    assert_eq!(differs(&results[1][..64], &golden.state, 1e-5), None);
}
