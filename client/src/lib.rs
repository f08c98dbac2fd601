//! Submit, follow, fetch: the Rust library of the mesh.
//!
//! - [`target`]: an index's address, as people write it.
//! - [`client`]: [`Client`], the handle that everything starts from; [`indexes`]:
//!   [`Indexes`], several indexes as one; [`direct`]: [`Direct`], the same without any.
//!   `ways`: how both reach nodes. `files`: what they remember on the disk.
//! - `index`, `node`: one connection each, with the calls on it. Wire types stay
//!   in these two and in `view`.
//! - [`view`]: jobs and nodes as an index shows them.
//! - [`source`]: the bytes of a job's inputs, on this side; [`folder`]: the files
//!   of a model's folder.
//! - `upload`: brings inputs to the node of an assignment. [`feed`]: gives it samples
//!   of data that stays here, as it asks for them.
//! - [`follow`](mod@follow): one stream of a job's updates across lost connections,
//!   restarts of the index and changes of node. `sequence` is its pure core.
//! - [`receipt`]: checks what a node signed against what was asked.
//! - [`fetch`]: an artifact, verified as it arrives.
//! - [`ledger`]: accounts at an index. [`reservation`]: nodes taken for a time.
//! - [`ask`]: resident models: found, listed, asked.
//! - [`clock`]: how far this machine's clock is off from an index's or a node's.
//! - [`error`], [`bounds`]: what can go wrong, and every limit by name.

pub mod ask;
pub mod bounds;
pub mod client;
pub mod clock;
pub mod direct;
pub mod error;
pub mod feed;
pub mod fetch;
mod files;
pub mod folder;
pub mod follow;
mod index;
pub mod indexes;
pub mod ledger;
mod node;
mod permits;
pub mod receipt;
pub mod reservation;
mod sequence;
pub mod source;
mod status;
pub mod target;
mod upload;
pub mod view;
mod watches;
mod ways;

pub use ask::{Answer, Found, ask_at, models_at};
pub use client::{Client, IdempotencyKey, Options, Submitted, put_blobs_at};
pub use direct::{Direct, Errand};
pub use error::ClientError;
pub use feed::{Samples, Staying};
pub use fetch::Download;
pub use files::make_private;
pub use folder::files_of;
pub use follow::{Ended, Follow, Side, Start, Update};
pub use indexes::Indexes;
pub use node::NodeStatus;
pub use source::{Source, Sources};
pub use target::IndexTarget;
pub use view::{JobView, NodeView};
pub use ways::Ways;
