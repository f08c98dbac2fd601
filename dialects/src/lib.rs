//! Foreign systems on their own wires: adapters that parse, make one call and render.
//!
//! An adapter holds no map, chooses no node, makes no id and reads no clock. What it
//! speaks to is a *port*:
//!
//! - [`port`]: the verbs that adapters need, as traits, with the types of their
//!   arguments and answers. Whoever serves a dialect implements them.
//! - [`hivemind`]: HiveMind's pool.
//!
//! [`Dialect`] names the systems and [`Profile`] the form of a wire; [`Failure`] is the
//! one closed list of errors, which each dialect renders in its own style.

mod dialect;
mod failure;
pub mod hivemind;
pub mod port;

pub use dialect::{Dialect, Profile};
pub use failure::{ErrorCode, Failure};
