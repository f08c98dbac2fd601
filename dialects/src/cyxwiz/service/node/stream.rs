//! The stream of a training: updates out, commands in, and samples where they stay with
//! the client.
//!
//! Four things go on at once, and none waits for another: what the task says is told,
//! what the client says is heard, words are passed on in their order, and samples are
//! asked for and given. They live in the stream of updates and end with it. A command
//! that cannot be obeyed is said in the log of the stream, which goes on.

use std::{future::pending, sync::Arc};

use embermesh_job::proof::Proven;
use futures::{
    StreamExt as _,
    future::ready,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{
    super::super::wire,
    feed::{self, Answer},
    order,
    render::{self, Said},
};
use crate::{
    Failure,
    port::node::{
        Call,
        execution::{Execution, Followed, Steer},
    },
};
use bytes::Bytes;
use wire::{training_command::Command, training_update::Update};

/// Updates that wait for the connection.
const UPDATES: usize = 16;
/// Words that wait for the task.
const WORDS: usize = 16;
/// Answers of a client that wait for the work.
const ANSWERS: usize = 16;

/// Where updates of a job go.
#[derive(Clone)]
pub(super) struct Updates {
    job: String,
    to: mpsc::Sender<Result<wire::TrainingUpdate, Status>>,
}

impl Updates {
    pub(super) fn job(&self) -> String {
        self.job.clone()
    }

    /// Says something that is no event of the task.
    pub(super) async fn say(&self, update: Update) {
        self.pass(Ok(render::say(&self.job, 0, update))).await;
    }

    async fn warn(&self, message: String) {
        let level = wire::log_message::Level::Error;
        self.say(render::log(level, message)).await;
    }

    async fn pass(&self, update: Result<wire::TrainingUpdate, Status>) {
        // With whoever reads it this ends, too.
        let _ = self.to.send(update).await;
    }
}

/// A word to the task.
enum Word {
    Steer(Steer),
    /// To end with what there is, or else at once.
    Stop,
    New(Box<wire::JobConfig>),
}

/// Runs a stream.
pub(super) fn run<P: Execution>(
    port: Arc<P>,
    call: Call,
    followed: Followed,
    commands: Streaming<wire::TrainingCommand>,
) -> BoxStream<'static, Result<wire::TrainingUpdate, Status>> {
    let (to, mut from) = mpsc::channel(UPDATES);
    let updates = Updates {
        job: if call.job.is_empty() {
            followed.job.to_string()
        } else {
            call.job.clone()
        },
        to,
    };
    let driven = stream::once(drive(port, call, followed, commands, updates));
    // Yields nothing: it is polled here so that it ends with the stream.
    let driven = driven.filter_map(|()| ready(None));
    let said = stream::poll_fn(move |context| from.poll_recv(context));
    stream::select(said, driven).boxed()
}

async fn drive<P: Execution>(
    port: Arc<P>,
    call: Call,
    followed: Followed,
    commands: Streaming<wire::TrainingCommand>,
    updates: Updates,
) {
    let (words, spoken) = mpsc::channel(WORDS);
    let (answers, given) = mpsc::channel(ANSWERS);
    let heard = Heard {
        words,
        answers: followed.feed.is_some().then_some(answers),
        updates: updates.clone(),
    };
    let feeding = async {
        if let Some((said, feed)) = followed.feed
            && let Err(failure) = feed::pass(&said, feed, given, &updates).await
        {
            return failure;
        }
        pending().await
    };
    let failure = tokio::select! {
        biased;
        () = tell(&*port, &call, followed.updates, &updates) => return,
        () = speak(&*port, &call, spoken, &updates) => return,
        // The client gives its time on the node back.
        () = heard.run(commands) => {
            port.close(&call.line);
            return;
        }
        failure = feeding => failure,
    };
    updates
        .say(Update::Error(wire::TrainingError {
            error_code: "bad_samples".to_owned(),
            error_message: failure.message.clone(),
            recoverable: true,
            ..Default::default()
        }))
        .await;
    updates.pass(Err(failure.into())).await;
}

/// Tells what the task says, to its end.
async fn tell<P: Execution>(
    port: &P,
    call: &Call,
    mut said: BoxStream<'static, Result<embermesh_job::event::RunUpdate, Failure>>,
    updates: &Updates,
) {
    let mut so_far = Said::new(updates.job());
    while let Some(update) = said.next().await {
        match update {
            Ok(update) => {
                for mut update in so_far.updates(update) {
                    if let Some(Update::Complete(complete)) = &mut update.update
                        && let Some(made) = so_far.proof()
                    {
                        match port.read(call, made, 0..made.size).await {
                            Ok(bytes) => complete.proof_of_compute = Proven::text(&bytes),
                            Err(failure) => updates.warn(failure.message).await,
                        }
                    }
                    updates.pass(Ok(update)).await;
                }
            }
            Err(failure) => return updates.pass(Err(failure.into())).await,
        }
    }
}

