//! Plans under losses, late and repeated reports and idle clocks, by seed.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::{
    super::{
        average::{Average, Method},
        chain::{Source, Step, chain},
        gang::{Gang, Worker},
        proving::{self, Proving, Terms},
        replicas::audit,
        shards::{Shard, collaborate},
    },
    *,
};

/// How many steps a simulation may take before it counts as hanging.
const MOST_STEPS: u32 = 20_000;

struct World {
    rng: ChaCha8Rng,
    now: UnixMillis,
    /// Every attempt that was ever started.
    known: Vec<(TaskIndex, Epoch)>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: NOW,
            known: Vec::new(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    /// Remembers what was started.
    fn hear<'a>(&mut self, outputs: impl IntoIterator<Item = &'a Output>) {
        for output in outputs {
            if let Output::Start { task, epoch, .. } = output {
                self.known.push((*task, *epoch));
            }
        }
    }

    /// Something that a node, the network or the clock might do: of any attempt,
    /// of an old one too, and of ones that never were.
    fn input(&mut self, value: impl Fn(u64) -> Value) -> Input {
        self.now = UnixMillis(self.now.0 + self.below(2_000));
        let recent = self.known.len().saturating_sub(6);
        let all = if self.below(4) == 0 { 0 } else { recent };
        let count = u64::try_from(self.known.len() - all).unwrap().max(1);
        let pick = all + usize::try_from(self.below(count)).unwrap();
        let (task, epoch) = self.known.get(pick).copied().unwrap_or_default();
        let node = node(&format!("n{}", self.below(6)));
        match self.below(20) {
            0..6 => Input::Started { task, epoch, node },
            6..10 => Input::Progress { task, epoch },
            10..14 => Input::Done {
                task,
                epoch,
                value: value(self.below(2)),
                samples: Some(self.below(9)),
            },
            14 | 15 => Input::Failed {
                task,
                epoch,
                reason: "broken".into(),
                transient: self.below(4) > 0,
            },
            16 => Input::Lost { node },
            17 => Input::Progress {
                task,
                epoch: epoch.next(),
            },
            _ => Input::Tick,
        }
    }
}

/// What must hold after every step.
fn invariants<T>(run: &Run<T>, known: &[(TaskIndex, Epoch)]) {
    let running = run.findings().filter(|finding| finding.state == "running");
    for finding in running {
        // A task has one attempt that lives, and it was started.
        assert!(known.contains(&(finding.task, finding.epoch)));
        assert!(run.wake_at().is_some());
    }
    assert_eq!(run.ended().is_none(), run.wake_at().is_some());
}

fn simulate<T>(seed: u64, plan: Plan<T>, samples: bool)
where
    T: Clone + PartialEq + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let mut world = World::new(seed);
    let (mut run, first) = Run::start(plan, Epoch(0), [1; 32], world.now);
    world.hear(&first);
    let mut started = starts(&first);
    let mut ends = 0;
    for step in 0..MOST_STEPS {
        let value = |n: u64| {
            if samples {
                Value::Numbers(vec![f64::from(u8::try_from(n).unwrap()), 0.1])
            } else {
                Value::Json(json!({ "answer": n }))
            }
        };
        let input = world.input(value);
        let before = run.clone();
        // Kept and restored, it does the same to the last bit.
        let text = serde_json::to_string(&run).unwrap();
        let mut restored: Run<T> = serde_json::from_str(&text).unwrap();
        let outputs = run.handle(input.clone(), world.now);
        assert_eq!(restored.handle(input, world.now), outputs, "seed {seed}");
        assert_eq!(restored, run, "seed {seed}");
        match outputs {
            Ok(outputs) => {
                if before.ended().is_some() {
                    assert!(outputs.is_empty(), "seed {seed}: after the end");
                    assert_eq!(before, run);
                }
                world.hear(&outputs);
                for start in starts(&outputs) {
                    assert!(!started.contains(&start), "seed {seed}: {start:?} twice");
                    started.push(start);
                }
                ends += outputs
                    .iter()
                    .filter(|output| **output == Output::Ended)
                    .count();
            }
            Err(_) => assert_eq!(before, run, "seed {seed}: a refusal changed something"),
        }
        invariants(&run, &world.known);
        assert_eq!(ends, usize::from(run.ended().is_some()), "seed {seed}");
        if run.ended().is_some() && step % 50 == 0 {
            return;
        }
    }
    panic!("seed {seed}: the plan hangs");
}

fn steps(retries: u32) -> Plan<u32> {
    let steps = (1..=4).map(|number| Step {
        number,
        name: "s".into(),
        source: if number == 1 {
            Source::ClientData
        } else {
            Source::Step(number - 1)
        },
        node: None,
        timeout: None,
        what: number,
    });
    chain(steps.collect(), OnFailure::RollBack(retries), 3, PATIENCE).unwrap()
}

