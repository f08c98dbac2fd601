//! Contribute, challenge, prove, aggregate: one work over a gang of workers in
//! three phases.
//!
//! Every worker contributes; when all have, each proves with the contributions
//! of all as its challenge; when all have, the first that was done aggregates.
//! A worker's proof rests on its own contribution, so the death of one before
//! all proofs are in ends the round, and the work is dealt again among others.
//! A dead aggregator only hands on to the next worker that was done. Rounds are
//! numbered by epochs, so nothing that an old round still says is heard.

mod round;

use std::time::Duration;

use embermesh_crypto::{Epoch, UnixMillis};
use serde::{Deserialize, Serialize};

pub use round::{Part, Phase};

use super::{
    Ended, Failure, Input as TaskInput, MAX_TIMEOUT, NodeName, Output as TaskOutput, Patience,
    Refused as TaskRefused, Run, Value, gang::Gang, gang::MAX_UNITS, invalid::InvalidPlan,
    invalid::field,
};

/// The most rounds of one work.
pub const MAX_ROUNDS: u32 = 8;

/// What is to be proven, and how patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How many units there are.
    pub units: u32,
    /// How many rounds it may take.
    pub rounds: u32,
    /// How long each round waits for a gang.
    pub deal_wait: Duration,
    /// How long an attempt counts as alive without another word.
    pub lease: Duration,
    /// How long a worker may take for each phase.
    pub phase: Duration,
    /// How long a round may take.
    pub round: Duration,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The gang that was asked for.
    Gang(Gang),
    /// There is none.
    NoGang {
        /// Why.
        reason: String,
    },
    /// Something of a task, a worker, the owner, or time.
    Task(TaskInput),
    /// Whoever drives it has lost track of the round: it is dealt again, and nobody is
    /// to blame.
    Again {
        /// Why.
        reason: String,
    },
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Find a gang, and answer with it or with why there is none.
    Deal {
        /// How many units it must take on.
        units: u32,
        /// Who must not be in it: those that failed or were lost.
        without: Vec<NodeName>,
    },
    /// Something to do for a task of the round that runs.
    Task(TaskOutput),
    /// These workers are free again.
    Release(Vec<NodeName>),
    /// It is over: [`Proving::ended`] says how.
    Ended,
}

/// Why an input changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody asked for a gang.
    #[error("no gang is asked for")]
    NotDealing,
    /// The gang is not what was asked for.
    #[error("the gang has {has} units, not {wants}")]
    WrongUnits {
        /// What it has.
        has: u32,
        /// What was asked for.
        wants: u32,
    },
    /// The gang has a worker that failed before.
    #[error("worker {0} has failed in an earlier round")]
    Unwanted(NodeName),
    /// No round runs.
    #[error("no round runs")]
    NoRound,
    /// The round refuses it.
    #[error(transparent)]
    Task(#[from] TaskRefused),
}

/// A work in rounds. A store may keep it between any two inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proving {
    terms: Terms,
    /// The round that runs or is being dealt, from 1.
    round: u32,
    stage: Stage,
    /// The newest epoch of the rounds before.
    newest: Epoch,
    without: Vec<NodeName>,
    /// Why each round before ended.
    past: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Dealing { until: UnixMillis },
    Running { gang: Gang, run: Box<Run<Part>> },
    Ended(Ended),
}

impl Proving {
    /// Begins with asking for a gang.
    ///
    /// # Errors
    /// [`InvalidPlan::Field`] for terms out of their bounds.
    pub fn start(terms: Terms, now: UnixMillis) -> Result<(Self, Vec<Output>), InvalidPlan> {
        if !(1..=MAX_UNITS).contains(&terms.units) {
            return Err(field(
                "units",
                format!("{} is not from 1 to {MAX_UNITS}", terms.units),
            ));
        }
        if !(1..=MAX_ROUNDS).contains(&terms.rounds) {
            return Err(field(
                "rounds",
                format!("{} is not from 1 to {MAX_ROUNDS}", terms.rounds),
            ));
        }
        let spans = [
            ("deal_wait", terms.deal_wait),
            ("lease", terms.lease),
            ("phase", terms.phase),
            ("round", terms.round),
        ];
        for (name, span) in spans {
            if !(Duration::from_millis(1)..=MAX_TIMEOUT).contains(&span) {
                return Err(field(name, "it is not from 1 ms to 30 days"));
            }
        }
        let mut proving = Self {
            terms,
            round: 0,
            stage: Stage::Dealing { until: now },
            newest: Epoch::default(),
            without: Vec::new(),
            past: Vec::new(),
        };
        let mut outputs = Vec::new();
        proving.deal(now, &mut outputs);
        Ok((proving, outputs))
    }

