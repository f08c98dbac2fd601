//! A WebAssembly module under WASI preview 1, on a thread of the worker.
//!
//! The worker is fenced in before the module is compiled: what wasmtime makes of it
//! runs inside the same fences. Beside them the module has its own: a ceiling on its
//! linear memory, an epoch that stops it wherever it is, fuel where the spec asks for
//! it, and no more of the file system than two folders.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use embermesh_job::spec::Script;
use wasmtime::{
    Config, Engine, Linker, Module, Store, StoreLimits, StoreLimitsBuilder, Trap, UpdateDeadline,
};
use wasmtime_wasi::cli::{InputFile, OutputFile};
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

use super::ScriptFailed;
use super::layout::Layout;
use super::pipes::Pipes;
use super::reins::{Reins, Wish};
use super::taken::{Taken, of_this};
use super::watch;
use crate::failure::{WorkFailed, at};
use crate::pipe::WorkOrder;

/// Bytes of stack that WebAssembly may use.
const WASM_STACK: usize = 1 << 20;

/// Bytes of stack of the thread: the compiler's recursion and the module's.
const THREAD_STACK: usize = 8 << 20;

/// Memory that is kept back from the module, for what the host does for it.
const KEPT_BACK: u64 = 32 << 20;

/// The most elements of all tables.
const TABLE_ELEMENTS: usize = 1 << 20;

/// Bytes of a reason that are told.
const MAX_REASON: usize = 1024;

/// A module that runs.
pub(super) struct Running {
    engine: Engine,
    reins: Arc<Reins>,
    end: Receiver<Result<(), ScriptFailed>>,
    before: Taken,
}

/// What a module works with.
struct Host {
    wasi: WasiP1Ctx,
    limits: StoreLimits,
}

/// Compiles and starts a module on a thread of its own.
pub(super) fn start(
    script: &Script,
    layout: &Layout,
    order: &WorkOrder,
) -> Result<(Running, Pipes), WorkFailed> {
    let before = of_this();
    let engine = engine(script)?;
    let piped = || std::io::pipe().map_err(at(&layout.root));
    let ((stdout, to_stdout), (stderr, to_stderr)) = (piped()?, piped()?);
    let pipes = Pipes::read(stdout, stderr).map_err(at(&layout.root))?;
    let mut wasi = WasiCtxBuilder::new();
    wasi.arg("program")
        .args(&script.args)
        .stdin(InputFile::new(layout.open_stdin()?))
        .stdout(OutputFile::new(into_file(to_stdout)))
        .stderr(OutputFile::new(into_file(to_stderr)))
        // The thread is the module's own.
        .allow_blocking_current_thread(true)
        .allow_tcp(false)
        .allow_udp(false);
    for (name, value) in &script.env {
        wasi.env(name, value);
    }
    let folders = [
        (&layout.work, "/work", FsPerms::ReadWrite),
        (&layout.inputs, "/inputs", FsPerms::ReadOnly),
        // What names without a folder mean.
        (&layout.work, ".", FsPerms::ReadWrite),
    ];
    for (path, name, perms) in folders {
        wasi.preopened_dir(path, name, perms)
            .map_err(|error| WorkFailed::Internal(format!("{}: {error}", path.display())))?;
    }
    let program = std::fs::read(&layout.program).map_err(at(&layout.program))?;
    let reins = Arc::new(Reins::default());
    let (tell, end) = sync_channel(1);
    let part = Part {
        engine: engine.clone(),
        program,
        wasi: wasi.build_p1(),
        reins: Arc::clone(&reins),
        memory: order.ceilings.memory_bytes.saturating_sub(KEPT_BACK),
        before,
        fuel: script.fuel,
    };
    let thread = std::thread::Builder::new()
        .name("script-wasm".to_owned())
        .stack_size(THREAD_STACK);
    // It ends with its module, or with the process.
    thread
        .spawn(move || part.run(&tell))
        .map_err(at(&layout.root))?;
    let running = Running {
        engine,
        reins,
        end,
        before,
    };
    Ok((running, pipes))
}

#[cfg(unix)]
fn into_file(pipe: std::io::PipeWriter) -> std::fs::File {
    std::os::fd::OwnedFd::from(pipe).into()
}

#[cfg(windows)]
fn into_file(pipe: std::io::PipeWriter) -> std::fs::File {
    std::os::windows::io::OwnedHandle::from(pipe).into()
}

fn engine(script: &Script) -> Result<Engine, WorkFailed> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(script.fuel.is_some())
        .max_wasm_stack(WASM_STACK)
        // Without files in memory, which nobody would count.
        .memory_init_cow(false);
    Engine::new(&config)
        .map_err(|error| ScriptFailed::NoRuntime(short(&format!("{error:#}"))).into())
}

