//! The indexes: whether each is reached, is one, and is the one that is meant.

use std::time::Duration;

use embermesh_client::{
    Client, ClientError, IndexTarget, NodeView, Options,
    clock::{Reading, Told},
};
use embermesh_crypto::PeerId;
use tokio::time::timeout;

use super::{
    finding::{Finding, Part},
    patient::Asker,
};

/// How long an index may take to answer the first time.
const GREET_TIME: Duration = Duration::from_secs(6);
/// How long it may take for each further question.
const ASK_TIME: Duration = Duration::from_secs(3);

/// What was found of one index.
pub(crate) struct Looked {
    /// As it was written.
    pub(crate) address: String,
    pub(crate) greeted: Result<Greeted, ClientError>,
}

/// An index that was reached.
pub(crate) struct Greeted {
    pub(crate) peer: PeerId,
    /// Whether its key was known beforehand.
    pub(crate) is_pinned: bool,
    /// Its version and its clock; nothing when it did not say in time.
    pub(crate) told: Option<Told>,
    /// The nodes that it knows; nothing when it did not say in time.
    pub(crate) nodes: Option<Vec<NodeView>>,
}

/// Asks an index.
pub(crate) async fn look(address: String, asker: Asker) -> Looked {
    let greeted = Box::pin(greet(&address, asker)).await;
    Looked { address, greeted }
}

async fn greet(address: &str, asker: Asker) -> Result<Greeted, ClientError> {
    let target: IndexTarget = address.parse()?;
    let is_pinned = target.peer.is_some();
    let options = Options {
        membership: asker.membership,
        ..Options::default()
    };
    let connecting = Client::connect(target, asker.key, options);
    let client = timeout(GREET_TIME, Box::pin(connecting))
        .await
        .map_err(|_| ClientError::Timeout {
            what: format!("the index {address}"),
            after: GREET_TIME,
        })??;
    let (told, nodes) = tokio::join!(
        timeout(ASK_TIME, client.clock()),
        timeout(ASK_TIME, client.nodes())
    );
    Ok(Greeted {
        peer: client.index_peer(),
        is_pinned,
        told: told.ok().and_then(Result::ok),
        nodes: nodes.ok().and_then(Result::ok),
    })
}

impl Looked {
    /// Its clock, and how it is called.
    pub(crate) fn reading(&self) -> Option<(String, Reading)> {
        let told = self.greeted.as_ref().ok()?.told.as_ref()?;
        Some((format!("the index {}", self.address), told.reading?))
    }

    /// Multiaddrs of nodes that it knows, each with its peer.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let nodes = self.greeted.as_ref().ok().and_then(|it| it.nodes.as_ref());
        let live = nodes.into_iter().flatten().filter(|node| node.live);
        live.flat_map(|node| {
            let named = |at: &String| format!("{at}/p2p/{}", node.address.peer);
            node.address.mesh.iter().map(named)
        })
        .collect()
    }

    /// Whether it has a node among those it knows; nothing when it did not say.
    pub(crate) fn knows(&self, node: &PeerId) -> Option<bool> {
        let nodes = self.greeted.as_ref().ok()?.nodes.as_ref()?;
        Some(
            nodes
                .iter()
                .any(|known| known.live && known.address.peer == *node),
        )
    }
}

/// What was found of an index. `ours` is a node that runs here and is to be registered
/// there.
pub(crate) fn findings(looked: &Looked, ours: Option<&PeerId>) -> Vec<Finding> {
    let address = &looked.address;
    let greeted = match &looked.greeted {
        Ok(greeted) => greeted,
        Err(error) => return vec![trouble(address, error)],
    };
    let own = env!("CARGO_PKG_VERSION");
    let version = match greeted.told.as_ref().map(|told| told.version.as_str()) {
        None | Some("") => "of a version that it does not say".to_owned(),
        Some(version) => format!("version {version}"),
    };
    let at = address.split("/p2p/").next().unwrap_or(address);
    let mut findings = vec![Finding::ok(
        Part::Index,
        format!(
            "{at} is the index {}, {version}, over mutual TLS",
            greeted.peer
        ),
    )];
    findings.push(if greeted.is_pinned {
        Finding::ok(Part::Index, "its key is the one that the settings trust")
    } else {
        Finding::note(
            Part::Index,
            "its key is not pinned: whoever answers at that address is taken for the index",
        )
        .with(format!("write `{at}/p2p/{}`", greeted.peer))
    });
    if let Some(told) = &greeted.told
        && !told.version.is_empty()
        && told.version != own
    {
        findings.push(
            Finding::note(
                Part::Index,
                format!("it is of version {}, and this of {own}", told.version),
            )
            .with("run the same version on both"),
        );
    }
    if let Some(nodes) = &greeted.nodes {
        let live = nodes.iter().filter(|node| node.live).count();
        findings.push(Finding::ok(
            Part::Index,
            format!("it knows {} nodes, {live} of them live", nodes.len()),
        ));
    }
    if let Some(ours) = ours
        && looked.knows(ours) == Some(false)
    {
        findings.push(Finding::trouble(
            Part::Index,
            "node_not_registered",
            format!("the node that runs here, {}, is not among them", ours.short()),
            format!(
                "its log says why; start it again with `embermesh node run --index {at}`, or wait if it has just been started"
            ),
        ));
    }
    findings
}