    /// How it ended, once it has.
    #[must_use]
    pub const fn ended(&self) -> Option<&Ended> {
        match &self.stage {
            Stage::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// The round that runs, and its gang.
    #[must_use]
    pub fn running(&self) -> Option<(&Gang, &Run<Part>)> {
        match &self.stage {
            Stage::Running { gang, run } => Some((gang, run)),
            _ => None,
        }
    }

    /// What the gang that is asked for must be like: its units, and who must not be in it.
    #[must_use]
    pub fn wants(&self) -> Option<(u32, &[NodeName])> {
        match &self.stage {
            Stage::Dealing { .. } => Some((self.terms.units, &self.without)),
            _ => None,
        }
    }

    /// The phase that runs.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.running().map(|(_, run)| round::phase(run))
    }

    /// The number of the round, from 1.
    #[must_use]
    pub const fn round(&self) -> u32 {
        self.round
    }

    /// Why the rounds before ended, oldest first.
    #[must_use]
    pub fn past(&self) -> &[String] {
        &self.past
    }

    /// When a tick is due, unless something happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<UnixMillis> {
        match &self.stage {
            Stage::Dealing { until } => Some(*until),
            Stage::Running { run, .. } => run.wake_at(),
            Stage::Ended(_) => None,
        }
    }

