//! The list of nodes, page by page, from an index that turns them as it likes.

mod support;

use embermesh_crypto::{Keypair, ids::PeerId};
use support::{PATIENCE, Shown, client};
use tokio::time::timeout;

fn peer(number: u8) -> PeerId {
    Keypair::from_seed(&[number; 32]).peer_id()
}

/// What is listed, and the pages that were asked for.
async fn listed(shown: Shown) -> (Vec<PeerId>, Vec<String>) {
    let index = shown.serve("127.0.0.1:0").await;
    let client = client(&index).await;
    let nodes = timeout(PATIENCE, client.nodes())
        .await
        .expect("a list that ends")
        .expect("a list");
    let peers = nodes.iter().map(|node| node.address.peer).collect();
    (peers, shown.turned())
}

#[tokio::test]
async fn every_page_is_asked_for_once_and_in_order() {
    let shown = Shown::new(60)
        .page("", &[1, 2], "b")
        .page("b", &[3], "c")
        .page("c", &[4, 5], "");
    let (peers, turned) = listed(shown).await;
    assert_eq!(peers, [1, 2, 3, 4, 5].map(peer));
    assert_eq!(turned, ["", "b", "c"]);
}

#[tokio::test]
async fn a_page_that_leads_to_itself_is_the_last() {
    let shown = Shown::new(61).page("", &[1], "b").page("b", &[2], "b");
    let (peers, turned) = listed(shown).await;
    assert_eq!(peers, [1, 2].map(peer));
    assert_eq!(turned, ["", "b"]);
}

#[tokio::test]
async fn a_page_without_nodes_is_the_last_wherever_it_leads() {
    let shown = Shown::new(62).page("", &[1], "b").page("b", &[], "c");
    let (peers, turned) = listed(shown).await;
    assert_eq!(peers, [1].map(peer));
    assert_eq!(turned, ["", "b"]);
    let (peers, _) = listed(Shown::new(63).page("", &[], "")).await;
    assert!(peers.is_empty());
}

#[tokio::test]
async fn a_page_that_is_refused_is_an_error_and_no_short_list() {
    let shown = Shown::new(64).page("", &[1], "gone");
    let index = shown.serve("127.0.0.1:0").await;
    let client = client(&index).await;
    let listed = timeout(PATIENCE, client.nodes()).await.expect("an end");
    assert!(listed.is_err(), "{listed:?}");
}
