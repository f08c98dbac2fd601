//! What a spec is about, read from its canonical form, so that anybody who has that
//! form can find the same in any language.

use embermesh_crypto::Digest;
use serde_json::Value;

use super::JobSpec;

/// What a job does, and with which model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The kind of work: the one key of the spec's `work`, such as "train".
    pub kind: String,
    /// The digest of the model, if the work has one: of its file where it is one
    /// file, else of the canonical JSON (RFC 8785) of what the spec's `model` holds.
    pub model: Option<Digest>,
}

impl JobSpec {
    /// What it is about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        // Read back: the numbers are then as the canonical form has them.
        let spec: Value = serde_json::from_slice(&self.canonical()).unwrap_or_default();
        let work = spec["work"].as_object().and_then(|work| work.iter().next());
        let Some((kind, work)) = work else {
            return Subject {
                kind: String::new(),
                model: None,
            };
        };
        Subject {
            kind: kind.clone(),
            model: work.get("model").and_then(digest_of),
        }
    }
}

fn digest_of(model: &Value) -> Option<Digest> {
    let file = model.as_object().filter(|model| model.len() == 2);
    let file = file.filter(|file| file.contains_key("size"));
    if let Some(digest) = file.and_then(|file| file.get("digest")?.as_str()) {
        return digest.parse().ok();
    }
    let canonical = serde_json_canonicalizer::to_vec(model).ok()?;
    Some(Digest::of(&canonical))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Dataset, Generate, Input, Limits, Request, Requirements, Train, Work};

    fn spec(work: Work) -> JobSpec {
        JobSpec {
            name: "a".to_owned(),
            work,
            requires: Requirements::default(),
            limits: Limits::default(),
            attempts: 1,
        }
    }

    #[test]
    fn a_declared_model_is_named_by_its_canonical_form_and_a_file_by_its_own_digest() {
        let file = Input {
            digest: Digest::of(b"file"),
            size: 4,
        };
        let model = r#"{"input":[4],"layers":[{"op":"dense","units":3}]}"#;
        let train = Train::new(
            serde_json::from_str(model).unwrap(),
            Dataset::DigitsCsv { file, classes: 3 },
        );
        let canonical = serde_json_canonicalizer::to_vec(&train.model).unwrap();
        let subject = spec(Work::Train(train)).subject();
        assert_eq!(subject.kind, "train");
        assert_eq!(subject.model, Some(Digest::of(&canonical)));

        let generate = Generate {
            model: file.into(),
            requests: vec![Request::prompt("a")],
            report_every: 1,
        };
        let subject = spec(Work::Generate(generate)).subject();
        assert_eq!(subject.kind, "generate");
        assert_eq!(subject.model, Some(file.digest));
    }
}
