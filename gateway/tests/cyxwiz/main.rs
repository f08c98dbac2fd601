//! Server nodes of CyxWiz on a gateway of their own, over TCP: they join, are given jobs,
//! speak of those alone, and are replaced when they are gone. No index is there: what it
//! pays is tested where it is.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

#[path = "../support/alone.rs"]
mod alone;
mod ears;
mod servers;
mod support;
