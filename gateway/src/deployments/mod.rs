//! Models that foreign clients put into the memory of a node.
//!
//! A deployment is a job like every job, which the gateway submits and follows; a row
//! beside it says what it is a deployment of. Whether it can be asked is the index's word.
//!
//! - `spec`: the job that a deployment is.
//! - `rows`: the database; `measures`: what was asked, by the minute.
//! - `present`: what a deployment looks like now.
//! - `verbs`: the port.

mod measures;
mod present;
mod rows;
mod spec;
mod verbs;

pub(crate) use measures::Asking;
