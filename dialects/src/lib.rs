//! Foreign systems on their own wires: adapters that parse, make one call and render.
//!
//! An adapter holds no map, chooses no node, makes no id and reads no clock. What it
//! speaks to is a *port*:
//!
//! - [`port`]: the verbs that adapters need, as traits, with the types of their
//!   arguments and answers. Whoever serves a dialect implements them.
//!
//! And the systems:
//!
//! - [`cyxwiz`]: jobs, nodes and wallets of CyxWiz.
//!
//! [`Dialect`] names the systems and [`Profile`] the form of a wire; [`Failure`] is the
//! one closed list of errors, which each dialect renders in its own style.

pub mod cyxwiz;
mod dialect;
mod failure;
pub mod port;

pub use dialect::{Dialect, Profile};
pub use failure::{ErrorCode, Failure};
