//! Reaching a peer by either road.

use std::{io, net::SocketAddr, sync::Arc};

use embermesh_crypto::ids::PeerId;
use futures::{StreamExt as _, future, stream::FuturesUnordered};
use rustls::{
    ClientConfig, Error as TlsError,
    pki_types::{IpAddr, Ipv4Addr, ServerName},
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, TlsStream};

use super::{
    Identity, Protocol, RoadChoice, RoadError, RoadKind, RoadStream, Target,
    bounds::{
        ADDRESS_STAGGER, DIAL_TIMEOUT, MAX_DIALED_ADDRESSES, RESOLVE_TIMEOUT, TLS_HEAD_START,
    },
    listen,
    membership::Proofs,
};
use crate::{
    net::Mesh,
    tls::proof::{self, Unproven},
};

/// A connection to a peer whose key has been proven.
#[derive(Debug)]
pub struct Opened {
    /// The bytes.
    pub stream: RoadStream,
    /// Who is at the other end.
    pub peer: PeerId,
    /// The road taken.
    pub road: RoadKind,
}

/// Opens a connection for `protocol`, by the roads that `choice` allows.
///
/// # Errors
/// What came of each road tried; see [`RoadError`].
pub async fn open(
    identity: &Identity,
    target: &Target,
    mesh: Option<&Mesh>,
    choice: RoadChoice,
    protocol: Protocol,
) -> Result<Opened, RoadError> {
    let tls = over_tls(identity, target, protocol);
    match choice {
        RoadChoice::Tls => tls.await,
        RoadChoice::Mesh => over_mesh(target, mesh, protocol).await,
        RoadChoice::Auto if mesh.is_none() || target.peer.is_none() => tls.await,
        RoadChoice::Auto if target.tls.is_empty() => over_mesh(target, mesh, protocol).await,
        RoadChoice::Auto => both(target, tls, over_mesh(target, mesh, protocol)).await,
    }
}

/// The TLS road with a head start; the mesh road beside it after that, or as soon as
/// TLS has failed. The first that stands wins, TLS where both do at once.
async fn both(
    target: &Target,
    tls: impl Future<Output = Result<Opened, RoadError>>,
    mesh: impl Future<Output = Result<Opened, RoadError>>,
) -> Result<Opened, RoadError> {
    tokio::pin!(tls, mesh);
    let mut failed = match timeout(TLS_HEAD_START, &mut tls).await {
        Ok(Ok(opened)) => return Ok(opened),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    if failed.is_none() {
        tokio::select! {
            biased;
            end = &mut tls => match end {
                Ok(opened) => return Ok(opened),
                Err(error) => failed = Some(error),
            },
            end = &mut mesh => match end {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    return tls.await.map_err(|tls| no_road(target, tls, error));
                }
            },
        }
    }
    match (mesh.await, failed) {
        (Ok(opened), _) => Ok(opened),
        (Err(mesh), Some(tls)) => Err(no_road(target, tls, mesh)),
        (Err(mesh), None) => Err(mesh),
    }
}

fn no_road(target: &Target, tls: RoadError, mesh: RoadError) -> RoadError {
    RoadError::NoRoad {
        target: target.to_string(),
        tls: Box::new(tls),
        mesh: Box::new(mesh),
    }
}

async fn over_mesh(
    target: &Target,
    mesh: Option<&Mesh>,
    protocol: Protocol,
) -> Result<Opened, RoadError> {
    let refuse = |reason| RoadError::NoMeshRoad {
        target: target.to_string(),
        reason,
    };
    let mesh = mesh.ok_or_else(|| refuse("this process has not joined the mesh"))?;
    let peer = target.peer.ok_or_else(|| refuse("no peer id is given"))?;
    let stream = mesh
        .open_at(peer, &target.mesh, protocol.mesh_name())
        .await?;
    Ok(Opened {
        peer: stream.peer(),
        stream: RoadStream::mesh(stream),
        road: RoadKind::Mesh,
    })
}

