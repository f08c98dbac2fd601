//! One script in a worker process, from its order to its end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use embermesh_compute::FailureClass;
use embermesh_compute::frame;
use embermesh_compute::pipe::{FromWorker, ToWorker, WorkOrder, WorkerEventKind};
use embermesh_compute::script::probe::RuntimeReport;
use embermesh_job::event::{EventKind, LogStream};
use embermesh_job::spec::{JobSpec, Limits, Requirements, Runtime, Script, Work};
use embermesh_job::units::{Bytes, Millis};

use crate::support::Bench;

pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_compute-worker");

pub(crate) const MEBIBYTE: u64 = 1 << 20;

/// How long a script may take to be gone when it must.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Why a runtime does not work here, for a test that needs it.
pub(crate) fn fault(runtime: Runtime) -> Option<String> {
    let answer = Command::new(WORKER)
        .args(["--probe-runtime", runtime.as_str()])
        .output()
        .unwrap();
    match serde_json::from_slice(&answer.stdout).unwrap() {
        RuntimeReport::Works(name) => {
            println!("{name}");
            None
        }
        RuntimeReport::Fault(fault) => Some(fault),
    }
}

/// Ends a test that has nothing to run on, and says so.
#[macro_export]
macro_rules! needs_python {
    () => {
        if let Some(fault) = $crate::ran::fault(embermesh_job::spec::Runtime::Python) {
            println!("skipped: {fault}");
            return;
        }
    };
}

/// A script with nothing but its program.
pub(crate) fn script(bench: &mut Bench, runtime: Runtime, program: &[u8]) -> Script {
    Script {
        runtime,
        program: bench.input(program),
        entry: None,
        args: Vec::new(),
        env: BTreeMap::new(),
        stdin: None,
        inputs: BTreeMap::new(),
        outputs: Vec::new(),
        archive: true,
        cpu: None,
        fuel: None,
    }
}

/// Its order, with room for little.
pub(crate) fn order(bench: &mut Bench, script: Script) -> WorkOrder {
    let mut order = bench.order(Work::Script(script.clone()));
    let limits = Limits {
        memory: Bytes(256 * MEBIBYTE),
        wall: Millis(60_000),
        cpu: None,
        output: Bytes(16 * MEBIBYTE),
    };
    let spec = JobSpec {
        name: "script".to_owned(),
        work: Work::Script(script),
        requires: Requirements::default(),
        limits,
        attempts: 1,
    };
    spec.validate().unwrap();
    order.spec = String::from_utf8(spec.canonical()).unwrap();
    order.ceilings.memory_bytes = limits.memory.0;
    order.ceilings.output_bytes = limits.output.0;
    order
}

/// A worker that was given a script.
pub(crate) struct Started {
    child: Child,
    to: Option<ChildStdin>,
    since: Instant,
    ran: Ran,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) artifacts: BTreeMap<String, PathBuf>,
    /// How it failed, if it did.
    pub(crate) failed: Option<(FailureClass, String)>,
    pub(crate) cancelled: bool,
    pub(crate) took: Duration,
    events: u64,
}

impl Started {
    pub(crate) fn new(order: WorkOrder) -> Self {
        let mut child = Command::new(WORKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut started = Self {
            to: child.stdin.take(),
            child,
            since: Instant::now(),
            ran: Ran::default(),
        };
        assert!(matches!(started.hear(), Some(FromWorker::Ready(_))));
        started.since = Instant::now();
        started.say(&ToWorker::Start(Box::new(order)));
        started
    }

    pub(crate) fn say(&mut self, message: &ToWorker) {
        let frame = frame::encode(message).unwrap();
        self.to.as_mut().unwrap().write_all(&frame).unwrap();
    }

    fn hear(&mut self) -> Option<FromWorker> {
        let message: Option<FromWorker> = frame::read(self.child.stdout.as_mut().unwrap()).ok();
        if let Some(message) = &message {
            self.note(message);
        }
        message
    }

    fn note(&mut self, message: &FromWorker) {
        let ran = &mut self.ran;
        match message {
            FromWorker::Event(event) => {
                ran.events += 1;
                assert_eq!(event.seq, ran.events, "numbers have no gaps");
                match &event.kind {
                    WorkerEventKind::Plain(EventKind::Logged { stream, text }) => {
                        assert!(text.len() <= 4096);
                        match stream {
                            LogStream::Stdout => ran.stdout.push_str(text),
                            LogStream::Stderr => ran.stderr.push_str(text),
                        }
                    }
                    WorkerEventKind::Artifact { name, path } => {
                        ran.artifacts.insert(name.clone(), path.clone());
                    }
                    _ => {}
                }
            }
            FromWorker::Failed { class, message } => {
                ran.failed = Some((*class, message.clone()));
            }
            FromWorker::Cancelled => ran.cancelled = true,
            FromWorker::Sandboxed(report) => {
                assert!(report.calls.starts_with("seccomp"), "{report:?}");
            }
            _ => {}
        }
    }

    /// Until its output holds a text.
    pub(crate) fn until_it_says(&mut self, text: &str) {
        while !self.ran.stdout.contains(text) {
            assert!(self.hear().is_some(), "it ended first: {:?}", self.ran);
        }
    }

    /// Until it says that it is paused, or goes on.
    pub(crate) fn until_paused(&mut self, is: bool) {
        while self.hear().expect("it goes on") != FromWorker::Paused(is) {}
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// To its end, when its process is gone.
    pub(crate) fn end(mut self) -> Ran {
        while self.hear().is_some() {}
        self.child.wait().unwrap();
        let mut ran = std::mem::take(&mut self.ran);
        ran.took = self.since.elapsed();
        println!("{ran:?}");
        ran
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// That it failed by what it did, and how it is told.
    pub(crate) fn refused(&self) -> &str {
        let (class, message) = self.failed.as_ref().expect("it fails");
        assert_eq!(*class, FailureClass::Invalid);
        message
    }
}

/// Runs a Python program that is given nothing.
pub(crate) fn python(source: &str) -> Ran {
    let mut bench = Bench::new();
    let script = script(&mut bench, Runtime::Python, source.as_bytes());
    let order = order(&mut bench, script);
    Started::new(order).end()
}

/// Processes that carry a word in their arguments or their environment.
pub(crate) fn processes_with(word: &str) -> Vec<u32> {
    let has = |pid: u32| {
        ["cmdline", "environ"].iter().any(|file| {
            std::fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|bytes| {
                bytes
                    .windows(word.len())
                    .any(|part| part == word.as_bytes())
            })
        })
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id() && has(*pid))
        .collect()
}

/// Waits until nobody carries a word any more.
pub(crate) fn nobody_has(word: &str) {
    let since = Instant::now();
    loop {
        let left = processes_with(word);
        if left.is_empty() {
            return;
        }
        assert!(since.elapsed() < GONE_WITHIN, "still there: {left:?}");
        // There is no event for the end of somebody else's process.
        std::thread::sleep(Duration::from_millis(10));
    }
}
