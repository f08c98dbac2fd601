//! A stream of events changes roads while it runs.

mod support;

use embermesh_client::{Options, Side, Start, Update};
use embermesh_mesh::road::RoadKind;
use support::{
    Asked::{Attach, Run},
    Say::{Event, Finished, Hang},
    Script, Server, Shown, client_with, mesh, next, numbers,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpSocket, TcpStream},
};

#[tokio::test]
async fn a_stream_by_the_mesh_goes_on_by_tls_as_soon_as_that_stands() {
    let shown = Shown::new(70);
    let index = shown.serve("127.0.0.1:0").await;
    let script = Script::new([
        vec![Event(1, 1), Event(2, 1), Event(3, 1), Hang],
        // A node that begins earlier than it was asked to.
        vec![Event(2, 1), Event(3, 1), Event(4, 1), Finished(5, 1)],
    ]);
    let mut node = Server::node_of_mesh(71, &script).await;
    // The port is taken, and refuses everybody until somebody listens.
    let port = TcpSocket::new_v4().unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let straight = std::mem::replace(&mut node.address, port.local_addr().unwrap().to_string());
    shown.assign(&node, 1);
    let options = Options {
        mesh: Some(mesh(1).await),
        ..Options::default()
    };
    let client = client_with(&index, options).await;
    let mut follow = client.follow(
        shown.job,
        Start {
            spec: Some(bytes::Bytes::from_static(b"spec")),
            ..Start::default()
        },
    );
    let mut said = Vec::new();
    while numbers(&said) != [1, 2, 3] {
        said.push(next(&mut follow).await.unwrap());
    }
    // From now on there is a way straight to the node.
    let listener = port.listen(8).unwrap();
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            let mut inside = TcpStream::connect(&straight).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut outside, &mut inside).await });
        }
    });
    while let Some(update) = next(&mut follow).await {
        said.push(update);
    }
    assert_eq!(numbers(&said), [1, 2, 3, 4, 5]);
    assert_eq!(script.asked(), [Run, Attach(3)]);
    let roads = said.iter().filter_map(|update| match update {
        Update::Assigned { road, .. } => Some(*road),
        _ => None,
    });
    assert_eq!(roads.collect::<Vec<_>>(), [RoadKind::Mesh, RoadKind::Tls]);
    let lost = |update: &Update| matches!(update, Update::Reconnecting { to: Side::Node, .. });
    assert!(!said.iter().any(lost), "the old road was let go too early");
}
