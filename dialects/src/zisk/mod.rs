//! ZisK distributed: provers dial in and are told what to do; operators launch proofs and
//! look at them.
//!
//! A call is by the user of its token, or, where a word without proof is believed, by the
//! address that it comes from. Failures of a verb are in the answer, as an
//! `ErrorResponse`; who may not call at all gets a gRPC status.
//!
//! - [`Coordinator`] serves `ZiskDistributedApi`.
//! - `stream`: the conversation with one prover, without a task of its own.
//! - `parse`, `render`: this wire and what it means.

mod coordinator;
mod mount;
mod parse;
mod render;
mod stream;

pub use coordinator::Coordinator;
