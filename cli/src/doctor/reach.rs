//! Where this machine is reached, and who carries for it where it is not.

use std::{collections::BTreeSet, net::IpAddr};

use embermesh_mesh::{Mapping, ReachView, Transport, Untold, Upnp, is_public, socket_of};

use super::{
    around::Around,
    finding::{Finding, Part},
};

/// What was found of the addresses.
pub(crate) fn addresses(around: &Around) -> Vec<Finding> {
    let view = &around.reach;
    let listening = sockets(&view.listening).map(|(_, at)| at.ip());
    let leaving = around.leaves_by.iter().copied();
    let own: BTreeSet<IpAddr> = listening.chain(leaving).collect();
    let mut findings = Vec::new();
    if !own.is_empty() {
        let all: Vec<String> = own.iter().map(ToString::to_string).collect();
        findings.push(Finding::ok(
            Part::Addresses,
            format!("this machine has {}", all.join(", ")),
        ));
    }
    findings.extend(observed(view));
    findings.extend(outside(around));
    findings.extend(router(around));
    findings
}

fn sockets(multiaddrs: &[String]) -> impl Iterator<Item = (Transport, std::net::SocketAddr)> + '_ {
    multiaddrs.iter().filter_map(|at| socket_of(at))
}

/// How peers saw this machine come.
fn observed(view: &ReachView) -> Option<Finding> {
    let far = view
        .observed
        .iter()
        .filter(|one| !one.seen.ip().is_loopback());
    let seen: BTreeSet<String> = far
        .map(|one| format!("{} ({})", one.seen, one.transport.as_str()))
        .collect();
    if seen.is_empty() {
        return None;
    }
    let all: Vec<String> = seen.into_iter().collect();
    Some(Finding::ok(
        Part::Addresses,
        format!("peers see it come from {}", all.join(", ")),
    ))
}

/// Whether it is reached from outside.
fn outside(around: &Around) -> Option<Finding> {
    let view = &around.reach;
    if around.is_local || is_near(around) || around.peers.is_empty() {
        return None;
    }
    if !view.confirmed.is_empty() {
        let all = view.confirmed.join(", ");
        return Some(Finding::ok(
            Part::Addresses,
            format!("it was reached from outside at {all} (AutoNAT v2)"),
        ));
    }
    if view.refuted.is_empty() {
        return Some(Finding::unknown(
            Part::Addresses,
            "whether it is reached from outside is not known: no peer has tried in time (AutoNAT v2)",
        ));
    }
    let all = view.refuted.join(", ");
    let is_public = around
        .survey
        .as_ref()
        .is_some_and(|survey| [survey.udp, survey.tcp].contains(&Ok(Mapping::None)));
    if is_public {
        return Some(Finding::trouble(
            Part::Addresses,
            "firewalled",
            format!(
                "it has a public address and was not reached there from outside: {all} (AutoNAT v2)"
            ),
            "let the node's ports in at this machine's firewall (`sudo ufw allow 4001`, or `sudo firewall-cmd --add-port=4001/tcp --add-port=4001/udp`) and at the network's",
        ));
    }
    Some(Finding::note(
        Part::Addresses,
        format!(
            "it is not reached from outside at {all} (AutoNAT v2): a box or firewall is between"
        ),
    ))
}

/// Whether whoever was reached is in the same network, so that nothing was learnt of what
/// is beyond.
fn is_near(around: &Around) -> bool {
    let near = |judged| matches!(judged, Err(Untold::Near | Untold::NoPeer));
    let survey = around.survey.as_ref();
    survey.is_some_and(|survey| near(survey.udp) && near(survey.tcp))
}

