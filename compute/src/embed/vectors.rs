//! Vectors on their way into a file: as safetensors, and as JSON Lines.

use std::io::Write;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::settings::Settings;
use crate::dataset::room::Room;
use crate::failure::{self, WorkFailed};
use crate::hub::InvalidFolder;
use crate::hub::tokenizer::Cut;
use crate::job::Job;
use crate::output::Output;
use crate::weights::METADATA_KEY;

/// The name of the result, within the job and as a file.
pub(super) const ARTIFACT: &str = "embeddings.safetensors";
/// The same as JSON Lines.
const LINES: &str = "embeddings.jsonl";

/// Vectors as they will be in the file.
pub(super) struct Vectors {
    bytes: Vec<u8>,
    pub(super) width: usize,
    /// Which texts have theirs.
    there: Vec<bool>,
}

impl Vectors {
    /// Room for all of them, and for the file that is made of them.
    pub(super) fn new(count: usize, width: usize, room: &mut Room) -> Result<Self, WorkFailed> {
        let len = count.saturating_mul(width).saturating_mul(4);
        room.take((len as u64).saturating_mul(2), ARTIFACT)?;
        Ok(Self {
            bytes: vec![0; len],
            width,
            there: vec![false; count],
        })
    }

    pub(super) fn put(&mut self, numbers: &[usize], rows: &[f32]) -> Result<(), InvalidFolder> {
        if !rows.iter().all(|value| value.is_finite()) {
            return Err(InvalidFolder::new(
                "model.safetensors",
                "the network gives what is no number: its weights are damaged",
            ));
        }
        let size = 4 * self.width;
        for (&at, row) in numbers.iter().zip(rows.chunks_exact(self.width)) {
            self.there[at] = true;
            let to = self.bytes[at * size..][..size].as_chunks_mut::<4>().0;
            for (to, value) in to.iter_mut().zip(row) {
                *to = value.to_le_bytes();
            }
        }
        Ok(())
    }

    /// Those that are there, together, and the numbers of their texts.
    pub(super) fn whole(mut self) -> (Vec<u8>, Vec<i64>) {
        let size = 4 * self.width;
        let mut numbers = Vec::new();
        for (at, _) in self.there.iter().enumerate().filter(|(_, there)| **there) {
            self.bytes
                .copy_within(at * size..(at + 1) * size, numbers.len() * size);
            numbers.push(at as i64);
        }
        self.bytes.truncate(numbers.len() * size);
        (self.bytes, numbers)
    }
}

/// The safetensors file: the vectors, and the numbers of their texts.
pub(super) fn encode(
    bytes: &[u8],
    width: usize,
    numbers: &[i64],
    settings: Settings,
    job: &Job<'_>,
) -> Result<Vec<u8>, WorkFailed> {
    let internal = |error| WorkFailed::Internal(format!("vectors cannot be encoded: {error}"));
    let indices: Vec<u8> = numbers.iter().flat_map(|at| at.to_le_bytes()).collect();
    let count = numbers.len();
    let tensors = [
        (
            "embeddings",
            TensorView::new(Dtype::F32, vec![count, width], bytes).map_err(internal)?,
        ),
        (
            "indices",
            TensorView::new(Dtype::I64, vec![count], &indices).map_err(internal)?,
        ),
    ];
    let record = json!({
        "spec": job.digest,
        "pooling": settings.pooling.word(),
        "normalised": settings.normalise,
        "max_tokens": settings.max_tokens,
    });
    let metadata = [(METADATA_KEY.to_owned(), record.to_string())].into();
    safetensors::serialize(tensors, Some(metadata)).map_err(internal)
}

/// The same as JSON Lines.
pub(super) fn lines(
    bytes: &[u8],
    width: usize,
    numbers: &[i64],
    cuts: &[Cut],
    ceiling: u64,
    job: &mut Job<'_>,
) -> Result<(), WorkFailed> {
    let path = job.order.workdir.join(LINES);
    let mut output = Output::create(&path, ceiling)?;
    let rows = bytes.chunks_exact(4 * width);
    for (&at, row) in numbers.iter().zip(rows) {
        let (values, _) = row.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|it| f32::from_le_bytes(*it)).collect();
        let line = json!({
            "index": at,
            "tokens": cuts[at as usize].tokens.len(),
            "embedding": values,
        });
        writeln!(output, "{line}").map_err(failure::at(&path))?;
    }
    let path = output.finish()?;
    job.log.artifact(LINES, path);
    Ok(())
}
