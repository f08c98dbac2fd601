//! The ports of foreign systems, over TCP and without an index.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

mod garbage;
mod listeners;
mod raw;
mod rows;
mod streams;
mod support;
