//! A Python program in namespaces of its own, which bubblewrap makes.
//!
//! It sees the system's `/usr`, its program and its inputs, none of which it can
//! write to; its working folder, which it can; and a `/tmp` and `/dev/shm` in memory,
//! of bounded size. It has no network, no other process to see or to signal, no
//! capability, a filter on its calls, and limits that its processes inherit. All of it
//! ends with the first process of its namespace, which ends with bubblewrap, which
//! ends with the worker: the kernel kills it, whatever it does.

use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Stdio};

use embermesh_job::spec::Script;
use rustix::io::{FdFlags, fcntl_setfd};
use serde::Deserialize;

use super::ScriptFailed;
use super::confine::{self, Confine};
use super::layout::Layout;
use super::pipes::Pipes;
use super::taken::{Taken, of_tree};
use super::watch::{self, MAX_TASKS};
use crate::failure::{WorkFailed, at};
use crate::pipe::WorkOrder;
use crate::sandbox::calls;

/// Where bubblewrap and Python are looked for: nobody's `PATH` decides it.
pub(super) const BWRAP: &str = "/usr/bin/bwrap";
/// The system's Python.
pub(super) const PYTHON: &str = "/usr/bin/python3";

/// `/tmp` and `/dev/shm` have an eighth of the job's memory each, and no more than
/// this. They are taken off what its processes may have.
const MAX_TEMPORARY: u64 = 256 << 20;

/// The kernel's limit on threads and processes: some more than the watch allows, so that
/// it is the watch that says why.
const TASKS_LIMIT: u64 = MAX_TASKS + 32;

/// What the kernel's limit on a process's memory leaves for the stacks of its threads,
/// which are promised whole and hardly touched; what is touched, the watch counts.
const STACKS: u64 = 256 << 20;

/// The most threads that numeric libraries are told to start.
const MAX_LIBRARY_THREADS: usize = 32;

/// What runs inside before the program: it limits the number of processes, which the
/// namespace counts where it is not root's, closes what the node was started with and
/// passed on unawares, and becomes the interpreter of the program.
const FIRST: &str = "\
import os, resource, sys
most, hard = int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_NPROC)[1]
most = most if hard < 0 else min(most, hard)
resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
os.closerange(3, 1 << 20)
os.execv(sys.argv[2], sys.argv[2:])
";

/// A program that was started.
pub(super) struct Running {
    child: Child,
    pipes: Option<(ChildStdout, ChildStderr)>,
    /// The first process of its namespace, with which all of it ends; none where
    /// bubblewrap came to nothing.
    first: Option<u32>,
    /// Whether it has been waited for.
    over: bool,
}

