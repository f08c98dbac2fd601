//! Scripts in a worker of their own: what they are given, what they leave, what they
//! may not do, and that nothing of them is left.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

#[path = "scripts/bombs.rs"]
mod bombs;
#[path = "scripts/python.rs"]
mod python;
#[path = "scripts/ran.rs"]
mod ran;
mod support;
#[path = "scripts/wasm.rs"]
mod wasm;