fn trouble(address: &str, error: &ClientError) -> Finding {
    let (code, cure) = match error {
        ClientError::InvalidTarget { .. } => (
            "index_address",
            "write HOST:PORT, or HOST:PORT/p2p/PEER, as --index or `index` in the configuration file".to_owned(),
        ),
        ClientError::NotAnIndex { .. } => (
            "not_an_index",
            "give the address that `embermesh index run` prints: a node's, or another program's, is not it".to_owned(),
        ),
        ClientError::AnotherIndex { found, .. } => {
            let at = address.split("/p2p/").next().unwrap_or(address);
            (
                "index_key",
                format!("check the address; if its operator confirms the new key, write `{at}/p2p/{found}`"),
            )
        }
        ClientError::Refused { .. } => (
            "index_refused",
            "ask its operator to let this key in (`embermesh keys show` prints it)".to_owned(),
        ),
        ClientError::Timeout { .. } => (
            "index_silent",
            "see whether it runs and whether a firewall drops what goes there; or do without: --no-index".to_owned(),
        ),
        _ => (
            "index_unreachable",
            "start it there (`embermesh index run`), correct --index HOST:PORT or `index` in the configuration file, or do without: --no-index".to_owned(),
        ),
    };
    let text = match error {
        ClientError::InvalidTarget { reason, .. } => {
            format!("`{address}` is no address of an index: {reason}")
        }
        error => error.to_string(),
    };
    Finding::trouble(Part::Index, code, text, cure)
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;
    use embermesh_mesh::road::RoadKind;

    use super::{super::finding::State, *};

    fn peer(number: u8) -> PeerId {
        Keypair::from_seed(&[number; 32]).peer_id()
    }

    fn reached(is_pinned: bool, version: &str) -> Looked {
        Looked {
            address: "127.0.0.1:7420".to_owned(),
            greeted: Ok(Greeted {
                peer: peer(1),
                is_pinned,
                told: Some(Told {
                    version: version.to_owned(),
                    reading: None,
                    road: RoadKind::Tls,
                }),
                nodes: Some(Vec::new()),
            }),
        }
    }

    fn failed(error: ClientError) -> Finding {
        let looked = Looked {
            address: format!("127.0.0.1:7420/p2p/{}", peer(1)),
            greeted: Err(error),
        };
        findings(&looked, None).remove(0)
    }

    #[test]
    fn an_index_that_is_reached_is_no_trouble() {
        let found = findings(&reached(true, env!("CARGO_PKG_VERSION")), None);
        assert!(
            found.iter().all(|found| found.state == State::Ok),
            "{found:?}"
        );
        let unpinned = findings(&reached(false, "9.9.9"), None);
        let advice = |text: &str| {
            let mut notes = unpinned.iter().filter(|found| found.state == State::Note);
            notes.any(|note| note.cure.as_ref().is_some_and(|cure| cure.contains(text)))
        };
        assert!(advice("/p2p/") && advice("same version"), "{unpinned:?}");
    }

    #[test]
    fn a_node_that_runs_and_is_not_registered_is_told() {
        let found = findings(&reached(true, ""), Some(&peer(2)));
        assert_eq!(found.last().unwrap().code, "node_not_registered");
    }

    #[test]
    fn each_failure_has_a_cure_of_its_own() {
        let address = "127.0.0.1:7420".to_owned();
        let another = failed(ClientError::AnotherIndex {
            address: address.clone(),
            expected: peer(1),
            found: peer(2),
        });
        assert_eq!(another.code, "index_key");
        let cure = another.cure.unwrap();
        assert!(
            cure.contains(&format!("127.0.0.1:7420/p2p/{}", peer(2))),
            "{cure}"
        );
        for (error, code, word) in [
            (
                ClientError::Unreachable {
                    what: "it".to_owned(),
                    reason: "nothing listens there".to_owned(),
                },
                "index_unreachable",
                "embermesh index run",
            ),
            (
                ClientError::Timeout {
                    what: "it".to_owned(),
                    after: GREET_TIME,
                },
                "index_silent",
                "firewall",
            ),
            (
                ClientError::NotAnIndex {
                    address,
                    reason: "it is a node".to_owned(),
                },
                "not_an_index",
                "embermesh index run",
            ),
            (
                ClientError::InvalidTarget {
                    text: "x".to_owned(),
                    reason: "it has no port".to_owned(),
                },
                "index_address",
                "HOST:PORT",
            ),
        ] {
            let found = failed(error);
            assert_eq!((found.state, found.code), (State::Trouble, code));
            assert!(found.cure.unwrap().contains(word), "{code}");
        }
    }
}
