//! The worker's process: `embermesh worker`, hidden, started by the daemon.
//!
//! It brings its device up, says so, waits for one order, fences itself in,
//! does the work, and ends. Its life hangs on the pipe: when the daemon is
//! gone, killed or not, the pipe closes and the worker ends at once; should it
//! be stopped and unable to see that, the kernel kills it.
//!
//! The kernel's word for "the parent died" is the end of the *thread* that
//! started this process. A daemon must start workers from a thread that lives
//! as long as it does: a runtime's own thread, not one of a pool of blocking
//! threads, which ends when it is idle.

use std::fs::File;
use std::io::{IsTerminal, Read, stdin};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use embermesh_job::ask::Part;
use embermesh_job::spec::Runtime;

use crate::control::Control;
use crate::device::{DeviceChoice, open};
use crate::failure::{FailureClass, WorkFailed};
use crate::feed::{self, Feed};
use crate::frame::{self, FrameError, Incoming};
use crate::pipe::{FromWorker, Ready, ToWorker, WorkOrder};
use crate::sandbox::{self, Needs};
use crate::serve::inbox::{Mail, TOO_MANY};
use crate::software::Software;
use crate::usage::Usage;
use crate::{job, probe, script};

/// What a worker's environment should hold: glibc's allocator keeps large buffers for
/// the next step rather than give them back to the system, whose fresh pages cost a
/// step of a convolutional network a third of its time. Other allocators ignore it.
pub const ENVIRONMENT: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
    ("MALLOC_TRIM_THRESHOLD_", "4294967296"),
];

/// How long a cancelled job may take to end by itself before its process does.
const CANCEL_GRACE: Duration = Duration::from_millis(100);

/// The longest message of a failure, in bytes: a driver may say a lot.
const MAX_MESSAGE: usize = 4096;

const USAGE: &str = "this is the part of a node that runs one job; the node starts it\n\
    usage: worker [--device cpu|wgpu:N|cuda:N] | worker --probe DEVICE | worker --probe-runtime wasm|python | worker --fences";

/// Runs the worker. `args` are the words after `worker`.
pub fn main<I: IntoIterator<Item = String>>(args: I) -> ExitCode {
    match parse(args) {
        Ok(Task::Probe(choice)) => match stand_alone(Powers::None) {
            Ok(()) => probe::main(choice),
            Err(error) => refuse(&unguarded(&error)),
        },
        Ok(Task::Fences) => match stand_alone(Powers::None) {
            Ok(()) => show_fences(),
            Err(error) => refuse(&unguarded(&error)),
        },
        Ok(Task::ProbeRuntime(runtime)) => match stand_alone(Powers::ToMakeNamespaces) {
            Ok(()) => script::probe::main(runtime),
            Err(error) => refuse(&unguarded(&error)),
        },
        Ok(Task::Confine(order)) => confine(&order),
        Ok(Task::Serve(_)) if stdin().is_terminal() => refuse(USAGE),
        Ok(Task::Serve(choice)) => serve(choice),
        Err(problem) => refuse(&format!("{problem}\n{USAGE}")),
    }
}

enum Task {
    Probe(DeviceChoice),
    ProbeRuntime(Runtime),
    /// Become another program, as this says.
    Confine(String),
    Serve(DeviceChoice),
    Fences,
}

fn parse(args: impl IntoIterator<Item = String>) -> Result<Task, String> {
    let mut task = Task::Serve(DeviceChoice::Cpu);
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{flag} needs a value"));
        let mut device = || {
            value()?
                .parse::<DeviceChoice>()
                .map_err(|error| error.to_string())
        };
        task = match flag.as_str() {
            script::probe::FLAG => Task::ProbeRuntime(runtime(&value()?)?),
            "--confine" => Task::Confine(value()?),
            "--probe" => Task::Probe(device()?),
            "--device" => Task::Serve(device()?),
            "--fences" => Task::Fences,
            _ => return Err(format!("unknown flag {flag}")),
        };
    }
    Ok(task)
}

