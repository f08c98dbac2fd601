//! Models and deployments in the numbers and texts that both forms of the wire share.

use std::collections::BTreeMap;

use embermesh_job::spec::Input;

use crate::{
    Failure,
    port::{deployments::DeploymentState, registry::ModelFormat},
};

/// What begins the keys under which a model's registry keeps what only this system has.
const PREFIX: &str = "cyxwiz.";
/// What names a blob of the mesh: this, its digest, `?size=` and its bytes.
const BLOB: &str = "blake3:";

/// The number of a format.
pub(super) const fn format_number(format: ModelFormat) -> i32 {
    match format {
        ModelFormat::Unknown => 0,
        ModelFormat::Onnx => 1,
        ModelFormat::Gguf => 2,
        ModelFormat::PyTorch => 3,
        ModelFormat::TensorFlow => 4,
        ModelFormat::Safetensors => 5,
        ModelFormat::TfLite => 6,
        ModelFormat::TorchScript => 7,
        ModelFormat::CyxModel => 8,
    }
}

/// The format of a number.
pub(super) fn format(number: i32) -> Result<ModelFormat, Failure> {
    let mut all = ModelFormat::ALL.into_iter();
    all.find(|format| format_number(*format) == number)
        .ok_or_else(|| Failure::invalid(format!("format: {number} is none")))
}

/// The number of a deployment's state.
pub(super) const fn state_number(state: DeploymentState) -> i32 {
    match state {
        DeploymentState::Waiting => 1,
        DeploymentState::Placed => 2,
        DeploymentState::Loading => 3,
        DeploymentState::Ready => 5,
        DeploymentState::Stopped => 6,
        DeploymentState::Failed => 7,
    }
}

/// The states that a number means; none of them for 0, which leaves it open.
pub(super) fn states(number: i32) -> Result<Vec<DeploymentState>, Failure> {
    Ok(vec![match number {
        0 => return Ok(Vec::new()),
        1 => DeploymentState::Waiting,
        2 => DeploymentState::Placed,
        3 => DeploymentState::Loading,
        // Whether it was asked yet makes no difference.
        4 | 5 => DeploymentState::Ready,
        6 => DeploymentState::Stopped,
        7 => DeploymentState::Failed,
        8 => {
            return Err(Failure::invalid(
                "status_filter: what was deleted is not kept",
            ));
        }
        other => {
            return Err(Failure::invalid(format!(
                "status_filter: {other} is no state"
            )));
        }
    }])
}

/// The blob that a text names.
pub(super) fn blob(text: &str) -> Result<Input, Failure> {
    let named = || {
        let (digest, size) = text.strip_prefix(BLOB)?.split_once("?size=")?;
        Some(Input {
            digest: digest.parse().ok()?,
            size: size.parse().ok().filter(|size| *size > 0)?,
        })
    };
    named().ok_or_else(|| {
        let message = "config.model: give the model_id of a model that is registered, or a source_url of the form blake3:DIGEST?size=BYTES";
        Failure::invalid(message)
    })
}

/// How a blob is named.
pub(super) fn blob_text(blob: &Input) -> String {
    format!("{BLOB}{}?size={}", blob.digest, blob.size)
}

/// A number that is not less than nothing.
pub(super) fn unsigned(field: &str, value: i64) -> Result<u64, Failure> {
    u64::try_from(value)
        .map_err(|_| Failure::invalid(format!("{field}: {value} is less than nothing")))
}

/// How many things a page may have.
pub(super) fn page(size: i32) -> Result<usize, Failure> {
    usize::try_from(size).map_err(|_| Failure::invalid(format!("page_size: {size} is none")))
}

/// Notes what only this system says of a model, beside what its owner says. What begins
/// like our own notes is refused, so that nobody's notes are taken for them.
pub(super) fn note(
    said: impl IntoIterator<Item = (String, String)>,
    ours: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut notes: BTreeMap<String, String> = said.into_iter().collect();
    if let Some(key) = notes.keys().find(|key| key.starts_with(PREFIX)) {
        let message = format!("metadata: {key:?}: no key may begin with {PREFIX:?}");
        return Err(Failure::invalid(message));
    }
    let ours = ours
        .into_iter()
        .filter(|(_, value)| !value.is_empty() && value != "0");
    notes.extend(ours.map(|(key, value)| (format!("{PREFIX}{key}"), value)));
    Ok(notes)
}

/// The notes of a model's owner, and those of ours.
pub(super) fn unnote(notes: &BTreeMap<String, String>) -> (BTreeMap<String, String>, Ours<'_>) {
    let (mut said, mut ours) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in notes {
        match key.strip_prefix(PREFIX) {
            Some(key) => {
                ours.insert(key, value.as_str());
            }
            None => {
                said.insert(key.clone(), value.clone());
            }
        }
    }
    (said, Ours(ours))
}

/// What only this system says of a model.
pub(super) struct Ours<'a>(BTreeMap<&'a str, &'a str>);

impl Ours<'_> {
    pub(super) fn text(&self, key: &str) -> String {
        self.0.get(key).copied().unwrap_or_default().to_owned()
    }

    pub(super) fn number<T: std::str::FromStr + Default>(&self, key: &str) -> T {
        let text = self.0.get(key).copied().unwrap_or_default();
        text.parse().unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Digest;

    use super::*;

    #[test]
    fn numbers_and_blobs_read_back() {
        for known in ModelFormat::ALL {
            assert_eq!(format(format_number(known)).unwrap(), known);
        }
        assert!(format(9).is_err() && format(-1).is_err());
        for number in 1..=7 {
            let [state] = states(number).unwrap()[..] else {
                panic!("one state");
            };
            assert!(number == 4 || state_number(state) == number);
        }
        assert!(states(0).unwrap().is_empty());
        assert!(states(8).is_err() && states(9).is_err());
        let input = Input {
            digest: Digest::of(b"model"),
            size: 5,
        };
        assert_eq!(blob(&blob_text(&input)).unwrap(), input);
        let digest = input.digest;
        for text in [
            "",
            "https://example.org/model.gguf",
            &format!("blake3:{digest}"),
            &format!("blake3:{digest}?size=0"),
            "blake3:00?size=5",
        ] {
            assert!(blob(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_this_system_says_is_apart_from_what_the_owner_says() {
        let said = [("author".to_owned(), "ada".to_owned())];
        let ours = [("min_ram", "5".to_owned()), ("min_vram", "0".to_owned())];
        let notes = note(said.clone(), ours).unwrap();
        let (back, ours) = unnote(&notes);
        assert_eq!(back, BTreeMap::from(said));
        assert_eq!(
            (ours.number::<i64>("min_ram"), ours.text("x")),
            (5, String::new())
        );
        assert_eq!(ours.number::<i64>("min_vram"), 0);
        let posed = [("cyxwiz.min_ram".to_owned(), "1".to_owned())];
        assert!(note(posed, []).is_err());
    }
}
