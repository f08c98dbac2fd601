//! Tensors as a safetensors file: eight bytes with the length of a header, the header as
//! JSON, and the numbers one after another.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use embermesh_job::{
    program::Kind,
    spec::{self, Input},
};
use serde::{Deserialize, Serialize};

use super::{Asked, Given, Names, refuse};
use crate::{
    ErrorCode, Failure,
    cyxwiz::tensor::{Dtype, Tensor},
};

/// Bytes of the length of a header.
const LENGTH: usize = 8;
/// The key of what a file says of itself.
const METADATA: &str = "__metadata__";

/// A tensor in a header.
#[derive(Serialize, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// A tensor of the file, as a computation names it.
pub(super) struct Written {
    name: String,
    shape: Vec<usize>,
    kind: Kind,
}

impl Written {
    pub(super) fn of(self, file: Input) -> spec::Tensor {
        spec::Tensor {
            name: self.name,
            shape: Some(self.shape),
            kind: self.kind,
            values: None,
            file: Some(file),
            key: None,
        }
    }
}

/// All tensors of some operations in one file. Floats are single, and bytes whole numbers.
pub(super) fn write(asked: &[Asked], names: &Names) -> Result<(Bytes, Vec<Written>), Failure> {
    let mut header = BTreeMap::new();
    let mut data = BytesMut::new();
    let mut written = Vec::new();
    for (one, named) in asked.iter().zip(&names.tensors) {
        for (tensor, (name, _)) in one.inputs.iter().zip(named) {
            let (dtype, shape) = tensor
                .layout()
                .map_err(|failure| refuse(&one.id, failure.message))?;
            let begin = data.len();
            let (word, kind) = put(&mut data, dtype, &tensor.data);
            let entry = Entry {
                dtype: word.to_owned(),
                shape: shape.clone(),
                data_offsets: (begin, data.len()),
            };
            header.insert(name.clone(), entry);
            written.push(Written {
                name: name.clone(),
                shape,
                kind,
            });
        }
    }
    let mut header = serde_json::to_vec(&header)
        .map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))?;
    // The numbers begin where a processor likes to read them.
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    let mut file = BytesMut::with_capacity(LENGTH + header.len() + data.len());
    file.put_u64_le(header.len() as u64);
    file.put_slice(&header);
    file.put_slice(&data);
    Ok((file.freeze(), written))
}

/// Writes the numbers of a tensor; the word for what they are then, and their kind.
fn put(data: &mut BytesMut, dtype: Dtype, numbers: &Bytes) -> (&'static str, Kind) {
    match dtype {
        Dtype::F32 => {
            data.put_slice(numbers);
            ("F32", Kind::Float)
        }
        Dtype::F64 => {
            for number in numbers.as_chunks::<8>().0 {
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "computations are in single precision"
                )]
                data.put_f32_le(f64::from_le_bytes(*number) as f32);
            }
            ("F32", Kind::Float)
        }
        Dtype::I32 => {
            data.put_slice(numbers);
            ("I32", Kind::Int)
        }
        Dtype::I64 => {
            data.put_slice(numbers);
            ("I64", Kind::Int)
        }
        Dtype::U8 => {
            for number in numbers {
                data.put_i32_le((*number).into());
            }
            ("I32", Kind::Int)
        }
    }
}

/// The tensors of a file of results, as callers call them.
pub(in crate::cyxwiz) fn results(file: &Bytes, names: &[Given]) -> Result<Vec<Tensor>, Failure> {
    read(file, names).ok_or_else(|| {
        let message = "the results are not what the computation gives";
        Failure::new(ErrorCode::Internal, message)
    })
}

fn read(file: &Bytes, given: &[Given]) -> Option<Vec<Tensor>> {
    let (length, rest) = file.split_first_chunk::<LENGTH>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let header = rest.get(..length)?;
    let mut header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    header.remove(METADATA);
    let begin = LENGTH + length;
    let tensor = |given: &Given| {
        let entry: Entry = serde_json::from_value(header.remove(&given.name)?).ok()?;
        let (from, to) = entry.data_offsets;
        let (from, to) = (begin.checked_add(from)?, begin.checked_add(to)?);
        (from <= to && to <= file.len() && entry.dtype == "F32").then(|| Tensor {
            name: given.said.clone(),
            shape: entry
                .shape
                .iter()
                .map(|axis| i64::try_from(*axis).unwrap_or(i64::MAX))
                .collect(),
            dtype: Dtype::F32.number(),
            data: file.slice(from..to),
        })
    };
    given.iter().map(tensor).collect()
}