/// Passes words on, one after another.
async fn speak<P: Execution>(
    port: &P,
    call: &Call,
    mut words: mpsc::Receiver<Word>,
    updates: &Updates,
) {
    while let Some(word) = words.recv().await {
        let obeyed = match word {
            Word::Steer(steer) => port.steer(call, steer).await.map(|_| ()),
            Word::Stop => match port.steer(call, Steer::Finish).await {
                Err(failure) if failure.code == crate::ErrorCode::Precondition => {
                    port.steer(call, Steer::Cancel).await.map(|_| ())
                }
                other => other.map(|_| ()),
            },
            Word::New(config) => start(port, call, *config, updates).await,
        };
        if let Err(failure) = obeyed {
            updates.warn(failure.message).await;
        }
    }
    pending().await
}

/// Starts another job, whose stream is another.
async fn start<P: Execution>(
    port: &P,
    call: &Call,
    config: wire::JobConfig,
    updates: &Updates,
) -> Result<(), Failure> {
    let order = match order(config, Bytes::new()) {
        Ok(order) => order,
        Err(super::Rejected::Config(invalid)) => return Err(Failure::invalid(invalid.to_string())),
        Err(super::Rejected::Failure(failure)) => return Err(failure),
    };
    let name = order.spec.name.clone();
    let task = port.start_own(call, &name, order).await?;
    let level = wire::log_message::Level::Info;
    let message = format!("job {} is {}: open a stream for it", task.job, task.state);
    updates.say(render::log(level, message)).await;
    Ok(())
}

/// What a client says is put here.
struct Heard {
    words: mpsc::Sender<Word>,
    answers: Option<mpsc::Sender<Answer>>,
    updates: Updates,
}

impl Heard {
    /// Hears a client until it gives its reservation back. One that says nothing more
    /// may go on reading.
    async fn run(self, mut commands: Streaming<wire::TrainingCommand>) {
        loop {
            let Ok(Some(message)) = commands.message().await else {
                return pending().await;
            };
            match message.command {
                Some(Command::Pause(true)) => self.word(Word::Steer(Steer::Pause)).await,
                Some(Command::Resume(true)) => self.word(Word::Steer(Steer::Resume)).await,
                Some(Command::Stop(true)) => self.word(Word::Stop).await,
                Some(Command::RequestCheckpoint(true)) => {
                    self.word(Word::Steer(Steer::Checkpoint)).await;
                }
                Some(Command::UpdateParams(asked)) => match adjustment(&asked) {
                    Ok(steer) => self.word(Word::Steer(steer)).await,
                    Err(failure) => self.updates.warn(failure.message).await,
                },
                Some(Command::BatchResponse(batch)) => {
                    self.answer(Answer::Batch(Box::new(batch))).await;
                }
                Some(Command::DatasetInfoResponse(info)) => {
                    self.answer(Answer::Info(Box::new(info))).await;
                }
                Some(Command::NewJobConfig(config)) => {
                    self.word(Word::New(Box::new(config))).await;
                }
                Some(Command::ReservationEnd(true)) => return,
                // A switch that is off, or a command of a later time.
                _ => {}
            }
        }
    }

    async fn word(&self, word: Word) {
        if self.words.try_send(word).is_err() {
            let message = format!("{WORDS} commands wait already: this one is not heard");
            self.updates.warn(message).await;
        }
    }

    async fn answer(&self, answer: Answer) {
        let Some(answers) = &self.answers else {
            let message = "nothing was asked: no data of this job stays with its client";
            return self.updates.warn(message.to_owned()).await;
        };
        if answers.try_send(answer).is_err() {
            let message = format!("{ANSWERS} answers wait already: this one is not heard");
            self.updates.warn(message).await;
        }
    }
}

/// What can be changed while a training runs.
fn adjustment(asked: &wire::UpdateHyperparameters) -> Result<Steer, Failure> {
    if asked.batch_size != 0 {
        let message = "batch_size cannot be changed while a training runs";
        return Err(Failure::invalid(message));
    }
    let mut weight_decay = None;
    for (name, value) in &asked.other_params {
        match name.as_str() {
            "weight_decay" => weight_decay = Some(*value),
            _ => {
                let message = format!("{name} cannot be changed while a training runs");
                return Err(Failure::invalid(message));
            }
        }
    }
    // Nothing is said by 0: a training with that rate would learn nothing.
    let learning_rate = (asked.learning_rate != 0.0).then_some(asked.learning_rate);
    Ok(Steer::Adjust {
        learning_rate,
        weight_decay,
    })
}
