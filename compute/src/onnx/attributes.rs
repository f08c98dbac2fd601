//! The attributes of a node.

use super::literal::Literal;
use super::wire::{AttributeProto, GraphProto, NodeProto};

/// The attributes of a node, by name.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a NodeProto);

impl<'a> Attributes<'a> {
    fn find(self, name: &str) -> Option<&'a AttributeProto> {
        self.0
            .attribute
            .iter()
            .find(|attribute| attribute.name == name)
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(super) fn int(self, name: &str, usual: i64) -> i64 {
        self.find(name).map_or(usual, |attribute| attribute.i)
    }

    pub(super) fn flag(self, name: &str, usual: bool) -> bool {
        self.int(name, i64::from(usual)) != 0
    }

    pub(super) fn float(self, name: &str, usual: f32) -> f64 {
        f64::from(self.find(name).map_or(usual, |attribute| attribute.f))
    }

    pub(super) fn ints(self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|attribute| &attribute.ints[..])
    }

    pub(super) fn floats(self, name: &str) -> Option<&'a [f32]> {
        self.find(name).map(|attribute| &attribute.floats[..])
    }

    pub(super) fn text(self, name: &str, usual: &'a str) -> &'a str {
        self.find(name)
            .and_then(|attribute| std::str::from_utf8(&attribute.s).ok())
            .unwrap_or(usual)
    }

    pub(super) fn texts(self, name: &str) -> Option<Vec<&'a str>> {
        let strings = self.find(name)?.strings.iter();
        strings.map(|text| std::str::from_utf8(text).ok()).collect()
    }

    pub(super) fn tensor(self, name: &str) -> Option<Result<Literal, String>> {
        self.find(name)?.t.as_ref().map(Literal::read)
    }

    pub(super) fn graph(self, name: &str) -> Option<&'a GraphProto> {
        self.find(name)?.g.as_deref()
    }

    /// Sizes and counts, which are not below zero.
    pub(super) fn sizes(self, name: &str) -> Result<Vec<usize>, String> {
        let ints = self.ints(name).unwrap_or_default();
        ints.iter()
            .map(|&value| {
                usize::try_from(value).map_err(|_| format!("{name} {ints:?} is below zero"))
            })
            .collect()
    }
}
