//! The daemon: takes assignments, verifies them, runs them, reports.
//!
//! - [`config`], [`folder`]: what the owner chose, and where it is kept.
//! - `gate`, `trust`: may this key run this here, now?
//! - `task`: one actor for each attempt, from inputs to receipt.
//! - `worker`, `slots`, `probe`: the processes that do the work, on which device.
//! - `runtimes`: which programs of clients may run here, and do; `remove`: of what
//!   they left.
//! - `resident`: models that stay in memory, and whoever asks them.
//! - `arriving`: blobs that clients are sending now. [`origins`]: inputs that are
//!   fetched from the web or a bucket, or shared by the owner.
//! - `replicate`, `receipt`, `advert`: copies elsewhere, the signed account, the
//!   word to the mesh.
//! - `store`: the durable memory, with the outbox of reports.
//! - `service`: gRPC, thin. `foreign`: the same for clients of other systems.
//!   `uplink`: the lines to the indexes.
//! - [`checkup`]: the devices and the fences of this machine, without a node.
//! - [`Logs`]: the newest lines of the process's log.
//! - `door`: whose turn it is, where no index says so; `permit`: tokens under the
//!   node's own key.
//! - `joined`: work that goes on when whoever asked for it goes away.
//! - [`Node::start`]: all of it together, joined to the mesh; [`RunningNode`]: the ways
//!   to end it.

mod advert;
mod arriving;
pub mod checkup;
pub mod config;
mod door;
mod fences;
pub mod folder;
mod foreign;
mod gate;
mod joined;
mod logs;
mod node;
pub mod origins;
mod permit;
mod probe;
mod receipt;
mod remove;
mod replicate;
mod resident;
mod running;
mod runtimes;
mod service;
mod site;
mod slots;
mod store;
mod task;
mod trust;
mod uplink;
mod worker;

pub use config::{AllowedRuntimes, GuestsConfig, InvalidConfig, NodeConfig};
pub use logs::Logs;
pub use node::{Node, NodeError};
pub use running::{RunningNode, Shutdown, Shutdowns};
pub use store::StoreError;
