//! Provers dial in over TCP, and gangs of them make proofs.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

#[path = "../support/alone.rs"]
mod alone;
mod faults;
mod provers;
mod rounds;
mod support;
