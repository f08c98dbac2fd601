//! The registry through its port: what is taken in, what is refused, and who sees what.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use embermesh_crypto::Digest;
use embermesh_dialects::{
    Dialect::CyxWiz,
    ErrorCode, Failure,
    port::{
        Principal,
        registry::{ModelEntry, ModelFilter, ModelFormat, NewModel, Piece, Registry as _},
    },
};
use embermesh_gateway::{Gateway, GatewayConfig};
use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

const QUOTA: u64 = 4 << 20;

struct Running {
    gateway: Gateway,
    cancel: CancellationToken,
}

impl Running {
    async fn start(folder: &Path) -> Self {
        let cancel = CancellationToken::new();
        let config = GatewayConfig {
            folder: folder.join("gateway"),
            // Nobody is there: the registry needs no index.
            index: "127.0.0.1:1".parse().unwrap(),
            mesh: None,
            policies: BTreeMap::default(),
            endpoint: "127.0.0.1:1".to_owned(),
            open_jobs: 10,
            model_quota: QUOTA,
            worker_price: embermesh_job::units::MicroUnits(0),
            proving: embermesh_gateway::ProvingSettings::default(),
        };
        let gateway = Gateway::start(config, cancel.clone()).await.unwrap();
        Self { gateway, cancel }
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.gateway.stopped().await;
    }
}

fn who(name: &str) -> Principal {
    Principal {
        dialect: CyxWiz,
        name: name.to_owned(),
    }
}

fn named(name: &str) -> NewModel {
    NewModel {
        name: name.to_owned(),
        format: ModelFormat::Gguf,
        ..NewModel::default()
    }
}

/// Bytes that differ from place to place.
fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * at / 7 % 251) as u8).collect()
}

fn pieces(model: &str, data: &[u8], from: usize, each: usize) -> Vec<Piece> {
    let starts = (from..data.len()).step_by(each);
    let piece = |start: usize| {
        let end = data.len().min(start + each);
        let data_of = Bytes::copy_from_slice(&data[start..end]);
        Piece {
            model: model.to_owned(),
            offset: start as u64,
            total: data.len() as u64,
            checksum: Some(Digest::of(&data_of).to_string()),
            data: data_of,
            is_last: end == data.len(),
        }
    };
    starts.map(piece).collect()
}

async fn send(
    gateway: &Gateway,
    who: &Principal,
    pieces: Vec<Piece>,
) -> Result<ModelEntry, Failure> {
    let pieces = stream::iter(pieces.into_iter().map(Ok)).boxed();
    gateway.receive(who, pieces).await
}

async fn whole(gateway: &Gateway, who: &Principal, model: NewModel) -> ModelEntry {
    let data = bytes(1000);
    let added = gateway.add_model(who, model).await.unwrap();
    send(gateway, who, pieces(&added.id, &data, 0, 600))
        .await
        .unwrap()
}

async fn read(gateway: &Gateway, who: &Principal, id: &str) -> Vec<u8> {
    let mut reading = gateway.read_model(who, id).await.unwrap();
    let mut data = Vec::new();
    while let Some(piece) = reading.pieces.next().await {
        let piece = piece.unwrap();
        assert_eq!(piece.offset, data.len() as u64);
        assert_eq!(piece.total, reading.model.received);
        assert_eq!(piece.checksum.as_ref().map(String::len), Some(64));
        data.extend_from_slice(&piece.data);
        assert_eq!(piece.is_last, data.len() as u64 == piece.total);
    }
    data
}

fn code<T>(result: Result<T, Failure>) -> ErrorCode {
    result.err().unwrap().code
}

