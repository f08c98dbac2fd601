//! A network namespace with one interface, and a runtime whose threads are in it.
//!
//! Whatever is started from a room sees its network and no other: sockets of what runs on
//! its runtime, and processes.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    process::{Command, Output},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use thiserror::Error;
use tokio::{runtime, sync::oneshot, task::JoinHandle};
use tun_rs::{DeviceBuilder, SyncDevice};

/// Bytes of a packet at most.
pub const MTU: u16 = 1500;
/// The interface that leads out of a room.
const INTERFACE: &str = "out0";
/// How long what runs in a room may take to end with it.
const GRACE: Duration = Duration::from_secs(5);

/// Why there is no room.
#[derive(Debug, Error)]
pub enum NoRoom {
    /// The kernel does not let this process make one.
    #[error("a network namespace needs the rights of root and /dev/net/tun: {0}")]
    Refused(io::Error),
    /// The command that sets interfaces up cannot be run.
    #[error("`ip` of iproute2 cannot be run: {0}")]
    NoIp(io::Error),
    /// It did not do what it was told.
    #[error("`ip {words}` failed: {said}")]
    Ip {
        /// What it was told.
        words: String,
        /// What it said.
        said: String,
    },
}

/// A room. It ends, with all that runs in it, when it is dropped.
#[derive(Debug)]
pub struct Room {
    address: Ipv4Addr,
    address6: Option<Ipv6Addr>,
    runtime: runtime::Handle,
    // Dropped before the thread is waited for, which is what it waits for.
    open: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Room {
    /// Makes a room with an address, and one of IPv6 beside it; gives the other end of its
    /// interface.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn open(
        address: Ipv4Addr,
        address6: Option<Ipv6Addr>,
    ) -> Result<(Self, SyncDevice), NoRoom> {
        let (made, makes) = mpsc::sync_channel(1);
        let (open, closed) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name(format!("room {address}"))
            .spawn(move || {
                let room = furnish(address, address6);
                let (device, runtime) = match room {
                    Ok(room) => room,
                    Err(error) => {
                        let _ = made.send(Err(error));
                        return;
                    }
                };
                if made.send(Ok((device, runtime.handle().clone()))).is_ok() {
                    let _ = runtime.block_on(closed);
                }
                runtime.shutdown_timeout(GRACE);
            })
            .map_err(NoRoom::Refused)?;
        let (device, runtime) = makes
            .recv()
            .map_err(|_| NoRoom::Refused(io::ErrorKind::BrokenPipe.into()))??;
        let room = Self {
            address,
            address6,
            runtime,
            open: Some(open),
            thread: Some(thread),
        };
        Ok((room, device))
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its address of IPv6, if it has one.
    #[must_use]
    pub fn address6(&self) -> Option<Ipv6Addr> {
        self.address6
    }

    /// Runs something in it. To start a process there, start it from such a task.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.runtime.spawn(task)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        drop(self.open.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported there.
            let _ = thread.join();
        }
    }
}

/// Moves this thread into a namespace of its own and sets it up.
fn furnish(
    address: Ipv4Addr,
    address6: Option<Ipv6Addr>,
) -> Result<(SyncDevice, runtime::Runtime), NoRoom> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| NoRoom::Refused(error.into()))?;
    let device = DeviceBuilder::new()
        .name(INTERFACE)
        .build_sync()
        .map_err(NoRoom::Refused)?;
    let (address, mtu) = (format!("{address}/32"), MTU.to_string());
    ip(&["link", "set", "lo", "up"])?;
    ip(&["address", "add", &address, "dev", INTERFACE])?;
    ip(&["link", "set", INTERFACE, "mtu", &mtu, "up"])?;
    // Whatever is outside of the room is by this interface.
    ip(&["route", "add", "default", "dev", INTERFACE])?;
    if let Some(address) = address6 {
        let address = format!("{address}/128");
        // Nobody else is asked whether the address is free.
        ip(&["address", "add", &address, "dev", INTERFACE, "nodad"])?;
        ip(&["-6", "route", "add", "default", "dev", INTERFACE])?;
    }
    // Its threads are started from this one, and so in this namespace.
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(NoRoom::Refused)?;
    Ok((device, runtime))
}

fn ip(words: &[&str]) -> Result<(), NoRoom> {
    let Output { status, stderr, .. } = Command::new("ip")
        .args(words)
        .output()
        .map_err(NoRoom::NoIp)?;
    if status.success() {
        return Ok(());
    }
    Err(NoRoom::Ip {
        words: words.join(" "),
        said: String::from_utf8_lossy(&stderr).trim().to_owned(),
    })
}
