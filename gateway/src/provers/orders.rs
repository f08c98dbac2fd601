//! What a gang is told in each phase.

use std::sync::Arc;

use embermesh_crypto::TaskIndex;
use embermesh_dialects::port::provers::{Order, Part, ProofRequest};
use embermesh_job::plan::{
    NodeName, Row, Run, Value,
    gang::Gang,
    proving::{self, Phase},
};

/// The orders of one task of a round: a prover that aggregates has one for each of the
/// gang, every other task has one.
pub(super) fn orders(
    asked: &ProofRequest,
    round: &Arc<str>,
    gang: &Gang,
    run: &Run<proving::Part>,
    task: TaskIndex,
    node: &NodeName,
) -> Vec<Order> {
    let Some(part) = run.plan().task(task).map(|task| &task.what) else {
        return Vec::new();
    };
    let execute = |what| Order::Execute {
        job: Arc::clone(round),
        what,
    };
    match part.phase {
        Phase::Contribute => vec![execute(Part::Contribute {
            block: asked.block.as_str().into(),
            input: asked.input.as_str().into(),
            rank: part.rank.unwrap_or_default(),
            workers: part.workers,
            units: part.units.clone(),
            all_units: gang.units(),
        })],
        Phase::Prove => {
            let contributions = Arc::new(read(run, task));
            vec![execute(Part::Prove(contributions))]
        }
        Phase::Aggregate => {
            let proofs = read(run, task);
            let last = proofs.len().saturating_sub(1);
            let ranked = (0..).zip(gang.members()).zip(proofs);
            ranked
                .map(|((rank, member), proofs)| {
                    let own = member.name == *node;
                    execute(Part::Aggregate {
                        rank,
                        proofs: if own { Vec::new() } else { proofs },
                        last: usize::try_from(rank).is_ok_and(|rank| rank == last),
                    })
                })
                .collect()
        }
    }
}

/// What a task reads, by rank.
fn read(run: &Run<proving::Part>, task: TaskIndex) -> Vec<Vec<Row>> {
    let inputs = run.inputs(task).into_iter();
    inputs
        .map(|(_, value)| match value {
            Value::Rows(rows) => rows.clone(),
            Value::Json(_) | Value::Numbers(_) => Vec::new(),
        })
        .collect()
}
