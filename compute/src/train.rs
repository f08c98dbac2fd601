//! Training: what is set up, gone on with, and brought to its end. The loop's
//! step is in [`step`], what it says and saves in [`tell`], what it is told on
//! the way in [`live`], and early stopping in [`patience`].

mod live;
pub(crate) mod patience;
mod step;
mod tell;

use burn::tensor::{FloatDType, Tensor};
use embermesh_job::crypto::Digest;
use embermesh_job::event::EventKind;
use embermesh_job::spec::Train;

use self::step::Unread;
use crate::checkpoint::{self, Standing};
use crate::dataset::fit::Fitted;
use crate::dataset::load::{self, ForTraining};
use crate::dataset::split::Samples;
use crate::failure::{WorkFailed, at};
use crate::job::Job;
use crate::loss::Objective;
use crate::network::Network;
use crate::optimizer::Optimizer;
use crate::pace::Pace;
use crate::pipe::{ResumeFrom, WorkSummary};
use crate::precision::{self, Scaling};
use crate::schedule::Course;
use crate::weights;

/// The name of the result, within the job and as a file.
const ARTIFACT: &str = "model.safetensors";

/// A training in mid-course.
struct Training<'a> {
    train: &'a Train,
    objective: Objective,
    network: Network,
    optimizer: Optimizer,
    course: Course,
    samples: Samples,
    holdout: Samples,
    /// What was learnt of the samples' scale; the weights carry it.
    fitted: Option<Fitted>,
    pace: Pace,
    /// What a checkpoint remembers.
    at: Standing,
    /// The tensors of the best pass, where they are to be the result.
    best: Option<Vec<Tensor<1>>>,
    /// Steps to be done.
    total_steps: u64,
    steps_per_pass: u64,
    /// The order of the pass under way.
    order: Vec<u32>,
    /// Steps whose loss has not been read from the device.
    unread: Vec<Unread>,
    /// Why it ends before its last step, once it does.
    stopped: Option<String>,
}

/// Trains to the end.
pub(crate) fn run(train: &Train, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
    let mut training = Training::prepare(train, job)?;
    while training.at.step < training.total_steps && training.stopped.is_none() {
        job.breathe(&mut training.pace)?;
        training.obey(job)?;
        if training.stopped.is_none() {
            training.advance()?;
            training.tell(job)?;
        }
    }
    training.finish(job)
}

impl<'a> Training<'a> {
    /// Loads everything and says that the work began, or goes on from a
    /// checkpoint.
    fn prepare(train: &'a Train, job: &mut Job<'_>) -> Result<Self, WorkFailed> {
        let ForTraining {
            samples,
            holdout,
            fitted,
        } = load::for_training(train, &job.source())?;
        let half = precision::half(train.precision, job.order.device.kind(), &job.device)?;
        let mut network = Network::new(&train.model, train.seed, &job.device.device)?;
        network.halve(half);
        let optimizer = Optimizer::new(train.optimizer, network.parameters());
        let step = u64::from(train.batch).max(1) * u64::from(train.accumulate).max(1);
        let steps_per_pass = (samples.len() as u64).div_ceil(step);
        let total_steps = steps_per_pass * u64::from(train.passes);
        let keeps_best = train.early_stopping.is_some_and(|stop| stop.restore_best);
        let mut training = Self {
            train,
            objective: Objective::new(train.loss(), train.data.target()),
            network,
            optimizer,
            course: Course::new(train, total_steps, steps_per_pass),
            samples,
            holdout,
            fitted,
            pace: Pace::new(),
            at: Standing::default(),
            best: keeps_best.then(Vec::new),
            total_steps,
            steps_per_pass,
            order: Vec::new(),
            unread: Vec::new(),
            stopped: None,
        };
        if half == Some(FloatDType::F16) {
            training.at.scaling = Some(Scaling::default());
        }
        match &job.order.resume {
            Some(from) => training.resume(from, job)?,
            None => job.log.plain(EventKind::Started {
                device: job.device.name.clone(),
                parameters: training.network.count(),
                total_steps: training.total_steps,
                samples: training.samples.len() as u64,
            }),
        }
        Ok(training)
    }

    fn resume(&mut self, from: &ResumeFrom, job: &mut Job<'_>) -> Result<(), WorkFailed> {
        let bytes = std::fs::read(&from.path).map_err(at(&from.path))?;
        let record = checkpoint::restore(
            &bytes,
            job.digest,
            &mut self.network,
            &mut self.optimizer,
            self.best.as_mut(),
        )
        .map_err(WorkFailed::Checkpoint)?;
        self.at = record.standing;
        // The order of a pass is drawn at its first step, which may be past.
        self.order = self.order_of(self.at.step + 1);
        let mut history = record.history;
        history.push((
            record.next_seq - 1,
            EventKind::Checkpoint {
                step: self.at.step,
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
            },
        ));
        job.log.go_on(record.next_seq, history, from.replay_after);
        Ok(())
    }

    /// Writes the weights and sums up.
    fn finish(mut self, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
        if let Some(best) = self.best.take().filter(|best| !best.is_empty()) {
            for (index, value) in best.into_iter().enumerate() {
                self.network.set(index, value);
            }
            self.at.last = self.at.best;
        }
        if let Some(reason) = self.stopped.take() {
            let step = self.at.step;
            job.log.plain(EventKind::Stopped { step, reason });
        }
        let record = serde_json::to_string(&weights::Record {
            spec: job.digest,
            steps: self.at.step,
            fitted: self.fitted.take(),
        })
        .map_err(|error| WorkFailed::Internal(format!("the record does not encode: {error}")))?;
        let bytes = weights::encode(&weights::of(&self.network), record)?;
        job.artifact(ARTIFACT, &bytes)?;
        Ok(WorkSummary {
            steps: self.at.step,
            samples: self.at.seen,
            loss: (self.at.last.samples() > 0).then(|| self.at.last.loss()),
            accuracy: self.at.last.accuracy(),
            next_seq: job.log.next(),
        })
    }

    /// The order in which the pass of a step takes the samples.
    fn order_of(&self, step: u64) -> Vec<u32> {
        if self.train.shuffle {
            self.samples.order(self.train.seed, self.pass_of(step))
        } else {
            self.samples.in_order()
        }
    }

    /// The pass that a step belongs to, from 1.
    fn pass_of(&self, step: u64) -> u32 {
        let pass = step.saturating_sub(1) / self.steps_per_pass.max(1) + 1;
        u32::try_from(pass).unwrap_or(u32::MAX)
    }
}
