//! The port: what dialects ask of the registry.

use embermesh_crypto::{JobId, UnixMillis};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{
        Principal,
        registry::{ModelEntry, ModelFilter, ModelPage, NewModel, Piece, Reading, Registry},
    },
};
use futures::stream::{BoxStream, StreamExt as _};
use tokio::task::spawn_blocking;

use super::{
    checksum, file_failed,
    incoming::Incoming,
    rows::{Added, KeptModel},
};
use crate::{Gateway, failure::store_failed};

/// The most models of one owner.
const MAX_MODELS: u64 = 1000;
/// The longest name of a model and the longest id, in bytes.
const MAX_NAME: usize = 256;
/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 8 << 10;
/// The most tags of a model, and the longest of them in bytes.
const MAX_TAGS: (usize, usize) = (32, 64);
/// The most that its owner may say else: so many things, of so many bytes together.
const MAX_METADATA: (usize, usize) = (64, 512 << 10);
/// Models of a page, where the caller does not say.
const PAGE: usize = 50;
/// The most models of a page.
const LONGEST_PAGE: usize = 500;

impl Gateway {
    /// A model that somebody may read.
    pub(crate) async fn readable(&self, who: &Principal, id: &str) -> Result<KeptModel, Failure> {
        let found = self.inner.store.find_model(id).await;
        found
            .map_err(|error| store_failed(&error))?
            .filter(|model| model.owner == *who || (model.said.is_public && model.whole.is_some()))
            .ok_or_else(|| {
                Failure::not_found(format!("no model {id:?} of yours or for everybody is here"))
            })
    }

    /// A model of somebody's own.
    async fn own_model(&self, who: &Principal, id: &str) -> Result<KeptModel, Failure> {
        let model = self.readable(who, id).await?;
        if model.owner == *who {
            return Ok(model);
        }
        let message = format!("the model {id:?} is for everybody to read, and not yours");
        Err(Failure::new(ErrorCode::Denied, message))
    }

    fn present_model(&self, kept: KeptModel) -> ModelEntry {
        let received = match &kept.whole {
            Some(whole) => whole.size,
            None => self.inner.models.received(kept.number),
        };
        ModelEntry {
            id: kept.id,
            owner: kept.owner,
            said: kept.said,
            received,
            whole: kept.whole,
            downloads: kept.downloads,
        }
    }

    /// Begins to take in a model whose first piece is here.
    async fn begin(&self, model: &KeptModel, first: &Piece) -> Result<Incoming, Failure> {
        if model.whole.is_some() {
            let message = "the model is whole already: delete it before you send another";
            return Err(Failure::new(ErrorCode::Exists, message));
        }
        let size = size_of(model, first)?;
        let models = self.inner.models.clone();
        let writing = models.write(model.number).ok_or_else(|| {
            let message = "somebody sends this model already: wait until that has ended";
            Failure::new(ErrorCode::Precondition, message)
        })?;
        let sized = self.inner.store.size_model(model, size, models.quota).await;
        if !sized.map_err(|error| store_failed(&error))? {
            return Err(no_room(models.quota));
        }
        let offset = first.offset;
        spawn_blocking(move || Incoming::open(&models, writing, offset, size))
            .await
            .map_err(|error| store_failed(&error))?
    }
}

/// How many bytes a model has, as it and its first piece say.
fn size_of(model: &KeptModel, first: &Piece) -> Result<u64, Failure> {
    match (model.said.size, first.total) {
        (None, 0) => Err(Failure::invalid(
            "total_size: say how many bytes the model has, with it or with its first piece",
        )),
        (Some(said), total) if total != 0 && total != said => Err(Failure::invalid(format!(
            "total_size: {total}, and the model was said to have {said} bytes"
        ))),
        (Some(said), _) => Ok(said),
        (None, total) => Ok(total),
    }
}

fn no_room(quota: u64) -> Failure {
    let message = format!(
        "your models may have {quota} bytes together, and with this one they would have more: delete some"
    );
    Failure::new(ErrorCode::Exhausted, message)
}

fn fits(model: &NewModel) -> Result<(), Failure> {
    let refuse = |reason: String| Err(Failure::invalid(reason));
    if model.name.is_empty() || model.name.len() > MAX_NAME {
        return refuse(format!("name: give 1 to {MAX_NAME} bytes"));
    }
    if let Some(id) = &model.id {
        let is_fit = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
        if !(1..=MAX_NAME).contains(&id.len()) || !id.chars().all(is_fit) {
            let what = "letters, digits, and any of - _ . :";
            return refuse(format!("model_id: give 1 to {MAX_NAME} of {what}"));
        }
    }
    if model.description.len() > MAX_DESCRIPTION {
        return refuse(format!("description: give {MAX_DESCRIPTION} bytes at most"));
    }
    let (most, longest) = MAX_TAGS;
    if model.tags.len() > most || model.tags.iter().any(|tag| tag.len() > longest) {
        return refuse(format!(
            "tags: give {most} at most, of {longest} bytes each"
        ));
    }
    let bytes = model
        .metadata
        .iter()
        .map(|(key, value)| key.len() + value.len());
    if model.metadata.len() > MAX_METADATA.0 || bytes.sum::<usize>() > MAX_METADATA.1 {
        let (most, bytes) = MAX_METADATA;
        return refuse(format!(
            "metadata: give {most} at most, of {bytes} bytes together"
        ));
    }
    if model.size == Some(0) {
        return refuse("size_bytes: a model of no bytes is none".to_owned());
    }
    model.checksum.as_deref().map_or(Ok(()), checksum::check)
}