/// Tries the addresses one after the other, each a little after the one before and
/// at once when that has failed (RFC 8305). The first that proves the peer wins.
async fn over_tls(
    identity: &Identity,
    target: &Target,
    protocol: Protocol,
) -> Result<Opened, RoadError> {
    if target.tls.is_empty() {
        return Err(RoadError::NoAddress {
            target: target.to_string(),
            road: "TLS",
        });
    }
    let config = identity.client(target.peer, protocol)?;
    let mut addresses = target.tls.iter().take(MAX_DIALED_ADDRESSES).peekable();
    let mut running = FuturesUnordered::new();
    let mut worst: Option<RoadError> = None;
    loop {
        if let Some(address) = addresses.next() {
            running.push(dial(address, &config, identity, protocol));
        }
        let next_is_due = async {
            match addresses.peek() {
                Some(_) => sleep(ADDRESS_STAGGER).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            end = running.next() => match end {
                Some(Ok(opened)) => return Ok(opened),
                Some(Err(error)) => worst = Some(more_telling(worst, error)),
                None => break,
            },
            () = next_is_due => {}
        }
    }
    Err(worst.unwrap_or_else(|| RoadError::NoAddress {
        target: target.to_string(),
        road: "TLS",
    }))
}

/// Of two errors, the one that says more about the target.
fn more_telling(known: Option<RoadError>, error: RoadError) -> RoadError {
    match known {
        Some(known) if known.weight() >= error.weight() => known,
        _ => error,
    }
}

/// One `host:port`: resolves it, connects to the addresses in order, proves the peer.
async fn dial(
    address: &str,
    config: &Arc<ClientConfig>,
    identity: &Identity,
    protocol: Protocol,
) -> Result<Opened, RoadError> {
    let mut worst = None;
    for resolved in resolve(address).await? {
        let attempt = timeout(
            DIAL_TIMEOUT,
            dial_one(address, resolved, config, identity, protocol),
        );
        let error = match attempt.await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) => error,
            Err(_) => RoadError::Timeout {
                address: address.to_owned(),
                after: DIAL_TIMEOUT,
            },
        };
        worst = Some(more_telling(worst, error));
    }
    Err(worst.unwrap_or_else(|| RoadError::Unreachable {
        address: address.to_owned(),
        reason: "the name has no address".to_owned(),
    }))
}

async fn resolve(address: &str) -> Result<Vec<SocketAddr>, RoadError> {
    let invalid = |reason: &str| RoadError::InvalidAddress {
        address: address.to_owned(),
        reason: reason.to_owned(),
    };
    if let Ok(plain) = address.parse::<SocketAddr>() {
        return Ok(vec![plain]);
    }
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| invalid("it has no port"))?;
    let port: u16 = port
        .parse()
        .map_err(|_| invalid("its port is not a number below 65536"))?;
    if host.is_empty() || host.contains(['/', ' ', '@']) {
        return Err(invalid("its host is not a name or an IP address"));
    }
    let looked_up = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, port))).await;
    match looked_up {
        Ok(Ok(found)) => Ok(found.take(MAX_DIALED_ADDRESSES).collect()),
        Ok(Err(error)) => Err(RoadError::Unreachable {
            address: address.to_owned(),
            reason: error.to_string(),
        }),
        Err(_) => Err(RoadError::Timeout {
            address: address.to_owned(),
            after: RESOLVE_TIMEOUT,
        }),
    }
}

async fn dial_one(
    address: &str,
    resolved: SocketAddr,
    config: &Arc<ClientConfig>,
    identity: &Identity,
    protocol: Protocol,
) -> Result<Opened, RoadError> {
    let tcp = TcpStream::connect(resolved)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => RoadError::Refused {
                address: address.to_owned(),
            },
            _ => RoadError::Unreachable {
                address: address.to_owned(),
                reason: error.to_string(),
            },
        })?;
    listen::tune(&tcp);
    // Unspecified, as libp2p does it, so that no server name is sent: the key is
    // what is checked.
    let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])));
    let mut stream = TlsConnector::from(Arc::clone(config))
        .connect(nobody, tcp)
        .await
        .map_err(|error| handshake_error(address, &error))?;
    let foreign = |reason: &str| RoadError::NotEmbermesh {
        address: address.to_owned(),
        reason: reason.to_owned(),
    };
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(protocol.alpn()) {
        return Err(foreign("it speaks TLS and agrees on no protocol of ours"));
    }
    let peer = session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(|leaf| proof::peer_of(leaf).ok())
        .ok_or_else(|| foreign("it proved no peer id"))?;
    if let Some(key) = identity.membership().key() {
        let proven = match Proofs::of(key, session) {
            Ok(proofs) => proofs.call(&mut stream).await,
            Err(error) => Err(error),
        };
        proven.map_err(|error| RoadError::NotMember {
            address: address.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(Opened {
        stream: RoadStream::tls(TlsStream::Client(stream), peer),
        peer,
        road: RoadKind::Tls,
    })
}

/// Says what a failed handshake means to whoever typed the address.
fn handshake_error(address: &str, error: &io::Error) -> RoadError {
    let address = address.to_owned();
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    let Some(tls) = inner else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => RoadError::NotEmbermesh {
                address,
                reason: "it closed the connection during the handshake".to_owned(),
            },
            _ => RoadError::Unreachable {
                address,
                reason: error.to_string(),
            },
        };
    };
    match Unproven::within(tls) {
        Some(Unproven::WrongPeer { expected, found }) => RoadError::WrongPeer {
            address,
            expected,
            found,
        },
        Some(other) => RoadError::NotEmbermesh {
            address,
            reason: other.to_string(),
        },
        None => RoadError::NotEmbermesh {
            address,
            reason: match tls {
                TlsError::InvalidMessage(_) => "it does not speak TLS".to_owned(),
                TlsError::InvalidCertificate(_) => "its certificate proves no peer id".to_owned(),
                TlsError::AlertReceived(alert) => format!("it refused the handshake ({alert:?})"),
                other => other.to_string(),
            },
        },
    }
}
