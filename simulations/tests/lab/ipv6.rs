//! IPv6 over made-up networks: by TCP and by QUIC, and where the boxes of IPv4 let no hole be
//! punched.

use std::net::Ipv6Addr;

use embermesh_simulations::lab::{LinkConfig, Site};

use crate::{
    PATIENCE, lab,
    reach::{PUBLIC, SYMMETRIC, echoes, is_wide, pair_of, site, start_at},
};

/// The address of the so-manieth site.
fn six(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2a00, number, 0, 0, 0, 0, 0, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_meet_over_ipv6_alone_by_tcp_and_by_quic() {
    for listen in ["/ip6/::/tcp/4001", "/ip6/::/udp/4001/quic-v1"] {
        let link = LinkConfig::delay(5);
        let sites = [1, 2].map(|n| Site::public([5, 0, 0, n], link).with_ipv6(six(n.into())));
        let Some(lab) = lab(sites.into()) else { return };
        let one = start_at(&lab, 0, vec![listen.to_owned()], Vec::new()).await;
        let through: Vec<_> = one
            .addresses()
            .into_iter()
            .filter(|at| is_wide(at))
            .collect();
        assert_eq!(through.len(), 1, "{:?}", one.addresses());
        let other = start_at(&lab, 1, vec![listen.to_owned()], through).await;
        other.joined(PATIENCE).await.unwrap();
        for (room, mesh, peer) in [(0, &one, other.peer_id()), (1, &other, one.peer_id())] {
            assert_eq!(echoes(&lab, room, mesh, peer).await, Ok(()), "{listen}");
            let view = mesh.peers().into_iter().find(|view| view.peer == peer);
            let addresses = view.unwrap().addresses;
            assert!(
                addresses.iter().all(|at| at.starts_with("/ip6/")),
                "{addresses:?}"
            );
        }
        for mesh in [&one, &other] {
            mesh.shutdown().await;
        }
    }
}

/// Two homes behind boxes that let no hole be punched, with addresses of IPv6.
fn homes(firewall: bool) -> [Site; 3] {
    let home = |number: u8| {
        let site = site(SYMMETRIC, [5, 0, number, 1]).with_ipv6(six(number.into()));
        if firewall { site.with_firewall() } else { site }
    };
    [
        site(PUBLIC, [5, 0, 9, 1]).with_ipv6(six(9)),
        home(1),
        home(2),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_spares_the_relay_where_boxes_let_no_hole_be_punched() {
    let Some(path) = pair_of(homes(false), "symmetric with IPv6").await else {
        return;
    };
    println!("symmetric boxes, open IPv6: {path}");
    assert_ne!(path, "relayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn firewalls_of_ipv6_are_passed_one_way_or_the_other() {
    let Some(path) = pair_of(homes(true), "symmetric with IPv6 behind firewalls").await else {
        return;
    };
    println!("symmetric boxes, IPv6 behind firewalls: {path}");
}