    /// Takes an input.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn handle(&mut self, input: Input, now: UnixMillis) -> Result<Vec<Output>, Refused> {
        let mut outputs = Vec::new();
        match (input, &self.stage) {
            (Input::Gang(gang), Stage::Dealing { .. }) => self.begin(gang, now, &mut outputs)?,
            (Input::NoGang { reason }, Stage::Dealing { .. }) => {
                self.end(Ended::Failed(Failure::NoGang { reason }), &mut outputs);
            }
            (Input::Gang(_) | Input::NoGang { .. }, _) => return Err(Refused::NotDealing),
            (Input::Task(TaskInput::Cancel { reason }), Stage::Dealing { .. }) => {
                self.end(Ended::Cancelled { reason }, &mut outputs);
            }
            (Input::Task(TaskInput::Tick), Stage::Dealing { until }) => {
                if now >= *until {
                    let reason = "none came in time".to_owned();
                    self.end(Ended::Failed(Failure::NoGang { reason }), &mut outputs);
                }
            }
            (Input::Task(TaskInput::Tick | TaskInput::Lost { .. }), Stage::Ended(_))
            | (Input::Task(TaskInput::Lost { .. }), Stage::Dealing { .. }) => {}
            (Input::Task(_), Stage::Dealing { .. } | Stage::Ended(_)) => {
                return Err(Refused::NoRound);
            }
            (Input::Task(input), Stage::Running { .. }) => self.pass(input, now, &mut outputs)?,
            (Input::Again { .. }, Stage::Dealing { .. }) => self.ask(now, &mut outputs),
            (Input::Again { reason }, Stage::Running { .. }) => {
                self.again(reason, now, &mut outputs)?;
            }
            (Input::Again { .. }, Stage::Ended(_)) => return Err(Refused::NoRound),
        }
        Ok(outputs)
    }

    /// Asks for a gang.
    fn deal(&mut self, now: UnixMillis, outputs: &mut Vec<Output>) {
        self.round += 1;
        self.ask(now, outputs);
    }

    /// Asks for a gang of the round that there is.
    fn ask(&mut self, now: UnixMillis, outputs: &mut Vec<Output>) {
        self.stage = Stage::Dealing {
            until: now.saturating_add(self.terms.deal_wait),
        };
        outputs.push(Output::Deal {
            units: self.terms.units,
            without: self.without.clone(),
        });
    }

    fn begin(
        &mut self,
        gang: Gang,
        now: UnixMillis,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        let (has, wants) = (gang.units(), self.terms.units);
        if has != wants {
            return Err(Refused::WrongUnits { has, wants });
        }
        if let Some(name) = self.without.iter().find(|name| gang.has(name)) {
            return Err(Refused::Unwanted(name.clone()));
        }
        let patience = Patience {
            lease: self.terms.lease,
            task: self.terms.phase,
            plan: self.terms.round,
        };
        match round::plan(&gang, patience) {
            Ok(plan) => {
                // Nothing in these phases is drawn by lot.
                let (run, first) = Run::start(plan, self.newest, [0; 32], now);
                self.stage = Stage::Running {
                    gang,
                    run: Box::new(run),
                };
                outputs.extend(first.into_iter().map(Output::Task));
            }
            Err(error) => {
                let reason = error.to_string();
                outputs.push(Output::Release(names(&gang)));
                self.end(Ended::Failed(Failure::NoGang { reason }), outputs);
            }
        }
        Ok(())
    }

    /// Gives an input to the round that runs, and sees whether it ends it.
    fn pass(
        &mut self,
        input: TaskInput,
        now: UnixMillis,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        let Stage::Running { gang, run } = &mut self.stage else {
            return Err(Refused::NoRound);
        };
        let dies = match &input {
            TaskInput::Lost { node } if gang.has(node) => {
                (round::phase(run) != Phase::Aggregate).then(|| node.clone())
            }
            _ => None,
        };
        let given = match &dies {
            Some(node) => TaskInput::Cancel {
                reason: format!("worker {node} was lost"),
            },
            None => round::checked(run, input),
        };
        let done = run.handle(given, now)?;
        let tasks = done.into_iter().filter(|task| *task != TaskOutput::Ended);
        outputs.extend(tasks.map(Output::Task));
        let Some(ended) = run.ended().cloned() else {
            return Ok(());
        };
        let failed = match (&ended, dies) {
            (Ended::Cancelled { reason }, Some(node)) => Some((reason.clone(), vec![node])),
            (Ended::Failed(failure), _) => {
                Some((failure.to_string(), round::culprits(run, failure)))
            }
            _ => None,
        };
        self.newest = run.newest_epoch();
        outputs.push(Output::Release(names(gang)));
        let Some((reason, culprits)) = failed else {
            self.end(ended, outputs);
            return Ok(());
        };
        for culprit in culprits {
            if !self.without.contains(&culprit) {
                self.without.push(culprit);
            }
        }
        self.past.push(reason.clone());
        if self.round < self.terms.rounds {
            self.deal(now, outputs);
        } else {
            let failure = match ended {
                Ended::Failed(failure) => failure,
                _ => Failure::NoGang { reason },
            };
            self.end(Ended::Failed(failure), outputs);
        }
        Ok(())
    }

    /// Ends the round that runs without a culprit.
    fn again(
        &mut self,
        reason: String,
        now: UnixMillis,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        let Stage::Running { gang, run } = &mut self.stage else {
            return Err(Refused::NoRound);
        };
        let done = run.handle(TaskInput::Cancel { reason }, now)?;
        let tasks = done.into_iter().filter(|task| *task != TaskOutput::Ended);
        outputs.extend(tasks.map(Output::Task));
        let reason = match run.ended() {
            Some(Ended::Cancelled { reason }) => reason.clone(),
            _ => String::new(),
        };
        self.newest = run.newest_epoch();
        outputs.push(Output::Release(names(gang)));
        self.past.push(reason.clone());
        if self.round < self.terms.rounds {
            self.deal(now, outputs);
        } else {
            self.end(Ended::Failed(Failure::NoGang { reason }), outputs);
        }
        Ok(())
    }

    fn end(&mut self, ended: Ended, outputs: &mut Vec<Output>) {
        self.stage = Stage::Ended(ended);
        outputs.push(Output::Ended);
    }
}

fn names(gang: &Gang) -> Vec<NodeName> {
    let members = gang.members().iter();
    members.map(|member| member.name.clone()).collect()
}

/// The words of a proof, if a plan ended with one.
#[must_use]
pub fn proof(ended: &Ended) -> Option<&[super::Row]> {
    match ended {
        Ended::Done(combined) => match &combined.output {
            Some(Value::Rows(rows)) => Some(rows),
            _ => None,
        },
        _ => None,
    }
}
