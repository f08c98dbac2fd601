//! What kind of box is between this machine and the internet, and what that means.

use embermesh_mesh::{Judged, Mapping, Survey, Transport, Untold};

use super::{
    around::Around,
    finding::{Finding, Part},
};

/// What to do where no hole can be punched.
const FORWARD: &str = "forward a port of the box to the node and name it (`external = [\"/ip4/BOX/tcp/4001\"]` and `advertise` under [node]), or let the box do it (`upnp = true`); until then relays carry, which is slower";

/// What was found of the box.
pub(crate) fn findings(around: &Around) -> Vec<Finding> {
    if around.is_local && around.survey.is_none() && !around.peers.is_empty() {
        return vec![Finding::unknown(
            Part::Nat,
            "the NAT class cannot be told: every peer that was asked is on this machine",
        )];
    }
    let Some(survey) = &around.survey else {
        return vec![Finding::unknown(
            Part::Nat,
            "the NAT class cannot be told: no peer was reached who could say how it sees this machine",
        )];
    };
    of_survey(survey)
}

fn of_survey(survey: &Survey) -> Vec<Finding> {
    if survey.is_udp_shut() {
        let tcp = described(survey.tcp);
        return vec![Finding::trouble(
            Part::Nat,
            "no_udp",
            format!(
                "UDP does not get through: peers that answer over TCP do not over UDP. TCP: {tcp}"
            ),
            "let UDP out and its answers in (in this machine's firewall, `sudo nft list ruleset` shows it, and in the network's); without it there is no QUIC and no hole is punched, and peers behind boxes are reached through relays alone",
        )];
    }
    let mut findings = vec![of_mapping(survey)];
    // RFC 4787 is about UDP; a box may do otherwise with TCP.
    if survey.udp.is_ok() && survey.tcp.is_ok() && survey.tcp != survey.udp {
        findings.push(Finding::note(
            Part::Nat,
            format!("over TCP: {}", described(survey.tcp)),
        ));
    }
    findings
}

fn of_mapping(survey: &Survey) -> Finding {
    let (judged, over) = match (survey.udp, survey.tcp) {
        (Err(_), tcp @ Ok(_)) => (tcp, Transport::Tcp),
        (udp, _) => (udp, Transport::Udp),
    };
    let over = over.as_str();
    match judged {
        Ok(Mapping::None) => Finding::ok(
            Part::Nat,
            format!(
                "no address is translated: peers see this machine's own address, which is public ({over})"
            ),
        ),
        Ok(Mapping::EndpointIndependent) => Finding::ok(
            Part::Nat,
            format!(
                "behind a box with endpoint-independent mapping (RFC 4787), over {over}: all peers see one port, so holes can be punched"
            ),
        ),
        Ok(Mapping::AddressDependent | Mapping::AddressAndPortDependent | Mapping::Dependent) => {
            Finding::trouble(
                Part::Nat,
                "symmetric_nat",
                format!(
                    "behind a box with {}, over {over}: each peer sees another port, so seldom a hole can be punched",
                    described(judged)
                ),
                FORWARD,
            )
        }
        Err(why) => Finding::unknown(
            Part::Nat,
            format!("the NAT class cannot be told: {}", untold(why)),
        ),
    }
}

/// A mapping in words.
fn described(judged: Judged) -> String {
    match judged {
        Ok(Mapping::None) => "no translation".to_owned(),
        Ok(Mapping::EndpointIndependent) => "endpoint-independent mapping".to_owned(),
        Ok(Mapping::AddressDependent) => "address-dependent mapping (symmetric)".to_owned(),
        Ok(Mapping::AddressAndPortDependent) => {
            "address- and port-dependent mapping (symmetric)".to_owned()
        }
        Ok(Mapping::Dependent) => {
            "address-dependent, or address- and port-dependent, mapping (symmetric)".to_owned()
        }
        Err(why) => format!("not known: {}", untold(why)),
    }
}

const fn untold(why: Untold) -> &'static str {
    match why {
        Untold::NoPeer => "no peer said how it sees this machine",
        Untold::Near => "whoever was reached is in the same network, with no box between",
        Untold::OnePeer => {
            "one peer alone was reached from outside, and it takes two at different addresses to see whether both see one port"
        }
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;
    use embermesh_mesh::{MeshError, Tried};

    use super::{super::finding::State, *};

    fn survey(udp: Judged, tcp: Judged) -> Survey {
        Survey {
            udp,
            tcp,
            tried: Vec::new(),
            observed: Vec::new(),
        }
    }

    #[test]
    fn each_class_is_told_in_the_words_of_the_rfc() {
        for (mapping, state, word) in [
            (Mapping::None, State::Ok, "public"),
            (
                Mapping::EndpointIndependent,
                State::Ok,
                "endpoint-independent",
            ),
            (
                Mapping::AddressDependent,
                State::Trouble,
                "address-dependent",
            ),
            (
                Mapping::AddressAndPortDependent,
                State::Trouble,
                "port-dependent",
            ),
            (Mapping::Dependent, State::Trouble, "symmetric"),
        ] {
            let found = of_survey(&survey(Ok(mapping), Ok(mapping)));
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].state, state, "{found:?}");
            assert!(found[0].text.contains(word), "{found:?}");
            if state == State::Trouble {
                let cure = found[0].cure.as_ref().unwrap();
                assert!(cure.contains("external") && cure.contains("upnp"), "{cure}");
            }
        }
    }

    #[test]
    fn what_cannot_be_told_says_why() {
        let one = of_survey(&survey(Err(Untold::OnePeer), Err(Untold::OnePeer)));
        assert_eq!(one[0].state, State::Unknown);
        assert!(one[0].text.contains("takes two"), "{one:?}");
        let near = of_survey(&survey(Err(Untold::Near), Err(Untold::NoPeer)));
        assert!(near[0].text.contains("same network"), "{near:?}");
        // TCP tells where UDP cannot.
        let tcp = of_survey(&survey(
            Err(Untold::NoPeer),
            Ok(Mapping::EndpointIndependent),
        ));
        assert_eq!(tcp[0].state, State::Ok);
        assert!(tcp[0].text.contains("over TCP"), "{tcp:?}");
    }

    #[test]
    fn udp_that_is_shut_is_a_trouble_with_its_cure() {
        let peer = Keypair::from_seed(&[1; 32]).peer_id();
        let tried = |transport, result| Tried {
            peer,
            transport,
            result,
        };
        let shut = Survey {
            tried: vec![
                tried(Transport::Tcp, Ok(())),
                tried(Transport::Udp, Err(MeshError::Closed)),
            ],
            ..survey(Err(Untold::NoPeer), Ok(Mapping::EndpointIndependent))
        };
        let found = of_survey(&shut);
        assert_eq!(found[0].code, "no_udp");
        assert!(found[0].cure.as_ref().unwrap().contains("firewall"));
    }

    #[test]
    fn a_box_that_does_otherwise_with_tcp_is_noted() {
        let both = survey(Ok(Mapping::EndpointIndependent), Ok(Mapping::Dependent));
        let found = of_survey(&both);
        assert_eq!((found[0].state, found[1].state), (State::Ok, State::Note));
    }
}
