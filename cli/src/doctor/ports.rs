//! Whether a node can listen where it is told to, or who listens there already; and whether
//! others can reach what it listens on.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use embermesh_crypto::PeerId;
use embermesh_mesh::{
    Mesh, MeshError, Transport,
    road::{self, RoadChoice, RoadError, Target},
    socket_of,
};
use embermesh_node::NodeConfig;
use tokio::time::timeout;

use super::{
    finding::{Finding, Part},
    patient::Asker,
};

/// How long whoever holds a port may take to say who it is.
const ASK_TIME: Duration = Duration::from_secs(4);

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody: it can be bound.
    Nobody,
    /// The node of these settings, which runs.
    OurNode,
    /// Another peer.
    Peer(String),
    /// Something that does not say who it is.
    Stranger,
    /// It cannot be bound for another reason.
    Refused(io::ErrorKind, String),
}

/// A port that the node is to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// The setting it comes from.
    pub(crate) key: &'static str,
    /// As it is written there.
    pub(crate) written: String,
    pub(crate) transport: Transport,
    pub(crate) at: SocketAddr,
}

/// The ports of a node that are not left to the system to choose.
pub(crate) fn of(config: &NodeConfig) -> Vec<Port> {
    let tls = Port {
        key: "tls_listen",
        written: config.tls_listen.to_string(),
        transport: Transport::Tcp,
        at: config.tls_listen,
    };
    let mesh = config.listen.iter().filter_map(|written| {
        let (transport, at) = socket_of(written)?;
        Some(Port {
            key: "listen",
            written: written.clone(),
            transport,
            at,
        })
    });
    std::iter::once(tls)
        .chain(mesh)
        .filter(|port| port.at.port() != 0)
        .collect()
}

/// Finds out who has a port. `node` is the node's own key, `mesh` asks who is behind a port
/// of the mesh.
pub(crate) async fn holder(
    port: &Port,
    node: Option<PeerId>,
    asker: &Asker,
    mesh: Option<&Mesh>,
) -> Holder {
    let bound = match port.transport {
        Transport::Tcp => TcpListener::bind(port.at).map(drop),
        Transport::Udp => UdpSocket::bind(port.at).map(drop),
    };
    let error = match bound {
        Ok(()) => return Holder::Nobody,
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        return Holder::Refused(error.kind(), error.to_string());
    }
    let asked = async {
        match port.key {
            "tls_listen" => by_tls(port.at, asker).await,
            _ => by_mesh(port, mesh?).await,
        }
    };
    match timeout(ASK_TIME, Box::pin(asked)).await.ok().flatten() {
        Some(found) if node.is_some_and(|node| node.to_string() == found) => Holder::OurNode,
        Some(found) => Holder::Peer(found),
        None => Holder::Stranger,
    }
}

/// Where something that listens on an address is found from here.
fn from_here(at: SocketAddr) -> SocketAddr {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, at.port())
}

async fn by_tls(at: SocketAddr, asker: &Asker) -> Option<String> {
    let identity = asker.identity().ok()?;
    let target = Target {
        peer: None,
        tls: vec![from_here(at).to_string()],
        mesh: Vec::new(),
    };
    match road::connect(&identity, &target, None, RoadChoice::Tls).await {
        Ok(connection) => Some(connection.peer.to_string()),
        Err(RoadError::WrongPeer { found, .. }) => Some(found.to_string()),
        Err(_) => None,
    }
}

async fn by_mesh(port: &Port, mesh: &Mesh) -> Option<String> {
    let at = from_here(port.at);
    let family = if at.is_ipv4() { "ip4" } else { "ip6" };
    let multiaddr = match port.transport {
        Transport::Tcp => format!("/{family}/{}/tcp/{}", at.ip(), at.port()),
        Transport::Udp => format!("/{family}/{}/udp/{}/quic-v1", at.ip(), at.port()),
    };
    match mesh.dial(&multiaddr).await {
        Ok(peer) => Some(peer.to_string()),
        Err(MeshError::OtherNetwork { peer, .. }) => Some(peer),
        Err(_) => None,
    }
}