#[test]
fn chains_end_once_whatever_happens() {
    for seed in 0..60 {
        simulate(seed, steps(u32::try_from(seed % 4).unwrap()), false);
    }
}

#[test]
fn audits_end_once_whatever_happens() {
    for seed in 0..60 {
        let plan = audit(
            &7u32,
            3 + usize::try_from(seed % 3).unwrap(),
            alike::Tolerance::SINGLE,
            4,
            PATIENCE,
        );
        simulate(seed, plan.unwrap(), false);
    }
}

#[test]
fn shards_end_once_whatever_happens() {
    for seed in 0..60 {
        let shards = (0..4u32).map(|shard| Shard {
            name: format!("s{shard}"),
            node: None,
            weight: 1.0 + f64::from(shard),
            what: shard,
        });
        let privacy = (seed % 2 == 0).then(|| privacy::Privacy::of(1.0));
        let how = Average {
            method: [
                Method::FederatedAveraging,
                Method::WeightedAverage,
                Method::Median,
            ][usize::try_from(seed % 3).unwrap()],
            privacy,
        };
        simulate(
            seed,
            collaborate(shards.collect(), how, 2, 3, PATIENCE).unwrap(),
            true,
        );
    }
}

/// A rollback-free graph with every wish, so that losses meet each of them.
#[test]
fn graphs_with_wishes_end_once_whatever_happens() {
    for seed in 0..60 {
        let mut tasks = vec![
            task("a", &[]),
            task("b", &[]),
            task("c", &["a", "b"]),
            task("d", &["c"]),
            task("e", &["a", "d"]),
        ];
        tasks[0].wish = Wish::Prefer(node("n1"));
        tasks[1].wish = Wish::Only(node("n2"));
        tasks[2].wish = Wish::First;
        for task in &mut tasks {
            task.attempts = 8;
        }
        simulate(seed, Plan::new(draft(tasks)).unwrap(), false);
    }
}

#[test]
fn rounds_of_proving_end_once_and_release_every_worker() {
    let terms = Terms {
        units: 4,
        rounds: 4,
        deal_wait: Duration::from_secs(30),
        lease: Duration::from_secs(20),
        phase: Duration::from_secs(60),
        round: Duration::from_secs(300),
    };
    let mut proofs = 0;
    for seed in 0..120 {
        let mut world = World::new(seed);
        let (mut proving, mut outputs) = Proving::start(terms, world.now).unwrap();
        let mut held: Vec<NodeName> = Vec::new();
        let mut ends = 0;
        for _ in 0..MOST_STEPS {
            let mut answer = None;
            for output in &outputs {
                match output {
                    proving::Output::Task(task) => world.hear([task]),
                    proving::Output::Release(free) => {
                        assert_eq!(*free, held, "seed {seed}");
                        held.clear();
                    }
                    proving::Output::Deal { units, without } => {
                        assert!(held.is_empty(), "seed {seed}");
                        let free: Vec<_> = (0..6)
                            .map(|n| node(&format!("n{n}")))
                            .filter(|name| !without.contains(name))
                            .map(|name| Worker { name, capacity: 2 })
                            .collect();
                        answer = Some(match Gang::deal(&free, *units) {
                            Ok(gang) => {
                                held = gang.members().iter().map(|m| m.name.clone()).collect();
                                proving::Input::Gang(gang)
                            }
                            Err(error) => proving::Input::NoGang {
                                reason: error.to_string(),
                            },
                        });
                    }
                    proving::Output::Ended => ends += 1,
                }
            }
            if proving.ended().is_some() {
                break;
            }
            let rows = |n| {
                Value::Rows(vec![Row {
                    group: n,
                    words: vec![n],
                }])
            };
            let input = answer.unwrap_or_else(|| proving::Input::Task(world.input(rows)));
            let text = serde_json::to_string(&proving).unwrap();
            let mut restored: Proving = serde_json::from_str(&text).unwrap();
            let result = proving.handle(input.clone(), world.now);
            assert_eq!(restored.handle(input, world.now), result, "seed {seed}");
            assert_eq!(restored, proving, "seed {seed}");
            outputs = result.unwrap_or_default();
        }
        assert_eq!(ends, 1, "seed {seed}");
        assert!(held.is_empty(), "seed {seed}");
        proofs += usize::from(proving::proof(proving.ended().unwrap()).is_some());
    }
    // Some come through, some do not: the seeds reach both.
    assert!((5..115).contains(&proofs), "{proofs}");
}
