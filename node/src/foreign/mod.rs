//! Foreign systems whose clients come to this node themselves: the ports that their
//! adapters speak to, over what is here.
//!
//! - `sessions`: what a line was let in to, by a token that it has shown.
//! - `permit`: who may do what. A key that the transport has proven counts as it does
//!   elsewhere; a token alone is enough only from where the owner says.
//! - `execution`: tasks. `own`: tasks that the node gives leave for itself. `feed`:
//!   samples that stay with their client. `view`: a task at one moment.
//! - `asking`: the models that are resident; `asks`: questions that are answered later.
//! - `computing`: operations over tensors, answered at once.
//! - `owner`: all of the node, for whoever owns it.
//! - `status`: the machine.
//! - `failure`: refusals, as foreign systems hear of them.

mod asking;
mod asks;
mod computing;
mod execution;
mod failure;
mod feed;
mod own;
mod owner;
mod permit;
mod sessions;
mod status;
mod view;

use std::{sync::Arc, time::Instant};

use axum::extract::Request;
use embermesh_crypto::{ids::PeerId, keys::Keypair};
use embermesh_dialects::{Dialect, Mount, Profile, network::Network, port::node::Line};
use embermesh_mesh::road::Caller;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub(crate) use self::owner::{Owned, Reins, write_word};
use self::{asks::Asks, sessions::Sessions, status::Meter};
use crate::{gate::Gate, site::Site, task::Tasks};

/// Streams of tasks to foreign clients at one time.
const MAX_STREAMS: usize = 256;

/// What foreign systems reach.
pub(crate) struct Parts {
    pub(crate) site: Arc<Site>,
    pub(crate) tasks: Tasks,
    pub(crate) gate: Gate,
    /// Where clients without a key may come from beside this machine.
    pub(crate) networks: Vec<Network>,
    /// The indexes that it registers with.
    pub(crate) indexes: Vec<String>,
    pub(crate) owner: Owned,
    /// Ends every stream.
    pub(crate) cancel: CancellationToken,
}

/// The node, as foreign systems see it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Foreign {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    sessions: Sessions,
    asks: Asks,
    meter: Meter,
    /// A key that nobody has, for those who ask without one.
    nobody: PeerId,
    streams: Arc<Semaphore>,
    since: Instant,
}

impl Foreign {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                sessions: Sessions::default(),
                asks: Asks::default(),
                meter: Meter::default(),
                nobody: Keypair::from_seed(&rand::random()).peer_id(),
                since: Instant::now(),
                streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            }),
        }
    }

    /// The services of some systems, and their names.
    pub(crate) fn services(&self, dialects: &[Dialect]) -> Mount {
        let port = Arc::new(self.clone());
        let mount = Mount::default();
        dialects.iter().fold(mount, |mount, dialect| match dialect {
            Dialect::CyxWiz => mount
                .cyxwiz_node(&port, Profile::default())
                .cyxwiz_daemon(&port),
            Dialect::TitanCompute => mount.titancompute_node(&port),
            Dialect::Dim => mount.dim_node(&port),
            Dialect::HiveMind => mount.hivemind_node(&port),
            // The configuration refuses it.
            Dialect::Zisk => mount,
        })
    }
}

/// Puts services beside those of this system, and tells them where each call comes from.
pub(crate) fn beside(routes: Routes, services: Mount) -> Routes {
    let router = services.onto(routes).into_axum_router();
    router.layer(axum::middleware::map_request(say_line)).into()
}

async fn say_line(mut request: Request) -> Request {
    let caller = request.extensions().get::<Caller>().copied();
    let line = caller.map_or_else(Line::default, |caller| Line {
        remote: caller.remote,
        key: caller.peer,
    });
    request.extensions_mut().insert(line);
    request
}
