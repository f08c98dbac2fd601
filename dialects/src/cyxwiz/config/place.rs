//! Where data lies. A node fetches only what a digest names, so every place but the
//! call itself says the digest and the size of what is there:
//! `https://host/digits.csv#blake3=…&size=…`.

use bytes::Bytes;
use embermesh_crypto::Digest;
use embermesh_job::spec::{Input, Origin, origin::Location};

use super::{Gathered, InvalidConfig, wrong};

/// What the system's own client calls data that came with the call.
const SAVED_INLINE: &str = "file:///saved-inline";

/// A blob, with what it is called where that says something.
pub(super) struct Placed {
    /// Its digest and size.
    pub(super) input: Input,
    /// Its name, for the format.
    pub(super) name: String,
}

/// The bytes that came with the call.
pub(super) fn inline(data: &Bytes, gathered: &mut Gathered) -> Placed {
    let digest = Digest::of(data);
    gathered.inputs.insert(digest, data.clone());
    Placed {
        input: Input {
            digest,
            size: data.len() as u64,
        },
        name: String::new(),
    }
}

/// Whether a place is the call itself.
pub(super) fn is_inline(uri: &str) -> bool {
    uri.is_empty() || uri == SAVED_INLINE
}

/// The blob at a place.
pub(super) fn read(
    field: &str,
    uri: &str,
    gathered: &mut Gathered,
) -> Result<Placed, InvalidConfig> {
    let (place, told) = uri.split_once('#').unwrap_or((uri, ""));
    if let Some(rest) = place.strip_prefix("blake3:") {
        let (digest, more) = rest.split_once('?').unwrap_or((rest, told));
        let input = input(field, &format!("blake3={digest}&{more}"))?;
        return Ok(Placed {
            input,
            name: String::new(),
        });
    }
    let from = match place.split_once("://") {
        Some(("http" | "https" | "s3", _)) => place.to_owned(),
        Some(("file", path)) => format!("shared:{path}"),
        Some(("mock", _)) => {
            return Err(wrong(
                field,
                "nothing is learnt from made-up samples: send data in initial_data, or name a file by https://, s3://, file:// or blake3:",
            ));
        }
        Some(("ipfs", _)) => {
            return Err(wrong(
                field,
                "no node fetches from IPFS: name the file by https:// through a gateway, by s3:// or by blake3:, or send it in initial_data",
            ));
        }
        _ if place.starts_with("shared:") => place.to_owned(),
        _ => {
            return Err(wrong(
                field,
                format!(
                    "{place:?} begins with none of http://, https://, s3://, file:// and blake3:"
                ),
            ));
        }
    };
    let location: Location = from
        .parse()
        .map_err(|reason| wrong(field, reason_of(&from, reason)))?;
    let input = input(field, told)?;
    gathered.origins.push(Origin {
        digest: input.digest,
        from: from.clone(),
    });
    let name = match location {
        Location::Web { url, .. } => url.split('?').next().unwrap_or_default().to_owned(),
        Location::S3 { key, .. } => key,
        Location::Shared { path, .. } => path,
    };
    Ok(Placed { input, name })
}

fn reason_of(from: &str, reason: String) -> String {
    if from.starts_with("shared:") {
        return format!(
            "{reason}: a file:// place is that of a folder which the owner of a node shares, as file://NAME/FILE"
        );
    }
    reason
}

/// What `blake3=…&size=…` says.
fn input(field: &str, told: &str) -> Result<Input, InvalidConfig> {
    let (mut digest, mut size) = (None, None);
    for part in told.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("blake3", value)) => digest = value.parse().ok(),
            Some(("size", value)) => size = value.parse().ok(),
            _ => {
                return Err(wrong(
                    field,
                    format!("{part:?} after the place is not known"),
                ));
            }
        }
    }
    match (digest, size) {
        (Some(digest), Some(size)) => Ok(Input { digest, size }),
        _ => Err(wrong(
            field,
            "a node fetches only what a digest names: end the place with #blake3=DIGEST&size=BYTES (blake3:DIGEST?size=BYTES for what the mesh holds already)",
        )),
    }
}
