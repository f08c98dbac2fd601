//! A coordinator on a port of its own, and provers that dial in over TCP.

use embermesh_dialects::Dialect;
use embermesh_gateway::{
    Gateway, ProvingSettings,
    users::policy::{Belief, Policies, Policy},
};
use embermesh_proto::zisk::{
    Challenges, ChallengesList, ComputeCapacity, CoordinatorMessage, ExecuteTaskRequest,
    ExecuteTaskResponse, FinalProof, FinalProofList, JobCancelRequest, JobStatus, JobStatusRequest,
    LaunchProofRequest, Proof, ProofList, ProverInfo, ProverMessage, ProverReconnectRequest,
    ProverRegisterRequest, ProverRegisterResponse, ProversListRequest, TaskType,
    coordinator_message::Payload as Told, execute_task_request::Params,
    execute_task_response::ResultData, job_status_response, launch_proof_response,
    prover_message::Payload, provers_list_response,
    zisk_distributed_api_client::ZiskDistributedApiClient,
};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::alone::Alone;

pub(crate) use std::time::Duration;

pub(crate) type Client = ZiskDistributedApiClient<Channel>;

/// The longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest message of these clients, in bytes.
const MAX_MESSAGE: usize = 64 << 20;

/// Waits that no test reaches, but that of a broken connection.
pub(crate) fn settings() -> ProvingSettings {
    ProvingSettings {
        grace: Duration::ZERO,
        ..ProvingSettings::default()
    }
}

/// Whoever asks from this machine is believed.
fn believing() -> Policies {
    let policy = Policy {
        belief: Belief::Legacy,
        networks: Vec::new(),
    };
    [(Dialect::Zisk, policy)].into()
}

pub(crate) struct Coordinator(Alone);