#[tokio::test]
async fn a_model_that_was_broken_off_goes_on_after_a_restart_and_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (ada, gateway) = (who("ada"), running.gateway.clone());
    let data = bytes((2 << 20) + 17);
    let model = NewModel {
        checksum: Some(format!("blake3:{}", Digest::of(&data))),
        ..named("tiny")
    };
    let model = gateway.add_model(&ada, model).await.unwrap();
    let id = model.id.as_str();
    assert_eq!((model.received, &model.whole), (0, &None));
    assert_eq!(
        code(gateway.read_model(&ada, id).await),
        ErrorCode::Precondition
    );

    let mut first = pieces(id, &data, 0, 1 << 20);
    first.truncate(1);
    let broken = stream::iter([
        Ok(first.remove(0)),
        Err(Failure::new(ErrorCode::Unavailable, "the line broke")),
    ]);
    let broken = gateway.receive(&ada, broken.boxed()).await;
    assert_eq!(code(broken), ErrorCode::Unavailable);
    running.stop().await;

    let running = Running::start(folder.path()).await;
    let gateway = running.gateway.clone();
    let kept = gateway.model(&ada, id).await.unwrap();
    assert_eq!((kept.received, &kept.whole), (1 << 20, &None));
    // From elsewhere it does not go on, and the refusal says from where it does.
    let gap = send(&gateway, &ada, pieces(id, &data, 2 << 20, 1 << 20)).await;
    let gap = gap.unwrap_err();
    assert_eq!(gap.code, ErrorCode::Precondition);
    assert!(gap.message.contains("1048576 bytes are here"), "{gap}");
    let sent = send(&gateway, &ada, pieces(id, &data, 1 << 20, 1 << 20))
        .await
        .unwrap();
    let is = sent.whole.unwrap();
    assert_eq!((is.digest, is.size), (Digest::of(&data), data.len() as u64));
    assert!(read(&gateway, &ada, id).await == data);
    assert_eq!(gateway.model(&ada, id).await.unwrap().downloads, 1);
    // What is whole is not written over.
    let again = send(&gateway, &ada, pieces(id, &data, 0, 1 << 20)).await;
    assert_eq!(code(again), ErrorCode::Exists);
    running.stop().await;

    let running = Running::start(folder.path()).await;
    assert!(read(&running.gateway, &ada, id).await == data);
    running.stop().await;
}

#[tokio::test]
async fn bytes_that_are_not_what_was_said_are_refused_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (ada, gateway) = (who("ada"), &running.gateway);
    let data = bytes(3000);
    let model = NewModel {
        size: Some(3000),
        checksum: Some(Digest::of(&data).to_string()),
        ..named("tiny")
    };
    let id = gateway.add_model(&ada, model).await.unwrap().id;
    let good = || pieces(&id, &data, 0, 1000);
    let mut another = bytes(3000);
    another[2999] ^= 1;
    let change = |how: &dyn Fn(&mut Vec<Piece>)| {
        let mut pieces = good();
        how(&mut pieces);
        pieces
    };
    let wrong = [
        ("of another model", pieces(&id, &another, 0, 1000)),
        (
            "a piece",
            change(&|all| all[1].data = Bytes::from(vec![0; 1000])),
        ),
        (
            "no checksum at all",
            change(&|all| all[0].checksum = Some("chunk_checksum_0".to_owned())),
        ),
        ("the size", change(&|all| all[0].total = 4000)),
        ("too short", change(&|all| all[1].is_last = true)),
        ("too long", {
            let mut long = data.clone();
            long.push(0);
            let mut pieces = pieces(&id, &long, 0, 1000);
            pieces.iter_mut().for_each(|piece| piece.total = 3000);
            pieces
        }),
        (
            "two models",
            change(&|all| all[1].model = "another".to_owned()),
        ),
        (
            "after the last",
            change(&|all| {
                let more = Piece {
                    data: Bytes::new(),
                    offset: 3000,
                    checksum: None,
                    ..all[2].clone()
                };
                all.push(more);
            }),
        ),
    ];
    for (what, pieces) in wrong {
        assert_eq!(
            code(send(gateway, &ada, pieces).await),
            ErrorCode::Invalid,
            "{what}"
        );
        assert_eq!(
            gateway.model(&ada, &id).await.unwrap().whole,
            None,
            "{what}"
        );
    }
    // A piece that is left out leaves what came before it.
    let gap = change(&|all| drop(all.remove(1)));
    assert_eq!(
        code(send(gateway, &ada, gap).await),
        ErrorCode::Precondition
    );
    assert_eq!(gateway.model(&ada, &id).await.unwrap().received, 1000);
    // From the start again, all is well; the last piece may say the hash of all.
    let all = Digest::of(&data).to_string();
    let fine = change(&|pieces| pieces[2].checksum = Some(all.clone()));
    assert!(send(gateway, &ada, fine).await.unwrap().whole.is_some());
    assert_eq!(
        code(send(gateway, &ada, Vec::new()).await),
        ErrorCode::Invalid
    );
    running.stop().await;
}

