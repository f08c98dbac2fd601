//! A gateway as a library: jobs of clients without a key, on a mesh of real processes.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use embermesh_crypto::Digest;
use embermesh_dialects::{
    Dialect, ErrorCode,
    port::{
        Principal,
        jobs::{JobFilter, JobUpdate, Jobs as _, Submission},
    },
};
use embermesh_gateway::{Gateway, GatewayConfig, ProvingSettings};
use embermesh_job::{
    file::{Format, JobFile},
    lifecycle::JobState,
    spec::Input,
    units::MicroUnits,
};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::support::{Mesh, endless_job, eventually};

/// A job file with the bytes of its inputs.
fn submission(path: &Path, foreign_id: Option<&str>) -> Submission {
    let folder = path.parent().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let file = JobFile::parse(&text, Format::Toml).unwrap();
    let mut inputs = BTreeMap::new();
    let mut blobs = BTreeMap::new();
    for source in file.sources() {
        let bytes = std::fs::read(folder.join(source)).unwrap();
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        blobs.insert(source.to_owned(), Input { digest, size });
        inputs.insert(digest, bytes.into());
    }
    Submission {
        payment: None,
        foreign_id: foreign_id.map(str::to_owned),
        spec: file.resolve(&blobs).unwrap(),
        inputs,
        notes: BTreeMap::from([("priority".to_owned(), "2".to_owned())]),
    }
}

fn who(name: &str) -> Principal {
    Principal {
        dialect: Dialect::HiveMind,
        name: name.to_owned(),
    }
}

struct Running {
    gateway: Gateway,
    cancel: CancellationToken,
}

impl Running {
    async fn start(mesh: &Mesh) -> Self {
        let cancel = CancellationToken::new();
        let address = mesh.index.address();
        let config = GatewayConfig {
            folder: mesh.path().join("gateway"),
            index: address.parse().unwrap(),
            mesh: None,
            policies: BTreeMap::default(),
            endpoint: address,
            open_jobs: 10,
            worker_price: MicroUnits(0),
            model_quota: 1 << 30,
            proving: ProvingSettings::default(),
        };
        let gateway = Gateway::start(config, cancel.clone()).await.unwrap();
        Self { gateway, cancel }
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.gateway.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_without_a_key_are_run_kept_and_nobody_elses() {
    let mesh = Mesh::start(1).await;
    let running = Running::start(&mesh).await;
    let gateway = Arc::new(running.gateway.clone());
    let (alice, bob) = (who("alice"), who("bob"));
    let iris = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs/iris-train.toml");
    let job = gateway
        .submit(&alice, submission(&iris, Some("task/../1")))
        .await
        .unwrap();
    assert_eq!(job.id, "task/../1");
    assert_eq!(job.notes["priority"], "2");
    let mut updates = gateway.watch(&alice, &job.id).await.unwrap();
    let mut last = None;
    let mut ran = false;
    while let Some(update) = updates.next().await {
        if let JobUpdate::Changed(view) = update.unwrap() {
            ran |= view.state == JobState::Running && view.progress > 0.0;
            last = Some(view);
        }
    }
    let last = last.unwrap();
    assert_eq!(last.state, JobState::Succeeded, "{}", last.message);
    assert!(ran && last.receipt.is_some() && last.started_at.is_some());
    assert!(last.metrics["val_accuracy"] > 0.8, "{:?}", last.metrics);

    // What it made is here, in pieces too, and outlives its node.
    let made = &last.artifacts[0];
    let whole = gateway
        .artifact(&alice, &job.id, &made.name, 0..u64::MAX)
        .await
        .unwrap();
    assert_eq!(Digest::of(&whole), made.digest);
    let piece = gateway.artifact(&alice, &job.id, &made.name, 3..10).await;
    assert_eq!(piece.unwrap(), whole[3..10]);

    // The same name again, another's job, and one that there is not.
    let again = gateway
        .submit(&alice, submission(&iris, Some("task/../1")))
        .await;
    assert_eq!(again.unwrap_err().code, ErrorCode::Exists);
    for id in [job.id.as_str(), "nothing"] {
        let code = |result: Result<_, embermesh_dialects::Failure>| result.unwrap_err().code;
        assert_eq!(
            code(gateway.job(&bob, id).await.map(drop)),
            ErrorCode::NotFound
        );
        assert_eq!(
            code(gateway.cancel(&bob, id).await.map(drop)),
            ErrorCode::NotFound
        );
        assert_eq!(
            code(gateway.log(&bob, id).await.map(drop)),
            ErrorCode::NotFound
        );
        assert_eq!(code(gateway.forget(&bob, id).await), ErrorCode::NotFound);
    }
    let over = gateway.cancel(&alice, &job.id).await.unwrap_err();
    assert_eq!(over.code, ErrorCode::Precondition);

    // One that runs is followed again after a restart, and can be ended then.
    let endless = endless_job(mesh.path(), "endless");
    let endless = gateway
        .submit(&alice, submission(&endless, None))
        .await
        .unwrap();
    running.stop().await;
    let running = Running::start(&mesh).await;
    let gateway = running.gateway.clone();
    eventually("it is followed again", async || {
        let view = gateway.job(&alice, &endless.id).await.unwrap();
        view.state == JobState::Running && view.progress > 0.0
    })
    .await;
    let page = |after: Option<String>| JobFilter {
        after,
        most: 1,
        ..JobFilter::default()
    };
    let first = gateway.jobs(&alice, page(None)).await.unwrap();
    assert_eq!((first.jobs[0].id.as_str(), first.total), (&*endless.id, 2));
    let second = gateway.jobs(&alice, page(first.next)).await.unwrap();
    assert_eq!(second.jobs[0].id, job.id);
    assert!(second.next.is_none());
    let ended = gateway.cancel(&alice, &endless.id).await.unwrap();
    assert_eq!(ended.state, JobState::Cancelled);
    // What ended before the restart is as it was.
    let kept = gateway.job(&alice, &job.id).await.unwrap();
    assert_eq!((kept.state, kept.metrics), (last.state, last.metrics));
    gateway.forget(&alice, &job.id).await.unwrap();
    let gone = gateway.job(&alice, &job.id).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound);
    running.stop().await;
}