/// What the module's thread is given.
struct Part {
    engine: Engine,
    program: Vec<u8>,
    wasi: WasiP1Ctx,
    reins: Arc<Reins>,
    /// Memory of the job, beside what is kept back.
    memory: u64,
    before: Taken,
    fuel: Option<u64>,
}

impl Part {
    fn run(self, tell: &SyncSender<Result<(), ScriptFailed>>) {
        let end = self.work();
        // Whoever watches may have gone.
        let _ = tell.send(end);
    }

    fn work(self) -> Result<(), ScriptFailed> {
        // A runtime with a clock and without a reactor: there is nothing to wait for
        // but time, and a reactor needs sockets, which the fences deny.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_stack_size(256 * 1024)
            .enable_time()
            .build()
            .map_err(|error| ScriptFailed::NoRuntime(error.to_string()))?;
        let _entered = runtime.enter();
        let module = Module::new(&self.engine, &self.program)
            .map_err(|error| ScriptFailed::Module(short(&format!("{error:#}"))))?;
        drop(self.program);
        let compiled = of_this().since(self.before).memory;
        let memory = self.memory.saturating_sub(compiled);
        let host = Host {
            wasi: self.wasi,
            limits: StoreLimitsBuilder::new()
                .memory_size(usize::try_from(memory).unwrap_or(usize::MAX))
                .table_elements(TABLE_ELEMENTS)
                .instances(1)
                .memories(1)
                .build(),
        };
        let mut store = Store::new(&self.engine, host);
        store.limiter(|host| &mut host.limits);
        if let Some(fuel) = self.fuel {
            store
                .set_fuel(fuel)
                .map_err(|error| ScriptFailed::Module(short(&error.to_string())))?;
        }
        let reins = self.reins;
        store.epoch_deadline_callback(move |_| {
            reins.pass()?;
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_epoch_deadline(1);
        let mut linker = Linker::new(&self.engine);
        add_to_linker_sync(&mut linker, |host: &mut Host| &mut host.wasi)
            .map_err(|error| ScriptFailed::NoRuntime(short(&format!("{error:#}"))))?;
        let refused = |error: wasmtime::Error| ended(&error, self.fuel, ScriptFailed::Module);
        let instance = match linker.instantiate(&mut store, &module) {
            Ok(instance) => instance,
            Err(error) => return refused(error),
        };
        let start = match instance.get_typed_func::<(), ()>(&mut store, "_start") {
            Ok(start) => start,
            Err(error) => return refused(error),
        };
        let trapped = |reason| ScriptFailed::Trap {
            reason,
            words: String::new(),
        };
        start
            .call(&mut store, ())
            .or_else(|error| ended(&error, self.fuel, trapped))
    }
}

/// What an error of wasmtime's means: an exit, the end of its fuel, or `other`.
fn ended(
    error: &wasmtime::Error,
    fuel: Option<u64>,
    other: impl FnOnce(String) -> ScriptFailed,
) -> Result<(), ScriptFailed> {
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        return match *code {
            0 => Ok(()),
            code => Err(ScriptFailed::Exit {
                code,
                words: String::new(),
            }),
        };
    }
    if let (Some(Trap::OutOfFuel), Some(fuel)) = (error.downcast_ref::<Trap>(), fuel) {
        return Err(ScriptFailed::Fuel { fuel });
    }
    // The innermost cause says what happened; what is around it, where.
    let reason = match error.downcast_ref::<Trap>() {
        Some(trap) => trap
            .to_string()
            .trim_start_matches("wasm trap: ")
            .to_owned(),
        None => format!("{error:#}"),
    };
    Err(other(short(&reason)))
}

fn short(reason: &str) -> String {
    let mut text = reason
        .trim()
        .replace(|c: char| c.is_control() && c != '\n', " ");
    text.truncate(text.floor_char_boundary(MAX_REASON));
    text
}

impl watch::Running for Running {
    fn taken(&mut self) -> Taken {
        // The module looks at its reins wherever it is.
        self.engine.increment_epoch();
        let mut taken = of_this().since(self.before);
        taken.tasks = 1;
        taken
    }

    fn memory(&self, ceiling: u64) -> u64 {
        ceiling
    }

    fn ended(&mut self) -> Option<Result<(), ScriptFailed>> {
        match self.end.try_recv() {
            Ok(end) => Some(end),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ScriptFailed::Trap {
                reason: "its thread panicked".to_owned(),
                words: String::new(),
            })),
        }
    }

    fn kill(&mut self) {
        self.reins.set(Wish::Stop);
        self.engine.increment_epoch();
    }

    fn pause(&mut self, paused: bool) -> bool {
        self.reins.set(if paused { Wish::Wait } else { Wish::Run });
        self.engine.increment_epoch();
        true
    }
}
