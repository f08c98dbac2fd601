//! Room in a socket for what a long link has under way.
//!
//! Linux grows the send buffer of a connection by itself, to 4 MiB unless its owner says
//! otherwise, of which about 2.5 MiB are data: 200 Mbit/s over a round trip of 100 ms. A
//! buffer that is set may be larger, where the system allows it. It is a bound and takes
//! memory only for what has not been acknowledged; what has not even been sent is kept short
//! beside it, so that a word that comes after bulk bytes does not wait behind megabytes.

use tokio::net::TcpStream;

/// Bytes that the kernel keeps of one connection until they are acknowledged, where it
/// allows as many; it doubles them, for its own overhead.
#[cfg(target_os = "linux")]
const SEND_BUFFER: usize = 4 * 1024 * 1024;
/// Bytes of one connection that the kernel takes before it can send them.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 512 * 1024;

/// Sets both bounds on a connection.
#[cfg(target_os = "linux")]
pub(crate) fn widen(tcp: &TcpStream) {
    use socket2::SockRef;

    let socket = SockRef::from(tcp);
    let mut tuned = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
    if limits::a_set_buffer_is_larger() {
        tuned = tuned.and_then(|()| socket.set_send_buffer_size(SEND_BUFFER));
    }
    if let Err(error) = tuned {
        tracing::debug!(%error, "cannot widen a connection");
    }
}

/// Other systems are left as they are.
#[cfg(not(target_os = "linux"))]
pub(crate) fn widen(_: &TcpStream) {}

#[cfg(target_os = "linux")]
mod limits {
    use std::{fs, sync::OnceLock};

    use super::SEND_BUFFER;

    /// Whether the system gives a buffer that is set more room than one that it grows.
    pub(super) fn a_set_buffer_is_larger() -> bool {
        static LARGER: OnceLock<bool> = OnceLock::new();
        *LARGER.get_or_init(|| {
            let read = |path| fs::read_to_string(path).unwrap_or_default();
            let most = read("/proc/sys/net/core/wmem_max");
            let grown = read("/proc/sys/net/ipv4/tcp_wmem");
            larger(&most, &grown)
        })
    }

    /// From the most that may be set, and the least, first and last of what grows. The
    /// kernel doubles what is set, for its own overhead.
    fn larger(most: &str, grown: &str) -> bool {
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let most = number(most).map(|most| most.min(SEND_BUFFER).saturating_mul(2));
        let grown = grown.split_whitespace().nth(2).and_then(number);
        matches!((most, grown), (Some(most), Some(grown)) if most > grown)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_buffer_is_set_only_where_that_makes_it_larger() {
            assert!(larger("4194304\n", "4096\t16384\t4194304\n"));
            // As most systems come: what grows is larger.
            assert!(!larger("212992\n", "4096\t16384\t4194304\n"));
            assert!(!larger("4194304", "4096 16384 8388608"));
            assert!(!larger("", ""));
        }
    }
}
