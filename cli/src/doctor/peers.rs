//! The peers of the mesh: who was reached, and who was not, and why.

use embermesh_mesh::{MeshError, Standing};

use super::{
    around::{Around, Knocked, Origin},
    finding::{Finding, Part},
};

/// Peers that are told one by one.
const MAX_TOLD: usize = 8;

/// What was found of the peers.
pub(crate) fn findings(around: &Around) -> Vec<Finding> {
    let mut findings = vec![met(around)];
    findings.extend(around.peers.iter().take(MAX_TOLD).map(|peer| {
        let round_trip = match peer.round_trip {
            Some(time) => format!("{:.1} ms there and back", time.as_secs_f64() * 1000.0),
            None => "not measured yet".to_owned(),
        };
        let way = if peer.relayed {
            ", through a relay"
        } else {
            ""
        };
        Finding::ok(
            Part::Peers,
            format!("{} ({}): {round_trip}{way}", peer.peer, peer.agent),
        )
    }));
    findings.extend(
        around
            .knocked
            .iter()
            .filter_map(|one| turned_away(one, around)),
    );
    let told = |peer: &str| findings.iter().any(|found| found.text.contains(peer));
    let strangers: Vec<Finding> = around
        .strangers
        .iter()
        .filter(|(peer, _)| !told(&peer.to_string()))
        .map(|(peer, theirs)| {
            Finding::note(
                Part::Peers,
                format!(
                    "{peer} was turned away: it is of the network `{theirs}`, and this of `{}`",
                    around.network
                ),
            )
        })
        .collect();
    findings.extend(strangers);
    findings
}

fn met(around: &Around) -> Finding {
    let connected = around.peers.len();
    if connected == 0 {
        let nobody = format!("no peer of the network `{}` is connected", around.network);
        let is_told = around
            .knocked
            .iter()
            .any(|one| one.result.is_err() && one.door.origin == Origin::Settings);
        return if is_told {
            Finding::unknown(Part::Peers, format!("{nobody}: see below"))
        } else if around.knocked.is_empty() {
            Finding::unknown(Part::Peers, format!("{nobody}: none to ask is known"))
                .with("name one with --peer MULTIADDR/p2p/PEER, as `embermesh node run` prints it")
        } else {
            Finding::trouble(
                Part::Peers,
                "no_peer",
                format!(
                    "{nobody}, and none of {} that were known answers",
                    around.knocked.len()
                ),
                "name one that runs, with --peer MULTIADDR/p2p/PEER, or `peers` under [mesh] (`bootstrap` under [node]), as `embermesh node run` prints it",
            )
        };
    }
    let text = format!(
        "connected with {}; the table has {}",
        counted(connected, "peer"),
        counted(around.known, "advert")
    );
    // A table comes whole or not at all, so an empty one is a sign.
    if around.known == 0 && around.standing != Standing::Joined {
        return Finding::unknown(Part::Peers, format!("{text}: no table has come in time"));
    }
    Finding::ok(Part::Peers, text)
}

fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}

