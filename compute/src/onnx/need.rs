//! Which nodes of a graph are needed for what comes out.

use std::collections::BTreeSet;

use super::graph::MAX_DEPTH;
use super::wire::{GraphProto, NodeProto};

/// The numbers of the nodes that outputs need, from 1.
pub(super) fn needed(graph: &GraphProto, outputs: &[String]) -> BTreeSet<usize> {
    let mut names: BTreeSet<&str> = outputs.iter().map(String::as_str).collect();
    let mut needed = BTreeSet::new();
    for (index, node) in graph.node.iter().enumerate().rev() {
        if node.output.iter().any(|name| names.contains(name.as_str())) {
            needed.insert(index + 1);
            reads(node, &mut names, 0);
        }
    }
    needed
}

/// What a node reads, and what the graphs within it do.
fn reads<'a>(node: &'a NodeProto, names: &mut BTreeSet<&'a str>, depth: usize) {
    names.extend(node.input.iter().map(String::as_str));
    if depth > MAX_DEPTH {
        return;
    }
    for graph in node
        .attribute
        .iter()
        .filter_map(|attribute| attribute.g.as_ref())
    {
        names.extend(graph.output.iter().map(|info| info.name.as_str()));
        for node in &graph.node {
            reads(node, names, depth + 1);
        }
    }
}
