//! A client without an index, in a mesh of nodes that do as a script says.

// What does not hold fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use embermesh_client::{
    ClientError, Direct, Errand, Follow, Update,
    direct::records::{Record, Records},
};
use embermesh_crypto::{
    Keypair,
    digest::Digest,
    ids::Epoch,
    statement::{DeviceAdvert, DeviceKind, Role, Runtimes},
};
use embermesh_job::{
    event::Outcome,
    model::{Layer, Model, Op},
    spec::{Dataset, Input, JobSpec, Limits, Requirements, Train, Work},
    units::Bytes,
};
use embermesh_mesh::{AdvertDraft, Mesh, MeshConfig, road::RoadChoice};
use support::{
    Asked::{Attach, Permit, Run},
    PATIENCE,
    Say::{Event, Finished, Hang, Spent},
    Script, Server, all, next, numbers,
    permits::Leave::{Give, GiveAnother, GiveTo, Queue, Refuse},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Nodes in a mesh, each with a server and a script.
struct Nodes {
    folder: TempDir,
    meshes: Vec<Mesh>,
    servers: Vec<Option<Server>>,
}

fn draft(server: &Server, mflops: u64) -> AdvertDraft {
    AdvertDraft {
        role: Role::Node,
        version: "test".to_owned(),
        tls_addresses: vec![server.address.clone()],
        region: String::new(),
        price_micros_per_hour: 0,
        devices: vec![DeviceAdvert {
            name: "test".to_owned(),
            kind: DeviceKind::Cpu,
            memory_bytes: 4 << 30,
            mflops,
            fault: None,
        }],
        slots: 1,
        free_slots: 1,
        queued: 0,
        draining: false,
        missing_fences: None,
        runtimes: Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
    }
}

impl Nodes {
    /// Nodes of these numbers, each slower than the one before, so that they are asked
    /// in this order.
    async fn start(scripts: &[(u8, &Script)]) -> Self {
        let mut nodes = Self {
            folder: tempfile::tempdir().unwrap(),
            meshes: Vec::new(),
            servers: Vec::new(),
        };
        let mut mflops = 1_000_000;
        for (seed, script) in scripts {
            let server = Server::node(*seed, script).await;
            let config = MeshConfig {
                bootstrap: nodes.bootstrap(),
                ..MeshConfig::default()
            };
            let key = Arc::new(Keypair::from_seed(&[*seed; 32]));
            let mesh = Mesh::start(key, config, CancellationToken::new())
                .await
                .unwrap();
            mesh.advertise(draft(&server, mflops)).await.unwrap();
            mflops /= 100;
            nodes.meshes.push(mesh);
            nodes.servers.push(Some(server));
        }
        nodes
    }

    fn bootstrap(&self) -> Vec<String> {
        let addresses = self.meshes.iter().map(Mesh::addresses);
        addresses.filter_map(|all| all.first().cloned()).collect()
    }

    /// A client that knows them all.
    async fn client(&self) -> Direct {
        let config = MeshConfig {
            listen: Vec::new(),
            bootstrap: self.bootstrap(),
            kad_server: false,
            ..MeshConfig::default()
        };
        let key = Arc::new(Keypair::from_seed(&[77; 32]));
        let mesh = Mesh::start(Arc::clone(&key), config, CancellationToken::new())
            .await
            .unwrap();
        let mut changes = mesh.changes();
        tokio::time::timeout(PATIENCE, async {
            while mesh.adverts().len() < self.meshes.len() {
                changes.changed().await.unwrap();
            }
        })
        .await
        .expect("the adverts are heard");
        let records = Records::at(self.folder.path().join("jobs"));
        Direct::new(key, mesh, RoadChoice::Tls, records).unwrap()
    }
}

fn spec() -> JobSpec {
    let model = Model {
        input: vec![1, 8, 8],
        layers: [Op::flatten(), Op::dense(10)].map(Layer::new).into(),
    };
    let data = Dataset::DigitsCsv {
        file: Input {
            digest: Digest::of(b"data"),
            size: 4,
        },
        classes: 10,
    };
    JobSpec {
        name: "test".to_owned(),
        work: Work::Train(Train::new(model, data)),
        requires: Requirements::default(),
        limits: Limits {
            memory: Bytes(1 << 30),
            ..Limits::default()
        },
        attempts: 2,
    }
}

fn run(client: &Direct) -> (embermesh_crypto::JobId, Follow) {
    client.run(&spec(), Errand::default()).unwrap()
}

fn record(client: &Direct, job: embermesh_crypto::JobId) -> Record {
    client.records().find(job).unwrap().unwrap()
}

fn queued(update: &Update) -> Option<Vec<String>> {
    let Update::Queued { passed_over, .. } = update else {
        return None;
    };
    let codes = passed_over.iter().map(|(_, code, _)| code.clone());
    Some(codes.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_for_something_else_is_not_taken_and_the_next_node_is_asked() {
    let thief = Keypair::from_seed(&[9; 32]).peer_id();
    let another = Script::giving(31, [GiveAnother], []);
    let theirs = Script::giving(32, [GiveTo(thief)], []);
    let refusing = Script::giving(33, [Refuse("not_allowed")], []);
    let good = Script::giving(34, [Give], [vec![Event(1, 1), Finished(2, 1)]]);
    let scripts = [(31, &another), (32, &theirs), (33, &refusing), (34, &good)];
    let nodes = Nodes::start(&scripts).await;
    let client = nodes.client().await;
    assert_eq!(client.nodes().len(), 4);
    let (job, follow) = run(&client);
    let said = all(follow).await;
    assert_eq!(numbers(&said), [1, 2]);
    for script in [&another, &theirs, &refusing] {
        assert_eq!(script.asked(), [Permit(1)]);
    }
    assert_eq!(good.asked(), [Permit(1), Run]);
    let record = record(&client, job);
    assert_eq!((record.epoch, record.begun), (Epoch(1), 1));
    assert_eq!(record.ended, Some(Outcome::Succeeded));
    assert_eq!(client.records().spec(job).unwrap(), spec().canonical());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_its_turn_and_says_how_many_go_first() {
    let script = Script::giving(35, [Queue(2), Give], [vec![Event(1, 1), Finished(2, 1)]]);
    let nodes = Nodes::start(&[(35, &script)]).await;
    let client = nodes.client().await;
    let (_, mut follow) = run(&client);
    let first = next(&mut follow).await.unwrap();
    let Update::Queued { passed_over, .. } = &first else {
        panic!("{first:?}");
    };
    let (_, code, message) = &passed_over[0];
    assert_eq!(code, "busy");
    assert!(message.contains("2 jobs go first"), "{message}");
    // Whatever is heard of a node is a reason to ask it.
    let server = nodes.servers[0].as_ref().unwrap();
    nodes.meshes[0].advertise(draft(server, 5)).await.unwrap();
    let said = all(follow).await;
    assert_eq!(numbers(&said), [1, 2]);
    assert_eq!(script.asked(), [Permit(1), Permit(1), Run]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_lost_node_goes_on_elsewhere_under_the_same_numbers() {
    let dies = Script::giving(36, [Give], [vec![Event(1, 1), Event(2, 1), Hang]]);
    let takes = Script::giving(
        37,
        [Give],
        [vec![Event(1, 2), Event(2, 2), Event(3, 2), Finished(4, 2)]],
    );
    let mut nodes = Nodes::start(&[(36, &dies), (37, &takes)]).await;
    let client = nodes.client().await;
    let (job, mut follow) = run(&client);
    let mut said = Vec::new();
    while numbers(&said).len() < 2 {
        said.push(next(&mut follow).await.unwrap());
    }
    nodes.servers[0].take().unwrap().stop().await;
    said.extend(all(follow).await);
    assert_eq!(numbers(&said), [1, 2, 3, 4]);
    assert_eq!(takes.asked(), [Permit(2), Run]);
    let record = record(&client, job);
    assert_eq!((record.epoch, record.begun), (Epoch(2), 2));
    assert_eq!(record.ended, Some(Outcome::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_as_many_attempts_as_its_spec_says() {
    let script = Script::giving(38, [Give], [vec![Event(1, 1), Spent], vec![Spent]]);
    let nodes = Nodes::start(&[(38, &script)]).await;
    let client = nodes.client().await;
    let (job, follow) = run(&client);
    let said = all(follow).await;
    let Some(Update::Ended(ended)) = said.last() else {
        panic!("{said:?}");
    };
    assert_eq!(ended.outcome, Outcome::Failed);
    let message = &ended.message;
    assert!(message.contains("no attempt is left of 2") && message.contains("it broke"));
    assert_eq!(script.asked(), [Permit(1), Run, Permit(2), Run]);
    assert_eq!(record(&client, job).ended, Some(Outcome::Failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_may_not_wait_ends_with_all_reasons() {
    let closed = Script::giving(39, [Refuse("not_allowed")], []);
    let busy = Script::giving(40, [Queue(0)], []);
    let nodes = Nodes::start(&[(39, &closed), (40, &busy)]).await;
    let client = nodes.client().await;
    let errand = Errand {
        wait: Some(Duration::ZERO),
        ..Errand::default()
    };
    let (_, mut follow) = client.run(&spec(), errand).unwrap();
    let mut reasons = None;
    let error = loop {
        match follow.next().await.expect("an end") {
            Ok(update) => reasons = queued(&update).or(reasons),
            Err(error) => break error,
        }
    };
    let expected = ["not_allowed".to_owned(), "busy".to_owned()];
    assert!(reasons.is_none_or(|reasons| reasons == expected));
    let said = error.to_string();
    let ClientError::NotPlaced { passed_over, .. } = error else {
        panic!("{said}");
    };
    let codes: Vec<_> = passed_over.iter().map(|(_, code, _)| code).collect();
    assert_eq!(codes, expected.iter().collect::<Vec<_>>());
    assert!(
        said.contains("refused by the script") && said.contains("the next"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_joins_the_attempt_and_begins_none() {
    let script = Script::giving(
        41,
        [Give],
        [vec![Event(1, 1), Hang], vec![Event(2, 1), Finished(3, 1)]],
    );
    let nodes = Nodes::start(&[(41, &script)]).await;
    let client = nodes.client().await;
    let (job, mut follow) = run(&client);
    while !matches!(next(&mut follow).await, Some(Update::Event(_))) {}
    drop(follow);
    let errand = Errand {
        after: 1,
        ..Errand::default()
    };
    let again = client.watch(record(&client, job), errand).unwrap();
    assert_eq!(numbers(&all(again).await), [2, 3]);
    assert_eq!(script.asked(), [Permit(1), Run, Attach(1)]);
}
