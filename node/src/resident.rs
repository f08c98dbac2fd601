//! Models that are resident on this node, and whoever asks them.
//!
//! Each has two ends. A [`Resident`] is what the rest of the node sees of it: who may
//! ask, what it was asked so far, and the way in. A [`Desk`] is held by the attempt
//! that drives its worker, and passes asks on and answers back. Counters hold numbers
//! only: what was asked and answered is kept nowhere.

mod answer;
mod desk;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use embermesh_crypto::{
    digest::Digest,
    ids::{JobId, PeerId},
    statement::{MAX_MODEL_NAME, MAX_MODELS, MODEL_DIGEST, ModelAdvert},
    time::UnixMillis,
};
use embermesh_job::{
    ask::{Ask, AskKind},
    spec::{Askers, LanguageModel, Serve, Served},
    wire::ResidentModel,
};
use thiserror::Error;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use self::desk::Asked;
pub(crate) use self::{
    answer::AnswerStream,
    desk::{Desk, Wanted},
};

/// Parts of one answer that wait for its reader. A reader that is further behind is
/// let go, so that nobody's memory fills up and nobody else waits.
const PARTS: usize = 4096;

/// Why an ask was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NotAsked {
    /// There is none of that name or id.
    #[error(
        "no model {0:?} is resident on this node: `embermesh models ls` shows where there is one"
    )]
    Unknown(String),
    /// There are several.
    #[error("{0:?} is the name of several models: ask one by its id: {1}")]
    Ambiguous(String, String),
    /// The deployment does not let this key ask.
    #[error("this key may not ask {0:?}: its owner says who may, by `askers` of the deployment")]
    NotAdmitted(String),
    /// It is being loaded, or about to be unloaded.
    #[error("the model is not loaded yet, or about to be unloaded: try again in a moment")]
    NotReady,
    /// It is asked as much as it may be.
    #[error(
        "the model is busy with {most} asks, as many as its deployment allows: try again later"
    )]
    Busy {
        /// How many.
        most: u32,
    },
    /// It takes something else.
    #[error("this model is asked {}, not {}", takes.word(), asked.word())]
    WrongKind {
        /// What it takes.
        takes: AskKind,
        /// What was asked.
        asked: AskKind,
    },
}

/// Numbers of what a model was asked since it was brought here.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) answered: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    /// Tokens of texts, or answers to rows.
    pub(crate) made: AtomicU64,
}

/// The shapes of a row and of what is made of it; none where a model is asked texts.
pub(crate) type Shapes = Option<(Vec<usize>, Vec<usize>)>;

fn shapes(serve: &Serve) -> Shapes {
    let Served::Network(network) = &serve.model else {
        return None;
    };
    let output = network.model.plan().ok()?.output_shape;
    Some((network.model.input.clone(), output))
}

/// What the files of a model are.
fn format(serve: &Serve) -> &'static str {
    match &serve.model {
        Served::Language(LanguageModel::File(_)) => "gguf",
        Served::Language(_) | Served::Network(_) => "safetensors",
    }
}

/// Tokens of an ask and its answer together; 0 where there are none.
const fn context(serve: &Serve) -> u32 {
    match &serve.model {
        Served::Language(_) => serve.context,
        Served::Network(_) => 0,
    }
}

/// A model as the owner of the node sees it.
pub(crate) struct Owned {
    pub(crate) model: ResidentModel,
    pub(crate) shapes: Shapes,
    pub(crate) format: &'static str,
    pub(crate) context: u32,
}

/// A model as the rest of the node sees it.
pub(crate) struct Resident {
    job: JobId,
    name: String,
    owner: PeerId,
    askers: Askers,
    model: Digest,
    kind: AskKind,
    shapes: Shapes,
    format: &'static str,
    context: u32,
    concurrency: u32,
    most_asks: u32,
    since: UnixMillis,
    ready: AtomicBool,
    memory: AtomicU64,
    /// A permit for each ask under way or waiting.
    places: Arc<Semaphore>,
    asks: mpsc::Sender<Asked>,
    /// Rung when a reader has gone.
    gone: Notify,
    pub(crate) counters: Counters,
}

/// Every resident model of this node. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Residents {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    models: Mutex<BTreeMap<JobId, Arc<Resident>>>,
    /// Changes when an advert should.
    changed: watch::Sender<u64>,
}

