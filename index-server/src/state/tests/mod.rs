//! The state machine against a clock that the test turns.

mod billing;
mod claiming;
mod deploying;
mod issuing;
mod leasing;
mod listing;
mod money;
mod queueing;
mod reporting;
mod reserving;
mod restarting;
mod walking;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId, NetworkName, PeerId, TaskIndex},
    keys::Keypair,
    statement::{self, Advert, DeviceAdvert, DeviceKind, Outcome, Receipt, Role, Signed},
    time::UnixMillis,
};
use embermesh_job::{
    assignment::{NodeAssignment, TaskKey},
    event::{Event, EventKind},
    ledger::{Account, Ask, Seen, Subject},
    lifecycle::JobState,
    model::{Layer, Model, Op},
    order::{Order, Report},
    spec::{Dataset, Input, JobSpec, Limits, Optimizer, Requirements, Train, Work},
    units::{self, MicroUnits},
};

use super::{
    Assigned, Command, Effects, Entropy, Entry, Outputs, Pulse, Refused, Reply, Settings, Snapshot,
    State, Submit, TaskHeartbeat, Writes,
};

const LEASE: Duration = Duration::from_millis(400);
const GRACE: Duration = Duration::from_millis(300);

/// An index, its store's contents as far as a test needs them, and some keys.
struct World {
    state: State,
    entropy: Entropy,
    now: UnixMillis,
    settings: Settings,
    identity: Arc<Keypair>,
    client: Keypair,
    submits: u128,
    /// What came out since it was last looked at.
    out: Outputs,
    /// What nodes ask for an hour in the adverts that are made from now on.
    price: u64,
}

fn settings() -> Settings {
    Settings {
        lease: LEASE,
        heartbeat_interval: Duration::from_millis(100),
        assign_grace: GRACE,
        reregistration_grace: Duration::from_millis(500),
        ..Settings::default()
    }
}