/// What it means that somebody has a port, or nobody.
pub(crate) fn port(port: &Port, holder: &Holder) -> Finding {
    let Port { key, written, .. } = port;
    let number = port.at.port();
    let over = port.transport.as_str();
    let cure = |what: &str| {
        format!(
            "{what} (`sudo ss -lnp 'sport = :{number}'` shows the process), or choose another port: `{key}` under [node]"
        )
    };
    match holder {
        Holder::Nobody => Finding::ok(
            Part::Ports,
            format!("{written} ({key}) is free over {over}"),
        ),
        Holder::OurNode => Finding::ok(
            Part::Ports,
            format!("{written} ({key}) is held by this node, which runs"),
        ),
        Holder::Peer(peer) => Finding::trouble(
            Part::Ports,
            "port_of_another",
            format!("{written} ({key}) is held by another peer of Embermesh, {peer}"),
            cure("stop that node or index"),
        ),
        Holder::Stranger => Finding::trouble(
            Part::Ports,
            "port_taken",
            format!("{written} ({key}) is taken over {over} by another program"),
            cure("stop that program"),
        ),
        Holder::Refused(io::ErrorKind::PermissionDenied, error) => Finding::trouble(
            Part::Ports,
            "port_denied",
            format!("this user may not listen on {written} ({key}): {error}"),
            format!("choose a port above 1023: `{key}` under [node]"),
        ),
        Holder::Refused(io::ErrorKind::AddrNotAvailable, error) => Finding::trouble(
            Part::Ports,
            "port_elsewhere",
            format!("{written} ({key}) is no address of this machine: {error}"),
            format!(
                "write one that `ip address` shows, or 0.0.0.0 for all, as `{key}` under [node]; what others see goes into `advertise` and `external`"
            ),
        ),
        Holder::Refused(_, error) => Finding::trouble(
            Part::Ports,
            "port_refused",
            format!("{written} ({key}) cannot be listened on: {error}"),
            format!("choose another address: `{key}` under [node]"),
        ),
    }
}

/// What the addresses mean that a node listens on, for whom it is to work with: `others`
/// has the addresses of its indexes and bootstrap peers.
pub(crate) fn reachable(config: &NodeConfig, others: &[String]) -> Vec<Finding> {
    let far = others.iter().find(|at| !is_here(at));
    let mut findings = Vec::new();
    let loopback = |at: &SocketAddr| at.ip().is_loopback();
    let mesh = config.listen.iter().filter_map(|at| socket_of(at));
    let listens_here = loopback(&config.tls_listen) && mesh.clone().all(|(_, at)| loopback(&at));
    if let Some(far) = far
        && listens_here
        && config.advertise.is_empty()
        && config.external.is_empty()
    {
        findings.push(Finding::trouble(
            Part::Ports,
            "loopback_only",
            format!(
                "the node listens on this machine alone, and is to work with {far}: nobody there reaches it"
            ),
            "under [node] write `tls_listen = \"0.0.0.0:7421\"`, `advertise = [\"THIS_MACHINE:7421\"]` and `listen = [\"/ip4/0.0.0.0/tcp/4001\", \"/ip4/0.0.0.0/udp/4001/quic-v1\"]`",
        ));
    }
    if config.tls_listen.ip().is_unspecified() && config.advertise.is_empty() {
        let port = config.tls_listen.port();
        findings.push(Finding::trouble(
            Part::Ports,
            "advertises_nowhere",
            format!(
                "the node tells others to reach it at {}, which leads nowhere",
                config.tls_listen
            ),
            format!(
                "under [node] write `advertise = [\"THIS_MACHINE:{}\"]`, with the name or address by which others reach it",
                if port == 0 { "PORT".to_owned() } else { port.to_string() }
            ),
        ));
    }
    findings
}

/// Whether an address, a multiaddr or `host:port`, leads to this machine alone.
pub(crate) fn is_here(at: &str) -> bool {
    if at.starts_with('/') {
        let host = at.split('/').nth(2).unwrap_or_default();
        return is_here_host(host);
    }
    let address = at.split("/p2p/").next().unwrap_or_default();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    is_here_host(host.trim_matches(['[', ']']))
}

