//! Data of a format, and what of it is the target.

use bytes::Bytes;
use embermesh_job::spec::{
    Column, Dataset, Dialect, Images, Input, Npy, Npz, Table, Target, TargetColumns, Tensors,
};

use super::{
    Config, Gathered, InvalidConfig,
    format::{Format, WORDS},
    hyper::{Hyper, refuse},
    place::{self, Placed},
    wrong,
};

const URI: &str = "config.dataset_uri";

/// Bytes of some format.
pub(super) struct Data {
    /// The bytes.
    pub(super) input: Input,
    /// What they are.
    pub(super) format: Format,
    /// The bytes themselves, where they came with the call.
    inline: Option<Bytes>,
}

/// The data of a job.
pub(super) fn data(
    config: &Config,
    hyper: &mut Hyper,
    gathered: &mut Gathered,
) -> Result<Data, InvalidConfig> {
    let is_inline = place::is_inline(&config.dataset_uri);
    if !is_inline && !config.data.is_empty() {
        return Err(wrong(
            "initial_data",
            "there is a dataset_uri too: give one of them",
        ));
    }
    if is_inline && config.data.is_empty() {
        return Err(wrong(
            URI,
            "there is no data: name it here, or send it in initial_data",
        ));
    }
    let placed = if is_inline {
        place::inline(&config.data, gathered)
    } else {
        place::read(URI, &config.dataset_uri, gathered)?
    };
    let format = match hyper.text(&["dataset_format"]) {
        Some(word) => Format::of_word(&word)
            .ok_or_else(|| refuse("dataset_format", format!("{word:?} is none of {WORDS}")))?,
        None if is_inline => {
            Format::of_bytes(&config.data).ok_or_else(|| unknown_format("initial_data"))?
        }
        None => Format::of_name(&placed.name).ok_or_else(|| unknown_format(URI))?,
    };
    Ok(Data {
        input: placed.input,
        format,
        inline: is_inline.then(|| config.data.clone()),
    })
}

fn unknown_format(field: &str) -> InvalidConfig {
    wrong(
        field,
        format!("its format is not to be seen: say hyperparameters.dataset_format as {WORDS}"),
    )
}

/// Data as samples with such a target; `Target::Nothing` for samples alone.
pub(super) fn dataset(
    data: &Data,
    target: Target,
    hyper: &mut Hyper,
    gathered: &mut Gathered,
) -> Result<Dataset, InvalidConfig> {
    let second = hyper
        .text(&["targets_uri", "labels_uri"])
        .map(|uri| place::read("config.hyperparameters.targets_uri", &uri, gathered))
        .transpose()?
        .map(|Placed { input, .. }| input);
    let has_target = target != Target::Nothing;
    let file = data.input;
    let needs_second = || {
        if has_target && second.is_none() {
            return Err(refuse(
                "targets_uri",
                "this format has targets in a file of their own: say where it is".to_owned(),
            ));
        }
        Ok(second)
    };
    let classes = |format: &str| match target {
        Target::Classes(classes) => Ok(classes),
        Target::Numbers(_) => Err(refuse(
            "loss",
            format!("{format} has classes: take cross_entropy"),
        )),
        Target::Nothing => Ok(2),
    };
    Ok(match data.format {
        Format::Csv => Dataset::Csv(table(data, target, hyper)?),
        Format::Jsonl => Dataset::Jsonl(table(data, target, hyper)?),
        Format::Parquet => Dataset::Parquet(table(data, target, hyper)?),
        Format::DigitsCsv => Dataset::DigitsCsv {
            file,
            classes: classes("digits_csv")?,
        },
        Format::Idx => Dataset::Idx {
            images: file,
            labels: needs_second()?,
            holdout_images: None,
            holdout_labels: None,
            classes: classes("idx")?,
        },
        Format::Npy => Dataset::Npy(Npy {
            features: file,
            targets: needs_second()?,
            holdout_features: None,
            holdout_targets: None,
            target,
            normalise: hyper.json("normalise")?,
        }),
        Format::Npz => Dataset::Npz(Npz {
            file,
            features: one_name(hyper, &["features"], "x"),
            targets: has_target.then(|| one_name(hyper, &["targets"], "y")),
            holdout: None,
            holdout_features: hyper.text(&["holdout_features"]),
            holdout_targets: hyper.text(&["holdout_targets"]),
            target,
            normalise: hyper.json("normalise")?,
        }),
        Format::Safetensors => Dataset::Safetensors(Tensors {
            file,
            holdout: None,
            features: match hyper.list(&["features"]) {
                names if names.is_empty() => vec!["x".to_owned()],
                names => names,
            },
            targets: has_target.then(|| one_name(hyper, &["targets"], "y")),
            target,
            normalise: hyper.json("normalise")?,
        }),
        Format::Images => images(file, hyper)?,
    })
}

