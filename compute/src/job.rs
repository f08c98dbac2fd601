//! One job in this process: reads the order, checks it against its ceilings,
//! and runs the work on threads of its own number.

use std::panic::{AssertUnwindSafe, catch_unwind};

use embermesh_job::crypto::Digest;
use embermesh_job::spec::{JobSpec, Work, output_bytes};

use crate::control::{Asked, Control};
use crate::dataset::load::Source;
use crate::device::{DeviceChoice, Opened, open, panic_text};
use crate::events::{EventLog, Say};
use crate::failure::WorkFailed;
use crate::pace::Pace;
use crate::pipe::{FromWorker, WorkOrder, WorkSummary, WorkerEvent};
use crate::serve::{self, inbox::Inbox};
use crate::{DeviceFault, calculate, embed, evaluate, lm, predict, script, train, weights};

/// What every kind of work needs.
pub(crate) struct Job<'a> {
    pub(crate) order: &'a WorkOrder,
    pub(crate) digest: Digest,
    pub(crate) device: Opened,
    pub(crate) log: EventLog<'a>,
    /// Memory that samples may take, in bytes.
    room: u64,
    control: &'a Control,
}

impl Job<'_> {
    /// Called between two steps: waits while the job is paused, ends it when it
    /// is cancelled.
    pub(crate) fn breathe(&mut self, pace: &mut Pace) -> Result<(), WorkFailed> {
        let log = &mut self.log;
        let waited = self.control.pass(&mut |paused| log.paused(paused))?;
        pace.skip(waited);
        Ok(())
    }

    /// Whether the job is to wait: for work that has no steps.
    pub(crate) fn is_paused(&self) -> bool {
        self.control.is_paused()
    }

    /// Waits while the job is paused.
    pub(crate) fn wait(&mut self) -> Result<(), WorkFailed> {
        let log = &mut self.log;
        self.control.pass(&mut |paused| log.paused(paused))?;
        Ok(())
    }

    /// An error when the job is cancelled, without waiting.
    pub(crate) fn check_cancelled(&self) -> Result<(), WorkFailed> {
        if self.control.is_cancelled() {
            return Err(WorkFailed::Cancelled);
        }
        Ok(())
    }

    /// What was asked of the work since this was last called.
    pub(crate) fn asked(&self) -> Asked {
        self.control.asked()
    }

    /// What a resident model is asked.
    pub(crate) fn inbox(&self) -> &Inbox {
        self.control.inbox()
    }

    /// The inputs, and the memory that there is for what is read of them.
    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            order: self.order,
            room: self.room,
        }
    }

    /// Takes memory for a model that is known only now, or refuses it before it is
    /// there.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Result<(), WorkFailed> {
        match self.room.checked_sub(bytes) {
            Some(room) => {
                self.room = room;
                Ok(())
            }
            None => Err(WorkFailed::Memory {
                needed: bytes.saturating_add(self.order.ceilings.memory_bytes - self.room),
                ceiling: self.order.ceilings.memory_bytes,
            }),
        }
    }

    /// Writes a result into the work folder and says so.
    pub(crate) fn artifact(&mut self, name: &str, bytes: &[u8]) -> Result<(), WorkFailed> {
        let needed = bytes.len() as u64;
        let ceiling = self.order.ceilings.output_bytes;
        if needed > ceiling {
            return Err(WorkFailed::Output { needed, ceiling });
        }
        let path = self.order.workdir.join(name);
        weights::write_atomically(&path, bytes)?;
        self.log.artifact(name, path);
        Ok(())
    }
}

/// Runs an order in this process, without pipe or sandbox: the same loop for
/// benchmarks and tests.
///
/// # Errors
/// [`WorkFailed`], whose class says whose fault it is.
pub fn run_in_process(
    order: &WorkOrder,
    hear: &mut (dyn FnMut(WorkerEvent) + Send),
) -> Result<WorkSummary, WorkFailed> {
    let device = open(order.device)?;
    run(order, device, &Control::default(), None, &mut |message| {
        if let FromWorker::Event(event) = message {
            hear(event);
        }
    })
}

