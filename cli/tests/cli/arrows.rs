//! The crates depend on each other as ARCHITECTURE.md says, and in no other way.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Who may use whom. A new arrow needs a reason in ARCHITECTURE.md.
const ARROWS: [(&str, &[&str]); 13] = [
    ("proto", &[]),
    ("crypto", &[]),
    ("storage", &[]),
    ("job", &["crypto", "proto"]),
    ("compute", &["job"]),
    ("mesh", &["job", "crypto", "proto"]),
    ("client", &["job", "crypto", "proto", "mesh"]),
    ("dialects", &["job", "crypto", "proto"]),
    (
        "gateway",
        &["client", "dialects", "job", "crypto", "mesh", "storage"],
    ),
    (
        "index-server",
        &["job", "crypto", "proto", "mesh", "storage"],
    ),
    (
        "node",
        &[
            "client", "mesh", "compute", "storage", "dialects", "job", "crypto", "proto",
        ],
    ),
    (
        "cli",
        &[
            "client",
            "compute",
            "crypto",
            "dialects",
            "gateway",
            "index-server",
            "job",
            "mesh",
            "node",
            "proto",
            "storage",
        ],
    ),
    (
        "simulations",
        &["index-server", "node", "mesh", "job", "crypto"],
    ),
];

/// Libraries that one crate alone may name.
const ALONE: [(&str, &str); 2] = [("burn", "compute"), ("libp2p", "mesh")];

#[test]
fn every_arrow_is_allowed() {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap();
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ARROWS
        .iter()
        .map(|(from, to)| (*from, to.iter().copied().collect()))
        .collect();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let name = short(package.name.as_str());
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        for dependency in &package.dependencies {
            if dependency.kind != DependencyKind::Normal {
                continue;
            }
            let uses = dependency.name.as_str();
            if uses.starts_with("embermesh-") && !may.contains(short(uses)) {
                wrong.push(format!("{name} -> {}", short(uses)));
            }
            for (library, owner) in ALONE {
                let named = uses == library || uses.starts_with(&format!("{library}-"));
                if named && name != owner {
                    wrong.push(format!("{name} names {uses}, which only {owner} may"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that are not allowed: {wrong:#?}");
}

fn short(name: &str) -> &str {
    name.strip_prefix("embermesh-").unwrap_or(name)
}
