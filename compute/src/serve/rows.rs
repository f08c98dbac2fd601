//! A resident network: rows of numbers in, what its outputs mean out.
//!
//! Asks take turns, a slice of rows each, so that a long one does not make the others
//! wait for all of it.

use std::collections::VecDeque;

use burn::tensor::Tensor;
use embermesh_job::ask::{Ask, MAX_PART_NUMBERS, Part, RowAnswer};
use embermesh_job::event::EventKind;
use embermesh_job::spec::{Dataset, Inline, Outputs, SERVED_BATCH, Serve, ServedNetwork};

use super::{Engine, Step, attend, refused};
use crate::dataset::fit::{self, Fitted};
use crate::dataset::{Features, Set, Targets, load};
use crate::evaluate::floats;
use crate::failure::{InvalidData, WorkFailed};
use crate::job::Job;
use crate::network::{Mode, Network};
use crate::pace::Pace;
use crate::pipe::WorkSummary;
use crate::predict::Meaning;
use crate::weights;

/// Bytes of a network with the largest batch that it computes.
pub(super) fn peak_bytes(network: &ServedNetwork) -> Result<u64, WorkFailed> {
    Ok(network.model.plan()?.peak_bytes(SERVED_BATCH as usize))
}

/// Loads a network and answers until the end.
pub(super) fn run(
    serve: &Serve,
    served: &ServedNetwork,
    job: &mut Job<'_>,
) -> Result<WorkSummary, WorkFailed> {
    let mut network = Network::new(&served.model, 0, &job.device.device)?;
    let bytes = load::input(served.weights, job.order)?;
    weights::load(&mut network, &bytes).map_err(WorkFailed::Weights)?;
    let fitted = weights::record(&bytes).and_then(|record| record.fitted);
    drop(bytes);
    let width = served.model.plan()?.output_shape.iter().product();
    let started = EventKind::Started {
        device: job.device.name.clone(),
        parameters: network.count(),
        total_steps: 0,
        samples: 0,
    };
    let mut desk = Desk {
        served,
        meaning: Meaning::new(served.outputs, width, &served.labels),
        values: network.constants(),
        network,
        fitted,
        turns: VecDeque::new(),
        slice: (MAX_PART_NUMBERS / width.max(1)).clamp(1, SERVED_BATCH as usize),
    };
    // That the scale is there is known before anybody asks.
    let volume = served.model.input.iter().product();
    desk.samples(vec![0.0; volume])?;
    attend(&mut desk, serve, started, 0, job)
}

/// An ask whose rows are not all answered.
struct Turn {
    id: u32,
    set: Set,
    /// Rows that are answered.
    done: usize,
}

/// The asks of a network.
struct Desk<'s> {
    served: &'s ServedNetwork,
    network: Network,
    values: Vec<Tensor<1>>,
    meaning: Meaning,
    fitted: Option<Fitted>,
    turns: VecDeque<Turn>,
    /// Rows of one turn.
    slice: usize,
}

impl Engine for Desk<'_> {
    fn take(&mut self, id: u32, ask: Ask) -> Result<(), String> {
        let Ask::Rows(rows) = ask else {
            return Err("this is a network: ask it rows of numbers, not a text".to_owned());
        };
        let volume: usize = self.served.model.input.iter().product();
        let width = rows.first().map_or(0, Vec::len);
        if width != volume {
            return Err(format!(
                "its rows have {width} numbers, and the model takes {volume} (the shape {:?}, row-major)",
                self.served.model.input
            ));
        }
        let numbers = rows.iter().flatten().map(|&x| x as f32).collect();
        let set = self.samples(numbers).map_err(|error| error.to_string())?;
        self.turns.push_back(Turn { id, set, done: 0 });
        Ok(())
    }

    fn forget(&mut self, id: u32) {
        self.turns.retain(|turn| turn.id != id);
    }

    fn open(&self) -> Vec<u32> {
        self.turns.iter().map(|turn| turn.id).collect()
    }

    fn step(&mut self, job: &mut Job<'_>, pace: &mut Pace) -> Result<Step, WorkFailed> {
        let Some(mut turn) = self.turns.pop_front() else {
            return Ok(Step::default());
        };
        let end = turn.set.len().min(turn.done + self.slice);
        let numbers: Vec<u32> = (turn.done as u32..end as u32).collect();
        let batch = turn.set.batch(&numbers);
        let outputs = match self.network.forward(&self.values, &batch, Mode::Infer) {
            Ok(passed) => floats(passed.outputs)?,
            Err(wrong) => {
                job.log.answer(turn.id, refused(wrong.to_string()));
                return Ok(Step::default());
            }
        };
        if outputs.iter().any(|x| !x.is_finite()) {
            let reason = "the network gave no numbers for a row: its weights, or the row, are out of all bounds";
            job.log.answer(turn.id, refused(reason.to_owned()));
            return Ok(Step::default());
        }
        turn.done = end;
        let last = end == turn.set.len();
        let answers = self.answers(&outputs);
        let made = answers.len() as u64;
        pace.step(made);
        job.log.answer(turn.id, Part::Rows { answers, last });
        if !last {
            self.turns.push_back(turn);
        }
        Ok(Step {
            made,
            answered: u64::from(last),
        })
    }
}

impl Desk<'_> {
    /// Rows as samples of the model, scaled as its training did it.
    fn samples(&self, numbers: Vec<f32>) -> Result<Set, InvalidData> {
        let shape = self.served.model.input.clone();
        let volume: usize = shape.iter().product();
        let count = numbers.len() / volume.max(1);
        let mut set = Set::new(shape, Features::Floats(numbers), Targets::Absent(count))?;
        let described = Dataset::Inline(Inline {
            rows: Vec::new(),
            targets: None,
            normalise: self.served.normalise,
        });
        fit::scale(&described, &mut set, self.fitted.as_ref())?;
        Ok(set)
    }

    fn answers(&self, outputs: &[f32]) -> Vec<RowAnswer> {
        let answers = self.meaning.answers(outputs).into_iter();
        answers
            .map(|answer| {
                let class = answer.class.map(|class| match self.meaning.label(class) {
                    Some(label) => label.to_owned(),
                    None => class.to_string(),
                });
                let (probabilities, numbers) = match self.served.outputs {
                    Outputs::Numbers => (Vec::new(), answer.values),
                    Outputs::Classes | Outputs::Labels => (answer.values, Vec::new()),
                };
                RowAnswer {
                    class,
                    probabilities,
                    numbers,
                }
            })
            .collect()
    }
}
