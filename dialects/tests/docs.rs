//! `docs/dialects.md` lists every RPC of every system, with a state that is one of the
//! words that it explains, and names tests that there are.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use embermesh_proto::{cyxwiz, dim, hivemind, titancompute, zisk};
use prost::Message as _;
use prost_types::FileDescriptorSet;

const DOCS: &str = include_str!("../../docs/dialects.md");
const STATES: [&str; 3] = ["works", "refused", "not yet"];

/// Every RPC of the documented forms, as `package.Service/Method`.
fn rpcs() -> Vec<String> {
    let sets = [
        cyxwiz::DESCRIPTORS,
        titancompute::DESCRIPTORS,
        zisk::DESCRIPTORS,
        dim::DESCRIPTORS,
        hivemind::DESCRIPTORS,
    ];
    let mut rpcs = Vec::new();
    for set in sets {
        for file in FileDescriptorSet::decode(set).unwrap().file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    rpcs.push(path);
                }
            }
        }
    }
    rpcs
}

#[test]
fn every_rpc_has_a_row_with_a_state() {
    let mut rows = BTreeMap::new();
    for line in DOCS.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [rpc, state, ..] = cells.as_slice()
            && let Some(rpc) = rpc.strip_prefix('`').and_then(|rpc| rpc.strip_suffix('`'))
            && rpc.contains('/')
        {
            let before = rows.insert(rpc.to_owned(), (*state).to_owned());
            assert_eq!(before, None, "{rpc} has two rows");
        }
    }
    let known = rpcs();
    assert!(known.len() > 150, "{}", known.len());
    for rpc in &known {
        let state = rows.remove(rpc);
        let state = state.unwrap_or_else(|| panic!("{rpc} has no row in docs/dialects.md"));
        assert!(STATES.contains(&state.as_str()), "{rpc}: {state:?}");
    }
    assert!(rows.is_empty(), "rows of what there is not: {rows:?}");
}

/// The head of a table that names tests.
const DEFECTS: &str = "| what users of the original run into | here | test |";

/// The functions of every Rust file under a folder, but for what a build makes.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if !["target", "node_modules"].contains(&&*name) && !name.starts_with('.') {
                functions(&path, found);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| {
                let (_, rest) = line.split_once("fn ")?;
                Some(rest.split_once("()")?.0.to_owned())
            });
            found.extend(names);
        }
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let mut there = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    functions(&root, &mut there);
    let (mut tables, mut rows) = (0, 0);
    let mut lines = DOCS.lines();
    while let Some(line) = lines.next() {
        if line != DEFECTS {
            continue;
        }
        tables += 1;
        for row in lines
            .by_ref()
            .skip(1)
            .take_while(|row| row.starts_with('|'))
        {
            let (_, tests) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
            for test in tests.split(", ") {
                let name = test.trim_matches('`');
                assert!(there.contains(name), "there is no test {name}: {row}");
            }
            rows += 1;
        }
    }
    assert!(tables == 5 && rows > 50, "{rows} rows in {tables} tables");
}
