//! The small files of the repository, against what onnxruntime makes of them.

use std::collections::BTreeMap;

use embermesh_job::spec::{Feed, Feeds, Onnx};
use serde::Deserialize;

use super::super::fit;
use super::{differs, given, read, run, sample};

/// What a file gives: made by `scripts/onnx-samples.py`.
#[derive(Deserialize)]
struct Golden {
    inputs: BTreeMap<String, Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

fn golden(name: &str) -> Golden {
    serde_json::from_str(&std::fs::read_to_string(sample(name)).unwrap()).unwrap()
}

fn onnx(feeds: Feeds) -> Onnx<()> {
    Onnx {
        file: (),
        feeds,
        fixed: BTreeMap::new(),
        sizes: BTreeMap::new(),
        output: None,
        probabilities: false,
    }
}

#[test]
fn a_convolutional_net_gives_what_it_should() {
    let golden = golden("digits-lenet.json");
    let bound = BTreeMap::from([("pixels".to_owned(), given(&[3, 1, 8, 8]))]);
    let imported = read(&sample("digits-lenet.onnx"))
        .import(&bound, &["logits".to_owned()])
        .unwrap();
    // What it computes of shapes is done, and its weights are what is left.
    assert_eq!(imported.program.steps.len(), 8);
    assert_eq!(imported.program.constants.len(), 6);
    let results = run(imported, &golden.inputs).unwrap();
    assert_eq!(differs(&results[0], &golden.outputs[0], 1e-4), None);
}

#[test]
fn a_transformer_gives_what_it_should() {
    let golden = golden("encoder.json");
    let bound = ["ids", "mask"]
        .map(|name| (name.to_owned(), given(&[3, 6])))
        .into();
    let imported = read(&sample("encoder.onnx"))
        .import(&bound, &["logits".to_owned()])
        .unwrap();
    let results = run(imported, &golden.inputs).unwrap();
    assert_eq!(differs(&results[0], &golden.outputs[0], 1e-4), None);
    // An id that is none is refused by the name of the node.
    let imported = read(&sample("encoder.onnx"))
        .import(&bound, &["logits".to_owned()])
        .unwrap();
    let mut inputs = golden.inputs;
    inputs.get_mut("ids").unwrap()[4] = 40.0;
    let text = run(imported, &inputs).unwrap_err();
    assert!(text.contains("embedded") && text.contains("40"), "{text}");
}

#[test]
fn files_are_fitted_to_what_a_job_says_of_them() {
    let file = read(&sample("digits-lenet.onnx"));
    let fitted = fit(&file, &onnx(Feeds::One(vec![1, 8, 8])), 5).unwrap();
    assert_eq!((fitted.batch, &fitted.output_shape[..]), (5, &[10][..]));
    assert_eq!(fitted.parts, [(0, 64)]);
    let refused = |onnx: Onnx<()>| fit(&file, &onnx, 5).unwrap_err().to_string();
    let text = refused(onnx(Feeds::One(vec![8, 8])));
    assert!(
        text.contains("[batch, 1, 8, 8]") && text.contains("[8, 8]"),
        "{text}"
    );
    let text = refused(Onnx {
        output: Some("probabilities".to_owned()),
        ..onnx(Feeds::One(vec![1, 8, 8]))
    });
    assert!(
        text.contains("probabilities") && text.contains("logits"),
        "{text}"
    );
    let text = refused(Onnx {
        fixed: BTreeMap::from([("sr".to_owned(), 1.0)]),
        ..onnx(Feeds::One(vec![1, 8, 8]))
    });
    assert!(
        text.contains("\"sr\"") && text.contains("no such input"),
        "{text}"
    );

    let file = read(&sample("encoder.onnx"));
    let feed = |name: &str| Feed {
        name: name.to_owned(),
        shape: vec![6],
    };
    // Two inputs: both from a sample, or one the same for all.
    let both = onnx(Feeds::Named(vec![feed("mask"), feed("ids")]));
    let fitted = fit(&file, &both, 2).unwrap();
    assert_eq!(fitted.parts, [(6, 6), (0, 6)]);
    let fixed = Onnx {
        fixed: BTreeMap::from([("mask".to_owned(), 1.0)]),
        ..onnx(Feeds::One(vec![6]))
    };
    assert_eq!(fit(&file, &fixed, 2).unwrap().parts, [(0, 6)]);
    let text = fit(&file, &onnx(Feeds::One(vec![6])), 2)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("[\"ids\", \"mask\"]") && text.contains("`fixed`"),
        "{text}"
    );
    let twice = onnx(Feeds::Named(vec![feed("ids"), feed("ids")]));
    assert!(fit(&file, &twice, 2).is_err());
}
