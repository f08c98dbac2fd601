//! Whether a device works and how fast it is, found out in a process that may
//! be lost: `embermesh worker --probe wgpu:0` prints one line of JSON.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use embermesh_job::crypto::statement::DeviceKind;
use serde::{Deserialize, Serialize};

use crate::device::{DeviceChoice, DeviceFault, Opened, guarded, open};

/// How long a driver may take to come up and to be measured. Shaders are
/// compiled at first use, which takes a software Vulkan some seconds.
pub const PROBE_WAIT: Duration = Duration::from_secs(60);

/// How much of a probe's answer is read.
const MAX_ANSWER: u64 = 64 * 1024;

/// How long the product is measured for, after one run that does not count.
const MEASURED: Duration = Duration::from_millis(400);

/// The side of the matrices: large enough to fill a device, small enough that
/// a slow one answers in time.
const CPU_SIDE: usize = 512;
const GPU_SIDE: usize = 2048;
/// A GPU in software compiles its shaders slowly and computes them slower.
const SOFTWARE_SIDE: usize = 256;

/// What a probe measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// What the device calls itself.
    pub name: String,
    /// Its backend.
    pub kind: DeviceKind,
    /// Its memory in bytes; 0 when the driver does not say.
    pub memory_bytes: u64,
    /// Speed of a product of two `f32` matrices, in millions of floating-point
    /// operations per second: the median of some.
    pub mflops: u64,
}

/// What a probe prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Report(DeviceReport),
    Fault(String),
}

/// How the worker is started: a program and the words before its own flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The executable.
    pub program: PathBuf,
    /// What comes before the worker's flags, such as "worker".
    pub args: Vec<String>,
}

impl WorkerCommand {
    /// This executable, as `EXE worker`.
    ///
    /// # Errors
    /// When the system does not say where this executable is.
    pub fn this_executable() -> std::io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            args: vec!["worker".to_owned()],
        })
    }
}

/// Probes a device with this executable as the worker. Blocks for
/// [`PROBE_WAIT`] at most.
///
/// # Errors
/// [`DeviceFault`], whatever the driver does.
pub fn probe(choice: DeviceChoice) -> Result<DeviceReport, DeviceFault> {
    let command = WorkerCommand::this_executable().map_err(DeviceFault::NotStarted)?;
    probe_with(&command, choice, PROBE_WAIT)
}

/// Probes a device with a worker of this command, for `wait` at most.
///
/// # Errors
/// [`DeviceFault`], whatever the driver does.
pub fn probe_with(
    command: &WorkerCommand,
    choice: DeviceChoice,
    wait: Duration,
) -> Result<DeviceReport, DeviceFault> {
    let mut probe = Command::new(&command.program);
    probe
        .args(&command.args)
        .args(["--probe", &choice.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // A group of its own, so that what a driver starts ends with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut probe, 0);
    let mut child = probe.spawn().map_err(DeviceFault::NotStarted)?;
    let heard = listen(&mut child).recv_timeout(wait);
    // A driver may hang on its way out too, and the answer has been given.
    kill_group(&mut child);
    let status = child.wait().map_err(DeviceFault::NotStarted)?;
    match heard {
        Ok(Some(Answer::Report(report))) => Ok(report),
        Ok(Some(Answer::Fault(fault))) => Err(DeviceFault::Reported(fault)),
        Ok(None) => Err(DeviceFault::Died {
            choice,
            status: status.to_string(),
        }),
        Err(_) => Err(DeviceFault::TimedOut {
            choice,
            seconds: wait.as_secs(),
        }),
    }
}

/// Kills a probe that has not been waited for, and what it started.
fn kill_group(child: &mut Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    let _ = child.kill();
}

/// Reads the answer in a thread of its own, so that waiting has an end.
fn listen(child: &mut Child) -> mpsc::Receiver<Option<Answer>> {
    let (tell, heard) = mpsc::sync_channel(1);
    let output = child.stdout.take();
    std::thread::spawn(move || {
        let answer = output.and_then(|output| {
            let mut reader = std::io::BufReader::new(output.take(MAX_ANSWER));
            let mut line = String::new();
            std::io::BufRead::read_line(&mut reader, &mut line).ok()?;
            serde_json::from_str(&line).ok()
        });
        // Whoever waited may have given up.
        let _ = tell.send(answer);
    });
    heard
}

/// The probe's own process: measures and prints.
pub(crate) fn main(choice: DeviceChoice) -> ExitCode {
    let answer = match measure(choice) {
        Ok(report) => Answer::Report(report),
        Err(fault) => Answer::Fault(fault.to_string()),
    };
    match serde_json::to_string(&answer) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the answer does not encode: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(choice: DeviceChoice) -> Result<DeviceReport, DeviceFault> {
    let opened = open(choice)?;
    let side = match choice {
        DeviceChoice::Cpu => CPU_SIDE,
        _ if opened.software => SOFTWARE_SIDE,
        _ => GPU_SIDE,
    };
    let flops = guarded(choice, || product_flops(choice, &opened, side))??;
    Ok(DeviceReport {
        memory_bytes: memory(choice, &opened),
        name: opened.name,
        kind: choice.kind(),
        mflops: (flops / 1e6) as u64,
    })
}

/// Floating-point operations per second of a square product, the median run.
fn product_flops(choice: DeviceChoice, opened: &Opened, side: usize) -> Result<f64, DeviceFault> {
    let failed = |message| DeviceFault::Driver { choice, message };
    let left = Tensor::<2>::full([side, side], 0.5, &opened.device);
    let right = Tensor::<2>::full([side, side], 0.25, &opened.device);
    let once = || {
        let since = Instant::now();
        let product = left.clone().matmul(right.clone());
        // Reading one number would not do: it may come before the others.
        let done = opened.device.sync();
        done.map(|()| (since.elapsed(), product))
            .map_err(|error| failed(error.to_string()))
    };
    let (_, product) = once()?;
    let values = product.try_into_vec_as::<f32>();
    let values = values.map_err(|error| failed(error.to_string()))?;
    let right_one = side as f32 * 0.125;
    if let Some(wrong) = values.iter().find(|value| **value != right_one) {
        return Err(failed(format!(
            "it computed {wrong} where {right_one} is right"
        )));
    }
    let begun = Instant::now();
    let mut runs = Vec::new();
    while runs.is_empty() || begun.elapsed() < MEASURED {
        runs.push(once()?.0);
    }
    runs.sort_unstable();
    let median = runs[runs.len() / 2].as_secs_f64().max(1e-9);
    Ok(2.0 * (side as f64).powi(3) / median)
}

/// What a job can have at most.
fn memory(choice: DeviceChoice, opened: &Opened) -> u64 {
    match choice {
        DeviceChoice::Cpu => system_memory(),
        _ if opened.software => system_memory(),
        DeviceChoice::Wgpu(_) => 0,
        DeviceChoice::Cuda(index) => nvidia_memory(index).unwrap_or(0),
    }
}

/// The machine's memory, or the share of it that this process's group has; 0
/// where the system does not say.
fn system_memory() -> u64 {
    let Ok(mut system) = sysinfo::System::new() else {
        return 0;
    };
    system.refresh_memory();
    let group = system
        .cgroup_limits()
        .map_or(u64::MAX, |limits| limits.total_memory);
    system.total_memory().min(group)
}

/// Asks NVIDIA's own tool: the driver's interface is not for safe Rust.
fn nvidia_memory(index: u32) -> Option<u64> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=memory.total", "--format=csv,noheader,nounits"])
        .args(["-i", &index.to_string()])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let mib: u64 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    mib.checked_mul(1024 * 1024)
}
