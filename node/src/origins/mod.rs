//! Inputs that nobody sends: fetched by the daemon from the web or a bucket, or read
//! where the owner shares them. Only where the owner of the node has allowed it, so
//! that a job makes no request of its own choice from inside the owner's network.
//!
//! - `config`: what the owner allows.
//! - `guard`: which hosts and which addresses a connection may go to.
//! - `transfer`: bytes as they come: bounded, hashed, resumed after a cut.
//! - `web`, `s3`: the two ways to fetch.
//! - `shared`: files in folders of the owner, opened beneath their root; `models`: those
//!   of them that are models, for the owner.

mod config;
mod guard;
mod models;
mod s3;
mod shared;
mod transfer;
mod web;

use std::{path::PathBuf, sync::Arc};

use embermesh_crypto::digest::Digest;
use embermesh_job::spec::{Input, Location};
use embermesh_mesh::blob::{BlobStore, StoreError};
use thiserror::Error;
use tokio::sync::Semaphore;

pub use self::config::{OriginsConfig, S3Config, Secret};
pub(crate) use self::models::FoundModel;
use self::{
    guard::Guard,
    transfer::{Sink, Transfer},
};
use crate::config::InvalidConfig;

/// Fetches of a node at one time; the others wait.
const MAX_FETCHES: usize = 8;

/// Why an input did not come from its origin.
#[derive(Debug, Error)]
pub enum OriginFault {
    /// The owner has not allowed it.
    #[error("{origin}: {reason}")]
    NotAllowed {
        /// Where it lies.
        origin: String,
        /// What is not allowed, and the cure.
        reason: String,
    },
    /// What lies there is not what the job names: it will be so everywhere.
    #[error("{origin} is not the input that the job names: {reason}")]
    Other {
        /// Where it lies.
        origin: String,
        /// What differs.
        reason: String,
    },
    /// It could not be brought.
    #[error("{origin} did not give the input: {reason}")]
    Failed {
        /// Where it lies.
        origin: String,
        /// What happened.
        reason: String,
    },
    /// The store has no room, or the disk refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The origins of a node.
pub(crate) struct Origins {
    config: OriginsConfig,
    web: Arc<Guard>,
    places: Semaphore,
    shared: shared::Shared,
}

impl Origins {
    /// What the configuration allows.
    ///
    /// # Errors
    /// When a host, a bucket or a folder is not written as one.
    pub(crate) fn new(
        config: OriginsConfig,
        shared: &std::collections::BTreeMap<String, PathBuf>,
    ) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self {
            web: Arc::new(config.guard()?),
            shared: shared::Shared::new(shared)?,
            config,
            places: Semaphore::new(MAX_FETCHES),
        })
    }

    /// Whether the owner allows this origin.
    pub(crate) fn allows(&self, origin: &Location) -> Result<(), OriginFault> {
        let refused = |reason: String| OriginFault::NotAllowed {
            origin: origin.to_string(),
            reason,
        };
        match origin {
            Location::Web { url, .. } => self.web.judge(url).map_err(refused),
            Location::S3 { bucket, .. } if self.config.s3.buckets.contains(bucket) => Ok(()),
            Location::S3 { bucket, .. } => Err(refused(format!(
                "this node fetches nothing from the bucket {bucket}: its owner allows buckets in `origins.s3.buckets`"
            ))),
            Location::Shared { name, .. } if self.shared.has(name) => Ok(()),
            Location::Shared { name, .. } => Err(refused(format!(
                "this node shares no folder {name}: its owner names folders in `shared`"
            ))),
        }
    }

    /// Brings an input from the web or a bucket into the store. `tell` hears how many
    /// bytes have come.
    ///
    /// # Errors
    /// [`OriginFault`].
    pub(crate) async fn fetch(
        &self,
        origin: &Location,
        input: Input,
        store: &BlobStore,
        tell: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), OriginFault> {
        self.allows(origin)?;
        if input.size > self.config.max_size.0 {
            return Err(OriginFault::NotAllowed {
                origin: origin.to_string(),
                reason: format!(
                    "it has {} bytes, and this node fetches at most {}",
                    input.size, self.config.max_size
                ),
            });
        }
        let _place = self.places.acquire().await;
        let upload = store.upload(input.digest, input.size).await?;
        let mut transfer = Transfer::new(origin, Some(input.size), Sink::Store(upload), tell);
        self.bring(origin, &mut transfer).await?;
        transfer.store().await
    }

    /// A file that the owner shares, checked against the input that the job names.
    ///
    /// # Errors
    /// [`OriginFault`].
    pub(crate) async fn shared(
        &self,
        origin: &Location,
        input: Input,
    ) -> Result<PathBuf, OriginFault> {
        self.allows(origin)?;
        self.shared.find(origin, input).await
    }

    async fn bring(
        &self,
        origin: &Location,
        transfer: &mut Transfer<'_>,
    ) -> Result<(), OriginFault> {
        match origin {
            Location::Web { url, .. } => {
                let client = guard::client(&self.web).map_err(|reason| transfer.failed(reason))?;
                transfer.run(&web::Web::new(client, url)).await
            }
            Location::S3 { bucket, key } => {
                let object = s3::Object::new(&self.config.s3, bucket, key)
                    .map_err(|reason| transfer.failed(reason))?;
                transfer.run(&object).await
            }
            Location::Shared { .. } => {
                Err(transfer.failed("a shared file is read where it lies".to_owned()))
            }
        }
    }
}

/// Fetches what a user names from the user's own machine, to learn its digest and
/// size; keeps nothing of it. At most `most` bytes.
///
/// # Errors
/// [`OriginFault`].
pub async fn measure(origin: &str, s3: &S3Config, most: u64) -> Result<Input, OriginFault> {
    let wrong = |reason: String| OriginFault::Failed {
        origin: origin.to_owned(),
        reason,
    };
    let location: Location = origin.parse().map_err(wrong)?;
    let mut s3 = s3.clone();
    if let Location::S3 { bucket, .. } = &location {
        s3.buckets = vec![bucket.clone()];
    }
    let origins = Origins {
        config: OriginsConfig {
            s3,
            ..OriginsConfig::default()
        },
        web: Arc::new(Guard::open()),
        places: Semaphore::new(1),
        shared: shared::Shared::default(),
    };
    let mut tell = |_| ();
    let sink = Sink::Hash {
        hasher: Box::new(Digest::hasher()),
        most,
    };
    let mut transfer = Transfer::new(&location, None, sink, &mut tell);
    origins.bring(&location, &mut transfer).await?;
    transfer.measured()
}
