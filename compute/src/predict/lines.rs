//! Tables as text: JSON Lines and CSV.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::answer::{Answer, Meaning};
use super::sheet::Sheet;
use crate::failure::{WorkFailed, at};
use crate::output::Output;

/// An object a line.
pub(super) struct Jsonl<'a> {
    to: Output,
    meaning: &'a Meaning,
}

/// A class by its name or its number.
#[derive(Serialize)]
#[serde(untagged)]
enum Class<'a> {
    Label(&'a str),
    Number(usize),
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<Class<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<&'a [f32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    numbers: Option<&'a [f32]>,
}

impl<'a> Jsonl<'a> {
    pub(super) fn new(to: Output, meaning: &'a Meaning) -> Self {
        Self { to, meaning }
    }
}

impl Sheet for Jsonl<'_> {
    fn write(&mut self, answers: &[Answer]) -> Result<(), WorkFailed> {
        let path = self.to.path().to_owned();
        for answer in answers {
            let class = answer.class.map(|class| match self.meaning.label(class) {
                Some(label) => Class::Label(label),
                None => Class::Number(class),
            });
            let values = Some(&answer.values[..]);
            let are_numbers = self.meaning.word() == "numbers";
            let line = Line {
                class,
                probabilities: values.filter(|_| !are_numbers),
                numbers: values.filter(|_| are_numbers),
            };
            serde_json::to_writer(&mut self.to, &line).map_err(|error| at(&path)(error.into()))?;
            self.to.write_all(b"\n").map_err(at(&path))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Output, WorkFailed> {
        Ok(self.to)
    }
}

/// CSV with a header.
pub(super) struct Csv<'a> {
    to: csv::Writer<Output>,
    path: PathBuf,
    meaning: &'a Meaning,
}

impl<'a> Csv<'a> {
    pub(super) fn new(to: Output, meaning: &'a Meaning) -> Result<Self, WorkFailed> {
        let path = to.path().to_owned();
        let mut to = csv::Writer::from_writer(to);
        let class = meaning.has_class().then_some("class");
        let header = class
            .into_iter()
            .chain(meaning.names.iter().map(String::as_str));
        to.write_record(header)
            .map_err(|error| failed(&path, error))?;
        Ok(Self { to, path, meaning })
    }
}

impl Sheet for Csv<'_> {
    fn write(&mut self, answers: &[Answer]) -> Result<(), WorkFailed> {
        for answer in answers {
            let class = answer.class.map(|class| match self.meaning.label(class) {
                Some(label) => label.to_owned(),
                None => class.to_string(),
            });
            let values = answer.values.iter().map(ToString::to_string);
            self.to
                .write_record(class.into_iter().chain(values))
                .map_err(|error| failed(&self.path, error))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Output, WorkFailed> {
        let path = self.path;
        self.to
            .into_inner()
            .map_err(|error| at(&path)(error.into_error()))
    }
}

fn failed(path: &Path, error: csv::Error) -> WorkFailed {
    at(path)(error.into())
}
