//! Which columns of a file are features and which are targets.

use embermesh_job::spec::{Column, Table, TargetColumns};

use crate::failure::malformed::{column, quoted};
use crate::failure::{InvalidData, Place};

/// The most names that a message lists.
const MAX_LISTED: usize = 12;

/// Columns by their places from 0, each with its name for messages.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) features: Vec<(usize, String)>,
    pub(crate) targets: Vec<(usize, String)>,
}

/// The columns of a file.
pub(crate) struct Columns<'a> {
    pub(crate) file: &'a str,
    /// Their names, where the file has them.
    pub(crate) names: Option<&'a [String]>,
    /// How many there are.
    pub(crate) count: usize,
}

impl Columns<'_> {
    /// The places of the columns that a table's spec names.
    pub(crate) fn choose<I>(&self, table: &Table<I>) -> Result<Chosen, InvalidData> {
        let wanted: Vec<&Column> = match &table.target {
            None => Vec::new(),
            Some(TargetColumns::Classes { column, .. }) => vec![column],
            Some(TargetColumns::Numbers { columns }) => columns.iter().collect(),
        };
        let find = |columns: &[&Column]| {
            columns
                .iter()
                .map(|column| self.find(column).map(|at| (at, self.label(at))))
                .collect::<Result<Vec<_>, _>>()
        };
        let targets = find(&wanted)?;
        let features = if table.features.is_empty() {
            (0..self.count)
                .filter(|at| targets.iter().all(|(target, _)| target != at))
                .map(|at| (at, self.label(at)))
                .collect()
        } else {
            find(&table.features.iter().collect::<Vec<_>>())?
        };
        let mut places: Vec<usize> = features.iter().chain(&targets).map(|&(at, _)| at).collect();
        places.sort_unstable();
        if let Some(pair) = places.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Place::file(self.file).has(
                format!("column {} named twice", self.label(pair[0])),
                "each column once, by name or by number",
            ));
        }
        Ok(Chosen { features, targets })
    }

    /// A column's name for messages.
    pub(crate) fn label(&self, at: usize) -> String {
        let name = self.names.and_then(|names| names.get(at));
        column(at, name.map(String::as_str))
    }

    /// The place of a column.
    pub(crate) fn find(&self, column: &Column) -> Result<usize, InvalidData> {
        let missing = |found: String| Place::file(self.file).has(found, column.to_string());
        match column {
            Column::Number(number) => {
                let at = (*number as usize).wrapping_sub(1);
                if at < self.count {
                    Ok(at)
                } else {
                    Err(missing(format!("{} columns", self.count)))
                }
            }
            Column::Name(name) => {
                let names = self.names.unwrap_or_default();
                let mut places = (0..names.len()).filter(|&at| names[at] == *name);
                match (places.next(), places.next()) {
                    (Some(at), None) => Ok(at),
                    (Some(_), Some(_)) => {
                        Err(missing(format!("several columns called {}", quoted(name))))
                    }
                    (None, _) => {
                        let listed: Vec<String> = names
                            .iter()
                            .take(MAX_LISTED)
                            .map(|name| quoted(name))
                            .collect();
                        let more = if names.len() > MAX_LISTED {
                            ", ..."
                        } else {
                            ""
                        };
                        Err(missing(format!("columns {}{more}", listed.join(", "))))
                    }
                }
            }
        }
    }
}
