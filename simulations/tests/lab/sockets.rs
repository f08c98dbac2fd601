//! The made-up network with the kernel's own sockets at both ends.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use embermesh_simulations::lab::{LinkConfig, NatKind, Site};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};

use crate::{PATIENCE, lab};

/// How long is waited for a packet that must not come.
const NEVER: Duration = Duration::from_millis(300);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

async fn heard(socket: &UdpSocket) -> SocketAddr {
    let mut bytes = [0; 64];
    let (_, from) = timeout(PATIENCE, socket.recv_from(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    from
}

#[tokio::test]
async fn a_host_behind_a_box_is_seen_with_the_boxes_address() {
    let link = LinkConfig::delay(1);
    let sites = vec![
        Site::public([5, 0, 0, 1], link),
        Site::behind(
            NatKind::PortRestricted,
            [5, 0, 1, 1],
            [192, 168, 1, 2],
            link,
        ),
        Site::public([5, 0, 0, 2], link),
    ];
    let Some(lab) = lab(sites) else { return };
    let public = lab.room(0).spawn(UdpSocket::bind("0.0.0.0:7000"));
    let public = public.await.unwrap().unwrap();
    let other = lab.room(2).spawn(UdpSocket::bind("0.0.0.0:7000"));
    let other = other.await.unwrap().unwrap();
    let private = lab.room(1).spawn(UdpSocket::bind("0.0.0.0:9000"));
    let private = private.await.unwrap().unwrap();

    private.send_to(b"hello", at("5.0.0.1:7000")).await.unwrap();
    let outside = heard(&public).await;
    assert_eq!(outside, at("5.0.1.1:9000"));
    // Whoever was not spoken to is not heard, and whoever was is.
    other.send_to(b"knock", outside).await.unwrap();
    public.send_to(b"welcome", outside).await.unwrap();
    assert_eq!(heard(&private).await, at("5.0.0.1:7000"));
    let mut bytes = [0; 64];
    assert!(
        timeout(NEVER, private.recv_from(&mut bytes)).await.is_err(),
        "a stranger came in"
    );
    drop((public, other, private));
    let counts = lab.close();
    assert_eq!((counts.carried, counts.lost), (2, 0));
    assert!(counts.refused >= 1);
}

#[tokio::test]
async fn the_kernels_tcp_brings_every_byte_over_a_bad_link_and_takes_its_time() {
    let bad = LinkConfig {
        loss: 0.01,
        reorder: 0.01,
        jitter_ms: 2,
        ..LinkConfig::delay(10)
    };
    let sites = vec![
        Site::public([5, 0, 0, 1], bad),
        Site::behind(
            NatKind::Symmetric,
            [5, 0, 1, 1],
            [10, 0, 0, 2],
            LinkConfig::default(),
        ),
    ];
    let Some(lab) = lab(sites) else { return };
    let listener = lab.room(0).spawn(TcpListener::bind("0.0.0.0:80"));
    let listener = listener.await.unwrap().unwrap();
    let sent: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let serving = lab.room(0).spawn(async move {
        let (mut stream, from) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        (bytes == expected, from)
    });
    let began = Instant::now();
    let sending = lab.room(1).spawn(async move {
        let mut stream = TcpStream::connect(at("5.0.0.1:80")).await.unwrap();
        let connected = began.elapsed();
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        connected
    });
    // There and back, by a link of 10 ms each way.
    let connected = timeout(PATIENCE, sending).await.unwrap().unwrap();
    assert!(connected >= Duration::from_millis(20), "{connected:?}");
    let (whole, from) = timeout(PATIENCE, serving).await.unwrap().unwrap();
    assert!(whole);
    assert_eq!(from.ip().to_string(), "5.0.1.1");
    assert!(lab.close().lost > 0);
}

#[tokio::test]
async fn a_process_started_in_a_room_sees_its_network_only() {
    let sites = vec![Site::public([5, 0, 0, 1], LinkConfig::default())];
    let Some(lab) = lab(sites) else { return };
    let seen = lab.room(0).spawn(async {
        let output = tokio::process::Command::new("ip")
            .args(["-4", "-brief", "address"])
            .output()
            .await
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    let seen = seen.await.unwrap();
    assert_eq!(seen.lines().count(), 2, "{seen}");
    assert!(seen.contains("5.0.0.1/32"), "{seen}");
}
