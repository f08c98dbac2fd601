//! Carries packets between rooms, in real time.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::{Notify, oneshot},
    task::LocalSet,
    time::{sleep_until, timeout},
};
use tun_rs::{AsyncDevice, SyncDevice};

use super::{
    Fabric, Plan, Room,
    fabric::{Arrival, Counts, HostIndex},
    room::{MTU, NoRoom},
};

/// Packets that are on their way at one time, over all links; beyond, they are lost.
const MAX_ON_THE_WAY: usize = 1 << 18;
/// How long the wire waits when nothing is on its way.
const IDLE: Duration = Duration::from_secs(3600);

/// A network of rooms. It ends when it is dropped.
#[derive(Debug)]
pub struct Lab {
    rooms: Vec<Room>,
    // Dropped before the thread is waited for, which is what it waits for.
    open: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<Counts>>,
}

impl Lab {
    /// Opens a room for each host of a plan.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn open(plan: &Plan) -> Result<Self, NoRoom> {
        let (mut rooms, mut devices) = (Vec::new(), Vec::new());
        for host in plan.sites.iter().flat_map(|site| &site.hosts) {
            let (room, device) = Room::open(host.address, host.address6)?;
            rooms.push(room);
            devices.push(device);
        }
        let fabric = Fabric::new(plan);
        let (open, closed) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(NoRoom::Refused)?;
        let thread = thread::Builder::new()
            .name("wire".to_owned())
            .spawn(move || {
                let local = LocalSet::new();
                local.block_on(&runtime, carry(fabric, devices, closed))
            })
            .map_err(NoRoom::Refused)?;
        Ok(Self {
            rooms,
            open: Some(open),
            thread: Some(thread),
        })
    }

    /// The room of a host, in the order of the plan over all sites.
    ///
    /// # Panics
    /// When the plan has no such host.
    #[must_use]
    pub fn room(&self, host: HostIndex) -> &Room {
        &self.rooms[host]
    }

    /// Ends it, and says what was carried.
    #[must_use]
    pub fn close(mut self) -> Counts {
        self.end()
    }

    fn end(&mut self) -> Counts {
        // What runs in the rooms may still want to say goodbye.
        self.rooms.clear();
        drop(self.open.take());
        self.thread
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
    }
}

/// What is on its way.
struct Way {
    fabric: Fabric,
    began: Instant,
    waiting: BinaryHeap<Reverse<Due>>,
    order: u64,
}

/// The earliest first, and of one time the one that was sent first.
#[derive(PartialEq, Eq)]
struct Due {
    arrival: Arrival,
    order: u64,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.arrival.at, self.order).cmp(&(other.arrival.at, other.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Way {
    /// Takes a packet on; whether it is the next to arrive.
    fn take(&mut self, from: HostIndex, packet: &[u8]) -> bool {
        let now = self.began.elapsed();
        if self.waiting.len() >= MAX_ON_THE_WAY {
            return false;
        }
        let Some(arrival) = self.fabric.send(from, packet.to_vec(), now) else {
            return false;
        };
        let next = self.waiting.peek().map(|due| due.0.arrival.at);
        let is_next = next.is_none_or(|next| arrival.at < next);
        let order = self.order;
        self.order += 1;
        self.waiting.push(Reverse(Due { arrival, order }));
        is_next
    }

    fn due(&mut self) -> Option<Arrival> {
        let now = self.began.elapsed();
        if self.waiting.peek()?.0.arrival.at > now {
            return None;
        }
        self.waiting.pop().map(|due| due.0.arrival)
    }
}

async fn carry(fabric: Fabric, devices: Vec<SyncDevice>, closed: oneshot::Receiver<()>) -> Counts {
    let way = Rc::new(RefCell::new(Way {
        fabric,
        began: Instant::now(),
        waiting: BinaryHeap::new(),
        order: 0,
    }));
    let devices: io::Result<Vec<_>> = devices.into_iter().map(AsyncDevice::new).collect();
    let devices = match devices {
        Ok(devices) => Rc::new(devices),
        Err(error) => {
            tracing::error!(%error, "the wire cannot be used");
            return Counts::default();
        }
    };
    let sooner = Rc::new(Notify::new());
    for host in 0..devices.len() {
        let (way, devices) = (Rc::clone(&way), Rc::clone(&devices));
        let sooner = Rc::clone(&sooner);
        tokio::task::spawn_local(async move {
            let mut packet = vec![0; usize::from(MTU) + 4];
            // It fails when the room is closed.
            while let Ok(length) = devices[host].recv(&mut packet).await {
                if way.borrow_mut().take(host, &packet[..length]) {
                    sooner.notify_one();
                }
            }
        });
    }
    let delivering = async {
        loop {
            let due = way.borrow_mut().due();
            if let Some(arrival) = due {
                // A room that has closed hears nothing any more.
                let _ = devices[arrival.host].send(&arrival.packet).await;
                continue;
            }
            let next = {
                let way = way.borrow();
                let next = way.waiting.peek().map(|due| due.0.arrival.at);
                next.map(|at| way.began + at)
            };
            match next {
                None => drop(timeout(IDLE, sooner.notified()).await),
                Some(at) => tokio::select! {
                    () = sleep_until(at.into()) => {}
                    () = sooner.notified() => {}
                },
            }
        }
    };
    tokio::select! {
        () = delivering => {}
        _ = closed => {}
    }
    way.borrow().fabric.counts()
}
