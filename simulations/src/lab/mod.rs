//! A network that is made up, for real programs: each has a network namespace with one
//! interface, and every packet goes through this process.
//!
//! So delay, loss, rates and address translation need no module of the kernel, and are the
//! same from run to run by seed; the TCP at both ends is the kernel's own.
//!
//! - [`link`]: what happens to a packet on its way. Pure.
//! - [`nat`]: boxes that translate addresses, as RFC 4787 sorts them. Pure.
//! - [`firewall`]: what stands before addresses of IPv6, which nobody translates. Pure.
//! - [`packet`]: addresses and ports of a packet, read and changed.
//! - [`plan`]: which hosts there are, and behind what. Pure.
//! - [`fabric`]: carries packets by a plan. Pure.
//! - [`room`]: a namespace, and a runtime in it. [`wire`]: carries packets between rooms.
//!   Both need Linux, and the rights of root.

pub mod fabric;
pub mod firewall;
pub mod link;
pub mod nat;
pub mod packet;
pub mod plan;
#[cfg(target_os = "linux")]
pub mod room;
#[cfg(target_os = "linux")]
pub mod wire;

pub use fabric::Fabric;
pub use firewall::Firewall;
pub use link::{Link, LinkConfig};
pub use nat::{Nat, NatKind};
pub use plan::{Host, Plan, Site};
#[cfg(target_os = "linux")]
pub use room::Room;
#[cfg(target_os = "linux")]
pub use wire::Lab;