#[tonic::async_trait]
impl Registry for Gateway {
    async fn add_model(&self, who: &Principal, model: NewModel) -> Result<ModelEntry, Failure> {
        fits(&model)?;
        let now = UnixMillis::now();
        let id = match &model.id {
            Some(id) => id.clone(),
            None => fresh_id(now)?,
        };
        let quota = self.inner.models.quota;
        let store = &self.inner.store;
        let added = store
            .add_model(who, &id, &model, quota, MAX_MODELS, now)
            .await;
        match added.map_err(|error| store_failed(&error))? {
            Added::Yes(_) => {}
            Added::Taken => {
                let message = format!("model_id: {id:?} is taken: choose another, or none");
                return Err(Failure::new(ErrorCode::Exists, message));
            }
            Added::TooMany => {
                let message =
                    format!("you have {MAX_MODELS} models, which is the most: delete some");
                return Err(Failure::new(ErrorCode::Exhausted, message));
            }
            Added::NoRoom => return Err(no_room(quota)),
        }
        self.model(who, &id).await
    }

    async fn receive(
        &self,
        who: &Principal,
        mut pieces: BoxStream<'static, Result<Piece, Failure>>,
    ) -> Result<ModelEntry, Failure> {
        let mut piece = match pieces.next().await {
            Some(first) => first?,
            None => return Err(Failure::invalid("give at least one piece")),
        };
        let model = self.own_model(who, &piece.model).await?;
        let mut incoming = self.begin(&model, &piece).await?;
        loop {
            if !piece.model.is_empty() && piece.model != model.id {
                let message = "model_id: one upload has the pieces of one model";
                return Err(Failure::invalid(message));
            }
            let is_last = piece.is_last;
            let (taken, back) = spawn_blocking(move || (incoming.take(&piece), incoming))
                .await
                .map_err(|error| store_failed(&error))?;
            taken?;
            incoming = back;
            piece = match pieces.next().await {
                Some(_) if is_last => {
                    return Err(Failure::invalid("is_final: a piece came after the last"));
                }
                Some(next) => next?,
                None => break,
            };
        }
        let (models, number) = (self.inner.models.clone(), model.number);
        let said = model.said.checksum.clone();
        let now = UnixMillis::now();
        let whole = spawn_blocking(move || incoming.finish(&models, number, said.as_deref(), now))
            .await
            .map_err(|error| store_failed(&error))??;
        let completed = self.inner.store.complete_model(number, &whole).await;
        completed.map_err(|error| store_failed(&error))?;
        self.model(who, &model.id).await
    }

    async fn model(&self, who: &Principal, id: &str) -> Result<ModelEntry, Failure> {
        Ok(self.present_model(self.readable(who, id).await?))
    }

    async fn registered(&self, who: &Principal, filter: ModelFilter) -> Result<ModelPage, Failure> {
        let most = match filter.most {
            0 => PAGE,
            most => most.min(LONGEST_PAGE),
        };
        let before = match &filter.after {
            None => i64::MAX,
            Some(place) => place
                .parse()
                .map_err(|_| Failure::invalid("the page token is not one of this registry's"))?,
        };
        let page = self.inner.store.page_models(who, &filter, before, most + 1);
        let (mut models, total) = page.await.map_err(|error| store_failed(&error))?;
        let more = models.len() > most;
        models.truncate(most);
        let next = models.last().filter(|_| more);
        Ok(ModelPage {
            next: next.map(|model| model.number.to_string()),
            models: models
                .into_iter()
                .map(|kept| self.present_model(kept))
                .collect(),
            total,
        })
    }

    async fn read_model(&self, who: &Principal, id: &str) -> Result<Reading, Failure> {
        let kept = self.readable(who, id).await?;
        let Some(whole) = kept.whole.clone() else {
            let message = format!("the model {id:?} is not whole yet: send the rest of it");
            return Err(Failure::new(ErrorCode::Precondition, message));
        };
        Ok(Reading {
            model: self.present_model(kept.clone()),
            pieces: self.pieces(kept, whole.size).await?,
        })
    }

    async fn discard_model(&self, who: &Principal, id: &str) -> Result<(), Failure> {
        let model = self.own_model(who, id).await?;
        let models = self.inner.models.clone();
        let Some(writing) = models.write(model.number) else {
            let message = "somebody sends this model: end that first";
            return Err(Failure::new(ErrorCode::Precondition, message));
        };
        let removed = self.inner.store.remove_model(model.number).await;
        removed.map_err(|error| store_failed(&error))?;
        spawn_blocking(move || {
            let removed = models.remove(model.number);
            drop(writing);
            removed
        })
        .await
        .map_err(|error| store_failed(&error))?
        .map_err(|error| file_failed(&error))
    }
}

/// A new id, ordered by time.
pub(crate) fn fresh_id(now: UnixMillis) -> Result<String, Failure> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| store_failed(&error))?;
    Ok(JobId::v7(now, random).to_string())
}
