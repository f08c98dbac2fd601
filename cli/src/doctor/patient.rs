//! What is known of a set-up before it is looked at: its settings, its keys, and whom it is
//! to work with.

use std::{path::PathBuf, sync::Arc, time::Duration};

use embermesh_client::direct::peers::{self as seen, Seen};
use embermesh_crypto::Keypair;
use embermesh_mesh::{
    Membership, MeshConfig,
    road::{Identity, RoadError},
};
use embermesh_node::NodeConfig;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    around::{self, Door, Origin},
    identity::Key,
};
use crate::{
    config::{Settings, default_index},
    direct::seen_file,
    identity::{node_key_path, user_key_path},
};

/// How long the mesh waits for an index to tell of nodes, where it knows of no peer.
const HEARSAY_TIME: Duration = Duration::from_secs(4);

/// What is to be looked at.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    /// The key that was named on the command line.
    pub(crate) key: Option<PathBuf>,
    /// Indexes are left out.
    pub(crate) no_index: bool,
}

/// As whom others are asked.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(super) key: Arc<Keypair>,
    /// Who may take part in the mesh.
    pub(super) membership: Membership,
}

impl Asker {
    /// The key of this look's own part of the mesh: one that nobody has seen, where that is
    /// let in, so that nothing that runs under the user's is disturbed.
    pub(super) fn in_the_mesh(&self) -> anyhow::Result<Arc<Keypair>> {
        if self.membership.is_open() {
            return Ok(Arc::new(Keypair::generate()?));
        }
        Ok(Arc::clone(&self.key))
    }

    /// Ready for the TLS road.
    pub(super) fn identity(&self) -> Result<Identity, RoadError> {
        Identity::member(Arc::clone(&self.key), self.membership.clone())
    }
}

/// What the parts need to know.
pub(super) struct Patient {
    pub(super) settings: Settings,
    pub(super) no_index: bool,
    /// A node is set up here: its settings are not the defaults, or it has a folder.
    pub(super) has_node: bool,
    pub(super) user: Key,
    pub(super) node: Key,
    /// Why the key of a private mesh cannot be used, if there is one and it cannot.
    pub(super) no_membership: Option<String>,
    /// As whom this look is made.
    pub(super) asker: Asker,
}

impl Patient {
    /// The indexes to look at. That of the defaults counts where nothing else is set.
    pub(super) fn indexes(&self) -> Vec<String> {
        if self.no_index {
            return Vec::new();
        }
        let node = &self.settings.node;
        let mut all = node.indexes.clone();
        let is_default = self.settings.index.texts() == [default_index()];
        let has_other = !node.indexes.is_empty()
            || !node.bootstrap.is_empty()
            || !self.settings.mesh.peers.is_empty();
        let is_meant = !(is_default && has_other);
        for index in self.settings.index.texts() {
            if is_meant && !all.contains(index) {
                all.push(index.clone());
            }
        }
        all
    }

    /// How the mesh is taken part in: as the node does, where there is one.
    fn mesh(&self) -> MeshConfig {
        let config = if self.has_node {
            self.settings.node.mesh()
        } else {
            MeshConfig {
                network: self.settings.mesh.network.clone(),
                ..MeshConfig::default()
            }
        };
        MeshConfig {
            membership: self.asker.membership.clone(),
            ..config
        }
    }

    /// The peers to join through: those that the settings name, and those met before.
    fn doors(&self, config: &MeshConfig) -> Vec<Door> {
        let of = |origin| move |multiaddr: String| Door { multiaddr, origin };
        let mine = (self.settings.mesh.network == config.network)
            .then_some(&self.settings.mesh.peers)
            .into_iter()
            .flatten();
        let named = config.bootstrap.iter().chain(mine).cloned();
        let mut doors: Vec<Door> = named.map(of(Origin::Settings)).collect();
        let met = seen_file().map(|file| seen::load(&file, &config.network));
        let met = met.unwrap_or_default();
        doors.extend(
            met.iter()
                .flat_map(Seen::bootstrap)
                .map(of(Origin::Hearsay)),
        );
        doors
    }

    /// The addresses of those whom a node is to work with.
    pub(super) fn others(&self) -> Vec<String> {
        let node = &self.settings.node;
        node.indexes
            .iter()
            .chain(&node.bootstrap)
            .cloned()
            .collect()
    }
}

/// Reads what is to be known.
///
/// # Errors
/// When there is no home folder and no key is named, or no randomness.
pub(super) fn admit(setup: Setup) -> anyhow::Result<Patient> {
    let Setup {
        settings,
        key,
        no_index,
    } = setup;
    let has_node = settings.node != NodeConfig::default() || settings.node.data_dir.is_dir();
    let user = Key::load("user", user_key_path(&settings)?);
    let node = Key::load(
        "node",
        node_key_path(key.as_deref(), &settings.node.data_dir),
    );
    let asker = match &user.loaded {
        Ok(_) => Keypair::load(&user.path)?,
        Err(_) => Keypair::generate()?,
    };
    let (membership, no_membership) = match settings.private.membership() {
        Ok(membership) => (membership, None),
        Err(error) => (Membership::default(), Some(format!("{error:#}"))),
    };
    Ok(Patient {
        no_membership,
        settings,
        no_index,
        has_node,
        user,
        node,
        asker: Asker {
            key: Arc::new(asker),
            membership,
        },
    })
}

/// What to look around with. Where no peer is known, an index is waited for, which tells
/// of nodes.
pub(super) async fn plan(
    patient: &Patient,
    mut tells: watch::Receiver<Option<Vec<String>>>,
    until: Instant,
) -> around::Plan {
    let config = patient.mesh();
    let mut doors = patient.doors(&config);
    if doors.is_empty() {
        let told = timeout_at(
            until.min(Instant::now() + HEARSAY_TIME),
            tells.wait_for(Option::is_some),
        )
        .await;
        let nodes = told.ok().and_then(Result::ok).and_then(|told| told.clone());
        let hearsay = |multiaddr| Door {
            multiaddr,
            origin: Origin::Hearsay,
        };
        doors.extend(nodes.into_iter().flatten().map(hearsay));
    }
    around::Plan {
        config,
        doors,
        road: patient.settings.road.into(),
        until,
    }
}
