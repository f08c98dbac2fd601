//! What this side says, as this wire has it.

use embermesh_crypto::UnixMillis;
use embermesh_job::plan::{Row, proving::Phase};
use embermesh_proto::zisk as wire;
use prost_types::Timestamp;
use wire::{coordinator_message::Payload, execute_task_request::Params};

use crate::{
    ErrorCode, Failure,
    port::provers::{Order, Part, ProofState, ProofView, ProverView},
};

/// What a phase is called.
const fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Contribute => "Contributions",
        Phase::Prove => "Prove",
        Phase::Aggregate => "Aggregate",
    }
}

pub(super) fn timestamp(at: UnixMillis) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(at.0 / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from(at.0 % 1000 * 1_000_000).unwrap_or_default(),
    }
}

fn message(payload: Payload) -> wire::CoordinatorMessage {
    wire::CoordinatorMessage {
        payload: Some(payload),
    }
}

/// The answer to a prover that comes.
pub(super) fn welcome(id: String, came: Result<UnixMillis, &Failure>) -> wire::CoordinatorMessage {
    message(Payload::RegisterResponse(wire::ProverRegisterResponse {
        prover_id: id,
        accepted: came.is_ok(),
        message: match came {
            Ok(_) => "registered".to_owned(),
            Err(failure) => failure.message.clone(),
        },
        registered_at: came.ok().map(timestamp),
    }))
}

/// An order to a prover.
pub(super) fn order(prover: &str, order: Order) -> wire::CoordinatorMessage {
    message(match order {
        Order::Beat(at) => Payload::Heartbeat(wire::Heartbeat {
            timestamp: Some(timestamp(at)),
        }),
        Order::Execute { job, what } => {
            let (task_type, params) = part(what);
            Payload::ExecuteTask(wire::ExecuteTaskRequest {
                prover_id: prover.to_owned(),
                job_id: job.to_string(),
                task_type: task_type.into(),
                params: Some(params),
            })
        }
        Order::Cancelled { job, reason } => Payload::JobCancelled(wire::JobCancelled {
            job_id: job.to_string(),
            reason,
        }),
        Order::Leave { reason, grace } => Payload::Shutdown(wire::Shutdown {
            reason,
            grace_period_seconds: u32::try_from(grace.as_secs()).unwrap_or(u32::MAX),
        }),
    })
}

fn part(what: Part) -> (wire::TaskType, Params) {
    match what {
        Part::Contribute {
            block,
            input,
            rank,
            workers,
            units,
            all_units,
        } => (
            wire::TaskType::PartialContribution,
            Params::ContributionParams(wire::ContributionParams {
                block_id: block.to_string(),
                input_path: input.to_string(),
                rank_id: rank,
                total_provers: workers,
                worker_allocation: units,
                job_compute_units: all_units,
            }),
        ),
        Part::Prove(contributions) => {
            let ranked = (0..).zip(contributions.iter());
            let challenges = ranked.flat_map(|(rank, rows)| {
                rows.iter().map(move |row| wire::Challenges {
                    worker_index: rank,
                    // It was 32 bits wide when it came.
                    airgroup_id: u32::try_from(row.group).unwrap_or(u32::MAX),
                    challenge: row.words.clone(),
                })
            });
            let challenges = challenges.collect();
            (
                wire::TaskType::Prove,
                Params::ProveParams(wire::ProveParams { challenges }),
            )
        }
        Part::Aggregate { rank, proofs, last } => {
            let proofs = proofs.into_iter().map(|row| wire::Proof {
                worker_idx: rank,
                airgroup_id: row.group,
                values: row.words,
            });
            (
                wire::TaskType::Aggregate,
                Params::AggParams(wire::AggParams {
                    agg_proofs: Some(wire::ProofList {
                        proofs: proofs.collect(),
                    }),
                    last_proof: last,
                    final_proof: last,
                    verify_constraints: true,
                    aggregation: true,
                    verify_proofs: true,
                    ..wire::AggParams::default()
                }),
            )
        }
    }
}

/// A proof, with the proof itself where it is wanted.
pub(super) fn job(view: ProofView, with_proof: bool) -> wire::JobStatus {
    let (phase, state) = match view.state {
        ProofState::Waiting => ("None", "Created".to_owned()),
        ProofState::Running(phase) => (word(phase), format!("Running ({})", word(phase))),
        ProofState::Made => ("None", "Completed".to_owned()),
        ProofState::Failed => ("None", "Failed".to_owned()),
    };
    let first = |rows: &Vec<Row>| rows.first().map(|row| row.words.clone());
    let proof = view.proof.filter(|_| with_proof);
    wire::JobStatus {
        job_id: view.id,
        block_id: view.block,
        phase: phase.to_owned(),
        state,
        assigned_provers: view.provers,
        // In seconds, as clients of this system read it.
        start_time: view.started_at.0 / 1000,
        duration_ms: u64::try_from(view.took.as_millis()).unwrap_or(u64::MAX),
        message: view.message,
        final_proof: proof
            .and_then(|rows| first(&rows))
            .map(|values| wire::FinalProof { values }),
    }
}

/// A prover.
pub(super) fn prover(view: ProverView) -> wire::ProverInfo {
    wire::ProverInfo {
        prover_id: view.id,
        state: match (view.here, view.busy) {
            (false, _) => "Disconnected".to_owned(),
            (true, None) => "Idle".to_owned(),
            (true, Some(phase)) => format!("Computing({})", word(phase)),
        },
        compute_capacity: Some(wire::ComputeCapacity {
            compute_units: view.capacity,
        }),
        connected_at: Some(timestamp(view.since)),
        last_heartbeat: Some(timestamp(view.heard_at)),
    }
}

/// A failure of a verb, in the words of this system.
pub(super) fn error(failure: Failure) -> wire::ErrorResponse {
    let code = match failure.code {
        ErrorCode::NotFound => "JOB_NOT_FOUND",
        ErrorCode::Unavailable => "PROVER_UNAVAILABLE",
        ErrorCode::Invalid => "INVALID_ARGUMENT",
        ErrorCode::Precondition => "FAILED_PRECONDITION",
        ErrorCode::Exists => "ALREADY_EXISTS",
        ErrorCode::Unauthenticated | ErrorCode::Denied => "PERMISSION_DENIED",
        ErrorCode::Exhausted | ErrorCode::Unimplemented | ErrorCode::Internal => {
            "SYSTEM_UNAVAILABLE"
        }
    };
    wire::ErrorResponse {
        code: code.to_owned(),
        message: failure.message,
    }
}