impl Coordinator {
    pub(crate) async fn start(settings: ProvingSettings) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings, believing()).await
    }

    pub(crate) async fn strict() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, settings(), Policies::new()).await
    }

    async fn start_in(folder: TempDir, proving: ProvingSettings, policies: Policies) -> Self {
        Self(Alone::start_in(folder, Dialect::Zisk, policies, proving).await)
    }

    /// Stops, and starts on the same folder.
    pub(crate) async fn restart(self, settings: ProvingSettings) -> Self {
        Self::start_in(self.0.stop().await, settings, believing()).await
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.0.gateway
    }

    pub(crate) async fn client(&self) -> Client {
        Client::new(self.0.channel().await)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// A prover that is accepted.
    pub(crate) async fn prover(&self, id: &str, units: u32) -> Prover {
        let (prover, answer) = Prover::enter(self.client().await, register(id, units)).await;
        assert!(answer.accepted, "{}", answer.message);
        prover
    }

    /// A prover that comes back to a job.
    pub(crate) async fn prover_again(&self, id: &str, units: u32, job: &str) -> Prover {
        let hello = reconnect(id, units, job);
        let (prover, answer) = Prover::enter(self.client().await, hello).await;
        assert!(answer.accepted, "{}", answer.message);
        prover
    }

    /// A proof that is taken on.
    pub(crate) async fn launch(&self, units: u32) -> String {
        self.try_launch(units).await.unwrap()
    }

    /// A proof, or the code of the refusal.
    pub(crate) async fn try_launch(&self, units: u32) -> Result<String, String> {
        let answer = self.client().await.launch_proof(request(units)).await;
        match answer.unwrap().into_inner().result.unwrap() {
            launch_proof_response::Result::JobId(id) => Ok(id),
            launch_proof_response::Result::Error(error) => Err(error.code),
        }
    }

    pub(crate) async fn job(&self, id: &str) -> JobStatus {
        self.try_job(id).await.unwrap()
    }

    pub(crate) async fn try_job(&self, id: &str) -> Result<JobStatus, String> {
        let request = JobStatusRequest {
            job_id: id.to_owned(),
            with_proof: true,
        };
        let answer = self.client().await.job_status(request).await.unwrap();
        found(answer.into_inner().result)
    }

    pub(crate) async fn cancel(&self, id: &str) -> Result<JobStatus, String> {
        let request = JobCancelRequest {
            job_id: id.to_owned(),
        };
        let answer = self.client().await.job_cancel(request).await.unwrap();
        found(answer.into_inner().result)
    }

    pub(crate) async fn provers(&self, available_only: bool) -> Vec<ProverInfo> {
        let request = ProversListRequest { available_only };
        let answer = self.client().await.provers_list(request).await.unwrap();
        match answer.into_inner().result.unwrap() {
            provers_list_response::Result::ProversList(list) => list.provers,
            provers_list_response::Result::Error(error) => panic!("{error:?}"),
        }
    }

    /// Waits until a job is in a state.
    pub(crate) async fn state(&self, id: &str, state: &str) -> JobStatus {
        let waiting = async {
            loop {
                let job = self.job(id).await;
                if job.state == state {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(job) => job,
            Err(_) => panic!("never {state}: {:?}", self.job(id).await),
        }
    }

    /// Waits until so many provers are free.
    pub(crate) async fn free(&self, count: usize) {
        let waiting = async {
            while self.provers(true).await.len() != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap();
    }
}

fn found(result: Option<job_status_response::Result>) -> Result<JobStatus, String> {
    match result.unwrap() {
        job_status_response::Result::Job(job) => Ok(job),
        job_status_response::Result::Error(error) => Err(error.code),
    }
}

pub(crate) fn request(units: u32) -> LaunchProofRequest {
    LaunchProofRequest {
        block_id: "block-7".to_owned(),
        compute_capacity: units,
        input_path: "/inputs/7".to_owned(),
        simulated_node: None,
    }
}

fn units(compute_units: u32) -> Option<ComputeCapacity> {
    Some(ComputeCapacity { compute_units })
}

pub(crate) fn register(id: &str, capacity: u32) -> Payload {
    Payload::Register(ProverRegisterRequest {
        prover_id: id.to_owned(),
        compute_capacity: units(capacity),
    })
}

pub(crate) fn reconnect(id: &str, capacity: u32, job: &str) -> Payload {
    Payload::Reconnect(ProverReconnectRequest {
        prover_id: id.to_owned(),
        compute_capacity: units(capacity),
        last_known_job_id: job.to_owned(),
    })
}

/// A prover in the test's hands.
pub(crate) struct Prover {
    pub(crate) id: String,
    pub(crate) say: mpsc::Sender<ProverMessage>,
    pub(crate) told: Streaming<CoordinatorMessage>,
}

impl Prover {
    /// Says hello on a new stream, and hears the answer.
    pub(crate) async fn enter(
        mut client: Client,
        hello: Payload,
    ) -> (Self, ProverRegisterResponse) {
        let (say, said) = mpsc::channel(8);
        // The answer begins before anything is said.
        let answer = timeout(PATIENCE, client.prover_stream(ReceiverStream::new(said)));
        let told = answer.await.unwrap().unwrap().into_inner();
        let mut prover = Self {
            id: String::new(),
            say,
            told,
        };
        prover.send(hello).await;
        let Some(Told::RegisterResponse(answer)) = prover.next().await else {
            panic!("the first answer is to the hello");
        };
        prover.id.clone_from(&answer.prover_id);
        (prover, answer)
    }

    pub(crate) async fn send(&self, payload: Payload) {
        let message = ProverMessage {
            payload: Some(payload),
        };
        self.say.send(message).await.unwrap();
    }

    /// What it is told next; nothing when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        let next = timeout(PATIENCE, self.told.message()).await.unwrap();
        next.unwrap().map(|message| message.payload.unwrap())
    }

    /// The next task.
    pub(crate) async fn task(&mut self) -> ExecuteTaskRequest {
        match self.next().await {
            Some(Told::ExecuteTask(task)) => task,
            other => panic!("{} was told {other:?}", self.id),
        }
    }

    /// The job that it is told to leave.
    pub(crate) async fn cancelled(&mut self) -> String {
        match self.next().await {
            Some(Told::JobCancelled(cancelled)) => cancelled.job_id,
            other => panic!("{} was told {other:?}", self.id),
        }
    }

    /// Answers a task.
    pub(crate) async fn answer(&self, task: &ExecuteTaskRequest, data: Option<ResultData>) {
        self.say_done(task, task.task_type(), data).await;
    }

    pub(crate) async fn say_done(
        &self,
        task: &ExecuteTaskRequest,
        task_type: TaskType,
        data: Option<ResultData>,
    ) {
        self.send(Payload::ExecuteTaskResponse(ExecuteTaskResponse {
            job_id: task.job_id.clone(),
            prover_id: self.id.clone(),
            task_type: task_type.into(),
            success: true,
            error_message: String::new(),
            result_data: data,
        }))
        .await;
    }

    /// Does the next task as it should, and says which it was.
    pub(crate) async fn work(&mut self) -> ExecuteTaskRequest {
        let task = self.task().await;
        self.answer(&task, Some(result(&task))).await;
        task
    }

    /// Aggregates the proofs of so many.
    pub(crate) async fn aggregate(&mut self, gang: usize) {
        let mut sum = 0;
        for number in 1..=gang {
            let task = self.task().await;
            let Some(Params::AggParams(params)) = &task.params else {
                panic!("{task:?}");
            };
            assert!(params.verify_proofs && params.verify_constraints);
            assert_eq!(params.last_proof, number == gang);
            let proofs = params.agg_proofs.as_ref().unwrap().proofs.iter();
            sum += proofs.flat_map(|proof| &proof.values).sum::<u64>();
            let values = if params.last_proof {
                vec![sum]
            } else {
                Vec::new()
            };
            let proofs = Some(FinalProof { values }).filter(|proof| !proof.values.is_empty());
            let list = FinalProofList {
                final_proofs: proofs.into_iter().collect(),
            };
            self.answer(&task, Some(ResultData::FinalProof(list))).await;
        }
    }
}

/// What a prover gives that does as it is told: it commits to its units, and proves with
/// what all have committed to.
pub(crate) fn result(task: &ExecuteTaskRequest) -> ResultData {
    match task.params.as_ref().unwrap() {
        Params::ContributionParams(params) => {
            assert_eq!(params.input_path, "/inputs/7");
            let sum = params.worker_allocation.iter().copied().sum::<u32>();
            ResultData::Challenges(ChallengesList {
                challenges: vec![Challenges {
                    worker_index: params.rank_id,
                    airgroup_id: 3,
                    challenge: vec![u64::from(sum)],
                }],
            })
        }
        Params::ProveParams(params) => {
            let challenges = params.challenges.iter();
            let sum = challenges.flat_map(|challenge| &challenge.challenge).sum();
            ResultData::Proofs(ProofList {
                proofs: vec![Proof {
                    worker_idx: 0,
                    airgroup_id: 3,
                    values: vec![sum],
                }],
            })
        }
        Params::AggParams(_) => panic!("an aggregation is not one task: {task:?}"),
    }
}
