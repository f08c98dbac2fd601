//! A node opens its stream of orders in the very group in which something is
//! ordered of it: the stream must have it.

use embermesh_crypto::{
    ids::{Epoch, NetworkName, TaskIndex},
    statement::{self, Advert, DeviceAdvert, DeviceKind, Role},
    time::UnixMillis,
};
use embermesh_job::{assignment::TaskKey, order::Report};
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::store::StoreError;

/// How long a test waits for an order before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// An actor at work, on the thread of the test: what the test sends without
/// waiting in between is one group.
struct Running {
    _dir: tempfile::TempDir,
    handle: Handle,
    cancel: CancellationToken,
    running: JoinHandle<Result<(), StoreError>>,
}

impl Running {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (actor, store, handle) = start(&dir.path().join("index.db")).await;
        let cancel = CancellationToken::new();
        Self {
            _dir: dir,
            handle,
            running: tokio::spawn(actor.run(store, cancel.clone())),
            cancel,
        }
    }

    async fn register(&self, node: &Keypair) {
        let command = Command::Register {
            node: node.peer_id(),
            advert: statement::sign(&advert(node), node).unwrap(),
        };
        self.handle.call(command).await.unwrap();
    }

    /// Opens a node's stream and does something else in the same group.
    async fn orders_and(&self, node: &Keypair, command: Command) -> mpsc::Receiver<Order> {
        let opened = self.handle.orders(node.peer_id());
        let (orders, done) = futures::join!(opened, self.handle.call(command));
        done.unwrap();
        orders.unwrap()
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.running.await.unwrap().unwrap();
    }
}

fn advert(node: &Keypair) -> Advert {
    let now = UnixMillis::now();
    Advert {
        peer: node.peer_id(),
        network: NetworkName::default(),
        sequence: 1,
        issued_at: now,
        expires_at: now.saturating_add(Duration::from_secs(300)),
        role: Role::Node,
        version: "1".to_owned(),
        mesh_addresses: Vec::new(),
        tls_addresses: vec!["127.0.0.1:1".to_owned()],
        region: String::new(),
        price_micros_per_hour: 0,
        devices: vec![DeviceAdvert {
            name: "cpu".to_owned(),
            kind: DeviceKind::Cpu,
            memory_bytes: 8 << 30,
            mflops: 1_000,
            fault: None,
        }],
        slots: 1,
        free_slots: 1,
        queued: 0,
        draining: false,
        runtimes: embermesh_crypto::statement::Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
        missing_fences: None,
    }
}

/// The first order on a stream that `wanted` picks.
async fn find<T>(
    orders: &mut mpsc::Receiver<Order>,
    wanted: impl Fn(Order) -> Option<T>,
) -> Option<T> {
    let found = async {
        loop {
            if let Some(found) = wanted(orders.recv().await?) {
                return Some(found);
            }
        }
    };
    timeout(PATIENCE, found).await.expect("an order in time")
}

fn first_attempt(job: JobId) -> TaskKey {
    TaskKey {
        job,
        task: TaskIndex(0),
        epoch: Epoch::FIRST,
    }
}

#[tokio::test]
async fn a_cancel_reaches_the_stream_that_is_opened_with_it() {
    let index = Running::start().await;
    let node = key(11);
    index.register(&node).await;
    // A stream of before, which the new one ends.
    let mut before = index.handle.orders(node.peer_id()).await.unwrap();
    let job = submit_one(&index.handle, 1).await.unwrap();
    let cancel = Command::Cancel {
        job,
        caller: key(2).peer_id(),
    };
    let mut orders = index.orders_and(&node, cancel).await;
    let stopped = |order| match order {
        Order::Cancel(key) => Some(key),
        _ => None,
    };
    assert_eq!(find(&mut orders, stopped).await, Some(first_attempt(job)));
    assert!(find(&mut before, stopped).await.is_none());
    index.stop().await;
}

#[tokio::test]
async fn an_attempt_reaches_the_stream_that_is_opened_as_it_is_placed() {
    let index = Running::start().await;
    let (fails, takes_over) = (key(11), key(12));
    index.register(&fails).await;
    let job = submit_one(&index.handle, 1).await.unwrap();
    index.register(&takes_over).await;
    let failed = Command::Report {
        node: fails.peer_id(),
        key: first_attempt(job),
        report: Report::AttemptFailed {
            code: "device".to_owned(),
            message: String::new(),
        },
    };
    let mut orders = index.orders_and(&takes_over, failed).await;
    let ordered = |order| match order {
        Order::Run(run) => Some((run.assignment.job, run.assignment.epoch)),
        _ => None,
    };
    assert_eq!(find(&mut orders, ordered).await, Some((job, Epoch(2))));
    index.stop().await;
}
