//! Results on stdout: a table for people, JSON for programs.

use std::io::{self, Write as _};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON document; a stream is one document a line.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Their form.
    pub(crate) format: Format,
}

impl Output {
    /// Whether people read it.
    pub(crate) fn is_table(self) -> bool {
        self.format == Format::Table
    }

    /// Many things of one kind: `cells` has the row of each, `values` the JSON.
    pub(crate) fn list(
        self,
        headers: &[&str],
        cells: Vec<Vec<String>>,
        values: Vec<Value>,
    ) -> io::Result<()> {
        match self.format {
            Format::Table => self.line(&table(headers, cells)),
            Format::Json => self.line(&pretty(&Value::Array(values))),
            Format::Jsonl => values
                .iter()
                .try_for_each(|value| self.line(&value.to_string())),
        }
    }

    /// One thing: its fields, or its JSON.
    pub(crate) fn one(self, fields: &[(&str, String)], value: &Value) -> io::Result<()> {
        match self.format {
            Format::Table => self.line(&columns(fields)),
            Format::Json => self.line(&pretty(value)),
            Format::Jsonl => self.line(&value.to_string()),
        }
    }

    /// One item of a stream: a line for people, or its JSON on one line.
    pub(crate) fn item(self, text: &str, value: &Value) -> io::Result<()> {
        match self.format {
            Format::Table => self.line(text),
            Format::Json | Format::Jsonl => self.line(&value.to_string()),
        }
    }

    /// A line as it is.
    pub(crate) fn line(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.trim_end_matches('\n').as_bytes())?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    }

    /// A part of a line, at once.
    pub(crate) fn piece(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

/// Aligned columns with a head.
pub(crate) fn table(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headers.iter().map(|header| header.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    trimmed(&table)
}

fn columns(fields: &[(&str, String)]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    for (name, value) in fields {
        table.add_row([(*name).to_owned(), value.clone()]);
    }
    trimmed(&table)
}

fn trimmed(table: &Table) -> String {
    let lines: Vec<String> = table
        .lines()
        .map(|line| {
            line.strip_prefix(' ')
                .unwrap_or(&line)
                .trim_end()
                .to_owned()
        })
        .collect();
    lines.join("\n")
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}
