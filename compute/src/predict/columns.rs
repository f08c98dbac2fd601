//! Tables as Parquet: a column of classes, and one of floats for each value.

use std::path::PathBuf;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::answer::{Answer, Meaning};
use super::sheet::Sheet;
use crate::failure::{WorkFailed, at};
use crate::output::Output;

/// Values that are gathered before a row group is written: 4 MiB of floats.
const MAX_HELD: usize = 1 << 20;

/// A Parquet file that is being written.
pub(super) struct Columns<'a> {
    to: SerializedFileWriter<Output>,
    path: PathBuf,
    meaning: &'a Meaning,
    classes: Vec<usize>,
    /// The values that are held, a list a column.
    values: Vec<Vec<f32>>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(to: Output, meaning: &'a Meaning) -> Result<Self, WorkFailed> {
        let path = to.path().to_owned();
        let failed = |error: ParquetError| at(&path)(std::io::Error::other(error));
        let schema = schema(meaning).map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let to = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties))
            .map_err(failed)?;
        Ok(Self {
            to,
            path,
            meaning,
            classes: Vec::new(),
            values: vec![Vec::new(); meaning.names.len()],
        })
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        if self.values.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let mut group = self.to.next_row_group()?;
        if self.meaning.has_labels() {
            let labels: Vec<ByteArray> = self
                .classes
                .iter()
                .map(|&class| self.meaning.label(class).unwrap_or_default().into())
                .collect();
            if let Some(mut column) = group.next_column()? {
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&labels, None, None)?;
                column.close()?;
            }
        } else if self.meaning.has_class() {
            let classes: Vec<i32> = self.classes.iter().map(|&class| class as i32).collect();
            if let Some(mut column) = group.next_column()? {
                column
                    .typed::<Int32Type>()
                    .write_batch(&classes, None, None)?;
                column.close()?;
            }
        }
        for values in &mut self.values {
            if let Some(mut column) = group.next_column()? {
                column
                    .typed::<FloatType>()
                    .write_batch(values, None, None)?;
                column.close()?;
            }
            values.clear();
        }
        self.classes.clear();
        group.close().map(drop)
    }

    fn failed(&self, error: ParquetError) -> WorkFailed {
        // What the file itself said, where it was that: a ceiling, a full disk.
        let error = match error {
            ParquetError::External(source) => match source.downcast::<std::io::Error>() {
                Ok(error) => *error,
                Err(source) => std::io::Error::other(source),
            },
            other => std::io::Error::other(other),
        };
        at(&self.path)(error)
    }
}

impl Sheet for Columns<'_> {
    fn write(&mut self, answers: &[Answer]) -> Result<(), WorkFailed> {
        for answer in answers {
            self.classes.extend(answer.class);
            for (list, &value) in self.values.iter_mut().zip(&answer.values) {
                list.push(value);
            }
        }
        let held: usize = self.values.iter().map(Vec::len).sum();
        if held >= MAX_HELD {
            self.flush().map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Output, WorkFailed> {
        self.flush().map_err(|error| self.failed(error))?;
        let path = self.path.clone();
        self.to
            .into_inner()
            .map_err(|error| at(&path)(std::io::Error::other(error)))
    }
}

fn schema(meaning: &Meaning) -> Result<Type, ParquetError> {
    let column = |name: &str, kind: Physical, logical: Option<LogicalType>| {
        Type::primitive_type_builder(name, kind)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    };
    let mut fields = Vec::new();
    if meaning.has_labels() {
        fields.push(column(
            "class",
            Physical::BYTE_ARRAY,
            Some(LogicalType::String),
        )?);
    } else if meaning.has_class() {
        fields.push(column("class", Physical::INT32, None)?);
    }
    for name in &meaning.names {
        fields.push(column(name, Physical::FLOAT, None)?);
    }
    Type::group_type_builder("predictions")
        .with_fields(fields)
        .build()
}