/// Runs an order on an open device; `begun` is what of it was started before. A panic
/// becomes a failure.
pub(crate) fn run(
    order: &WorkOrder,
    device: Opened,
    control: &Control,
    begun: Option<script::Begun>,
    say: Say<'_>,
) -> Result<WorkSummary, WorkFailed> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(order.threads as usize)
        .thread_name(|index| format!("compute-{index}"))
        .build()
        .map_err(|error| WorkFailed::Internal(format!("threads cannot be started: {error}")))?;
    let work = AssertUnwindSafe(|| pool.install(|| work(order, device, control, begun, say)));
    catch_unwind(work).unwrap_or_else(|panic| Err(panicked(order.device, panic_text(&*panic))))
}

fn work(
    order: &WorkOrder,
    device: Opened,
    control: &Control,
    begun: Option<script::Begun>,
    say: Say<'_>,
) -> Result<WorkSummary, WorkFailed> {
    let spec = JobSpec::from_canonical(order.spec.as_bytes())
        .map_err(|error| WorkFailed::Spec(error.to_string()))?;
    let room = check_ceilings(&spec, order)?;
    let mut job = Job {
        order,
        digest: Digest::of(order.spec.as_bytes()),
        device,
        log: EventLog::new(say),
        room,
        control,
    };
    match &spec.work {
        Work::Train(train) => train::run(train, &mut job),
        Work::Evaluate(evaluate) => evaluate::run(evaluate, &mut job),
        Work::Predict(predict) => predict::run(predict, &mut job),
        Work::Generate(generate) => lm::run(generate, &mut job),
        Work::Script(script) => script::run(script, begun, &mut job),
        Work::Compute(compute) => calculate::run(compute, &mut job),
        Work::Embed(embed) => embed::run(embed, &mut job),
        Work::Perplexity(judge) => lm::perplexity(judge, &mut job),
        Work::Serve(serve) => serve::run(serve, &mut job),
    }
}

/// Refuses, before anything of that size is allocated, what would go over the
/// ceilings. Inputs count twice: as the file's bytes and as what is read of it.
/// A language model is read where it lies; the rest of what it takes is known from its
/// header. Gives the memory that is left for what is read, which may be more than that.
fn check_ceilings(spec: &JobSpec, order: &WorkOrder) -> Result<u64, WorkFailed> {
    let (peak, output) = match &spec.work {
        Work::Train(train) => {
            let plan = train.model.plan()?;
            (train.peak_bytes(&plan), plan.weight_bytes())
        }
        // A model that is a file is measured where it is read.
        Work::Evaluate(evaluate) => {
            let plan = evaluate.model.plan()?;
            let peak = plan.map_or(0, |plan| plan.peak_bytes(evaluate.batch as usize));
            (peak, 0)
        }
        Work::Predict(predict) => {
            let plan = predict.model.plan()?;
            let peak = plan.map_or(0, |plan| plan.peak_bytes(predict.batch as usize));
            (peak, 0)
        }
        Work::Generate(_) | Work::Embed(_) | Work::Perplexity(_) | Work::Script(_) => (0, 0),
        Work::Compute(compute) => {
            let planned = compute
                .plan()
                .map_err(|error| WorkFailed::Spec(error.to_string()))?;
            (
                compute.peak_bytes(&planned.program),
                output_bytes(&planned.program),
            )
        }
        Work::Serve(serve) => (serve::peak_bytes(serve)?, 0),
    };
    let copies = match spec.work {
        // Files on the disk.
        Work::Script(_) => 0,
        _ if spec.language_model().is_some() => 1,
        _ => 2,
    };
    let files = spec
        .inputs()
        .iter()
        .fold(0_u64, |sum, input| sum.saturating_add(input.size));
    let needed = peak.saturating_add(files.saturating_mul(copies));
    if needed > order.ceilings.memory_bytes {
        return Err(WorkFailed::Memory {
            needed,
            ceiling: order.ceilings.memory_bytes,
        });
    }
    if output > order.ceilings.output_bytes {
        return Err(WorkFailed::Output {
            needed: output,
            ceiling: order.ceilings.output_bytes,
        });
    }
    Ok(order
        .ceilings
        .memory_bytes
        .saturating_sub(peak.saturating_add(files)))
}

/// On a GPU it is the driver that panics; on the CPU it is this program.
fn panicked(choice: DeviceChoice, message: String) -> WorkFailed {
    match choice {
        DeviceChoice::Cpu => WorkFailed::Internal(format!("the computation panicked: {message}")),
        _ => WorkFailed::Device(DeviceFault::Driver { choice, message }),
    }
}