fn runtime(word: &str) -> Result<Runtime, String> {
    Runtime::ALL
        .into_iter()
        .find(|runtime| runtime.as_str() == word)
        .ok_or_else(|| format!("{word:?} is no runtime"))
}

/// Lowers this process's limits and becomes another program.
#[cfg(target_os = "linux")]
fn confine(order: &str) -> ExitCode {
    match raise_guards_but(Powers::ToMakeNamespaces) {
        Ok(()) => refuse(&script::confine::main(order).to_string()),
        Err(error) => refuse(&unguarded(&error)),
    }
}

#[cfg(not(target_os = "linux"))]
fn confine(_: &str) -> ExitCode {
    refuse("programs are confined on Linux only")
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(2)
}

/// The pipe to the daemon, which several threads write to.
struct Daemon {
    pipe: Mutex<File>,
}

impl Daemon {
    fn say(&self, message: &FromWorker) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = frame::write(&mut *pipe, message) {
            // Nobody hears this worker any more.
            eprintln!("{error}");
            end_now();
        }
    }
}

/// Raises the fences of a worker that needs nothing, and prints which there are: one
/// line of JSON.
fn show_fences() -> ExitCode {
    let nothing = Needs {
        read: Vec::new(),
        write: std::env::temp_dir(),
        memory_bytes: 0,
        output_bytes: 0,
        driver: false,
        watches: None,
    };
    let report = sandbox::enter(&nothing);
    match serde_json::to_string(&report) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&format!("the report does not encode: {error}")),
    }
}

fn unguarded(error: &std::io::Error) -> String {
    format!("the worker cannot guard itself: {error}")
}

fn serve(choice: DeviceChoice) -> ExitCode {
    // Scripts run on the processor; a driver's threads would keep what is left here.
    let powers = if choice == DeviceChoice::Cpu {
        Powers::ToMakeNamespaces
    } else {
        Powers::None
    };
    let daemon = match stand_alone(powers).and_then(|()| pipe_to_daemon()) {
        Ok(pipe) => Arc::new(Daemon {
            pipe: Mutex::new(pipe),
        }),
        Err(error) => return refuse(&unguarded(&error)),
    };
    let device = match open(choice) {
        Ok(device) => device,
        Err(fault) => return fail(&daemon, &fault.into()),
    };
    daemon.say(&FromWorker::Ready(Ready {
        device: choice,
        name: device.name.clone(),
        software: Software::of(choice.kind(), &device.driver),
    }));
    // Read without a thread and without a buffer: what follows the order
    // belongs to the thread that listens, which is started inside the fences.
    let order = match wait_for_order(&mut stdin().lock()) {
        Ok(Some(order)) => order,
        Ok(None) | Err(FrameError::Closed) => return ExitCode::SUCCESS,
        Err(error) => return fail(&daemon, &WorkFailed::Internal(error.to_string())),
    };
    if order.device != choice {
        let message = format!(
            "the order is for {} and this worker holds {choice}",
            order.device
        );
        return fail(&daemon, &WorkFailed::Internal(message));
    }
    let begun = match script::begin(&order) {
        Ok(begun) => begun,
        Err(failed) => return fail(&daemon, &failed),
    };
    #[cfg(target_os = "linux")]
    if let Err(error) = sandbox::privileges::drop_all() {
        return fail(&daemon, &WorkFailed::Internal(unguarded(&error)));
    }
    let watches = begun.as_ref().map(script::Begun::pid);
    daemon.say(&FromWorker::Sandboxed(sandbox::enter(&needs(
        &order, watches,
    ))));

    let control = Arc::new(Control::default());
    let ended = Arc::new(Ended::default());
    let asking = Arc::clone(&daemon);
    let feed = Arc::new(Feed::new(feed::Source::Daemon(Box::new(
        move |ask, samples: &[u32]| {
            let samples = samples.to_vec();
            asking.say(&FromWorker::Want { ask, samples });
        },
    ))));
    if let Err(error) = listen(&daemon, &control, &ended, &feed) {
        let message = format!("the thread that listens cannot be started: {error}");
        return fail(&daemon, &WorkFailed::Internal(message));
    }
    let outcome = job::run(&order, device, &control, &feed, begun, &mut |message| {
        daemon.say(&message)
    });
    if !ended.claim() {
        // The listener has said that the job was cancelled and ends the
        // process: a second last word would contradict it.
        loop {
            std::thread::park();
        }
    }
    match outcome {
        Ok(summary) => {
            if let Some(usage) = Usage::of_this_process() {
                daemon.say(&FromWorker::Used(usage));
            }
            daemon.say(&FromWorker::Done(summary));
            ExitCode::SUCCESS
        }
        Err(failed) => fail(&daemon, &failed),
    }
}

