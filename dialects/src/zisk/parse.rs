//! What provers say on this wire, as what it means.

use embermesh_job::plan::{Row, proving::Phase};
use embermesh_proto::zisk as wire;
use wire::{execute_task_response::ResultData, prover_message::Payload};

use crate::{
    Failure,
    port::provers::{Hello, Word},
};

/// The first message of a stream.
pub(super) fn hello(message: wire::ProverMessage) -> Result<Hello, Failure> {
    let (id, capacity, last_job) = match message.payload {
        Some(Payload::Register(said)) => (said.prover_id, said.compute_capacity, None),
        Some(Payload::Reconnect(said)) => (
            said.prover_id,
            said.compute_capacity,
            Some(said.last_known_job_id).filter(|job| !job.is_empty()),
        ),
        _ => {
            let message = "the first message of a stream is register or reconnect";
            return Err(Failure::invalid(message));
        }
    };
    Ok(Hello {
        id,
        capacity: capacity.map_or(0, |capacity| capacity.compute_units),
        last_job,
    })
}

/// Any later message.
pub(super) fn word(message: wire::ProverMessage) -> Result<Word, Failure> {
    match message.payload {
        Some(Payload::HeartbeatAck(said)) => Ok(Word::Alive {
            prover: said.prover_id,
        }),
        Some(Payload::Error(said)) => Ok(Word::Error {
            prover: said.prover_id,
            job: said.job_id,
            reason: said.error_message,
        }),
        Some(Payload::ExecuteTaskResponse(said)) => answer(said),
        Some(Payload::Register(_) | Payload::Reconnect(_)) => Err(Failure::invalid(
            "this stream has a prover already: open another one",
        )),
        None => Err(Failure::invalid("the message says nothing")),
    }
}

fn answer(said: wire::ExecuteTaskResponse) -> Result<Word, Failure> {
    let phase = phase(said.task_type).ok_or_else(|| {
        let task = said.task_type;
        Failure::invalid(format!("task_type: there is no type {task}"))
    })?;
    let given = if said.success {
        rows(said.result_data, phase)
    } else if said.error_message.is_empty() {
        Err("it failed and does not say why".to_owned())
    } else {
        Err(said.error_message)
    };
    Ok(Word::Answer {
        prover: said.prover_id,
        job: said.job_id,
        phase,
        given,
    })
}

/// The result of a phase. Who made it is known by the stream that it comes on, so what it
/// says of its maker does not count.
fn rows(data: Option<ResultData>, phase: Phase) -> Result<Vec<Row>, String> {
    match (data, phase) {
        (Some(ResultData::Challenges(list)), Phase::Contribute) => {
            let rows = list.challenges.into_iter().map(|said| Row {
                group: said.airgroup_id.into(),
                words: said.challenge,
            });
            Ok(rows.collect())
        }
        (Some(ResultData::Proofs(list)), Phase::Prove) => {
            let rows = list.proofs.into_iter().map(|said| Row {
                group: said.airgroup_id,
                words: said.values,
            });
            Ok(rows.collect())
        }
        (Some(ResultData::FinalProof(list)), Phase::Aggregate) => {
            let rows = (0..).zip(list.final_proofs);
            let rows = rows.map(|(group, said)| Row {
                group,
                words: said.values,
            });
            Ok(rows.collect())
        }
        (Some(_), _) => Err("its result is of another phase than it says".to_owned()),
        (None, _) => Err("its answer has no result".to_owned()),
    }
}

fn phase(task_type: i32) -> Option<Phase> {
    Some(match wire::TaskType::try_from(task_type).ok()? {
        wire::TaskType::PartialContribution => Phase::Contribute,
        wire::TaskType::Prove => Phase::Prove,
        wire::TaskType::Aggregate => Phase::Aggregate,
    })
}