/// What the router said.
fn router(around: &Around) -> Option<Finding> {
    if !around.asks_router {
        return None;
    }
    Some(match &around.reach.upnp {
        Upnp::Mapped(all) => Finding::ok(
            Part::Addresses,
            format!("the router leads {} here (UPnP)", all.join(", ")),
        ),
        Upnp::NoGateway => Finding::trouble(
            Part::Addresses,
            "no_gateway",
            "`upnp = true`, and no router of this network answers to UPnP",
            "turn UPnP on at the router, or forward a port there yourself and name it in `external`; or write `upnp = false`",
        ),
        Upnp::NotRoutable => Finding::trouble(
            Part::Addresses,
            "gateway_behind_another",
            "the router is itself behind another box, so the port that it gives leads nowhere (UPnP)",
            "ask the provider for a public address, or forward a port at the outer box too",
        ),
        Upnp::Silent => Finding::unknown(
            Part::Addresses,
            "the router has not answered in time (UPnP)",
        ),
    })
}

/// What was found of the relays. `is_node` says that others are to reach this machine.
pub(crate) fn relays(around: &Around, is_node: bool) -> Vec<Finding> {
    let view = &around.reach;
    if around.peers.is_empty() {
        return vec![Finding::unknown(
            Part::Relays,
            "no peer was reached who could relay",
        )];
    }
    if around.is_local {
        return vec![Finding::ok(
            Part::Relays,
            "none is needed: every peer is on this machine",
        )];
    }
    let mut findings = Vec::new();
    for relay in view.relays.iter().filter(|relay| relay.granted) {
        findings.push(Finding::ok(
            Part::Relays,
            format!("{} has given a reservation", relay.peer),
        ));
    }
    let has_one = !findings.is_empty();
    for relay in view.relays.iter().filter(|relay| !relay.granted) {
        let text = match &relay.refused {
            Some(why) => format!("{} gives no reservation: {why}", relay.peer),
            None => format!("{} has not answered in time", relay.peer),
        };
        findings.push(Finding::note(Part::Relays, text));
    }
    let own = sockets(&view.listening).collect::<Vec<_>>();
    let reached = sockets(&view.confirmed).any(|at| own.contains(&at) && is_public(at.1.ip()));
    if reached {
        findings.push(Finding::ok(
            Part::Relays,
            "none is needed: this machine is reached at an address of its own",
        ));
    } else if !has_one && is_near(around) {
        findings.push(Finding::ok(
            Part::Relays,
            "none is needed: every peer that was reached is in this network",
        ));
    } else if !has_one && is_node && view.confirmed.is_empty() {
        findings.push(nobody_carries(view));
    } else if findings.is_empty() {
        findings.push(Finding::note(
            Part::Relays,
            "none has given a reservation; who only calls others needs none",
        ));
    }
    findings
}

