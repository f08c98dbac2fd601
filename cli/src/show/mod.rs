//! Results as people and programs read them.

pub(crate) mod amount;
pub(crate) mod answer;
pub(crate) mod ended;
pub(crate) mod job;
pub(crate) mod model;
pub(crate) mod node;
pub(crate) mod progress;
pub(crate) mod ready;
pub(crate) mod record;
pub(crate) mod transaction;
pub(crate) mod update;

pub(crate) use ready::Ready;
