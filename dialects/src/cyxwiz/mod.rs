//! CyxWiz: jobs, nodes, wallets, on the wire of the system of that name.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | a `JobConfig` turned into a job of ours, or refused by the name of a field |
//! | `code` | states, refusals and amounts in the numbers of either form |
//! | `find` | which nodes a search means, and in which order |
//! | `compute` | operations over tensors as a computation of ours |
//! | `models`, `tensor` | models, deployments and what they are asked, in the words of the wire |
//! | `caller` | who makes a call |
//! | `service` | the services, each a file that is compiled for both forms of the wire |
//! | `documented`, `shipped` | the two forms, and what differs between them |
//! | `proof` | the proof of a computation, as this system's messages have it |
//! | `node` | what a node serves; `records`: batches of a client as samples |
//! | `daemon` | a node for its owner, in the one form that there is |
//! | `server` | calls a server node of the system |
//! | `closed` | services that say why they are not there |
//! | `mount` | all of them, in one form of the wire |
//!
//! # Errors
//!
//! A refusal of the job itself in `SubmitJob` (its config is invalid, its name is
//! taken, there is no room for it) is an answer: the gRPC status is OK, `status` is
//! `STATUS_FAILED`, and `error` has the code of the documented table, with the field in
//! `details` as JSON. `EstimateJobCost` and `ConnectWallet` say a refusal of what is
//! asked in `status` and `message` likewise. Everything else is a gRPC status: who is
//! not known is `UNAUTHENTICATED`, who may not is `PERMISSION_DENIED`, an id that is not
//! known (or not the caller's) is `NOT_FOUND`, a job that is in another state is
//! `FAILED_PRECONDITION`, a field that cannot be read outside of a job is
//! `INVALID_ARGUMENT`.

mod caller;
mod closed;
mod code;
mod compute;
mod config;
mod daemon;
mod documented;
mod find;
mod models;
mod mount;
mod node;
mod proof;
mod records;
pub mod server;
mod shipped;
mod tensor;

/// The largest message that is read: as large as the system's own, for data that comes
/// with a job.
const MAX_MESSAGE: usize = 100 << 20;