/// The first message that ends the wait: an order, or the word to go.
fn wait_for_order(from: &mut impl Read) -> Result<Option<Box<WorkOrder>>, FrameError> {
    loop {
        match frame::read(from)? {
            ToWorker::Start(order) => return Ok(Some(order)),
            ToWorker::Shutdown | ToWorker::Cancel => return Ok(None),
            ToWorker::Pause | ToWorker::Resume | ToWorker::Adjust(_) | ToWorker::Finish => {}
            // Nothing is resident yet.
            ToWorker::Ask { .. } | ToWorker::Drop { .. } => {}
        }
    }
}

/// Says why the job, or the worker, came to nothing.
fn fail(daemon: &Daemon, failed: &WorkFailed) -> ExitCode {
    let Some(class) = failed.class() else {
        daemon.say(&FromWorker::Cancelled);
        return ExitCode::SUCCESS;
    };
    let mut message = failed.to_string();
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    daemon.say(&FromWorker::Failed { class, message });
    match class {
        FailureClass::Invalid | FailureClass::Resource => ExitCode::SUCCESS,
        FailureClass::Device | FailureClass::Internal => ExitCode::FAILURE,
    }
}

fn needs(order: &WorkOrder, watches: Option<u32>) -> Needs {
    let resume = order.resume.iter().map(|resume| resume.path.clone());
    Needs {
        read: order.inputs.values().cloned().chain(resume).collect(),
        write: order.workdir.clone(),
        memory_bytes: order.ceilings.memory_bytes,
        output_bytes: order.ceilings.output_bytes,
        driver: order.device != DeviceChoice::Cpu,
        watches,
    }
}

/// Whether the last word has been said, so that it is said once.
#[derive(Default)]
struct Ended {
    claimed: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    /// True for the first who asks.
    fn claim(&self) -> bool {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.notify_all();
        !std::mem::replace(&mut claimed, true)
    }

    /// Waits for the other to claim; claims when it has not in time.
    fn claim_after(&self, grace: Duration) -> bool {
        let claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut claimed, _) = self
            .changed
            .wait_timeout_while(claimed, grace, |claimed| !*claimed)
            .unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut claimed, true)
    }
}

