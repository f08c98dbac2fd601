//! How a model that is a file is written, and what is refused before the file is
//! there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use embermesh_crypto::Digest;

use crate::file::{Format, JobFile};
use crate::spec::{Input, JobSpec};

const GOOD: &str = r#"
name = "voice"

[work.predict]
batch = 4
outputs = "numbers"

[work.predict.model]
onnx = { path = "voice.onnx" }
inputs = [{ name = "input", shape = [2, 3] }, { name = "more", shape = [4] }]
fixed = { sr = 16000, state = 0 }
sizes = { sequence = 6 }
output = "chance"

[work.predict.data.npy]
features = { path = "sound.npy" }
"#;

fn refused(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    JobFile::parse(&GOOD.replace(from, to), Format::Toml)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_file_is_an_input_and_has_one_canonical_form() {
    let file = JobFile::parse(GOOD, Format::Toml).unwrap();
    let blobs: BTreeMap<PathBuf, Input> = ["voice.onnx", "sound.npy"]
        .map(|name| {
            let input = Input {
                digest: Digest::of(name.as_bytes()),
                size: 9,
            };
            (PathBuf::from(name), input)
        })
        .into();
    let spec = file.resolve(&blobs).unwrap();
    assert_eq!(spec.inputs().len(), 2);
    let bytes = spec.canonical();
    assert_eq!(JobSpec::from_canonical(&bytes).unwrap(), spec);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains(r#""onnx":{"digest""#), "{text}");
    assert!(
        !text.contains("weights") && !text.contains("layers"),
        "{text}"
    );
    assert_eq!(spec.plan().unwrap(), None);
}

#[test]
fn what_is_said_of_a_file_is_checked_without_it() {
    for (from, to, word) in [
        ("shape = [4]", "shape = [0]", "shape of a sample"),
        (
            "shape = [4]",
            "shape = [4000000000, 4000000000, 4000000000]",
            "shape of a sample",
        ),
        ("shape = [4]", "shap = [4]", "shap"),
        ("state = 0", "state = 1e300", "finite"),
        ("sequence = 6", "sequence = 0", "at least 1"),
        ("output = \"chance\"", "layers = []", "not two"),
        ("output = \"chance\"", "input = [3]", "shape of a sample"),
        ("onnx = { path = \"voice.onnx\" }", "", "there is none"),
        ("outputs = \"numbers\"", "", "say whether outputs"),
        (
            "outputs = \"numbers\"",
            "outputs = \"numbers\"\nweights = { path = \"w\" }",
            "leave them out",
        ),
    ] {
        let text = refused(from, to);
        assert!(text.contains(word), "{to}: {text}");
    }
}
