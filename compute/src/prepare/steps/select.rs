//! Which columns there are, and what they are called.

use super::Stage;
use crate::failure::InvalidData;
use crate::prepare::table::Table;

/// Keeps these columns, in this order.
pub(super) fn select(
    table: &mut Table,
    columns: &[String],
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let mut all: Vec<_> = std::mem::take(&mut table.columns)
        .into_iter()
        .map(Some)
        .collect();
    for name in columns {
        let at = all
            .iter()
            .position(|column| column.as_ref().is_some_and(|column| column.name == *name));
        let column = at.and_then(|at| all[at].take());
        table.columns.push(
            column.ok_or_else(|| InvalidData::Misfit(format!("there is no column {name:?}")))?,
        );
    }
    let gone = all.iter().flatten().map(|column| column.held()).sum();
    stage.room.give(gone);
    Ok(())
}

/// Keeps all columns but these.
pub(super) fn drop(
    table: &mut Table,
    columns: &[String],
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    for name in columns {
        let at = table.find(name)?;
        let gone = table.columns.remove(at);
        stage.room.give(gone.held());
    }
    Ok(())
}

/// Gives a column another name.
pub(super) fn rename(table: &mut Table, from: &str, to: &str) -> Result<(), InvalidData> {
    let at = table.find(from)?;
    to.clone_into(&mut table.columns[at].name);
    Ok(())
}
