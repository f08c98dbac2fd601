//! Rows into files.

mod parquet;
mod safetensors;

pub(super) use self::parquet::Parquet;
pub(super) use self::safetensors::safetensors;
