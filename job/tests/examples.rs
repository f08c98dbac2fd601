//! Every example job file of the repository is one that can be submitted.

use std::{fs, path::Path};

use embermesh_job::file::{Format, JobFile};

#[test]
fn every_example_parses() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs");
    let mut parsed = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(format) = Format::of(&path) else {
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        let file = JobFile::parse(&text, format)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // Only rows of the spec itself need no file.
        let alone = ["xor-inline.toml", "compute.toml"];
        let named = !file.sources().is_empty() || file.folder().is_some();
        assert!(named || alone.iter().any(|name| path.ends_with(name)));
        parsed.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    parsed.sort();
    assert!(parsed.len() >= 8, "{parsed:?}");
}

#[test]
fn the_toml_and_the_json_example_are_the_same_job() {
    let read = |name: &str, format| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples/jobs")
            .join(name);
        JobFile::parse(&fs::read_to_string(path).unwrap(), format).unwrap()
    };
    assert_eq!(
        read("digits-train.toml", Format::Toml),
        read("digits-train.json", Format::Json)
    );
}
