//! What columns there are, and what is in them, before and after each step: as
//! far as the spec says it when a job is submitted, and wholly once the file has
//! been opened.

use std::collections::BTreeSet;
use std::fmt;

use super::{MAX_COLUMN_NAME, PreparedFormat, condition::Condition, encode, picture, step::Step};

/// The most names that a message lists.
const MAX_LISTED: usize = 12;

/// What is in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the file will say.
    Unknown,
    /// A number a row.
    Number,
    /// A text a row.
    Text,
    /// Numbers of one shape; `None` where the file says which.
    Numbers(Option<Vec<usize>>),
    /// Numbers from 0 to 255 of one shape.
    Bytes(Option<Vec<usize>>),
    /// Pictures, each of its own size.
    Pictures {
        /// 1 for grey ones, 3 for red, green and blue.
        channels: usize,
    },
}

/// The columns, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    columns: Vec<(String, Kind)>,
    /// Whether there may be others, that only the file names.
    open: bool,
    /// Names that there were and are no more.
    gone: BTreeSet<String>,
    split: bool,
    /// A step that has learnt of the rows.
    learnt: Option<&'static str>,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("what the file says"),
            Self::Number => f.write_str("numbers"),
            Self::Text => f.write_str("texts"),
            Self::Numbers(Some(shape)) => write!(f, "numbers of the shape {shape:?}"),
            Self::Bytes(Some(shape)) => write!(f, "bytes of the shape {shape:?}"),
            Self::Numbers(None) => f.write_str("several numbers a row"),
            Self::Bytes(None) => f.write_str("several bytes a row"),
            Self::Pictures { .. } => f.write_str("pictures, each of its own size"),
        }
    }
}

impl Schema {
    /// These columns and no others.
    #[must_use]
    pub fn of(columns: impl Iterator<Item = (String, Kind)>) -> Self {
        Self {
            columns: columns.collect(),
            ..Self::default()
        }
    }

    pub(super) fn unknown() -> Self {
        Self {
            open: true,
            ..Self::default()
        }
    }

    /// The columns that are known.
    #[must_use]
    pub fn columns(&self) -> &[(String, Kind)] {
        &self.columns
    }

    /// What is in a column; `None` where only the file knows of it.
    pub(super) fn kind(&self, column: &str) -> Result<Option<&Kind>, String> {
        let known = self.columns.iter().find(|(name, _)| name == column);
        if let Some((_, kind)) = known {
            return Ok(Some(kind));
        }
        if self.open && !self.gone.contains(column) {
            return Ok(None);
        }
        let names = self.columns.iter().take(MAX_LISTED);
        let names: Vec<String> = names.map(|(name, _)| format!("{name:?}")).collect();
        let more = if self.columns.len() > MAX_LISTED {
            ", ..."
        } else {
            ""
        };
        Err(match self.open {
            true => format!("column {column:?} is no longer there"),
            false => format!(
                "there is no column {column:?}, only {}{more}",
                names.join(", ")
            ),
        })
    }

    fn is(&self, column: &str, wanted: &str, fits: impl Fn(&Kind) -> bool) -> Result<(), String> {
        match self.kind(column)? {
            Some(kind) if *kind != Kind::Unknown && !fits(kind) => Err(format!(
                "column {column:?} has {kind}, and it takes {wanted}"
            )),
            _ => Ok(()),
        }
    }

    /// Whether a column may have one value a row.
    pub(super) fn scalars(&self, column: &str) -> Result<(), String> {
        self.is(column, "one number or text a row", |kind| {
            matches!(kind, Kind::Number | Kind::Text)
        })
    }

    /// Whether a column may have texts.
    pub(super) fn texts(&self, column: &str) -> Result<(), String> {
        self.is(column, "texts", |kind| *kind == Kind::Text)
    }

    /// Whether a column may have one number a row.
    pub(super) fn numbers(&self, column: &str) -> Result<(), String> {
        self.is(column, "numbers", |kind| *kind == Kind::Number)
    }

    /// The kind of a column that may have numbers, one a row or several.
    pub(super) fn numeric(&self, column: &str) -> Result<Kind, String> {
        self.is(column, "numbers", |kind| {
            matches!(kind, Kind::Number | Kind::Numbers(_) | Kind::Bytes(_))
        })?;
        Ok(self.kind(column)?.cloned().unwrap_or(Kind::Unknown))
    }

    fn set(&mut self, column: &str, kind: Kind) {
        match self.columns.iter_mut().find(|(name, _)| name == column) {
            Some((_, known)) => *known = kind,
            None => self.columns.push((column.to_owned(), kind)),
        }
    }

    fn remove(&mut self, column: &str) {
        self.columns.retain(|(name, _)| name != column);
        self.gone.insert(column.to_owned());
    }

