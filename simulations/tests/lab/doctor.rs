//! What a peer finds out of the box that it is behind: the production mesh looks around in
//! a made-up network with boxes of known kinds.

use std::time::Duration;

use embermesh_mesh::{Mapping, Mesh, ReachView, Survey, Transport, Untold};
use embermesh_simulations::lab::Lab;
use tokio::time::timeout;

use crate::{
    PATIENCE, lab,
    reach::{FULL_CONE, KINDS, NO_UDP, PUBLIC, SYMMETRIC, site, start},
};

/// How long a look around may take.
const SURVEY_TIME: Duration = Duration::from_secs(12);

/// Where others find a public peer.
fn public(mesh: &Mesh) -> Vec<String> {
    let all = mesh.addresses().into_iter();
    all.filter(|at| at.contains("/ip4/5.")).collect()
}

/// A peer behind a kind of box and two that everybody reaches; the peer has joined through
/// those that are named.
struct Around {
    lab: Lab,
    mesh: Mesh,
    known: Vec<String>,
    others: [Mesh; 2],
}

impl Around {
    async fn open(kind: usize, seen: usize) -> Option<Self> {
        let lab = lab(vec![
            site(PUBLIC, [5, 0, 0, 1]),
            site(PUBLIC, [5, 0, 3, 1]),
            site(kind, [5, 0, 2, 1]),
        ])?;
        let one = start(&lab, 0, Vec::new()).await;
        let other = match seen {
            // One that the first has never heard of, so that nobody tells of it.
            1 => start(&lab, 1, Vec::new()).await,
            _ => start(&lab, 1, public(&one)).await,
        };
        let mut known = public(&one);
        if seen > 1 {
            known.extend(public(&other));
        }
        let mesh = start(&lab, 2, known.clone()).await;
        mesh.joined(PATIENCE).await.unwrap();
        Some(Self {
            lab,
            mesh,
            known,
            others: [one, other],
        })
    }

    async fn survey(&self) -> Survey {
        let (mesh, known) = (self.mesh.clone(), self.known.clone());
        let looking = self
            .lab
            .room(2)
            .spawn(async move { mesh.survey(&known, SURVEY_TIME).await });
        timeout(PATIENCE, looking).await.unwrap().unwrap()
    }

    /// Waits until what is known of how it is reached is so.
    async fn until(&self, what: &str, is: impl FnMut(&ReachView) -> bool) -> ReachView {
        let mut reach = self.mesh.reach();
        let view = timeout(PATIENCE, reach.wait_for(is)).await;
        match view {
            Ok(view) => view.unwrap().clone(),
            Err(_) => panic!("{what}: {:?}", *self.mesh.reach().borrow()),
        }
    }

    async fn close(self) {
        for mesh in self.others.iter().chain([&self.mesh]) {
            mesh.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kind_of_a_box_is_told_by_what_two_peers_saw() {
    let cases = [
        (PUBLIC, Ok(Mapping::None), false),
        (FULL_CONE, Ok(Mapping::EndpointIndependent), false),
        (SYMMETRIC, Ok(Mapping::Dependent), false),
        (NO_UDP, Err(Untold::NoPeer), true),
    ];
    for (kind, udp, shut) in cases {
        let name = KINDS[kind];
        let Some(around) = Around::open(kind, 2).await else {
            return;
        };
        let survey = around.survey().await;
        assert_eq!(survey.udp, udp, "{name}: {survey:?}");
        assert_eq!(survey.is_udp_shut(), shut, "{name}: {survey:?}");
        let over_tcp = survey.observed.iter();
        let over_tcp = over_tcp.filter(|one| one.transport == Transport::Tcp);
        assert_eq!(over_tcp.count(), 2, "{name}: {survey:?}");
        let tcp = if shut {
            Ok(Mapping::EndpointIndependent)
        } else {
            udp
        };
        assert_eq!(survey.tcp, tcp, "{name}: {survey:?}");
        around.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_alone_does_not_tell_the_kind() {
    let Some(around) = Around::open(SYMMETRIC, 1).await else {
        return;
    };
    let survey = around.survey().await;
    assert_eq!(survey.udp, Err(Untold::OnePeer), "{survey:?}");
    assert!(!survey.is_udp_shut());
    around.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_where_a_peer_is_reached() {
    let Some(around) = Around::open(PUBLIC, 2).await else {
        return;
    };
    let confirmed = |view: &ReachView| view.confirmed.iter().any(|at| at.contains("5.0.2.1"));
    let view = around.until("a public peer is reached", confirmed).await;
    assert!(view.relays.iter().all(|relay| !relay.granted), "{view:?}");
    around.close().await;

    let Some(around) = Around::open(SYMMETRIC, 2).await else {
        return;
    };
    let granted = |view: &ReachView| view.relays.iter().any(|relay| relay.granted);
    let view = around.until("a relay gives a reservation", granted).await;
    let relays: Vec<_> = around.others.iter().map(Mesh::peer_id).collect();
    for relay in view.relays.iter().filter(|relay| relay.granted) {
        assert!(relays.contains(&relay.peer), "{view:?}");
    }
    assert!(view.confirmed.is_empty(), "{view:?}");
    around.close().await;
}
