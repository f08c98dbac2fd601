//! Data that stays with the client, `remote://…`: the node asks for it on the client's
//! own stream while it trains.
//!
//! A job says how large its data is before it runs, so what the system asks of its
//! client only then is said here: how many samples train and how many judge, and the
//! digest of all of them where the receipt should name it.

use embermesh_crypto::Digest;
use embermesh_job::{
    model::Model,
    spec::{ClientData, Dataset, Element, Missing, Target},
};

use super::{
    Config, InvalidConfig,
    hyper::{Hyper, refuse},
    wrong,
};

/// Whether a place is the client itself.
pub(super) fn is_remote(uri: &str) -> bool {
    uri.starts_with("remote://")
}

/// The samples that a config says its client has.
pub(super) fn dataset(
    config: &Config,
    model: &Model,
    target: Target,
    hyper: &mut Hyper,
) -> Result<Dataset, InvalidConfig> {
    if !config.data.is_empty() {
        return Err(wrong(
            "initial_data",
            "the data stays with its client, says dataset_uri: leave one of them out",
        ));
    }
    let samples = hyper.whole(&["dataset_samples"])?.ok_or_else(|| {
        let reason = "say how many samples the client has for training, and by validation_samples how many to judge by";
        refuse("dataset_samples", reason.to_owned())
    })?;
    let digest = match hyper.text(&["dataset_blake3"]) {
        Some(text) => text
            .parse()
            .map_err(|_| refuse("dataset_blake3", format!("{text:?} is no digest")))?,
        // What it names is the place, then, as nobody has said what is there.
        None => Digest::of(config.dataset_uri.as_bytes()),
    };
    Ok(Dataset::Client(ClientData {
        digest,
        samples,
        holdout: hyper.whole(&["validation_samples"])?.unwrap_or(0),
        shape: model.input.clone(),
        element: Element::Float,
        target,
        labels: hyper.list(&["labels", "class_names"]),
        missing: Missing::Refuse,
        normalise: hyper.json("normalise")?,
    }))
}
