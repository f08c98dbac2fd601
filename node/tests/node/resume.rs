//! A job that goes on elsewhere: on a node that never saw it, from a checkpoint that
//! another holds.

use crate::support::{all, caller, config, digits, numbers, spec, start};
use embermesh_crypto::{Epoch, token};
use embermesh_job::{
    address::{BlobRef, Checkpoint, PeerAddress},
    event::{Event, EventKind},
};
use embermesh_node::RunningNode;
use embermesh_proto::v1;

/// Where a node can be reached.
fn address(node: &RunningNode) -> PeerAddress {
    PeerAddress {
        peer: node.peer_id(),
        tls: vec![node.address().to_string()],
        mesh: Vec::new(),
    }
}

/// The first checkpoint of a stream.
fn checkpoint(events: &[Event], holder: &RunningNode) -> Checkpoint {
    let found = events.iter().find_map(|event| match event.kind {
        EventKind::Checkpoint { step, digest, size } => Some(Checkpoint {
            blob: BlobRef {
                digest,
                size,
                holders: vec![address(holder)],
            },
            step,
            seq: event.seq,
        }),
        _ => None,
    });
    found.unwrap()
}

fn artifact(events: &[Event]) -> embermesh_crypto::Digest {
    let found = events.iter().find_map(|event| match &event.kind {
        EventKind::Artifact(artifact) => Some(artifact.digest),
        _ => None,
    });
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_goes_on_from_a_checkpoint_that_the_first_holds() {
    let dir = tempfile::tempdir().unwrap();
    // They know nothing of each other: what is fetched comes from the holder named.
    let first = start(config(&dir.path().join("first")), 1).await;
    let second = start(config(&dir.path().join("second")), 4).await;
    let spec = spec(400, 8);
    let client = caller(&first, 2).await;
    client.put("", &digits(400)).await.unwrap();
    let (whole, _) = all(&mut client.run(1, &spec).await).await;
    let from = checkpoint(&whole, &first);
    let before = usize::try_from(from.seq).unwrap();
    assert!(before > 2 && before < whole.len() - 2, "in mid-course");

    let client = caller(&second, 2).await;
    client.put("", &digits(400)).await.unwrap();
    assert!(!client.has(from.blob.digest).await);
    let mut claims = client.claims(1, &spec);
    claims.epoch = Epoch(2);
    let token = token::issue(&claims, &client.keypair).unwrap();
    let request = v1::RunRequest {
        token: token.clone(),
        spec: spec.canonical().into(),
        resume: Some(from.clone().into()),
        inputs: Vec::new(),
    };
    let mut stream = client.stub.clone().run(request).await.unwrap().into_inner();
    let (resumed, end) = all(&mut stream).await;
    assert_eq!(end, None);
    assert!(client.has(from.blob.digest).await);

    // Whoever has heard all up to the checkpoint hears the rest, under its numbers.
    let rest: Vec<u64> = (from.seq + 1..=whole.len() as u64).collect();
    assert_eq!(numbers(&resumed), rest);
    // Whoever has heard nothing hears all of it: what came before the checkpoint word
    // for word, out of the checkpoint.
    let (all_of_it, _) = all(&mut client.attach(&token, 1, 0).await.unwrap()).await;
    assert_eq!(numbers(&all_of_it), numbers(&whole));
    let kinds = |events: &[Event]| -> Vec<EventKind> {
        events[..before]
            .iter()
            .map(|event| event.kind.clone())
            .collect()
    };
    assert_eq!(kinds(&all_of_it), kinds(&whole));
    // And bit for bit the same comes out.
    assert_eq!(artifact(&resumed), artifact(&whole));
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}