    /// A new column's name must be one, and free.
    fn free(&self, column: &str) -> Result<(), String> {
        if column.is_empty()
            || column.len() > MAX_COLUMN_NAME
            || column.chars().any(char::is_control)
        {
            return Err(format!("a name has 1 to {MAX_COLUMN_NAME} bytes"));
        }
        match self.columns.iter().any(|(name, _)| name == column) {
            true => Err(format!("there is a column {column:?} already")),
            false => Ok(()),
        }
    }

    /// The columns after a step.
    ///
    /// # Errors
    /// Why the step does not fit those before it.
    pub fn apply<I>(&mut self, step: &Step<I>) -> Result<(), String> {
        step.check()?;
        if step.learns() {
            self.learnt.get_or_insert(step.word());
        }
        match step {
            Step::Select { columns } => {
                let mut kept = Vec::new();
                for column in columns {
                    let kind = self.kind(column)?.cloned().unwrap_or(Kind::Unknown);
                    kept.push((column.clone(), kind));
                }
                self.columns = kept;
                self.open = false;
            }
            Step::Drop { columns } => {
                for column in columns {
                    self.kind(column)?;
                    self.remove(column);
                }
                if self.columns.is_empty() && !self.open {
                    return Err("no column is left".to_owned());
                }
            }
            Step::Rename { from, to } => {
                let kind = self.kind(from)?.cloned().unwrap_or(Kind::Unknown);
                self.free(to)?;
                self.set(from, kind);
                self.gone.insert(from.clone());
                self.gone.remove(to);
                if let Some((name, _)) = self.columns.iter_mut().find(|(name, _)| name == from) {
                    name.clone_from(to);
                }
            }
            Step::Filter(condition) => Condition::fits(condition, self)?,
            Step::Fill { columns, with } => {
                for column in columns {
                    with.fits(column, self)?;
                }
            }
            Step::Standardise { columns } | Step::MinMax { columns } => {
                for column in columns {
                    let kind = encode::scaled(column, self)?;
                    self.set(column, kind);
                }
            }
            Step::OneHot {
                columns, classes, ..
            } => {
                for column in columns {
                    encode::classes(column, classes, encode::MAX_ONE_HOT, self)?;
                    let shape = (!classes.is_empty()).then(|| vec![classes.len()]);
                    self.set(column, Kind::Numbers(shape));
                }
            }
            Step::LabelEncode { column, classes } => {
                encode::classes(column, classes, encode::MAX_CLASSES, self)?;
                self.set(column, Kind::Number);
            }
            Step::Split { stratify, .. } => self.split(stratify.as_deref())?,
            Step::Sample { .. } | Step::Shuffle { .. } | Step::Limit { .. } => {}
            Step::Resize {
                column,
                height,
                width,
                ..
            } => {
                let kind = picture::sized(column, [*height, *width], self)?;
                self.set(column, kind);
            }
            Step::Crop {
                column,
                height,
                width,
                from,
            } => {
                let kind = picture::cropped(column, [*height, *width], *from, self)?;
                self.set(column, kind);
            }
            Step::Greyscale { column } => {
                let kind = picture::grey(column, self)?;
                self.set(column, kind);
            }
            Step::Pixels(pixels) => {
                let kind = pixels.fits(self)?;
                self.set(&pixels.column, kind);
            }
            Step::Tokenise(tokens) => {
                let kind = tokens.fits(self)?;
                self.set(&tokens.column, kind.clone());
                if let Some(mask) = &tokens.mask {
                    self.free(mask)?;
                    self.set(mask, kind);
                }
            }
        }
        Ok(())
    }

    fn split(&mut self, stratify: Option<&str>) -> Result<(), String> {
        if self.split {
            return Err("the rows are split already".to_owned());
        }
        if let Some(word) = self.learnt {
            return Err(format!(
                "a `{word}` before it has learnt of rows that are then kept out of training: put the split before it"
            ));
        }
        if let Some(column) = stratify {
            self.scalars(column)?;
        }
        self.split = true;
        Ok(())
    }

    /// Whether a file of a format can hold the columns.
    pub(super) fn can_be_written(&self, format: PreparedFormat) -> Result<(), String> {
        for (name, kind) in &self.columns {
            match kind {
                Kind::Pictures { .. } => {
                    return Err(format!(
                        "column {name:?} has {kind}: `resize` or `crop` brings them to one"
                    ));
                }
                Kind::Text if format == PreparedFormat::Safetensors => {
                    return Err(format!(
                        "column {name:?} has texts, and safetensors has none: encode, tokenise or drop it, or write Parquet"
                    ));
                }
                _ => {}
            }
        }
        if self.columns.is_empty() && !self.open {
            return Err("there are no columns".to_owned());
        }
        Ok(())
    }
}
