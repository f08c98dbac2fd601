//! Reads what a preparation wrote, by other means than the product's.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, ListAccessor};
use serde_json::Value;

/// The values of each column, row-major; what is missing is null.
pub(crate) fn parquet(path: &Path) -> BTreeMap<String, Vec<Value>> {
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut columns = BTreeMap::<String, Vec<Value>>::new();
    for row in reader.get_row_iter(None).unwrap() {
        for (name, field) in row.unwrap().get_column_iter() {
            let list = columns.entry(name.clone()).or_default();
            match field {
                Field::ListInternal(values) => {
                    list.extend((0..values.len()).map(|at| element(values, at)));
                }
                other => list.push(value(other)),
            }
        }
    }
    columns
}

fn element(list: &parquet::record::List, at: usize) -> Value {
    list.get_int(at)
        .map(f64::from)
        .or_else(|_| list.get_float(at).map(f64::from))
        .or_else(|_| list.get_double(at))
        .map_or(Value::Null, Value::from)
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Int(number) => f64::from(*number).into(),
        Field::Float(number) => f64::from(*number).into(),
        Field::Double(number) => (*number).into(),
        Field::Str(text) => text.clone().into(),
        other => panic!("{other:?}"),
    }
}

/// The values of each tensor, row-major.
pub(crate) fn safetensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f64>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let read = |view: &safetensors::tensor::TensorView<'_>| -> Vec<f64> {
        use safetensors::Dtype;
        let data = view.data();
        match view.dtype() {
            Dtype::U8 => data.iter().map(|&byte| f64::from(byte)).collect(),
            Dtype::I32 => words(data, |word| f64::from(i32::from_le_bytes(word))),
            Dtype::F32 => words(data, |word| f64::from(f32::from_le_bytes(word))),
            Dtype::F64 => words(data, f64::from_le_bytes),
            other => panic!("{other:?}"),
        }
    };
    file.iter()
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), read(&view))))
        .collect()
}

fn words<const N: usize>(data: &[u8], make: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N)
        .map(|word| make(word.try_into().unwrap()))
        .collect()
}