/// A node that is not reached from outside has no relay either.
fn nobody_carries(view: &ReachView) -> Finding {
    let is_alone = view.offers == 0 && view.relays.is_empty();
    let (text, cure) = if is_alone {
        (
            "no connected peer offers to relay, and this machine is not reached from outside: only peers that it calls reach it",
            "join through a peer that everybody reaches (`bootstrap` under [node]: an index, or a node with a public address), or make this machine reachable: see `nat`",
        )
    } else {
        (
            "no relay has given a reservation, and this machine is not reached from outside",
            "try again in a minute; then join through further peers that everybody reaches (`bootstrap` under [node]), or have `reservations` raised under [node.limits] there",
        )
    };
    let code = "no_relay";
    Finding::trouble(Part::Relays, code, text, cure)
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;
    use embermesh_mesh::{Observed, PeerView, RelayView, Standing, Survey};

    use super::{super::finding::State, *};

    fn around(reach: ReachView) -> Around {
        let peer = Keypair::from_seed(&[1; 32]).peer_id();
        Around {
            network: "embermesh".to_owned(),
            knocked: Vec::new(),
            is_local: false,
            asks_router: false,
            peers: vec![PeerView {
                peer,
                agent: String::new(),
                round_trip: None,
                addresses: Vec::new(),
                relayed: false,
            }],
            known: 1,
            standing: Standing::Joined,
            strangers: Vec::new(),
            survey: None,
            reach,
            leaves_by: Vec::new(),
            clocks: Vec::new(),
        }
    }

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    fn relay(granted: bool, refused: Option<&str>) -> RelayView {
        RelayView {
            peer: Keypair::from_seed(&[2; 32]).peer_id(),
            granted,
            refused: refused.map(str::to_owned),
        }
    }

    #[test]
    fn addresses_are_told_as_they_are_as_seen_and_as_reached() {
        let view = ReachView {
            listening: texts(&["/ip4/192.168.1.2/tcp/1", "/ip4/192.168.1.2/udp/1/quic-v1"]),
            confirmed: texts(&["/ip4/5.9.9.9/tcp/1"]),
            observed: vec![Observed {
                by: Keypair::from_seed(&[1; 32]).peer_id(),
                transport: Transport::Udp,
                peer: "5.0.0.1:1".parse().unwrap(),
                seen: "5.9.9.9:7".parse().unwrap(),
            }],
            ..ReachView::default()
        };
        let found = addresses(&around(view));
        let all: Vec<&str> = found.iter().map(|found| found.text.as_str()).collect();
        assert_eq!(
            all,
            [
                "this machine has 192.168.1.2",
                "peers see it come from 5.9.9.9:7 (UDP)",
                "it was reached from outside at /ip4/5.9.9.9/tcp/1 (AutoNAT v2)",
            ]
        );
    }

    #[test]
    fn a_public_machine_that_is_not_reached_has_a_firewall_to_open() {
        let view = ReachView {
            refuted: texts(&["/ip4/5.0.1.1/tcp/1"]),
            ..ReachView::default()
        };
        let mut shut = around(view);
        assert_eq!(addresses(&shut)[0].state, State::Note);
        shut.survey = Some(Survey {
            tcp: Ok(Mapping::None),
            udp: Err(Untold::NoPeer),
            tried: Vec::new(),
            observed: Vec::new(),
        });
        let found = &addresses(&shut)[0];
        assert_eq!(found.code, "firewalled");
        assert!(found.cure.as_ref().unwrap().contains("firewall"));
    }

    #[test]
    fn what_the_router_says_counts_where_it_was_asked() {
        for (upnp, code) in [
            (Upnp::NoGateway, "no_gateway"),
            (Upnp::NotRoutable, "gateway_behind_another"),
        ] {
            let mut asked = around(ReachView {
                upnp,
                ..ReachView::default()
            });
            assert!(router(&asked).is_none());
            asked.asks_router = true;
            let found = router(&asked).unwrap();
            assert_eq!(found.code, code);
            assert!(found.cure.is_some());
        }
    }

    #[test]
    fn a_node_that_nobody_reaches_needs_a_relay() {
        let none = around(ReachView::default());
        let found = relays(&none, true);
        assert_eq!(found[0].code, "no_relay");
        assert!(found[0].cure.as_ref().unwrap().contains("bootstrap"));
        // A client calls others and is called by nobody.
        assert_eq!(relays(&none, false)[0].state, State::Note);
        let refused = around(ReachView {
            relays: vec![relay(false, Some("resource limit exceeded"))],
            ..ReachView::default()
        });
        let found = relays(&refused, true);
        assert!(found[0].text.contains("resource limit"), "{found:?}");
        assert!(found[1].cure.as_ref().unwrap().contains("reservations"));
    }

    #[test]
    fn a_mesh_of_one_network_needs_nobody_outside() {
        let mut near = around(ReachView::default());
        near.survey = Some(Survey {
            tcp: Err(Untold::Near),
            udp: Err(Untold::Near),
            tried: Vec::new(),
            observed: Vec::new(),
        });
        assert_eq!(relays(&near, true)[0].state, State::Ok);
        assert!(addresses(&near).is_empty());
    }

    #[test]
    fn a_relay_that_carries_is_no_trouble() {
        let carried = around(ReachView {
            relays: vec![relay(true, None)],
            ..ReachView::default()
        });
        let found = relays(&carried, true);
        assert_eq!((found.len(), found[0].state), (1, State::Ok));
        let own = around(ReachView {
            listening: texts(&["/ip4/5.0.1.1/tcp/1"]),
            confirmed: texts(&["/ip4/5.0.1.1/tcp/1"]),
            ..ReachView::default()
        });
        assert!(relays(&own, true)[0].text.contains("none is needed"));
    }
}
