//! What a mesh costs at sizes that no test reaches: a model of the parts that grow.
//!
//! Nothing here is production code, which is why it reaches a million nodes. It is held to
//! that by [`calibration`], whose numbers come from settings and measurements, and by a
//! test against real swarms of hundreds.
//!
//! - [`lookup`]: Kademlia lookups over tables that are made up as they are looked at.
//! - [`spread`]: one advert over a graph of gossip with all its nodes.
//! - [`cost`]: what follows for one node, by the second.
//! - [`mod@outlook`]: all of it for one size. [`mod@limits`]: at what size which budget is spent.
//! - [`chart`]: what that looks like.

pub mod calibration;
pub mod chart;
pub mod cost;
pub mod limits;
pub mod lookup;
pub mod outlook;
mod random;
pub mod spread;

pub use calibration::Calibration;
pub use limits::{Limit, limits};
pub use outlook::{Outlook, outlook};
