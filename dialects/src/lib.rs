//! Foreign systems on their own wires: adapters that parse, make one call and render.
//!
//! An adapter holds no map, chooses no node, makes no id and reads no clock. What it
//! speaks to is a *port*:
//!
//! - [`port`]: the verbs that adapters need, as traits, with the types of their
//!   arguments and answers. Whoever serves a dialect implements them.
//! - [`caller`]: who makes a call, as far as the call says; [`network`]: from where.
//! - [`cyxwiz`]: jobs, nodes, wallets, models that are kept and deployed, reservations.
//! - [`dim`]: jobs over several nodes, in three patterns.
//! - [`hivemind`]: programs in archives, run for their output and their files.
//! - [`titancompute`]: requests for inference, and their streams of tokens.
//! - [`zisk`]: provers that dial in, and proofs in three phases.
//!
//! [`Mount`] puts the services together. [`Dialect`] names the systems and [`Profile`]
//! the form of a wire; [`Failure`] is the one closed list of errors, which each dialect renders in its own style.

pub mod caller;
pub mod cyxwiz;
mod deadline;
mod dialect;
pub mod dim;
mod failure;
pub mod hivemind;
mod mount;
pub mod network;
pub mod port;
pub mod titancompute;
pub mod zisk;

pub use dialect::{Dialect, Profile};
pub use failure::{ErrorCode, Failure};
pub use mount::Mount;
