//! Provers of ZisK distributed dial in to a real index, and make a proof.

use std::time::Duration;

use embermesh_proto::zisk::{
    Challenges, ChallengesList, ComputeCapacity, ExecuteTaskRequest, ExecuteTaskResponse,
    FinalProof, FinalProofList, HeartbeatAck, JobStatus, JobStatusRequest, LaunchProofRequest,
    Proof, ProofList, ProverMessage, ProverReconnectRequest, ProverRegisterRequest,
    coordinator_message::Payload as Told, execute_task_request::Params,
    execute_task_response::ResultData, job_status_response, launch_proof_response,
    prover_message::Payload, zisk_distributed_api_client::ZiskDistributedApiClient,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{Link, Mesh, eventually, nobody};

const LEGACY: &str = r#"
[gateway]
legacy = ["zisk"]
[gateway.proving]
grace_s = 1
"#;

/// Messages of a prover on their way.
const SAID: usize = 8;
/// A block that a prover takes on and never comes to an end with.
pub(crate) const ENDLESS: &str = "endless";
/// Units of one prover.
pub(crate) const UNITS: u32 = 2;

type Client = ZiskDistributedApiClient<Link>;

async fn client(mesh: &Mesh) -> Client {
    Client::new(nobody(mesh).await)
}

/// What a prover gives: it commits to its units, proves with what all have committed to,
/// and adds up.
fn result(task: &ExecuteTaskRequest, sum: &mut u64) -> Option<ResultData> {
    match task.params.as_ref()? {
        Params::ContributionParams(params) => {
            let units: u32 = params.worker_allocation.iter().sum();
            let challenges = vec![Challenges {
                worker_index: params.rank_id,
                airgroup_id: 0,
                challenge: vec![u64::from(units)],
            }];
            Some(ResultData::Challenges(ChallengesList { challenges }))
        }
        Params::ProveParams(params) => {
            let challenges = params.challenges.iter();
            let values = vec![challenges.flat_map(|one| &one.challenge).sum()];
            let proofs = vec![Proof {
                values,
                ..Proof::default()
            }];
            *sum = 0;
            Some(ResultData::Proofs(ProofList { proofs }))
        }
        Params::AggParams(params) => {
            let proofs = &params.agg_proofs.as_ref()?.proofs;
            *sum += proofs.iter().flat_map(|proof| &proof.values).sum::<u64>();
            let last = params.last_proof;
            let last = last.then(|| FinalProof { values: vec![*sum] });
            let final_proofs = last.into_iter().collect();
            Some(ResultData::FinalProof(FinalProofList { final_proofs }))
        }
    }
}

fn hello(id: &str, last_job: Option<&str>) -> Payload {
    let compute_capacity = Some(ComputeCapacity {
        compute_units: UNITS,
    });
    let prover_id = id.to_owned();
    match last_job {
        None => Payload::Register(ProverRegisterRequest {
            prover_id,
            compute_capacity,
        }),
        Some(job) => Payload::Reconnect(ProverReconnectRequest {
            prover_id,
            compute_capacity,
            last_known_job_id: job.to_owned(),
        }),
    }
}

/// Whether it is a task of the block that never ends.
fn endless(task: &ExecuteTaskRequest) -> bool {
    matches!(&task.params, Some(Params::ContributionParams(params)) if params.block_id == ENDLESS)
}

/// A prover that works until its stream ends. With `stuck` it takes a task and never
/// answers, and says which.
pub(crate) async fn prover(
    link: Link,
    id: &str,
    last_job: Option<&str>,
    stuck: Option<mpsc::Sender<String>>,
) -> JoinHandle<()> {
    let mut client = Client::new(link);
    let (id, last_job) = (id.to_owned(), last_job.map(str::to_owned));
    let (say, said) = mpsc::channel(SAID);
    let stream = client.prover_stream(ReceiverStream::new(said)).await;
    let mut told = stream.unwrap().into_inner();
    let send = async |say: &mpsc::Sender<_>, payload| {
        let payload = Some(payload);
        say.send(ProverMessage { payload }).await.unwrap();
    };
    send(&say, hello(&id, last_job.as_deref())).await;
    let prover_id = id.clone();
    send(&say, Payload::HeartbeatAck(HeartbeatAck { prover_id })).await;
    let first = told.message().await.unwrap().unwrap().payload.unwrap();
    let Told::RegisterResponse(answer) = first else {
        panic!("{first:?}");
    };
    assert!(answer.accepted, "{}", answer.message);
    tokio::spawn(async move {
        let mut sum = 0;
        while let Ok(Some(message)) = told.message().await {
            let Some(Told::ExecuteTask(task)) = message.payload else {
                continue;
            };
            if let Some(stuck) = &stuck {
                stuck.send(task.job_id).await.unwrap();
                continue;
            }
            if endless(&task) {
                continue;
            }
            let answer = ExecuteTaskResponse {
                prover_id: id.clone(),
                task_type: task.task_type,
                success: true,
                result_data: result(&task, &mut sum),
                job_id: task.job_id,
                ..ExecuteTaskResponse::default()
            };
            let payload = Some(Payload::ExecuteTaskResponse(answer));
            if say.send(ProverMessage { payload }).await.is_err() {
                return;
            }
        }
    })
}

async fn launch(mesh: &Mesh, units: u32) -> String {
    let request = LaunchProofRequest {
        block_id: "block_456".to_owned(),
        compute_capacity: units,
        input_path: "/path/to/input".to_owned(),
        simulated_node: None,
    };
    let answer = client(mesh).await.launch_proof(request).await.unwrap();
    match answer.into_inner().result {
        Some(launch_proof_response::Result::JobId(id)) => id,
        other => panic!("{other:?}"),
    }
}

async fn job(mesh: &Mesh, id: &str) -> JobStatus {
    let request = JobStatusRequest {
        job_id: id.to_owned(),
        with_proof: true,
    };
    let answer = client(mesh).await.job_status(request).await.unwrap();
    match answer.into_inner().result {
        Some(job_status_response::Result::Job(job)) => job,
        other => panic!("{other:?}"),
    }
}

async fn completed(mesh: &Mesh, id: &str) -> JobStatus {
    eventually("the proof is made", async || {
        let job = job(mesh, id).await;
        assert_ne!(job.state, "Failed", "{}", job.message);
        job.state == "Completed"
    })
    .await;
    job(mesh, id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_provers_make_a_proof_and_the_death_of_one_only_delays_it() {
    let mut mesh = Mesh::start_with(0, LEGACY).await;
    let provers = [
        prover(nobody(&mesh).await, "p0", None, None).await,
        prover(nobody(&mesh).await, "p1", None, None).await,
        prover(nobody(&mesh).await, "p2", None, None).await,
    ];
    let first = launch(&mesh, 6).await;
    let made = completed(&mesh, &first).await;
    assert_eq!(made.assigned_provers, ["p0", "p1", "p2"]);
    assert_eq!(made.final_proof.unwrap().values, [2 * 15]);

    // One that dies with its task in its hands.
    let (stuck, mut takes) = mpsc::channel(SAID);
    let dies = prover(nobody(&mesh).await, "a-p", None, Some(stuck)).await;
    let second = launch(&mesh, 4).await;
    assert_eq!(takes.recv().await.unwrap(), second);
    dies.abort();
    let made = completed(&mesh, &second).await;
    assert_eq!(made.final_proof.unwrap().values, [6]);
    assert!(!made.assigned_provers.contains(&"a-p".to_owned()));

    // An index that is killed goes on with what was under way when its provers are back.
    let (stuck, mut takes) = mpsc::channel(SAID);
    let waits = prover(nobody(&mesh).await, "a-q", None, Some(stuck)).await;
    let third = launch(&mesh, 8).await;
    assert_eq!(takes.recv().await.unwrap(), third);
    mesh.restart_index(Duration::ZERO).await;
    for prover in provers {
        prover.await.unwrap();
    }
    waits.abort();
    let kept = job(&mesh, &first).await;
    assert_eq!(kept.final_proof.unwrap().values, [2 * 15]);
    let mut again = Vec::new();
    for id in ["p0", "p1", "p2", "a-q"] {
        again.push(prover(nobody(&mesh).await, id, Some(&third), None).await);
    }
    let made = completed(&mesh, &third).await;
    assert_eq!(made.final_proof.unwrap().values, [3 * 28]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nobody_proves_unless_the_operator_says_so() {
    let mesh = Mesh::start_with(0, "").await;
    let (_say, said) = mpsc::channel::<ProverMessage>(1);
    let mut other = client(&mesh).await;
    let refused = other.prover_stream(ReceiverStream::new(said));
    let refused = tokio::time::timeout(Duration::from_secs(20), refused).await;
    assert_eq!(refused.unwrap().unwrap_err().code(), Code::Unauthenticated);
}
