//! The index through its public face: gRPC on port 0, as clients and nodes see it.

mod billing;
mod edges;
mod faces;
mod flow;
mod ledger;
mod reservations;
mod support;
