//! Money under any order of things: submits, ends, cancels, retries, reservations, lost
//! nodes, restarts and crashes, drawn by seed. What must hold is looked at after each.

use embermesh_job::{
    reservation::{ReservationId, ReserveAsk},
    units::Millis,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    restarting::{Memory, crash, restart},
    *,
};

const SEEDS: u64 = 60;
const STEPS: usize = 400;
const CLIENTS: [u8; 3] = [100, 101, 102];
const NODES: [u8; 3] = [1, 2, 3];
const DEPOSIT: u64 = 2_000_000;
/// A node asks this much for each second, times its number.
const PRICE: u64 = 3_600_000;

/// A submit or a request to reserve, to be sent again.
#[derive(Clone)]
enum Sent {
    Submit(PeerId, JobSpec, [u8; 16], Option<MicroUnits>),
    Reserve(PeerId, ReserveAsk),
}

struct Play {
    world: World,
    store: Memory,
    rng: StdRng,
    sent: Vec<Sent>,
    reports: Vec<(PeerId, TaskKey, Report)>,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        for client in CLIENTS {
            world.deposit(key(client).peer_id(), DEPOSIT);
        }
        let mut play = Self {
            world,
            store: Memory::default(),
            rng: StdRng::seed_from_u64(seed),
            sent: Vec::new(),
            reports: Vec::new(),
        };
        play.commit();
        play.register();
        play
    }

    fn register(&mut self) {
        for node in NODES {
            self.world.price = PRICE * u64::from(node - 1);
            self.world.register(&key(node), 2);
        }
    }

    fn commit(&mut self) {
        let writes = self.world.writes();
        self.store.keep(writes);
    }

    fn below(&mut self, most: u64) -> u64 {
        self.rng.random_range(0..most)
    }

    fn client(&mut self) -> PeerId {
        let at = self.below(CLIENTS.len() as u64);
        key(CLIENTS[usize::try_from(at).unwrap()]).peer_id()
    }

    fn node(&mut self) -> Keypair {
        let at = self.below(NODES.len() as u64);
        key(NODES[usize::try_from(at).unwrap()])
    }

    /// A job of memory that has not ended, and its attempt.
    fn open_task(&mut self) -> Option<TaskKey> {
        let open: Vec<_> = self.world.state.jobs().collect();
        let open: Vec<_> = open
            .into_iter()
            .filter(|job| !job.state.is_final())
            .collect();
        let at = usize::try_from(self.rng.random_range(0..open.len().max(1) as u64)).unwrap();
        let job = open.get(at)?;
        Some(task(job.id, job.epoch.0))
    }

    fn step(&mut self) {
        match self.below(20) {
            0..=3 => self.submit(),
            4 | 5 => self.again(),
            6 | 7 => self.start(),
            8..=10 => self.end(),
            11 => self.cancel(),
            12 => self.repeat_report(),
            13 => self.reserve(),
            14 => self.change_reservation(),
            15..=17 => self.pass(),
            18 => self.commit(),
            _ => self.fall(),
        }
    }

    fn submit(&mut self) {
        let client = self.client();
        let budget = match self.below(4) {
            0 => None,
            1 => Some(MicroUnits(DEPOSIT + 1)),
            _ => Some(MicroUnits(1 + self.below(20_000))),
        };
        let spec = JobSpec {
            limits: Limits {
                wall: Millis(100 + self.below(3_000)),
                ..Limits::default()
            },
            attempts: 1 + u32::try_from(self.below(3)).unwrap(),
            ..spec("job")
        };
        let name = self.rng.random::<[u8; 16]>();
        self.send(Sent::Submit(client, spec, name, budget));
    }

    fn reserve(&mut self) {
        let ask = ReserveAsk {
            key: self.rng.random(),
            node: self.node().peer_id(),
            length: Millis(600_000 + self.below(600_000)),
            max_price: None,
        };
        let client = self.client();
        self.send(Sent::Reserve(client, ask));
    }

    fn again(&mut self) {
        let at = self.below(self.sent.len().max(1) as u64);
        let sent = self.sent.get(usize::try_from(at).unwrap()).cloned();
        if let Some(sent) = sent {
            self.send(sent);
        }
    }

    fn send(&mut self, sent: Sent) {
        // Refusals are answers too; what they leave behind is looked at.
        match sent.clone() {
            Sent::Submit(client, spec, name, budget) => {
                let canonical = Bytes::from(spec.canonical());
                let submit = Submit {
                    client,
                    digest: Digest::of(&canonical),
                    canonical,
                    spec,
                    idempotency: name,
                    budget,
                    tentative: false,
                };
                let _ = self.world.handle(Command::Submit(Box::new(submit)));
            }
            Sent::Reserve(caller, ask) => {
                let _ = self.world.handle(Command::Reserve { caller, ask });
            }
        }
        self.sent.push(sent);
    }

    fn change_reservation(&mut self) {
        let reservation = ReservationId(1 + self.below(20));
        let caller = self.client();
        let command = if self.below(2) == 0 {
            Command::ReleaseReservation {
                caller,
                reservation,
            }
        } else {
            Command::ExtendReservation {
                caller,
                reservation,
                length: Millis(600_000 + self.below(3_000_000)),
            }
        };
        let _ = self.world.handle(command);
    }

    fn node_of(&self, key: TaskKey) -> Option<Keypair> {
        let peer = self.world.state.job(&key.job)?.attempts.last()?.node;
        NODES
            .into_iter()
            .map(super::key)
            .find(|node| node.peer_id() == peer)
    }

    fn start(&mut self) {
        if let Some(task) = self.open_task()
            && let Some(node) = self.node_of(task)
        {
            let report = self.world.started(task);
            let _ = self.world.report(&node, task, report);
        }
    }

    fn end(&mut self) {
        let Some(task) = self.open_task() else {
            return;
        };
        let Some(node) = self.node_of(task) else {
            return;
        };
        let report = match self.below(4) {
            0 => Report::AttemptFailed {
                code: "finished".to_owned(),
                message: String::new(),
            },
            1 => self.world.finished(&node, task, Outcome::Failed),
            _ => {
                let ran = self.below(5_000);
                let receipt = Receipt {
                    started_at: UnixMillis(self.world.now.0 - ran),
                    ..self.world.receipt(&node, task, Outcome::Succeeded)
                };
                let kind = EventKind::Finished {
                    outcome: Outcome::Succeeded,
                    receipt: statement::sign(&receipt, &node).unwrap().bytes().to_vec(),
                    message: String::new(),
                };
                self.world.event(task, 9, kind)
            }
        };
        let _ = self.world.report(&node, task, report.clone());
        self.reports.push((node.peer_id(), task, report));
    }

    fn repeat_report(&mut self) {
        let at = self.below(self.reports.len().max(1) as u64);
        if let Some((node, key, report)) = self.reports.get(usize::try_from(at).unwrap()).cloned() {
            let _ = self.world.handle(Command::Report { node, key, report });
        }
    }

    fn cancel(&mut self) {
        if let Some(task) = self.open_task() {
            let caller = self.world.state.job(&task.job).unwrap().owner;
            let job = task.job;
            self.world.handle(Command::Cancel { job, caller }).unwrap();
        }
    }

    /// Time passes, and some nodes are heard of meanwhile.
    fn pass(&mut self) {
        let span = match self.below(8) {
            0 => 300_000 + self.below(600_000),
            _ => self.below(300),
        };
        for number in NODES {
            if self.below(5) == 0 {
                continue;
            }
            let node = key(number);
            let tasks: Vec<_> = self
                .world
                .state
                .jobs()
                .filter(|job| job.current().is_some_and(|it| it.node == node.peer_id()))
                .map(|job| task(job.id, job.epoch.0))
                .collect();
            self.world.heartbeat(&node, &tasks);
        }
        self.world.wait(Duration::from_millis(span));
    }

    /// The index stops, or dies with what it had not written down.
    fn fall(&mut self) {
        let away = Duration::from_millis(self.below(2_000));
        if self.below(2) == 0 {
            restart(&mut self.world, &mut self.store, away);
        } else {
            crash(&mut self.world, &self.store, away);
        }
        self.register();
    }

    /// What must hold at any moment.
    fn check(&mut self, context: &str) {
        let ledger = self.world.state.ledger();
        let issued = DEPOSIT * CLIENTS.len() as u64;
        let peers: Vec<PeerId> = CLIENTS
            .iter()
            .chain(&NODES)
            .map(|n| key(*n).peer_id())
            .collect();
        let mut sum = 0;
        for peer in &peers {
            let balance = ledger.balance_of(Account::Peer(*peer));
            assert!(balance.available >= 0 && balance.held >= 0, "{context}");
            sum += balance.available + balance.held;
        }
        assert_eq!(sum, i64::try_from(issued).unwrap(), "{context}");
        // Each hold is a job's that has not ended or a reservation's that is open.
        let mut held: BTreeMap<PeerId, u64> = BTreeMap::new();
        let mut holds = 0;
        for record in self.world.state.jobs.values() {
            let Some(bill) = &record.bill else { continue };
            assert_eq!(
                bill.charged.is_some(),
                record.outcome().is_some(),
                "{context}"
            );
            assert!(bill.charged.is_none_or(|it| it <= bill.budget), "{context}");
            if bill.charged.is_none() {
                *held.entry(record.job.owner).or_default() += bill.budget.0;
                holds += 1;
            }
        }
        for open in self.world.state.reservations().open() {
            *held.entry(open.client).or_default() += open.held.0;
        }
        for peer in &peers {
            let balance = ledger.balance_of(Account::Peer(*peer));
            let expected = held.get(peer).copied().unwrap_or(0);
            assert_eq!(balance.held.unsigned_abs(), expected, "{context}");
        }
        assert!(ledger.holds().len() >= holds, "{context}");
    }

    /// What the nodes have is what jobs and reservations say that they were paid.
    fn check_income(&mut self, context: &str) {
        self.commit();
        for number in NODES {
            let node = key(number).peer_id();
            let jobs = self.store.jobs.values().filter_map(|stored| {
                let paid = stored.bill.as_ref()?.charged?;
                (stored.job.attempts.last()?.node == node).then_some(paid.0)
            });
            let reserved = self
                .store
                .reservations
                .values()
                .map(|kept| &kept.reservation);
            let reserved = reserved
                .filter(|one| one.node == node)
                .map(|one| one.paid.0);
            let paid: u64 = jobs.chain(reserved).sum();
            let has = self.world.funds(node).0.unsigned_abs();
            assert_eq!(has, paid, "{context}");
        }
    }
}

#[test]
fn money_is_conserved_and_nobody_is_charged_twice() {
    let mut charged = 0;
    let mut reserved = 0;
    for seed in 0..SEEDS {
        let mut play = Play::new(seed);
        for step in 0..STEPS {
            play.step();
            play.check(&format!("seed {seed}, step {step}"));
        }
        play.check_income(&format!("seed {seed}"));
        let bills = play.store.jobs.values().filter_map(|job| job.bill.as_ref());
        charged += bills
            .filter(|bill| bill.charged.is_some_and(|it| it.0 > 0))
            .count();
        let paid = play
            .store
            .reservations
            .values()
            .filter(|kept| kept.reservation.paid.0 > 0);
        reserved += paid.count();
    }
    // The play is about something.
    assert!(charged > 0, "{charged}");
    assert!(reserved > 0, "{reserved}");
}