/// Hears the daemon for as long as the job runs.
fn listen(
    daemon: &Arc<Daemon>,
    control: &Arc<Control>,
    ended: &Arc<Ended>,
    feed: &Arc<Feed>,
) -> std::io::Result<()> {
    let (daemon, control, ended) = (Arc::clone(daemon), Arc::clone(control), Arc::clone(ended));
    let feed = Arc::clone(feed);
    let listener = std::thread::Builder::new().name("listener".to_owned());
    let hear = move || {
        let mut from = stdin().lock();
        loop {
            let message = match frame::incoming(&mut from) {
                Ok(Incoming::Message(message)) => message,
                Ok(Incoming::Part(part)) => {
                    feed.hear(part);
                    continue;
                }
                Err(_) => end_now(),
            };
            match message {
                ToWorker::Pause => control.pause(),
                ToWorker::Resume => control.resume(),
                ToWorker::Adjust(adjustment) => control.adjust(adjustment),
                ToWorker::Finish => control.finish(),
                ToWorker::Ask { id, ask } => {
                    if !control.inbox().push(Mail::Ask { id, ask }) {
                        daemon.say(&FromWorker::Answer {
                            id,
                            part: Part::Refused(TOO_MANY.to_owned()),
                        });
                    }
                }
                ToWorker::Drop { id } => control.inbox().drop_ask(id),
                ToWorker::Cancel | ToWorker::Shutdown => {
                    control.cancel();
                    feed.cancel();
                    // A step may be long; nothing of it is wanted any more.
                    if ended.claim_after(CANCEL_GRACE) {
                        daemon.say(&FromWorker::Cancelled);
                        end_now();
                    }
                }
                // One order per process.
                ToWorker::Start(_) => {}
            }
        }
    };
    // It ends with the process.
    listener.spawn(hear).map(drop)
}

/// Ends the process here and now: no destructor of a driver may hold it up.
fn end_now() -> ! {
    #[cfg(unix)]
    {
        // A process may always kill itself.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    std::process::abort()
}

/// The first that such a process does: it closes what it was not meant to have, and
/// raises its guards.
fn stand_alone(powers: Powers) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    sandbox::descriptors::close_inherited()?;
    raise_guards_but(powers)
}

/// What holds from the first moment, in a worker and in a probe: the kernel ends
/// this process with its parent, even where a driver has it hang, there are limits,
/// and nothing is left of a privileged user's privileges.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn raise_guards() -> std::io::Result<()> {
    raise_guards_but(Powers::None)
}

/// What a privileged user's worker keeps of its privileges until it has its order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Powers {
    None,
    /// A script's program is started in namespaces before the fences go up.
    ToMakeNamespaces,
}

#[cfg(unix)]
#[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
fn raise_guards_but(powers: Powers) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        let parent = getppid();
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != parent {
            // It died in between, and the signal with it.
            end_now();
        }
        match powers {
            Powers::None => sandbox::privileges::drop_all()?,
            Powers::ToMakeNamespaces => sandbox::privileges::drop_for_a_script()?,
        }
    }
    sandbox::limits::basic()
}

/// Elsewhere the pipe alone ends the process.
#[cfg(not(unix))]
fn raise_guards_but(_: Powers) -> std::io::Result<()> {
    Ok(())
}

/// The pipe to the daemon, put out of reach of libraries that print.
#[cfg(unix)]
fn pipe_to_daemon() -> std::io::Result<File> {
    let pipe = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(pipe)
}

/// The pipe to the daemon.
#[cfg(not(unix))]
fn pipe_to_daemon() -> std::io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(File::from(
        std::io::stdout().as_handle().try_clone_to_owned()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Task, String> {
        parse(args.iter().map(|&word| word.to_owned()))
    }

    #[test]
    fn flags_name_a_device() {
        assert!(matches!(parsed(&[]), Ok(Task::Serve(DeviceChoice::Cpu))));
        assert!(matches!(
            parsed(&["--device", "wgpu:1"]),
            Ok(Task::Serve(DeviceChoice::Wgpu(1)))
        ));
        assert!(matches!(
            parsed(&["--probe", "cpu"]),
            Ok(Task::Probe(DeviceChoice::Cpu))
        ));
        assert!(matches!(parsed(&["--fences"]), Ok(Task::Fences)));
        for bad in [&["--probe"][..], &["--probe", "gpu"], &["--job"]] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_last_word_is_said_once() {
        let ended = Ended::default();
        assert!(ended.claim());
        assert!(!ended.claim());
        assert!(!ended.claim_after(Duration::from_secs(60)));
        assert!(Ended::default().claim_after(Duration::ZERO));
    }
}