/// A key that is always the same.
fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn spec(name: &str) -> JobSpec {
    let dense = Layer::new(Op::dense(10));
    JobSpec {
        name: name.to_owned(),
        work: Work::Train(Train {
            optimizer: Optimizer::default(),
            passes: 1,
            batch: 32,
            seed: 1,
            holdout: 0.0,
            report_every: 0,
            checkpoint_every: 0,
            ..Train::new(
                Model {
                    input: vec![64],
                    layers: vec![dense],
                },
                Dataset::DigitsCsv {
                    file: Input {
                        digest: Digest::of(b"digits"),
                        size: 6,
                    },
                    classes: 10,
                },
            )
        }),
        requires: Requirements::default(),
        limits: Limits::default(),
        attempts: 3,
    }
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let identity = Arc::new(key(200));
        let mut entropy = Entropy::from_seed([7; 32]);
        let now = UnixMillis(1_790_000_000_000);
        let state = State::restore(
            settings.clone(),
            Arc::clone(&identity),
            Snapshot::default(),
            now,
            &mut entropy,
        );
        Self {
            state: state.unwrap(),
            entropy,
            now,
            settings,
            identity,
            client: key(100),
            submits: 0,
            out: Outputs::default(),
            price: 0,
        }
    }

    fn handle(&mut self, command: Command) -> Result<Reply, Refused> {
        let Effects { reply, outputs } = self.state.handle(command, self.now, &mut self.entropy);
        self.out.append(outputs);
        reply
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now.saturating_add(span);
        self.handle(Command::Tick).unwrap();
    }

    fn orders(&mut self) -> Vec<(PeerId, Order)> {
        std::mem::take(&mut self.out.orders)
    }

    fn advert(&self, node: &Keypair, sequence: u64, slots: u32, free_slots: u32) -> Signed<Advert> {
        let advert = Advert {
            peer: node.peer_id(),
            network: NetworkName::default(),
            sequence,
            issued_at: self.now,
            expires_at: self.now.saturating_add(Duration::from_secs(300)),
            role: Role::Node,
            version: "1".to_owned(),
            mesh_addresses: Vec::new(),
            tls_addresses: vec!["127.0.0.1:1".to_owned()],
            region: String::new(),
            price_micros_per_hour: self.price,
            devices: vec![DeviceAdvert {
                name: "cpu".to_owned(),
                kind: DeviceKind::Cpu,
                memory_bytes: 8 << 30,
                mflops: 1_000,
                fault: None,
            }],
            slots,
            free_slots,
            queued: 0,
            draining: false,
            runtimes: embermesh_crypto::statement::Runtimes::default(),
            models: Vec::new(),
            free_residents: 0,
            missing_fences: None,
        };
        statement::sign(&advert, node).unwrap()
    }

    fn register(&mut self, node: &Keypair, slots: u32) {
        let advert = self.advert(node, 1, slots, slots);
        let node = node.peer_id();
        let reply = self.handle(Command::Register { node, advert }).unwrap();
        assert!(matches!(reply, Reply::Welcome(_)));
    }

    fn submit(&mut self, spec: JobSpec) -> Result<Assigned, Refused> {
        self.submits += 1;
        let key = self.submits.to_be_bytes();
        self.submit_as(self.client.peer_id(), spec, key)
    }

    /// The same with a budget.
    fn submit_for(&mut self, spec: JobSpec, budget: u64) -> Result<Assigned, Refused> {
        self.submits += 1;
        let key = self.submits.to_be_bytes();
        self.submit_with(self.client.peer_id(), spec, key, Some(MicroUnits(budget)))
    }

    fn submit_as(
        &mut self,
        client: PeerId,
        spec: JobSpec,
        idempotency: [u8; 16],
    ) -> Result<Assigned, Refused> {
        self.submit_with(client, spec, idempotency, None)
    }

    fn submit_with(
        &mut self,
        client: PeerId,
        spec: JobSpec,
        idempotency: [u8; 16],
        budget: Option<MicroUnits>,
    ) -> Result<Assigned, Refused> {
        let canonical = Bytes::from(spec.canonical());
        let submit = Submit {
            client,
            digest: Digest::of(&canonical),
            canonical,
            spec,
            idempotency,
            budget,
            tentative: false,
        };
        self.send(submit)
    }

    /// Submits a job that its client may take elsewhere.
    fn submit_tentatively(&mut self, spec: JobSpec) -> Result<Assigned, Refused> {
        let canonical = Bytes::from(spec.canonical());
        self.submits += 1;
        self.send(Submit {
            client: self.client.peer_id(),
            digest: Digest::of(&canonical),
            canonical,
            spec,
            idempotency: self.submits.to_be_bytes(),
            budget: None,
            tentative: true,
        })
    }

    fn send(&mut self, submit: Submit) -> Result<Assigned, Refused> {
        match self.handle(Command::Submit(Box::new(submit)))? {
            Reply::Assigned(assigned) => Ok(*assigned),
            other => panic!("a submit was answered with {other:?}"),
        }
    }

    fn heartbeat(&mut self, node: &Keypair, running: &[TaskKey]) -> Pulse {
        let running = running
            .iter()
            .map(|key| TaskHeartbeat {
                key: *key,
                latest: None,
                paused: false,
            })
            .collect();
        let command = Command::Heartbeat {
            node: node.peer_id(),
            advert: None,
            running,
            draining: false,
        };
        match self.handle(command).unwrap() {
            Reply::Pulse(pulse) => *pulse,
            other => panic!("a heartbeat was answered with {other:?}"),
        }
    }

    fn event(&self, key: TaskKey, seq: u64, kind: EventKind) -> Report {
        Report::Event(Box::new(Event {
            seq,
            epoch: key.epoch,
            at: self.now,
            kind,
        }))
    }

    fn started(&self, key: TaskKey) -> Report {
        self.event(
            key,
            1,
            EventKind::Started {
                device: "cpu".to_owned(),
                parameters: 650,
                total_steps: 10,
                samples: 320,
            },
        )
    }

    fn receipt(&self, node: &Keypair, key: TaskKey, outcome: Outcome) -> Receipt {
        let job = self.state.job(&key.job).unwrap();
        let attempt = job
            .attempts
            .iter()
            .find(|attempt| attempt.epoch == key.epoch)
            .unwrap();
        Receipt {
            node: node.peer_id(),
            client: job.owner,
            issuer: self.state.issuer().signer().unwrap(),
            token_id: attempt.token_id,
            job: key.job,
            task: key.task,
            epoch: key.epoch,
            spec: job.spec_digest,
            outcome,
            device: "cpu".to_owned(),
            device_kind: DeviceKind::Cpu,
            inputs: Vec::new(),
            outputs: Vec::new(),
            steps: 10,
            samples: 320,
            loss: Some(0.1),
            accuracy: None,
            started_at: self.now,
            ended_at: self.now,
            message: String::new(),
            account: None,
        }
    }

    fn finished(&self, node: &Keypair, key: TaskKey, outcome: Outcome) -> Report {
        let receipt = statement::sign(&self.receipt(node, key, outcome), node).unwrap();
        self.event(
            key,
            9,
            EventKind::Finished {
                outcome,
                receipt: receipt.bytes().to_vec(),
                message: String::new(),
            },
        )
    }

    fn report(&mut self, node: &Keypair, key: TaskKey, report: Report) -> Result<bool, Refused> {
        let node = node.peer_id();
        match self.handle(Command::Report { node, key, report })? {
            Reply::Reported { accepted } => Ok(accepted),
            other => panic!("a report was answered with {other:?}"),
        }
    }

    /// Brings money into an account, as the index's own key.
    fn deposit(&mut self, to: PeerId, amount: u64) {
        self.submits += 1;
        let entry = Entry {
            caller: self.identity.peer_id(),
            key: self.submits.to_be_bytes().into(),
            ask: Ask::Deposit {
                to,
                amount: MicroUnits(amount),
                subject: Subject::default(),
            },
            seen: Seen::NotUpTo(self.state.ledger().last()),
        };
        self.handle(Command::Enter(Box::new(entry))).unwrap();
    }

    /// What somebody can spend, and what is set aside.
    fn funds(&self, of: PeerId) -> (i64, i64) {
        let balance = self.state.ledger().balance_of(Account::Peer(of));
        (balance.available, balance.held)
    }

    fn writes(&mut self) -> Writes {
        self.state.take_writes()
    }

    fn state_of(&self, job: JobId) -> JobState {
        self.state.job(&job).unwrap().state
    }
}

fn task(job: JobId, epoch: u64) -> TaskKey {
    TaskKey {
        job,
        task: TaskIndex(0),
        epoch: Epoch(epoch),
    }
}

fn run_order(orders: &[(PeerId, Order)]) -> Option<(PeerId, NodeAssignment)> {
    orders.iter().find_map(|(node, order)| match order {
        Order::Run(run) => Some((*node, run.assignment.clone())),
        _ => None,
    })
}

fn memory(bytes: u64) -> Requirements {
    Requirements {
        min_memory: units::Bytes(bytes),
        ..Requirements::default()
    }
}
