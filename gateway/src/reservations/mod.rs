//! Nodes that foreign clients take for a time.
//!
//! The index keeps the reservations: it refuses a node that is taken, holds the money,
//! and ends them by its clock. Here is only what a foreign client says of what runs
//! there, and that it has been heard of.
//!
//! - `rows`: the database.
//! - `verbs`: the port.

mod rows;
mod verbs;
