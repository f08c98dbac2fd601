//! A node, as its owner deals with it on the node's own machine.
//!
//! - [`machine`]: the machine, its line to the indexes, and its end.
//! - [`jobs`]: whatever runs here, whosever it is.
//! - [`models`]: what is resident, and the model files in the folders of the owner.
//! - [`keys`]: keys that the owner gives to programs that may look.
//! - [`records`]: the configuration, the log, the account at the indexes.
//!
//! Each call says where it comes from and what it holds out ([`Call`](super::Call));
//! the node judges, for each verb, whether that is enough. What changes something needs
//! the owner's own word; a key of [`keys`] lets its holder look and no more.

pub mod jobs;
pub mod keys;
pub mod machine;
pub mod models;
pub mod records;

/// Everything that an owner does.
pub trait Owner:
    machine::Machine + jobs::OwnedJobs + models::OwnedModels + keys::Keys + records::Records
{
}

impl<P> Owner for P where
    P: machine::Machine + jobs::OwnedJobs + models::OwnedModels + keys::Keys + records::Records
{
}
