//! The published vectors in `crypto/vectors`: each entry is judged by the
//! crate, and the files are exactly what the generator here writes.
//!
//! `EMBERMESH_REGENERATE_VECTORS=1 cargo test -p embermesh-crypto --test vectors
//! -- --ignored` writes the files anew, from fixed seeds.

#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod ed25519;
mod hexadecimal;
mod statements;
mod tokens;

use std::{fs, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name)
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&fs::read_to_string(path(name)).unwrap()).unwrap()
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

fn generated() -> [(&'static str, String); 3] {
    [
        ("tokens.json", text(&tokens::generate())),
        ("statements.json", text(&statements::generate())),
        ("ed25519.json", text(&ed25519::generate())),
    ]
}

#[test]
#[ignore = "writes into the source tree: set EMBERMESH_REGENERATE_VECTORS=1 and ask for it"]
fn regenerate() {
    if std::env::var_os("EMBERMESH_REGENERATE_VECTORS").is_none_or(|value| value != "1") {
        return;
    }
    for (name, text) in generated() {
        fs::write(path(name), text).unwrap();
    }
}

#[test]
fn the_files_are_what_the_generator_writes() {
    for (name, text) in generated() {
        let published = fs::read_to_string(path(name)).unwrap();
        assert!(published == text, "{name} differs: see vectors/README.md");
    }
}

#[test]
fn every_token_is_judged_as_published() {
    tokens::check(&read("tokens.json"));
}

#[test]
fn every_statement_is_judged_as_published() {
    statements::check(&read::<Vec<_>>("statements.json"));
}

#[test]
fn every_signature_is_judged_as_published() {
    ed25519::check(&read::<Vec<_>>("ed25519.json"));
}
