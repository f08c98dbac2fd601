//! The worker's process through its pipe: its life, its obedience, its end.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

#[path = "support/folder.rs"]
mod folder;
mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use embermesh_compute::frame::{self, FrameError};
use embermesh_compute::pipe::{
    Adjustment, FromWorker, ResumeFrom, ToWorker, WorkOrder, WorkerEventKind,
};
use embermesh_compute::probe::{WorkerCommand, probe_with};
use embermesh_compute::{DeviceChoice, DeviceFault, FailureClass, run_in_process};
use embermesh_job::crypto::statement::DeviceKind;
use embermesh_job::event::EventKind;
use embermesh_job::spec::{Embed, Generate, Request, Texts, Train, Work};
use support::{Bench, model, small_training};

const WORKER: &str = env!("CARGO_BIN_EXE_compute-worker");
const SIGKILL: i32 = 9;

/// How long a device may stay taken after a cancel.
const FREED_WITHIN: Duration = Duration::from_secs(2);

struct Worker {
    child: Child,
    to: Option<ChildStdin>,
    from: ChildStdout,
}

impl Worker {
    /// A worker that has said that it is ready.
    fn ready() -> Self {
        let mut child = Command::new(WORKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take();
        let from = child.stdout.take().unwrap();
        let mut worker = Self { child, to, from };
        assert!(
            matches!(worker.hear(), FromWorker::Ready(ready) if ready.device == DeviceChoice::Cpu)
        );
        worker
    }

    /// A worker that computes.
    fn working(order: WorkOrder) -> Self {
        let mut worker = Self::ready();
        worker.say(&ToWorker::Start(Box::new(order)));
        assert!(matches!(worker.hear(), FromWorker::Sandboxed(_)));
        assert!(matches!(worker.plain(), EventKind::Started { .. }));
        worker
    }

    fn say(&mut self, message: &ToWorker) {
        self.say_at_once(std::slice::from_ref(message));
    }

    /// Messages that are in the pipe together, with nothing of the work between them.
    fn say_at_once(&mut self, messages: &[ToWorker]) {
        let frames = messages
            .iter()
            .flat_map(|message| frame::encode(message).unwrap());
        let frames: Vec<u8> = frames.collect();
        self.to.as_mut().unwrap().write_all(&frames).unwrap();
    }

    fn hear(&mut self) -> FromWorker {
        frame::read(&mut self.from).unwrap()
    }

    fn plain(&mut self) -> EventKind {
        match self.hear() {
            FromWorker::Event(event) => match event.kind {
                WorkerEventKind::Plain(kind) => kind,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// The rest of what it says, and how it ends.
    fn rest(mut self) -> (Vec<FromWorker>, ExitStatus) {
        let mut heard = Vec::new();
        loop {
            match frame::read(&mut self.from) {
                Ok(message) => heard.push(message),
                Err(FrameError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        (heard, self.child.wait().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // No test leaves a process behind, whatever it found.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A job that would take minutes, in short steps.
fn long(bench: &mut Bench) -> WorkOrder {
    let data = bench.digits(200);
    bench.order(Work::Train(Train {
        passes: 100_000,
        report_every: 1,
        checkpoint_every: 0,
        ..small_training(data)
    }))
}

#[test]
fn a_job_runs_from_order_to_artifact_as_it_would_in_process() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let train = small_training(data);
    let order = bench.order(Work::Train(train.clone()));
    let path = order.workdir.join("model.safetensors");
    let mut worker = Worker::ready();
    worker.say(&ToWorker::Start(Box::new(order)));
    let (heard, status) = worker.rest();
    assert!(status.success(), "{status}");
    let Some(FromWorker::Sandboxed(report)) = heard.first() else {
        panic!("{heard:?}");
    };
    println!("{report:?}");
    let seqs = heard.iter().filter_map(|message| match message {
        FromWorker::Event(event) => Some(event.seq),
        _ => None,
    });
    let Some(FromWorker::Done(summary)) = heard.last() else {
        panic!("{heard:?}");
    };
    assert!(seqs.eq(1..summary.next_seq));

    let here = bench.order(Work::Train(train));
    assert_eq!(run_in_process(&here, &mut |_| ()).unwrap(), *summary);
    let here = std::fs::read(here.workdir.join("model.safetensors")).unwrap();
    assert!(
        std::fs::read(path).unwrap() == here,
        "weights differ over the pipe"
    );
}

#[test]
fn a_resumed_job_repeats_what_it_is_asked_to() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let train = small_training(data);
    let first = bench.order(Work::Train(train.clone()));
    let mut events = Vec::new();
    run_in_process(&first, &mut |event| events.push(event)).unwrap();
    let saved = events
        .iter()
        .find(|event| matches!(event.kind, WorkerEventKind::Checkpoint { step: 12, .. }))
        .unwrap();
    let mut order = bench.order(Work::Train(train));
    order.resume = Some(ResumeFrom {
        path: first.workdir.join("checkpoint-12.safetensors"),
        replay_after: Some(2),
    });
    let mut worker = Worker::ready();
    worker.say(&ToWorker::Start(Box::new(order)));
    let (heard, _) = worker.rest();
    let replayed: Vec<(u64, &EventKind)> = heard
        .iter()
        .filter_map(|message| match message {
            FromWorker::Replayed { seq, kind } => Some((*seq, kind)),
            _ => None,
        })
        .collect();
    // From the first that was not heard to the checkpoint itself, as they were.
    assert!(replayed.iter().map(|(seq, _)| *seq).eq(3..=saved.seq));
    for (seq, kind) in replayed {
        match &events[seq as usize - 1].kind {
            WorkerEventKind::Plain(before) => assert_eq!(kind, before),
            WorkerEventKind::Checkpoint { step: before, .. } => {
                assert!(matches!(kind, EventKind::Checkpoint { step, .. } if step == before));
            }
            other => panic!("{other:?}"),
        }
    }
    let next = heard.iter().find_map(|message| match message {
        FromWorker::Event(event) => Some(event.seq),
        _ => None,
    });
    assert_eq!(next, Some(saved.seq + 1));
}

#[test]
fn pause_holds_the_work_until_resume_and_cancel_ends_it() {
    let mut bench = Bench::new();
    let mut worker = Worker::working(long(&mut bench));
    worker.say(&ToWorker::Pause);
    while worker.hear() != FromWorker::Paused(true) {}
    // The next word can only be the answer to the next order.
    worker.say(&ToWorker::Resume);
    assert_eq!(worker.hear(), FromWorker::Paused(false));
    assert!(matches!(worker.hear(), FromWorker::Event(_)));
    worker.say(&ToWorker::Pause);
    while worker.hear() != FromWorker::Paused(true) {}
    worker.say(&ToWorker::Cancel);
    let (heard, status) = worker.rest();
    assert_eq!(heard, [FromWorker::Cancelled]);
    // The thread that was paused ends the process, or, if it does not wake in time,
    // the one that hears does.
    assert!(
        status.success() || status.signal() == Some(SIGKILL),
        "{status}"
    );
}

/// The adjustment is in the checkpoint that announces it: an attempt that goes
/// on from there is the one that was adjusted.
#[test]
fn another_learning_rate_is_obeyed_said_and_kept() {
    let mut bench = Bench::new();
    let train = Train {
        passes: 60,
        checkpoint_every: 0,
        ..small_training(bench.digits(200))
    };
    let order = bench.order(Work::Train(train.clone()));
    let workdir = order.workdir.clone();
    let mut worker = Worker::ready();
    // The pause is there before the work begins, which is over soon.
    worker.say_at_once(&[ToWorker::Start(Box::new(order)), ToWorker::Pause]);
    while worker.hear() != FromWorker::Paused(true) {}
    worker.say(&ToWorker::Adjust(Adjustment {
        learning_rate: Some(-1.0),
        weight_decay: None,
    }));
    worker.say(&ToWorker::Adjust(Adjustment {
        learning_rate: Some(0.001),
        weight_decay: Some(0.01),
    }));
    worker.say(&ToWorker::Resume);
    let (heard, status) = worker.rest();
    assert!(status.success(), "{status}");
    let adjusted = heard.iter().find_map(|message| match message {
        FromWorker::Event(event) => match event.kind {
            WorkerEventKind::Plain(EventKind::Adjusted {
                step,
                learning_rate,
                weight_decay,
            }) => Some((step, learning_rate, weight_decay, event.seq)),
            _ => None,
        },
        _ => None,
    });
    let (step, rate, decay, seq) = adjusted.unwrap();
    assert_eq!((rate, decay), (0.001, 0.01));
    let Some(FromWorker::Done(summary)) = heard.last() else {
        panic!("{heard:?}");
    };
    let artifact = std::fs::read(workdir.join("model.safetensors")).unwrap();

    let mut order = bench.order(Work::Train(train.clone()));
    order.resume = Some(ResumeFrom {
        path: workdir.join(format!("checkpoint-{step}.safetensors")),
        replay_after: None,
    });
    let mut seqs = Vec::new();
    let resumed = run_in_process(&order, &mut |event| seqs.push(event.seq)).unwrap();
    assert_eq!(resumed, *summary);
    // After the adjustment and the checkpoint.
    assert_eq!(seqs[0], seq + 2);
    let again = std::fs::read(order.workdir.join("model.safetensors")).unwrap();
    assert!(again == artifact, "the adjustment was not kept");
    let plain = bench.order(Work::Train(train));
    run_in_process(&plain, &mut |_| ()).unwrap();
    let plain = std::fs::read(plain.workdir.join("model.safetensors")).unwrap();
    assert!(plain != artifact, "the adjustment changed nothing");
}

#[test]
fn a_training_that_is_to_finish_gives_what_it_has() {
    let mut bench = Bench::new();
    let order = long(&mut bench);
    let path = order.workdir.join("model.safetensors");
    let mut worker = Worker::working(order);
    worker.say(&ToWorker::Pause);
    while worker.hear() != FromWorker::Paused(true) {}
    // It ends a pause, too.
    worker.say(&ToWorker::Finish);
    let (heard, status) = worker.rest();
    assert!(status.success(), "{status}");
    let Some(FromWorker::Done(summary)) = heard.last() else {
        panic!("{heard:?}");
    };
    let stopped = heard.iter().any(|message| match message {
        FromWorker::Event(event) => matches!(
            &event.kind,
            WorkerEventKind::Plain(EventKind::Stopped { step, reason })
                if *step == summary.steps && reason.starts_with("as asked, after step")
        ),
        _ => false,
    });
    assert!(stopped, "{heard:?}");
    assert!(summary.steps < 1000);
    assert!(path.exists());
}

#[test]
fn cancel_does_not_wait_for_a_long_step() {
    let mut bench = Bench::new();
    let data = bench.digits(1797);
    // A step of many times the bound, in batches that take little memory.
    let order = bench.order(Work::Train(Train {
        model: model(512, 512, 0.0),
        batch: 64,
        accumulate: 22,
        ..small_training(data)
    }));
    let mut worker = Worker::working(order);
    let asked = Instant::now();
    worker.say(&ToWorker::Cancel);
    let (heard, status) = worker.rest();
    assert_eq!(heard, [FromWorker::Cancelled]);
    // Killed in the middle of the step, or ended where the word came before it.
    assert!(
        status.success() || status.signal() == Some(SIGKILL),
        "{status}"
    );
    assert!(asked.elapsed() < FREED_WITHIN, "{:?}", asked.elapsed());
}

#[test]
fn cancel_ends_a_text_in_the_middle() {
    let mut bench = Bench::new();
    let model = bench.input(&tiny::endless(60_000).bytes());
    let order = bench.order(Work::Generate(Generate {
        model: model.into(),
        requests: vec![Request {
            max_tokens: 50_000,
            ..Request::prompt("abc")
        }],
        report_every: 1,
    }));
    let mut worker = Worker::working(order);
    assert!(matches!(worker.plain(), EventKind::Generated(_)));
    let asked = Instant::now();
    worker.say(&ToWorker::Cancel);
    let (heard, _) = worker.rest();
    assert_eq!(heard.last(), Some(&FromWorker::Cancelled));
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_worker_ends_when_its_pipe_closes() {
    let mut idle = Worker::ready();
    idle.to = None;
    assert!(idle.rest().1.success());

    let mut bench = Bench::new();
    let mut busy = Worker::working(long(&mut bench));
    busy.to = None;
    assert_eq!(busy.child.wait().unwrap().signal(), Some(SIGKILL));
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_ends_with_the_thread_that_started_it() {
    let mut worker = std::thread::spawn(Worker::ready).join().unwrap();
    assert_eq!(worker.child.wait().unwrap().signal(), Some(SIGKILL));
}

/// A pipe that takes nothing more, and its reader: whoever writes to it hangs.
#[cfg(target_os = "linux")]
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let full = loop {
        if let Err(error) = writer.write(&[b' '; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

/// A probe in a driver that hangs has no pipe that would end it. Here it hangs on its
/// answer, which nobody takes.
#[cfg(target_os = "linux")]
#[test]
fn a_probe_that_hangs_ends_with_the_thread_that_started_it() {
    let (_answers, nowhere) = full_pipe();
    let start = move || {
        let child = Command::new(WORKER)
            .args(["--probe", "cpu"])
            .stdin(Stdio::null())
            .stdout(nowhere)
            .spawn()
            .unwrap();
        // Nothing tells when its guards are up, but the limit that is the last of them
        // can be seen from outside.
        let limits = format!("/proc/{}/limits", child.id());
        let guarded = || {
            let limits = std::fs::read_to_string(&limits).unwrap();
            let line = limits
                .lines()
                .find(|line| line.starts_with("Max open files"));
            line.unwrap().split_whitespace().nth(3) == Some("256")
        };
        while !guarded() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    };
    let mut child = std::thread::spawn(start).join().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(SIGKILL));
}

#[test]
fn what_is_no_order_is_refused() {
    let mut worker = Worker::ready();
    worker.to.as_mut().unwrap().write_all(&[0xff; 8]).unwrap();
    let (heard, status) = worker.rest();
    assert!(matches!(
        &heard[..],
        [FromWorker::Failed { class: FailureClass::Internal, message }] if message.contains("longer")
    ));
    assert!(!status.success());

    let mut bench = Bench::new();
    let mut order = long(&mut bench);
    order.device = DeviceChoice::Cuda(0);
    let mut worker = Worker::ready();
    worker.say(&ToWorker::Start(Box::new(order)));
    assert!(matches!(
        worker.hear(),
        FromWorker::Failed {
            class: FailureClass::Internal,
            ..
        }
    ));
}

#[test]
fn shutdown_ends_an_idle_worker() {
    let mut worker = Worker::ready();
    worker.say(&ToWorker::Shutdown);
    let (heard, status) = worker.rest();
    assert!(heard.is_empty() && status.success());
}

#[test]
fn a_failure_is_the_last_word() {
    let mut bench = Bench::new();
    let mut order = long(&mut bench);
    order.ceilings.memory_bytes = 1000;
    let mut worker = Worker::ready();
    worker.say(&ToWorker::Start(Box::new(order)));
    let (heard, _) = worker.rest();
    assert!(
        matches!(
            &heard[..],
            [
                FromWorker::Sandboxed(_),
                FromWorker::Failed {
                    class: FailureClass::Resource,
                    ..
                }
            ]
        ),
        "{heard:?}"
    );
}

#[test]
fn a_worker_that_is_not_spoken_to_says_what_it_is() {
    let output = Command::new(WORKER).arg("--job").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the node starts it"));
}

fn shell(script: &str) -> WorkerCommand {
    WorkerCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
    }
}

#[test]
fn a_probe_measures_the_cpu() {
    let command = WorkerCommand {
        program: WORKER.into(),
        args: Vec::new(),
    };
    let report = probe_with(&command, DeviceChoice::Cpu, Duration::from_secs(60)).unwrap();
    println!("{report:?}");
    assert_eq!(report.kind, DeviceKind::Cpu);
    assert!(report.mflops > 100 && report.memory_bytes > 1 << 20 && !report.name.is_empty());
}

#[test]
fn a_probe_survives_whatever_the_driver_does() {
    let wait = Duration::from_secs(60);
    let choice = DeviceChoice::Wgpu(0);
    let died = probe_with(&shell("kill -SEGV $$"), choice, wait).unwrap_err();
    assert!(matches!(died, DeviceFault::Died { .. }), "{died}");
    let babble = probe_with(&shell("echo hello"), choice, wait).unwrap_err();
    assert!(matches!(babble, DeviceFault::Died { .. }), "{babble}");
    let fault = probe_with(&shell(r#"echo '{"fault":"no adapter"}'"#), choice, wait).unwrap_err();
    assert_eq!(fault.to_string(), "no adapter");
    let hangs = probe_with(&shell("exec sleep 600"), choice, Duration::from_millis(200));
    assert!(matches!(hangs, Err(DeviceFault::TimedOut { .. })));
    let absent = WorkerCommand {
        program: "/no/such/worker".into(),
        args: Vec::new(),
    };
    assert!(matches!(
        probe_with(&absent, choice, wait),
        Err(DeviceFault::NotStarted(_))
    ));
}

#[test]
fn what_a_driver_has_started_ends_with_the_probe() {
    use rustix::fs::{CWD, Mode, mkfifoat};
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    let script = format!(
        r#"exec 9>{}; sleep 600 & echo '{{"fault":"hangs"}}'; wait"#,
        fifo.display()
    );
    // It is read to its end when nobody is left that could write to it.
    let all_gone = std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(fifo).unwrap();
        pipe.read_to_end(&mut Vec::new()).unwrap()
    });
    let wait = Duration::from_secs(60);
    let fault = probe_with(&shell(&script), DeviceChoice::Wgpu(0), wait).unwrap_err();
    assert_eq!(fault.to_string(), "hangs");
    assert_eq!(all_gone.join().unwrap(), 0);
}

#[test]
fn a_device_that_is_not_there_is_a_fault_in_words() {
    let command = WorkerCommand {
        program: WORKER.into(),
        args: Vec::new(),
    };
    let fault = probe_with(&command, DeviceChoice::Wgpu(99), Duration::from_secs(60)).unwrap_err();
    println!("{fault}");
    assert!(matches!(fault, DeviceFault::Reported(_)), "{fault}");
}

#[test]
fn a_generation_that_is_to_finish_gives_the_text_it_has() {
    let mut bench = Bench::new();
    let model = bench.input(&tiny::endless(100_000).bytes()).into();
    let request = Request {
        max_tokens: 50_000,
        ..Request::prompt("abc")
    };
    // More than there are side by side: some have not begun.
    let order = bench.order(Work::Generate(Generate {
        model,
        requests: vec![request; 18],
        report_every: 1,
    }));
    let path = order.workdir.join("answers.jsonl");
    let mut worker = Worker::working(order);
    while !matches!(worker.plain(), EventKind::Generated(_)) {}
    worker.say(&ToWorker::Finish);
    let (heard, status) = worker.rest();
    assert!(status.success(), "{status}");
    let Some(FromWorker::Done(summary)) = heard.last() else {
        panic!("{heard:?}");
    };
    let stopped = heard.iter().any(|message| match message {
        FromWorker::Event(event) => matches!(
            &event.kind,
            WorkerEventKind::Plain(EventKind::Stopped { step, reason })
                if *step == summary.steps && reason.starts_with("as asked, after")
        ),
        _ => false,
    });
    assert!(stopped, "{heard:?}");
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 18);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["request"], number);
        assert_eq!(line["finish"], "stopped");
        assert_eq!(line["tokens"] == 0, number >= 16, "{line}");
    }
}

#[test]
fn an_embedding_that_is_to_finish_gives_the_vectors_it_has() {
    let mut bench = Bench::new();
    let model = folder::model(&mut bench, &folder::committed("tiny-bert"));
    let mut embed = Embed::new(model, Texts::Inline(vec!["a baby".to_owned(); 5000]));
    embed.batch = 1;
    let order = bench.order(Work::Embed(embed));
    let path = order.workdir.join("embeddings.safetensors");
    let mut worker = Worker::working(order);
    while !matches!(worker.plain(), EventKind::Progress(_)) {}
    worker.say(&ToWorker::Finish);
    let (heard, status) = worker.rest();
    assert!(status.success(), "{status}");
    let Some(FromWorker::Done(summary)) = heard.last() else {
        panic!("{heard:?}");
    };
    assert!((1..5000).contains(&summary.samples), "{summary:?}");
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let count = summary.samples as usize;
    assert_eq!(file.tensor("embeddings").unwrap().shape(), [count, 32]);
    assert_eq!(file.tensor("indices").unwrap().shape(), [count]);
}
