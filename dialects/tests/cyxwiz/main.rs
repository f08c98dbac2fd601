//! CyxWiz over a real server, through generated clients: what is taken, and what each
//! refusal says, with a port that keeps what it is told.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

mod configs;
mod deployments;
mod jobs;
mod models;
mod nodes;
mod port;
mod proofs;
mod refusals;
mod reservations;
mod rooms;
mod servers;
mod wallet;