fn one_name(hyper: &mut Hyper, names: &[&str], usual: &str) -> String {
    hyper.text(names).unwrap_or_else(|| usual.to_owned())
}

/// An archive with a folder a class.
fn images(archive: Input, hyper: &mut Hyper) -> Result<Dataset, InvalidConfig> {
    let classes = hyper.list(&["labels", "class_names"]);
    if classes.is_empty() {
        return Err(refuse(
            "labels",
            "name the folders of the archive, a class each, with commas between".to_owned(),
        ));
    }
    let images: Images =
        serde_json::from_value(serde_json::json!({ "archive": archive, "classes": classes }))
            .map_err(|error| wrong(URI, error.to_string()))?;
    Ok(Dataset::Images(images))
}

/// A table. Without a name for it, the last column of a CSV file that is at hand is the
/// target.
fn table(data: &Data, target: Target, hyper: &mut Hyper) -> Result<Table, InvalidConfig> {
    let mut table = Table::new(data.input, None);
    let first = data.inline.as_deref().map(first_line);
    if data.format == Format::Csv {
        let delimiter = hyper.value::<char>(&["delimiter"], "one character")?;
        table.dialect = Dialect {
            delimiter: delimiter.unwrap_or(','),
            header: match hyper.truth(&["has_header", "header"])? {
                Some(header) => header,
                None => first.as_deref().is_none_or(|line| !is_numbers(line)),
            },
        };
    }
    table.features = columns(hyper.list(&["feature_columns", "features"]));
    table.normalise = hyper.json("normalise")?;
    if let Some(missing) = hyper.json("missing")? {
        table.missing = missing;
    }
    let mut named = columns(hyper.list(&["target_column", "target_columns", "target"]));
    let labels = hyper.list(&["labels", "class_names"]);
    if target == Target::Nothing {
        return Ok(table);
    }
    if named.is_empty() {
        let last = first
            .filter(|_| data.format == Format::Csv)
            .map(|line| line.split(table.dialect.delimiter).count())
            .and_then(|count| u32::try_from(count).ok());
        named.extend(last.map(Column::Number));
    }
    let one = match named.as_slice() {
        [] => {
            return Err(refuse(
                "target_column",
                "name the column that a sample should give".to_owned(),
            ));
        }
        [one] => Some(one.clone()),
        _ => None,
    };
    table.target = Some(match (target, one) {
        (Target::Classes(count), Some(column)) => TargetColumns::Classes {
            column,
            count: labels.is_empty().then_some(count),
            labels,
        },
        (Target::Classes(_), None) => {
            return Err(refuse(
                "target_column",
                "classes are in one column".to_owned(),
            ));
        }
        _ => TargetColumns::Numbers { columns: named },
    });
    Ok(table)
}

/// Columns by number where that is one, else by name.
fn columns(names: Vec<String>) -> Vec<Column> {
    names
        .into_iter()
        .map(|name| match name.parse() {
            Ok(number) => Column::Number(number),
            Err(_) => Column::Name(name),
        })
        .collect()
}

/// The first line of some text.
fn first_line(bytes: &[u8]) -> String {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(line).trim().to_owned()
}

/// Whether every field of a line is a number.
fn is_numbers(line: &str) -> bool {
    line.split([',', ';', '\t'])
        .all(|field| field.trim().parse::<f64>().is_ok())
}
