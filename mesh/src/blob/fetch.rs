//! Bringing a blob here from whoever holds it.
//!
//! Several holders of a large blob are asked at once (`lanes`). Otherwise they are asked in
//! the order given, then those that the mesh knows. What one has given stays when it fails,
//! and the next is asked for the rest. A holder that
//! sent wrong bytes is not asked again; one that was lost may be, as long as the
//! last round brought something.

mod draw;
mod lanes;
mod place;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use embermesh_crypto::{digest::Digest, ids::PeerId};
use embermesh_job::address::BlobRef;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use self::{draw::Fetch, place::Place};
use super::{BlobStore, FetchError};
use crate::{
    net::Mesh,
    road::{Identity, RoadChoice, RoadKind, Target},
};

/// Holders asked, of those named in a request and of those the mesh knows.
const MAX_HOLDERS: usize = 32;
/// How long a holder may be silent, unless the caller has another patience.
const PATIENCE: Duration = Duration::from_secs(20);
/// Rounds over the holders, each of which brought something.
const MAX_ROUNDS: usize = 64;

/// A blob to be brought here.
#[derive(Debug, Clone)]
pub struct Want {
    /// Its name.
    pub digest: Digest,
    /// Its bytes, where they are known: a holder that says otherwise is refused.
    pub size: Option<u64>,
    /// Who may hold it, the likeliest first.
    pub holders: Vec<Target>,
}

impl From<&BlobRef> for Want {
    fn from(blob: &BlobRef) -> Self {
        Self {
            digest: blob.digest,
            size: Some(blob.size),
            holders: blob.holders.iter().map(Target::from).collect(),
        }
    }
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes that are here and checked.
    pub received: u64,
    /// Bytes of the whole blob; 0 until a holder has said so.
    pub size: u64,
    /// Who is giving.
    pub holder: Option<PeerId>,
    /// By which road.
    pub road: Option<RoadKind>,
}

/// A blob that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Where it is. In a store it may be evicted: see [`BlobStore::hold`].
    pub path: PathBuf,
    /// Bytes that were here before this fetch began.
    pub resumed: u64,
    /// Who gave some of it, in order, and by which road.
    pub from: Vec<(PeerId, RoadKind)>,
}

/// Fetches blobs, as one identity.
#[derive(Debug, Clone)]
pub struct Fetcher {
    identity: Identity,
    mesh: Option<Mesh>,
    choice: RoadChoice,
    patience: Duration,
}

impl Fetcher {
    /// Fetches over TLS and, where there is a mesh, over it.
    #[must_use]
    pub const fn new(identity: Identity, mesh: Option<Mesh>) -> Self {
        Self {
            identity,
            mesh,
            choice: RoadChoice::Auto,
            patience: PATIENCE,
        }
    }

    /// Takes only the roads that `choice` allows.
    #[must_use]
    pub const fn by(mut self, choice: RoadChoice) -> Self {
        self.choice = choice;
        self
    }

    /// Gives a holder up, for the next, once it has been silent for this long.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Brings a blob into a store. Returns at once when it is there; waits for
    /// another fetch of the same blob. What has come stays if this fails.
    ///
    /// # Errors
    /// When nobody could give it, it cannot be kept, or `cancel` was cancelled.
    pub async fn fetch(
        &self,
        store: &BlobStore,
        want: &Want,
        progress: Option<&watch::Sender<Progress>>,
        cancel: &CancellationToken,
    ) -> Result<Fetched, FetchError> {
        let fetching = async {
            let _flight = store.flight(&want.digest).await;
            if let Ok(held) = store.hold(&want.digest) {
                let path = held.path().to_owned();
                return Ok(already(want.digest, held.size(), path, progress));
            }
            let _resting = Resting {
                store,
                digest: want.digest,
            };
            let place = Place::Store(store.clone());
            self.run(want, &place, progress).await
        };
        let end = cancel.run_until_cancelled(Box::pin(fetching)).await;
        end.unwrap_or(Err(FetchError::Cancelled(want.digest)))
    }

    /// Brings a blob into a file, through a `.part` file beside it that a later call
    /// goes on with. An existing file is replaced once the whole blob is here.
    ///
    /// # Errors
    /// When nobody could give it, it cannot be written, or `cancel` was cancelled.
    pub async fn download(
        &self,
        want: &Want,
        destination: impl AsRef<Path>,
        progress: Option<&watch::Sender<Progress>>,
        cancel: &CancellationToken,
    ) -> Result<Fetched, FetchError> {
        let place = Place::File(destination.as_ref().to_owned());
        let end = cancel.run_until_cancelled(Box::pin(self.run(want, &place, progress)));
        end.await.unwrap_or(Err(FetchError::Cancelled(want.digest)))
    }

    async fn run(
        &self,
        want: &Want,
        place: &Place,
        progress: Option<&watch::Sender<Progress>>,
    ) -> Result<Fetched, FetchError> {
        let mut fetch = Fetch::begin(self, want, place, progress).await?;
        let mut holders: Vec<Target> = want.holders.iter().take(MAX_HOLDERS).cloned().collect();
        if fetch.is_for_many(&holders) {
            holders = fetch.ask_many(holders).await?;
        }
        let mut asked_mesh = false;
        for _ in 0..MAX_ROUNDS {
            let before = fetch.present();
            let mut again = Vec::new();
            let mut next = holders.into_iter();
            while !fetch.is_whole() {
                let Some(holder) = next.next() else {
                    if asked_mesh {
                        break;
                    }
                    asked_mesh = true;
                    next = self.providers(want).await.into_iter();
                    continue;
                };
                if fetch.ask(&holder).await? {
                    again.push(holder);
                }
            }
            if fetch.is_whole() {
                return fetch.commit().await;
            }
            if again.is_empty() || fetch.present() <= before {
                break;
            }
            holders = again;
        }
        Err(fetch.failed())
    }

    /// Who else may hold it, as the mesh says.
    async fn providers(&self, want: &Want) -> Vec<Target> {
        let Some(mesh) = &self.mesh else {
            return Vec::new();
        };
        let known = |peer: &PeerId| want.holders.iter().any(|holder| holder.peer == Some(*peer));
        // Peers that are gone can hold an answer up for long.
        let asked = timeout(self.patience, mesh.providers(want.digest)).await;
        let found = match asked {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot ask the mesh who holds a blob");
                Vec::new()
            }
            Err(_) => {
                tracing::debug!("the mesh does not say in time who holds a blob");
                Vec::new()
            }
        };
        found
            .into_iter()
            .filter(|peer| !known(peer) && *peer != self.identity.peer_id())
            .take(MAX_HOLDERS)
            .map(|peer| {
                mesh.address_of(peer)
                    .map_or_else(|| Target::peer(peer), Target::from)
            })
            .collect()
    }
}

/// Marks a partial as nobody's when its fetch ends, however it ends, and before the
/// next one may begin.
struct Resting<'a> {
    store: &'a BlobStore,
    digest: Digest,
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.store.rest_partial(&self.digest);
    }
}

fn already(
    digest: Digest,
    size: u64,
    path: PathBuf,
    progress: Option<&watch::Sender<Progress>>,
) -> Fetched {
    if let Some(progress) = progress {
        progress.send_replace(Progress {
            received: size,
            size,
            ..Progress::default()
        });
    }
    Fetched {
        digest,
        size,
        path,
        resumed: size,
        from: Vec::new(),
    }
}
