//! A gateway on a port of its own, and server nodes that join over TCP.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use embermesh_dialects::{
    Dialect,
    port::{
        Principal,
        jobs::{JobView, Jobs as _},
    },
};
use embermesh_gateway::{Pass, ProvingSettings, users::policy::Policies};
use embermesh_proto::cyxwiz::protocol::{
    self as wire, job_service_client::JobServiceClient,
    job_status_service_client::JobStatusServiceClient, node_service_client::NodeServiceClient,
};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Request, transport::Channel};

use crate::alone::Alone;
use crate::ears::{Told, listen};

/// The longest wait for anything that must happen: longer than a server may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Index(Alone);

impl Index {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        let (policies, proving) = (Policies::new(), ProvingSettings::default());
        Self(Alone::start_in(folder, Dialect::CyxWiz, policies, proving).await)
    }

    /// Stops, and starts on the same folder.
    pub(crate) async fn restart(self) -> Self {
        Self::start_in(self.0.stop().await).await
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.0.channel().await
    }

    pub(crate) async fn nodes(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel().await)
    }

    pub(crate) async fn statuses(&self) -> JobStatusServiceClient<Channel> {
        JobStatusServiceClient::new(self.channel().await)
    }

    /// A token of the operator's.
    pub(crate) async fn pass(&self, name: &str) -> String {
        let pass = Pass::make(self.0.folder.path(), Dialect::CyxWiz, name).await;
        pass.unwrap().token
    }

    /// Submits a job of the flowers; its id.
    pub(crate) async fn submit(&self, token: &str, id: &str) -> String {
        let mut jobs = JobServiceClient::new(self.channel().await);
        let answer = jobs.submit_job(by(token, flowers(id))).await.unwrap();
        let answer = answer.into_inner();
        assert_eq!(answer.error, None);
        answer.job_id
    }

    pub(crate) async fn assignment(&self, token: &str, id: &str) -> Option<wire::NodeAssignment> {
        let mut jobs = JobServiceClient::new(self.channel().await);
        let request = wire::GetJobStatusRequest {
            job_id: id.to_owned(),
        };
        let answer = jobs.get_job_status(by(token, request)).await.unwrap();
        answer.into_inner().node_assignment
    }

    pub(crate) async fn job(&self, owner: &str, id: &str) -> JobView {
        let who = Principal {
            dialect: Dialect::CyxWiz,
            name: owner.to_owned(),
        };
        self.0.gateway.job(&who, id).await.unwrap()
    }

    /// Waits until a job looks so.
    pub(crate) async fn until(
        &self,
        owner: &str,
        id: &str,
        is_so: impl Fn(&JobView) -> bool,
    ) -> JobView {
        let looking = async {
            loop {
                let job = self.job(owner, id).await;
                if is_so(&job) {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, looking).await.expect("it comes to that")
    }
}

pub(crate) fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

pub(crate) const FLOWERS: &[u8] = include_bytes!("../../../data/iris.csv");

fn flowers(id: &str) -> wire::SubmitJobRequest {
    let options = [
        ("target_column", "species"),
        ("labels", "setosa,versicolor,virginica"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    wire::SubmitJobRequest {
        config: Some(wire::JobConfig {
            job_id: id.to_owned(),
            job_type: 1,
            model_definition:
                r#"{"type": "mlp", "input_size": 4, "hidden_layers": [16], "output_size": 3}"#
                    .to_owned(),
            hyperparameters: options.into(),
            batch_size: 16,
            epochs: 2,
            estimated_memory: 256 << 20,
            ..wire::JobConfig::default()
        }),
        initial_data: FLOWERS.into(),
    }
}

/// A server node that has joined.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) key: String,
    pub(crate) port: u16,
    told: mpsc::Receiver<Told>,
}

pub(crate) fn registration(id: &str, host: &str, port: u16) -> wire::RegisterNodeRequest {
    wire::RegisterNodeRequest {
        info: Some(wire::NodeInfo {
            node_id: id.to_owned(),
            ip_address: host.to_owned(),
            port: port.into(),
            ram_total: 8 << 30,
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl Node {
    pub(crate) async fn join(index: &Index, owner: &str, id: &str) -> Self {
        let token = index.pass(owner).await;
        let (port, told) = listen("127.0.0.1:0").await;
        let request = by(&token, registration(id, "127.0.0.1", port));
        let answer = index.nodes().await.register_node(request).await.unwrap();
        let answer = answer.into_inner();
        assert_eq!(answer.error, None);
        Self {
            id: answer.node_id,
            token,
            key: answer.session_token,
            port,
            told,
        }
    }

    /// The next that it is told.
    async fn next(&mut self) -> Told {
        let told = timeout(PATIENCE, self.told.recv()).await;
        told.expect("the node is told something").unwrap()
    }

    /// The next job, with its data, and what opened the door for it.
    pub(crate) async fn job(&mut self) -> (wire::AssignJobRequest, wire::SendJobRequest) {
        let Told::Assign(assigned) = self.next().await else {
            panic!("a job is assigned first");
        };
        let Told::Connect(hello) = self.next().await else {
            panic!("somebody connects then");
        };
        let name = assigned.job.as_ref().unwrap().job_id.clone();
        assert_eq!(hello.job_id, name);
        self.verify(&hello.auth_token, &name);
        self.verify(&assigned.authorization_token, &name);
        let Told::Send(sent) = self.next().await else {
            panic!("the data comes last");
        };
        (*assigned, *sent)
    }

    pub(crate) fn is_told_nothing(&mut self) -> bool {
        self.told.try_recv().is_err()
    }

    /// What a node of the system checks of a token: signature, issuer, job, node.
    pub(crate) fn verify(&self, token: &str, job: &str) {
        let (signed, tag) = token.rsplit_once('.').unwrap();
        let tag = URL_SAFE_NO_PAD.decode(tag).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.as_bytes());
        hmac::verify(&key, signed.as_bytes(), &tag).expect("it is signed for this node");
        let (_, claims) = signed.split_once('.').unwrap();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["iss"], "CyxWiz-Central-Server");
        assert_eq!(claims["node_id"], self.id.as_str());
        assert_eq!(claims["job_id"], job);
    }

    /// Says that it is there and has some jobs; the ones to cancel.
    pub(crate) async fn beat(&self, index: &Index, jobs: &[&str]) -> Vec<String> {
        let request = wire::HeartbeatRequest {
            node_id: self.id.clone(),
            current_status: None,
            active_jobs: jobs.iter().map(|job| (*job).to_owned()).collect(),
        };
        let answer = index
            .nodes()
            .await
            .heartbeat(by(&self.token, request))
            .await;
        answer.unwrap().into_inner().jobs_to_cancel
    }

    /// Says how far a job is; whether it shall go on.
    pub(crate) async fn progress(&self, index: &Index, job: &str, share: f64) -> bool {
        let request = update(&self.id, job, share);
        let mut statuses = index.statuses().await;
        let answer = statuses.update_job_status(by(&self.token, request)).await;
        answer.unwrap().into_inner().should_continue
    }

    /// Says that a job has ended well; what is wrong with that, if anything is.
    pub(crate) async fn ends(&self, index: &Index, job: &str) -> Option<wire::Error> {
        let request = wire::ReportCompletionRequest {
            node_id: self.id.clone(),
            job_id: job.to_owned(),
            result: Some(wire::JobResult {
                status: 4,
                model_weights_uri: "file:///weights/t.bin".to_owned(),
                model_weights_hash: "sha256:77".to_owned(),
                model_size: 12,
                final_metrics: [("accuracy".to_owned(), 0.9)].into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut nodes = index.nodes().await;
        let answer = nodes.report_completion(by(&self.token, request)).await;
        answer.unwrap().into_inner().error
    }
}

pub(crate) fn update(node: &str, job: &str, share: f64) -> wire::UpdateJobStatusRequest {
    wire::UpdateJobStatusRequest {
        node_id: node.to_owned(),
        job_id: job.to_owned(),
        status: 3,
        progress: share,
        metrics: [("loss".to_owned(), 1.0 - share)].into(),
        current_epoch: 1,
        log_message: format!("at {share}"),
    }
}
