//! A job with an ONNX file is checked against the file before anything is sent.

use std::path::Path;

use crate::support::{refused, run, stderr, stdout};

#[tokio::test]
async fn files_that_cannot_be_run_are_refused_by_the_name_of_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
    let example = data.join("../examples/jobs/digits-onnx.toml");
    let checked = run(
        folder.path(),
        &["submit", "--check", example.to_str().unwrap()],
    )
    .await;
    assert!(checked.status.success(), "{}", stderr(&checked));
    assert!(stdout(&checked).contains("7282"), "{}", stdout(&checked));

    let file = std::fs::read(data.join("digits-lenet.onnx")).unwrap();
    // An operator of the same length that nobody knows: the first Relu of the file.
    let at = file
        .windows(4)
        .position(|word| word == b"Relu")
        .expect("the file has a Relu");
    let mut unknown = file.clone();
    unknown[at..at + 4].copy_from_slice(b"Lure");
    std::fs::write(folder.path().join("unknown.onnx"), unknown).unwrap();
    std::fs::write(folder.path().join("cut.onnx"), &file[..file.len() / 2]).unwrap();
    let text = std::fs::read_to_string(example).unwrap().replace(
        "../../data/digits.csv",
        data.join("digits.csv").to_str().unwrap(),
    );
    for (name, words) in [
        ("unknown.onnx", ["node 2 \"relu1\" (Lure)", "not one of"]),
        ("cut.onnx", ["not a whole ONNX file", "fit together"]),
    ] {
        let path = folder.path().join(format!("{name}.toml"));
        let text = text.replace("../../data/digits-lenet.onnx", name);
        std::fs::write(&path, text).unwrap();
        for words_of in [&["submit"][..], &["submit", "--check"]] {
            let mut all = words_of.to_vec();
            all.push(path.to_str().unwrap());
            refused(&run(folder.path(), &all).await, 2, &words);
        }
    }
}
