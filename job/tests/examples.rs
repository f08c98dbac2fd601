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
        // Rows of the spec itself need no file; others stay, or are fetched by a node.
        let without = [
            "xor-inline.toml",
            "compute.toml",
            "proven.toml",
            "digits-stays.toml",
        ];
        let fetched = ["iris-web.toml", "iris-s3.toml", "iris-shared.toml"];
        let bare = without
            .iter()
            .chain(&fetched)
            .any(|name| path.ends_with(name));
        assert!(
            !file.sources().is_empty() || file.folder().is_some() || bare,
            "{}",
            path.display()
        );
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

#[test]
fn what_a_node_fetches_is_named_by_its_origin() {
    for (name, from) in [
        ("iris-web.toml", "https://data.example.org/sets/iris.csv"),
        ("iris-s3.toml", "s3://flowers/sets/iris.csv"),
        ("iris-shared.toml", "shared:sets/iris.csv"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples/jobs")
            .join(name);
        let file = JobFile::parse(&fs::read_to_string(path).unwrap(), Format::Toml).unwrap();
        let spec = file.resolve(&std::collections::BTreeMap::new()).unwrap();
        assert_eq!(spec.requires.origins.len(), 1);
        assert_eq!(spec.requires.origins[0].from, from);
        assert_eq!(spec.requires.origins[0].digest, spec.inputs()[0].digest);
    }
}

#[test]
fn data_stays_as_a_whole_and_weights_never_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs/digits-stays.toml");
    let file = JobFile::parse(&fs::read_to_string(path).unwrap(), Format::Toml).unwrap();
    let (_, _, paths) = file.staying().unwrap();
    assert_eq!(paths.len(), 1);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs/digits-evaluate.toml");
    let text = fs::read_to_string(path).unwrap();
    let at = text.find("weights = {").unwrap();
    let end = at + text[at..].find('\n').unwrap();
    let text = text.replace(&text[at..end], "weights = { path = \"w\", stay = true }");
    let error = JobFile::parse(&text, Format::Toml).unwrap_err().to_string();
    assert!(error.contains("must travel"), "{error}");
}