#[tokio::test]
async fn a_model_is_its_owners_and_everybody_reads_what_is_public() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (ada, bob, gateway) = (who("ada"), who("bob"), &running.gateway);
    let private = whole(gateway, &ada, named("secret")).await.id;
    let public = NewModel {
        is_public: true,
        ..named("shared")
    };
    // Until it is whole, there is nothing to read.
    let begun = gateway.add_model(&ada, public.clone()).await.unwrap().id;
    for id in [&private, &begun, &"nothing".to_owned()] {
        assert_eq!(code(gateway.model(&bob, id).await), ErrorCode::NotFound);
        assert_eq!(
            code(gateway.read_model(&bob, id).await),
            ErrorCode::NotFound
        );
        assert_eq!(
            code(gateway.discard_model(&bob, id).await),
            ErrorCode::NotFound
        );
        let send = send(gateway, &bob, pieces(id, &bytes(10), 0, 10)).await;
        assert_eq!(code(send), ErrorCode::NotFound);
    }
    let public = whole(gateway, &ada, public).await.id;
    assert!(read(gateway, &bob, &public).await == bytes(1000));
    assert_eq!(
        code(gateway.discard_model(&bob, &public).await),
        ErrorCode::Denied
    );
    // Two of one id there are not, whoever asks.
    let posed = NewModel {
        id: Some(private.clone()),
        ..named("posed")
    };
    assert_eq!(
        code(gateway.add_model(&bob, posed).await),
        ErrorCode::Exists
    );
    gateway.discard_model(&ada, &public).await.unwrap();
    assert_eq!(
        code(gateway.model(&bob, &public).await),
        ErrorCode::NotFound
    );
    let files = std::fs::read_dir(folder.path().join("gateway/models"));
    assert_eq!(
        files.unwrap().count(),
        1,
        "the bytes of the deleted model go"
    );
    running.stop().await;
}

