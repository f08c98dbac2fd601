//! A proof that several nodes make of one computation.
//!
//! The rules are `job::plan::proving`'s, a pure state machine; here it is driven, and each
//! of its tasks is a job of this client on the node that has it: all commit, each opens
//! what the commitments of all draw, one makes a single proof. What a node gives is
//! verified here before it counts, so that one who cheats is named and replaced.
//!
//! Each step is written into the folder of the results, so the same command goes on after
//! it was broken off: a job has a key of its own, by which it is found again.
//!
//! - `drive`: the task that drives it; `part`: one job of it.

mod drive;
mod part;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use embermesh_client::Sources;
use embermesh_crypto::{Digest, PeerId};
use embermesh_job::{
    plan::{NodeName, Row, Value, proving::Proving},
    spec::{Input, JobSpec, PROOF},
    units::MicroUnits,
};
use serde::{Deserialize, Serialize};

pub(crate) use drive::Driver;

/// The file that has where a proof stands.
const KEPT: &str = "proving.json";
/// The most bytes of it.
const MAX_KEPT: u64 = 64 << 20;
/// The folder with what members gave.
const PARTS: &str = "parts";

/// What is to be proven.
pub(crate) struct Work {
    /// The whole computation.
    pub(crate) spec: JobSpec,
    /// The inputs on this side.
    pub(crate) sources: Sources,
    /// How many nodes execute it.
    pub(crate) workers: u32,
    /// What each job of it may cost.
    pub(crate) budget: Option<MicroUnits>,
    /// Where what is made goes.
    pub(crate) folder: PathBuf,
}

impl Work {
    /// The file of what a member gave.
    fn file(&self, input: &Input) -> PathBuf {
        self.folder.join(PARTS).join(input.digest.to_string())
    }

    /// Puts a proof that is made where it is looked for.
    fn keep(&self, made: Input) -> anyhow::Result<(PathBuf, Input)> {
        let path = self.folder.join(PROOF);
        std::fs::copy(self.file(&made), &path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok((path, made))
    }
}

/// Where a proof stands, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The digest of what is proven.
    spec: Digest,
    /// How many prove it.
    workers: u32,
    /// What makes the keys of its jobs its own.
    seed: Digest,
    proving: Proving,
}

impl Kept {
    /// Where the proof of a folder stands, if one was begun there.
    fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(KEPT);
        let named = || {
            format!(
                "cannot go on from {}: remove it to begin anew",
                path.display()
            )
        };
        match std::fs::metadata(&path) {
            Err(_) => return Ok(None),
            Ok(metadata) if metadata.len() > MAX_KEPT => {
                anyhow::bail!("it is too large; {}", named())
            }
            Ok(_) => {}
        }
        let bytes = std::fs::read(&path).with_context(named)?;
        serde_json::from_slice(&bytes).map(Some).with_context(named)
    }

    /// Writes it down, whole or not at all.
    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(KEPT);
        let partial = path.with_extension("partial");
        std::fs::write(&partial, serde_json::to_vec(self)?)
            .and_then(|()| std::fs::rename(&partial, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The name of a node in a plan.
fn name_of(node: PeerId) -> anyhow::Result<NodeName> {
    Ok(NodeName::new(node.to_string())?)
}

/// A blob as the words of a result.
fn value_of(input: &Input) -> Value {
    let digest = input.digest.as_bytes().as_chunks::<8>().0.iter();
    let mut words: Vec<u64> = digest.map(|word| u64::from_le_bytes(*word)).collect();
    words.push(input.size);
    Value::Rows(vec![Row { group: 0, words }])
}

/// The blob that a result names.
fn input_of(value: &Value) -> Option<Input> {
    let Value::Rows(rows) = value else {
        return None;
    };
    let [Row { words, .. }] = rows.as_slice() else {
        return None;
    };
    let (size, words) = words.split_last()?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Some(Input {
        digest: Digest::from_bytes(bytes.try_into().ok()?),
        size: *size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_the_same_after_it_was_words() {
        let input = Input {
            digest: Digest::of(b"proof"),
            size: 77,
        };
        assert_eq!(input_of(&value_of(&input)), Some(input));
        let short = Row {
            group: 0,
            words: vec![1, 2],
        };
        assert_eq!(input_of(&Value::Rows(vec![short])), None);
        assert_eq!(input_of(&Value::Rows(Vec::new())), None);
        assert_eq!(input_of(&Value::Numbers(vec![1.0])), None);
    }
}
