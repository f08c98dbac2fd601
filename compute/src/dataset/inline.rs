//! Rows that the spec itself brings; it has checked them.

use embermesh_job::spec::{Inline, InlineTargets};

use super::{Features, Set, Targets};
use crate::failure::InvalidData;

/// The rows as samples.
pub(crate) fn parse(inline: &Inline) -> Result<Set, InvalidData> {
    let floats = |rows: &[Vec<f64>]| rows.iter().flatten().map(|&x| x as f32).collect();
    let targets = match &inline.targets {
        None => Targets::Absent(inline.rows.len()),
        Some(InlineTargets::Classes { of, .. }) => Targets::Classes(of.clone()),
        Some(InlineTargets::Numbers(rows)) => Targets::Numbers {
            values: floats(rows),
            width: rows.first().map_or(1, Vec::len),
        },
    };
    let width = inline.rows.first().map_or(0, Vec::len);
    Set::new(vec![width], Features::Floats(floats(&inline.rows)), targets)
}
