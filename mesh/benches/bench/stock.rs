//! libp2p as it comes: TCP, noise, yamux, a stream.

use std::time::Duration;

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, StreamProtocol, Swarm, SwarmBuilder, noise,
    swarm::{SwarmEvent, dial_opts::DialOpts},
    tcp, yamux,
};
use libp2p_stream::Behaviour;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use super::{Contender, raw};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/bench/1");
/// Longer than a run takes.
const IDLE: Duration = Duration::from_secs(3600);

fn swarm() -> Swarm<Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| Behaviour::new())
        .unwrap()
        // It is idle while the others have their turns.
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build()
}

pub(crate) async fn libp2p(bytes: usize) -> Contender {
    let (mut server, mut client) = (swarm(), swarm());
    let peer = *server.local_peer_id();
    let mut accepted = server.behaviour().new_control().accept(PROTOCOL).unwrap();
    server
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
        .unwrap();
    let address: Multiaddr = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = server.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(server.for_each(|_| std::future::ready(())));
    tokio::spawn(async move {
        while let Some((_, stream)) = accepted.next().await {
            tokio::spawn(raw::send_on_request(stream.compat(), bytes));
        }
    });
    let control = client.behaviour().new_control();
    client
        .dial(DialOpts::peer_id(peer).addresses(vec![address]).build())
        .unwrap();
    while !client.is_connected(&peer) {
        client.select_next_some().await;
    }
    tokio::spawn(client.for_each(|_| std::future::ready(())));
    Contender::new("stock libp2p (noise, yamux)", move || {
        let mut control = control.clone();
        async move {
            let stream = control.open_stream(peer, PROTOCOL).await.unwrap();
            raw::request(&mut stream.compat(), bytes).await;
        }
    })
}