/// Why a door stayed shut. Of a peer that was only heard of it is no trouble.
fn turned_away(one: &Knocked, around: &Around) -> Option<Finding> {
    let error = one.result.as_ref().err()?;
    let at = &one.door.multiaddr;
    if let MeshError::OtherNetwork { theirs, ours, .. } = error {
        return Some(Finding::trouble(
            Part::Peers,
            "other_network",
            format!(
                "{at} is of the network `{theirs}`, and this of `{ours}`: each turns the other away"
            ),
            format!(
                "write `network = \"{theirs}\"` under [node] and [mesh] if that is the one to join, else name a peer of `{ours}`"
            ),
        ));
    }
    if one.door.origin == Origin::Hearsay {
        return (around.peers.is_empty()).then(|| {
            Finding::note(
                Part::Peers,
                format!("{at}, which was heard of, does not answer: {error}"),
            )
        });
    }
    let why = match error {
        MeshError::Unreachable { reason, .. } => reason.replace(&format!("{at}: "), ""),
        error => error.to_string(),
    };
    let text = format!("{at} cannot be joined through: {why}");
    let (code, cure) = match error {
        MeshError::InvalidAddress { .. } => (
            "peer_address",
            "write a multiaddr, such as /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…, as the peer prints it when it starts",
        ),
        MeshError::BootstrapWithoutPeer(_) => (
            "peer_address",
            "put /p2p/ and the peer's id behind it, as the peer prints it when it starts",
        ),
        MeshError::Unreachable { reason, .. } if reason.contains("another peer") => (
            "peer_key",
            "the peer has another key now, or the address is another's: put the /p2p/ID there that the peer prints when it starts",
        ),
        _ => (
            "peer_unreachable",
            "start that peer, correct its address where it is named (`bootstrap` under [node], `peers` under [mesh], --peer), or take it out; if it runs, let its port through the firewalls between",
        ),
    };
    Some(Finding::trouble(Part::Peers, code, text, cure))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use embermesh_crypto::{Keypair, PeerId};
    use embermesh_mesh::{PeerView, ReachView};

    use super::{
        super::{around::Door, finding::State},
        *,
    };

    const AT: &str = "/ip4/192.0.2.1/tcp/4001/p2p/12D3";

    fn peer(number: u8) -> PeerId {
        Keypair::from_seed(&[number; 32]).peer_id()
    }

    fn around(knocked: Vec<Knocked>, peers: Vec<PeerView>) -> Around {
        Around {
            network: "embermesh".to_owned(),
            knocked,
            is_local: false,
            asks_router: false,
            known: peers.len(),
            peers,
            standing: Standing::Joined,
            strangers: Vec::new(),
            survey: None,
            reach: ReachView::default(),
            leaves_by: Vec::new(),
            clocks: Vec::new(),
        }
    }

    fn knocked(origin: Origin, result: Result<PeerId, MeshError>) -> Knocked {
        Knocked {
            door: Door {
                multiaddr: AT.to_owned(),
                origin,
            },
            result,
        }
    }

    fn view(number: u8) -> PeerView {
        PeerView {
            peer: peer(number),
            agent: "embermesh/0.1.0".to_owned(),
            round_trip: Some(Duration::from_micros(1500)),
            addresses: Vec::new(),
            relayed: number > 1,
        }
    }

    #[test]
    fn peers_are_told_with_their_round_trips() {
        let found = findings(&around(Vec::new(), vec![view(1), view(2)]));
        assert!(found.iter().all(|found| found.state == State::Ok));
        assert!(found[0].text.contains("2 peers"), "{found:?}");
        assert!(found[1].text.contains("1.5 ms"), "{found:?}");
        assert!(found[2].text.contains("through a relay"), "{found:?}");
    }

    #[test]
    fn each_door_that_stays_shut_says_why_and_what_to_do() {
        let unreachable = |reason: &str| MeshError::Unreachable {
            peer: AT.to_owned(),
            reason: reason.to_owned(),
        };
        for (error, code, word) in [
            (
                MeshError::OtherNetwork {
                    peer: AT.to_owned(),
                    ours: "embermesh".parse().unwrap(),
                    theirs: "garden".to_owned(),
                },
                "other_network",
                "network = \"garden\"",
            ),
            (
                unreachable("connection refused"),
                "peer_unreachable",
                "start that peer",
            ),
            (
                unreachable("at it answers 12D4, which is another peer"),
                "peer_key",
                "/p2p/ID",
            ),
            (
                MeshError::BootstrapWithoutPeer(AT.to_owned()),
                "peer_address",
                "/p2p/",
            ),
        ] {
            let shut = around(vec![knocked(Origin::Settings, Err(error))], Vec::new());
            let found = findings(&shut);
            assert_eq!(found[0].state, State::Unknown, "{found:?}");
            assert_eq!(found[1].code, code);
            let cure = found[1].cure.as_ref().unwrap();
            assert!(cure.contains(word), "{cure}");
            assert!(found[1].text.contains(AT));
        }
    }

    #[test]
    fn who_was_only_heard_of_may_be_gone() {
        let gone = || knocked(Origin::Hearsay, Err(MeshError::Closed));
        let some = findings(&around(vec![gone()], vec![view(1)]));
        assert!(
            some.iter().all(|found| found.state == State::Ok),
            "{some:?}"
        );
        let nobody = findings(&around(vec![gone()], Vec::new()));
        assert_eq!(nobody[0].code, "no_peer");
    }

    #[test]
    fn strangers_that_called_are_told_once() {
        let mut called = around(Vec::new(), vec![view(1)]);
        called.strangers = vec![(peer(3), "garden".to_owned())];
        let found = findings(&called);
        assert_eq!(found.last().unwrap().state, State::Note);
        assert!(found.last().unwrap().text.contains("garden"));
    }
}