impl Residents {
    /// Brings a model here; it is gone with its desk.
    pub(crate) fn open(&self, job: JobId, name: &str, owner: PeerId, serve: &Serve) -> Desk {
        let most = serve.most_asks();
        // As many as there are permits, so that an ask always has room.
        let (asks, hears) = mpsc::channel(most.max(1) as usize);
        let resident = Arc::new(Resident {
            job,
            name: name.to_owned(),
            owner,
            askers: serve.askers.clone(),
            model: serve.digest(),
            kind: serve.kind(),
            shapes: shapes(serve),
            format: format(serve),
            context: context(serve),
            concurrency: serve.concurrency,
            most_asks: most,
            since: UnixMillis::now(),
            ready: AtomicBool::new(false),
            memory: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(most as usize)),
            asks,
            gone: Notify::new(),
            counters: Counters::default(),
        });
        self.models().insert(job, Arc::clone(&resident));
        Desk::new(resident, hears, self.clone())
    }

    fn close(&self, resident: &Arc<Resident>) {
        let mut models = self.models();
        // A later attempt at the same job may be here already.
        if models
            .get(&resident.job)
            .is_some_and(|held| Arc::ptr_eq(held, resident))
        {
            models.remove(&resident.job);
        }
        drop(models);
        self.touch();
    }

    /// The model that a key means by a job's id or by a name, if it may ask it.
    pub(crate) fn find(
        &self,
        what: &str,
        asker: &PeerId,
        allowed: bool,
    ) -> Result<Arc<Resident>, NotAsked> {
        let models = self.models();
        let named: Vec<&Arc<Resident>> = match what.parse::<JobId>() {
            Ok(job) => models.get(&job).into_iter().collect(),
            Err(_) => models.values().filter(|model| model.name == what).collect(),
        };
        if named.is_empty() {
            return Err(NotAsked::Unknown(what.to_owned()));
        }
        let admitted: Vec<&Arc<Resident>> = named
            .into_iter()
            .filter(|model| model.admits(asker, allowed))
            .collect();
        match admitted[..] {
            [] => Err(NotAsked::NotAdmitted(what.to_owned())),
            [model] => Ok(Arc::clone(model)),
            _ => {
                let ids: Vec<String> = admitted.iter().map(|model| model.job.to_string()).collect();
                Err(NotAsked::Ambiguous(what.to_owned(), ids.join(", ")))
            }
        }
    }

    /// The models that a key may ask.
    pub(crate) fn visible(&self, asker: &PeerId, allowed: bool) -> Vec<ResidentModel> {
        self.models()
            .values()
            .filter(|model| model.admits(asker, allowed))
            .map(|model| model.shown())
            .collect()
    }

    /// The models that a key may ask, with the shapes of their rows.
    pub(crate) fn shaped(&self, asker: &PeerId, allowed: bool) -> Vec<(ResidentModel, Shapes)> {
        self.models()
            .values()
            .filter(|model| model.admits(asker, allowed))
            .map(|model| (model.shown(), model.shapes.clone()))
            .collect()
    }

    /// Every model, for the owner of the node, the oldest first.
    pub(crate) fn owned(&self) -> Vec<Owned> {
        let models = self.models();
        let owned = models.values().map(|model| Owned {
            model: model.shown(),
            shapes: model.shapes.clone(),
            format: model.format,
            context: model.context,
        });
        owned.collect()
    }

    /// What an advert says of those that are loaded, the oldest first.
    pub(crate) fn adverts(&self) -> Vec<ModelAdvert> {
        let mut loaded: Vec<Arc<Resident>> = self
            .models()
            .values()
            .filter(|model| model.ready.load(Relaxed))
            .cloned()
            .collect();
        loaded.sort_by_key(|model| (model.since, model.job));
        loaded.truncate(MAX_MODELS);
        loaded.iter().map(|model| model.advert()).collect()
    }

    /// Changes when an advert should.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    fn touch(&self) {
        self.inner
            .changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<Resident>>> {
        self.inner
            .models
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resident {
    fn admits(&self, asker: &PeerId, allowed: bool) -> bool {
        self.askers.admit(asker, &self.owner, allowed)
    }

    /// The job that keeps it.
    pub(crate) const fn job(&self) -> JobId {
        self.job
    }

    /// Asks it. The answer ends with its stream, and its stream with the answer.
    pub(crate) fn ask(self: &Arc<Self>, ask: Ask) -> Result<AnswerStream, NotAsked> {
        self.taken_in(ask).inspect_err(|_| {
            self.counters.refused.fetch_add(1, Relaxed);
        })
    }

    fn taken_in(self: &Arc<Self>, ask: Ask) -> Result<AnswerStream, NotAsked> {
        if ask.kind() != self.kind {
            return Err(NotAsked::WrongKind {
                takes: self.kind,
                asked: ask.kind(),
            });
        }
        if !self.ready.load(Relaxed) {
            return Err(NotAsked::NotReady);
        }
        let busy = NotAsked::Busy {
            most: self.most_asks,
        };
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| busy.clone())?;
        let (sender, parts) = mpsc::channel(PARTS);
        let asked = Asked {
            ask: Box::new(ask),
            parts: sender,
            place,
        };
        self.asks.try_send(asked).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy,
            mpsc::error::TrySendError::Closed(_) => NotAsked::NotReady,
        })?;
        Ok(AnswerStream::new(parts, Arc::clone(self)))
    }

    fn shown(&self) -> ResidentModel {
        let free = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        let counters = &self.counters;
        ResidentModel {
            job: self.job,
            name: self.name.clone(),
            owner: self.owner,
            model: self.model,
            kind: self.kind,
            ready: self.ready.load(Relaxed),
            memory_bytes: self.memory.load(Relaxed),
            concurrency: self.concurrency,
            asks: self.most_asks.saturating_sub(free),
            most_asks: self.most_asks,
            answered: counters.answered.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            cancelled: counters.cancelled.load(Relaxed),
            prompt_tokens: counters.prompt_tokens.load(Relaxed),
            tokens: counters.made.load(Relaxed),
            since: self.since,
        }
    }

    fn advert(&self) -> ModelAdvert {
        let mut name = self.name.clone();
        name.truncate(name.floor_char_boundary(MAX_MODEL_NAME));
        let mut digest = [0; MODEL_DIGEST];
        digest.copy_from_slice(&self.model.as_bytes()[..MODEL_DIGEST]);
        let mib = self.memory.load(Relaxed).div_ceil(1 << 20);
        ModelAdvert {
            name,
            digest,
            memory_mib: u32::try_from(mib).unwrap_or(u32::MAX),
        }
    }
}