fn is_here_host(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use embermesh_crypto::Keypair;

    use super::{super::finding::State, *};

    fn config(tls: &str, listen: &[&str]) -> NodeConfig {
        NodeConfig {
            tls_listen: tls.parse().unwrap(),
            listen: listen.iter().map(|at| (*at).to_owned()).collect(),
            ..NodeConfig::default()
        }
    }

    fn asker() -> Asker {
        Asker {
            key: Arc::new(Keypair::from_seed(&[9; 32])),
            membership: embermesh_mesh::Membership::default(),
        }
    }

    #[test]
    fn ports_that_the_system_chooses_cannot_be_taken() {
        assert!(of(&NodeConfig::default()).is_empty());
        let ports = of(&config(
            "127.0.0.1:7421",
            &["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1"],
        ));
        let named: Vec<_> = ports
            .iter()
            .map(|port| (port.key, port.transport, port.at.port()))
            .collect();
        assert_eq!(
            named,
            [
                ("tls_listen", Transport::Tcp, 7421),
                ("listen", Transport::Tcp, 4001),
                ("listen", Transport::Udp, 4001),
            ]
        );
    }

    #[tokio::test]
    async fn a_stranger_on_a_port_is_told_from_nobody() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        let wanted = &of(&config(&at.to_string(), &[]))[0];
        // It closes whatever connects.
        let closes = std::thread::spawn(move || drop(taken.accept()));
        let holder_now = holder(wanted, None, &asker(), None).await;
        assert_eq!(holder_now, Holder::Stranger);
        closes.join().unwrap();
        let found = port(wanted, &holder_now);
        assert_eq!((found.state, found.code), (State::Trouble, "port_taken"));
        let cure = found.cure.unwrap();
        assert!(
            cure.contains(&at.port().to_string()) && cure.contains("tls_listen"),
            "{cure}"
        );
        let free = holder(wanted, None, &asker(), None).await;
        assert_eq!(free, Holder::Nobody);
        assert_eq!(port(wanted, &free).state, State::Ok);
    }

    #[test]
    fn each_holder_has_a_word_and_a_cure() {
        let wanted = &of(&config("127.0.0.1:7421", &[]))[0];
        assert_eq!(port(wanted, &Holder::OurNode).state, State::Ok);
        for (holder, code) in [
            (Holder::Peer("12D3Koo".to_owned()), "port_of_another"),
            (
                Holder::Refused(io::ErrorKind::PermissionDenied, "no".to_owned()),
                "port_denied",
            ),
            (
                Holder::Refused(io::ErrorKind::AddrNotAvailable, "no".to_owned()),
                "port_elsewhere",
            ),
            (
                Holder::Refused(io::ErrorKind::Other, "no".to_owned()),
                "port_refused",
            ),
        ] {
            let found = port(wanted, &holder);
            assert_eq!(found.code, code);
            assert!(found.cure.unwrap().contains("tls_listen"));
        }
    }

    #[test]
    fn a_node_on_loopback_works_with_this_machine_alone() {
        let here = [
            "127.0.0.1:7420".to_owned(),
            "/ip4/127.0.0.1/tcp/1/p2p/x".to_owned(),
        ];
        let far = ["index.example.org:7420".to_owned()];
        let local = NodeConfig::default();
        assert!(reachable(&local, &here).is_empty());
        let found = reachable(&local, &far);
        assert_eq!(found[0].code, "loopback_only");
        assert!(found[0].cure.as_ref().unwrap().contains("0.0.0.0"));
        let told = NodeConfig {
            external: vec!["/ip4/5.0.0.1/tcp/1".to_owned()],
            ..NodeConfig::default()
        };
        assert!(reachable(&told, &far).is_empty());
    }

    #[test]
    fn a_wildcard_is_no_address_to_be_reached_at() {
        let wide = config("0.0.0.0:7421", &["/ip4/0.0.0.0/tcp/4001"]);
        let found = reachable(&wide, &[]);
        assert_eq!(found[0].code, "advertises_nowhere");
        let told = NodeConfig {
            advertise: vec!["node.example.org:7421".to_owned()],
            ..wide
        };
        assert!(reachable(&told, &[]).is_empty());
    }

    #[test]
    fn addresses_of_this_machine_are_known_in_every_form() {
        for here in [
            "localhost:1",
            "127.9.9.9:1/p2p/x",
            "[::1]:1",
            "/ip6/::1/tcp/1",
            "/dns4/localhost/tcp/1",
        ] {
            assert!(is_here(here), "{here}");
        }
        for far in [
            "index.example.org:1",
            "192.168.1.2:1",
            "/ip4/5.0.0.1/udp/1/quic-v1",
        ] {
            assert!(!is_here(far), "{far}");
        }
    }
}