/// Starts a program. The worker must not have fenced itself in yet.
pub(super) fn start(
    script: &Script,
    layout: &Layout,
    order: &WorkOrder,
) -> Result<Running, WorkFailed> {
    for program in [BWRAP, PYTHON] {
        if !Path::new(program).exists() {
            return Err(missing(program).into());
        }
    }
    let no_runtime = |error: std::io::Error| ScriptFailed::NoRuntime(error.to_string());
    // Descriptors that bubblewrap is to have, and nobody else: no other thread starts
    // processes here.
    let (told, tells) = std::io::pipe().map_err(no_runtime)?;
    let filters = filters().map_err(no_runtime)?;
    let [first, second] = &filters;
    for descriptor in [tells.as_fd(), first.as_fd(), second.as_fd()] {
        fcntl_setfd(descriptor, FdFlags::empty())
            .map_err(|error| ScriptFailed::NoRuntime(error.to_string()))?;
    }
    let memory = order.ceilings.memory_bytes;
    let mut args = walls(layout, temporary(memory));
    args.extend([
        "--info-fd".to_owned(),
        tells.as_raw_fd().to_string(),
        "--add-seccomp-fd".to_owned(),
        first.as_raw_fd().to_string(),
        "--add-seccomp-fd".to_owned(),
        second.as_raw_fd().to_string(),
    ]);
    environment(script, order.threads, &mut args);
    interpreter(script, &mut args);
    let confine = Confine {
        memory_bytes: own_memory(memory) + STACKS,
        file_bytes: order.ceilings.output_bytes,
        tasks: TASKS_LIMIT,
        cpu_s: script.cpu.map(|cpu| cpu.0.div_ceil(1000)),
        program: BWRAP.into(),
        args,
    };
    let mut command = confine::command(&confine).map_err(no_runtime)?;
    command
        .stdin(layout.open_stdin()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(no_runtime)?;
    drop(tells);
    Ok(Running {
        pipes: child.stdout.take().zip(child.stderr.take()),
        first: first_process(told),
        child,
        over: false,
    })
}

/// What bubblewrap says of the namespace that it has made, before anything runs in it.
#[derive(Deserialize)]
struct Info {
    #[serde(rename = "child-pid")]
    first: u32,
}

fn first_process(mut told: PipeReader) -> Option<u32> {
    let mut info = String::new();
    // It ends when bubblewrap has said it, or has ended.
    told.read_to_string(&mut info).ok()?;
    serde_json::from_str::<Info>(&info)
        .ok()
        .map(|info| info.first)
}

pub(super) fn missing(program: &str) -> ScriptFailed {
    ScriptFailed::NoRuntime(format!(
        "{program} is missing: install bubblewrap and python3"
    ))
}

fn temporary(memory: u64) -> u64 {
    (memory / 8).min(MAX_TEMPORARY)
}

/// Memory for the program's processes, of what the job may take.
fn own_memory(memory: u64) -> u64 {
    memory.saturating_sub(2 * temporary(memory))
}

/// The program's filters, each as a pipe that ends behind it.
fn filters() -> std::io::Result<[PipeReader; 2]> {
    let [first, second] = calls::of_programs().map_err(std::io::Error::other)?;
    let piped = |bytes: Vec<u8>| -> std::io::Result<PipeReader> {
        let (reader, mut writer) = std::io::pipe()?;
        // A filter is some KiB, and a pipe holds 64: nobody has to read meanwhile.
        writer.write_all(&bytes)?;
        Ok(reader)
    };
    Ok([piped(first)?, piped(second)?])
}

/// Namespaces, and what is seen inside.
fn walls(layout: &Layout, temporary: u64) -> Vec<String> {
    let mut args = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
    add(&["--unshare-all", "--unshare-user", "--disable-userns"]);
    add(&["--uid", "65534", "--gid", "65534", "--hostname", "script"]);
    add(&[
        "--cap-drop",
        "ALL",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
    ]);
    add(&["--ro-bind", "/usr", "/usr"]);
    for name in ["bin", "lib", "lib32", "lib64"] {
        let path = format!("/{name}");
        match std::fs::read_link(&path) {
            Ok(target) => add(&["--symlink", &target.to_string_lossy(), &path]),
            Err(_) => add(&["--ro-bind-try", &path, &path]),
        }
    }
    for path in ["/etc/ld.so.cache", "/etc/alternatives"] {
        add(&["--ro-bind-try", path, path]);
    }
    add(&["--proc", "/proc", "--tmpfs", "/dev"]);
    for name in ["null", "zero", "full", "random", "urandom"] {
        let path = format!("/dev/{name}");
        add(&["--dev-bind", &path, &path]);
    }
    add(&["--symlink", "/proc/self/fd", "/dev/fd"]);
    let size = temporary.to_string();
    for path in ["/dev/shm", "/tmp"] {
        add(&["--size", &size, "--tmpfs", path]);
    }
    let path = |path: &Path| path.to_string_lossy().into_owned();
    add(&["--ro-bind", &path(&layout.program), PROGRAM]);
    add(&["--ro-bind", &path(&layout.inputs), "/inputs"]);
    add(&["--bind", &path(&layout.work), "/work"]);
    add(&[
        "--remount-ro",
        "/proc",
        "--remount-ro",
        "/dev",
        "--remount-ro",
        "/",
        "--chdir",
        "/work",
    ]);
    args
}

/// Where the program lies inside. An archive is one whatever it is called.
const PROGRAM: &str = "/program/program.py";

fn environment(script: &Script, threads: u32, args: &mut Vec<String>) {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads as usize,
    };
    let threads = threads.min(MAX_LIBRARY_THREADS).to_string();
    let mut set = |name: &str, value: &str| {
        args.extend(["--setenv", name, value].map(str::to_owned));
    };
    for (name, value) in [
        ("PATH", "/usr/bin:/bin"),
        // There is no home; some libraries want a place all the same.
        ("HOME", "/tmp"),
        ("TMPDIR", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("PYTHONUTF8", "1"),
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        // The same order of a set in every run.
        ("PYTHONHASHSEED", "0"),
        ("OMP_NUM_THREADS", &threads),
        ("OPENBLAS_NUM_THREADS", &threads),
    ] {
        set(name, value);
    }
    if script.entry.is_some() {
        set("PYTHONPATH", PROGRAM);
    }
    for (name, value) in &script.env {
        set(name, value);
    }
}

fn interpreter(script: &Script, args: &mut Vec<String>) {
    let most = TASKS_LIMIT.to_string();
    args.extend(["--", PYTHON, "-I", "-S", "-c", FIRST, &most, PYTHON].map(str::to_owned));
    match &script.entry {
        Some(module) => args.extend(["-m".to_owned(), module.clone()]),
        None => args.push(PROGRAM.to_owned()),
    }
    args.extend(script.args.iter().cloned());
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it writes, for whoever reads it to the end.
    pub(super) fn outputs(&mut self) -> Option<(&mut ChildStdout, &mut ChildStderr)> {
        let (stdout, stderr) = self.pipes.as_mut()?;
        Some((stdout, stderr))
    }

    /// Begins to read what it writes.
    pub(super) fn pipes(&mut self) -> Result<Pipes, WorkFailed> {
        let (stdout, stderr) = self
            .pipes
            .take()
            .ok_or_else(|| WorkFailed::Internal("the program has no pipes".to_owned()))?;
        Pipes::read(stdout, stderr).map_err(at(Path::new(BWRAP)))
    }
}

impl watch::Running for Running {
    fn taken(&mut self) -> Taken {
        of_tree(self.child.id(), MAX_TASKS)
    }

    fn memory(&self, ceiling: u64) -> u64 {
        own_memory(ceiling)
    }

    fn ended(&mut self) -> Option<Result<(), ScriptFailed>> {
        let status = match self.child.try_wait() {
            Ok(status) => status?,
            Err(error) => return Some(Err(ScriptFailed::NoRuntime(error.to_string()))),
        };
        self.over = true;
        let words = String::new();
        // bubblewrap tells of a signal as a shell does.
        let signal = status.signal().or_else(|| {
            status
                .code()
                .filter(|code| *code > 128)
                .map(|code| code - 128)
        });
        Some(match (status.code(), signal) {
            (Some(0), _) => Ok(()),
            (_, Some(signal)) => Err(ScriptFailed::Signal { signal, words }),
            (code, None) => Err(ScriptFailed::Exit {
                code: code.unwrap_or_default(),
                words,
            }),
        })
    }

    fn is_gone(&self) -> bool {
        // It ends after all the others: the kernel waits for them.
        let Some(first) = self.first else { return true };
        std::fs::read_to_string(format!("/proc/{first}/stat")).map_or(true, |stat| {
            let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
            state.is_none_or(|state| state.starts_with(['Z', 'X']))
        })
    }

    fn kill(&mut self) {
        if !self.over {
            self.over = true;
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn pause(&mut self, _: bool) -> bool {
        // Its processes come and go; there is no one word that holds them all.
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        watch::Running::kill(self);
    }
}
