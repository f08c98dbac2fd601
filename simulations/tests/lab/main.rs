//! Real programs over made-up networks: the kernel's sockets, and the production mesh.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

mod doctor;
mod ipv6;
mod reach;
mod sockets;

use std::time::Duration;

use embermesh_simulations::lab::{Lab, Plan, Site, room::NoRoom};

/// The longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set where a test that would be skipped has to fail.
const SKIP_NOTHING: &str = "SKIP_NOTHING";

/// Opens a network; nothing, and the reason on stdout, where this process may not.
fn lab(sites: Vec<Site>) -> Option<Lab> {
    match Lab::open(&Plan { seed: 5, sites }) {
        Ok(lab) => Some(lab),
        Err(error @ (NoRoom::Refused(_) | NoRoom::NoIp(_))) => {
            // A package can be installed; the rights of root cannot.
            let installable = matches!(error, NoRoom::NoIp(_));
            assert!(
                !installable || std::env::var_os(SKIP_NOTHING).is_none(),
                "{error}"
            );
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