#[tokio::test]
async fn an_owner_has_so_much_room_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (ada, gateway) = (who("ada"), &running.gateway);
    let sized = |name: &str, size: u64| NewModel {
        size: Some(size),
        ..named(name)
    };
    let big = gateway.add_model(&ada, sized("big", QUOTA - 1000)).await;
    let over = gateway.add_model(&ada, sized("over", 1001)).await;
    assert_eq!(code(over), ErrorCode::Exhausted);
    // One that says its size with its first piece is stopped there.
    let unsaid = gateway.add_model(&ada, named("unsaid")).await.unwrap().id;
    let over = send(gateway, &ada, pieces(&unsaid, &bytes(1001), 0, 100)).await;
    assert_eq!(code(over), ErrorCode::Exhausted);
    assert_eq!(gateway.model(&ada, &unsaid).await.unwrap().received, 0);
    let mut silent = pieces(&unsaid, &bytes(100), 0, 100);
    silent[0].total = 0;
    assert_eq!(code(send(gateway, &ada, silent).await), ErrorCode::Invalid);
    // Another has room of his own, and what is deleted makes room.
    gateway
        .add_model(&who("bob"), sized("big", QUOTA))
        .await
        .unwrap();
    gateway.discard_model(&ada, &big.unwrap().id).await.unwrap();
    send(gateway, &ada, pieces(&unsaid, &bytes(1001), 0, 100))
        .await
        .unwrap();
    for wrong in [
        named(""),
        sized("nothing", 0),
        NewModel {
            id: Some("../x".to_owned()),
            ..named("x")
        },
        NewModel {
            tags: vec![String::new(); 33],
            ..named("x")
        },
        NewModel {
            checksum: Some("md5".to_owned()),
            ..named("x")
        },
        NewModel {
            description: "x".repeat(9000),
            ..named("x")
        },
    ] {
        assert_eq!(
            code(gateway.add_model(&ada, wrong).await),
            ErrorCode::Invalid
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn two_do_not_send_one_model_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (ada, gateway) = (who("ada"), running.gateway.clone());
    let data = bytes(2000);
    let id = gateway.add_model(&ada, named("tiny")).await.unwrap().id;
    let (sender, receiver) = futures::channel::mpsc::channel::<Result<Piece, Failure>>(0);
    let both = pieces(&id, &data, 0, 1000);
    let first = tokio::spawn({
        let (gateway, ada) = (gateway.clone(), ada.clone());
        async move { gateway.receive(&ada, receiver.boxed()).await }
    });
    let mut sender = sender;
    use futures::SinkExt as _;
    sender.send(Ok(both[0].clone())).await.unwrap();
    // The second piece is taken from the channel once the first was written.
    sender.send(Ok(both[1].clone())).await.unwrap();
    let second = send(&gateway, &ada, both.clone()).await;
    assert_eq!(code(second), ErrorCode::Precondition);
    assert_eq!(
        code(gateway.discard_model(&ada, &id).await),
        ErrorCode::Precondition
    );
    drop(sender);
    assert!(first.await.unwrap().unwrap().whole.is_some());
    running.stop().await;
}

#[tokio::test]
async fn pages_hold_while_models_are_added_and_filters_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (ada, bob, gateway) = (who("ada"), who("bob"), &running.gateway);
    for number in 0..5 {
        let model = NewModel {
            is_public: number % 2 == 0,
            tags: vec!["vision".to_owned(), format!("n{number}")],
            description: format!("Sees 100% of {number}"),
            ..named(&format!("model-{number}"))
        };
        whole(gateway, &ada, model).await;
    }
    let names = async |who: &Principal, filter: ModelFilter| {
        let page = gateway.registered(who, filter).await.unwrap();
        let names: Vec<_> = page
            .models
            .into_iter()
            .map(|model| model.said.name)
            .collect();
        (names, page.next, page.total)
    };
    let page = |after: Option<String>| ModelFilter {
        after,
        most: 2,
        ..ModelFilter::default()
    };
    let (first, next, total) = names(&ada, page(None)).await;
    assert_eq!(
        (first, total),
        (vec!["model-4".to_owned(), "model-3".to_owned()], 5)
    );
    whole(gateway, &ada, named("late")).await;
    let (second, next, _) = names(&ada, page(next)).await;
    assert_eq!(second, ["model-2", "model-1"]);
    let (third, next, total) = names(&ada, page(next)).await;
    assert_eq!((third, next, total), (vec!["model-0".to_owned()], None, 6));

    let public = ["model-4", "model-2", "model-0"];
    assert_eq!(names(&bob, ModelFilter::default()).await.0, public);
    let only = ModelFilter {
        public_only: true,
        ..ModelFilter::default()
    };
    assert_eq!(names(&ada, only).await.0, public);
    let tags = |tags: &[&str]| ModelFilter {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..ModelFilter::default()
    };
    assert_eq!(names(&ada, tags(&["vision", "n3"])).await.0, ["model-3"]);
    assert!(names(&ada, tags(&["vision", "n"])).await.0.is_empty());
    let text = |text: &str| ModelFilter {
        text: text.to_owned(),
        ..ModelFilter::default()
    };
    assert_eq!(names(&ada, text("MODEL-1")).await.0, ["model-1"]);
    assert_eq!(names(&ada, text("100% of 2")).await.0, ["model-2"]);
    // Text is text, no pattern.
    assert!(names(&ada, text("model_1")).await.0.is_empty());
    assert!(names(&ada, text("' OR 1=1 --")).await.0.is_empty());
    let onnx = ModelFilter {
        format: Some(ModelFormat::Onnx),
        ..ModelFilter::default()
    };
    assert!(names(&ada, onnx).await.0.is_empty());
    assert_eq!(
        code(gateway.registered(&ada, page(Some("x".to_owned()))).await),
        ErrorCode::Invalid
    );
    running.stop().await;
}
