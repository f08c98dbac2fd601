//! `docs/dialects.md` lists every RPC of every system, with a state that is one of the
//! words that it explains.

use std::collections::BTreeMap;

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
