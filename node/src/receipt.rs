//! The receipt: this node's signed word on what it ran, on what, and what came out.

use embermesh_compute::pipe::WorkSummary;
use embermesh_crypto::{
    keys::Keypair,
    statement::{self, DeviceKind, Outcome, Output, Receipt, StatementError},
    time::UnixMillis,
    token::Claims,
};
use embermesh_job::event::Artifact;

/// Bytes of a device's name in a receipt.
const MAX_NAME: usize = 128;

/// Bytes of a message in a receipt.
const MAX_MESSAGE: usize = 1024;

/// What a receipt says beside what the assignment says.
pub(crate) struct Account<'a> {
    pub(crate) claims: &'a Claims,
    pub(crate) outcome: Outcome,
    pub(crate) device: &'a str,
    pub(crate) device_kind: DeviceKind,
    pub(crate) inputs: Vec<embermesh_crypto::Digest>,
    pub(crate) artifacts: &'a [Artifact],
    pub(crate) summary: Option<WorkSummary>,
    pub(crate) began: UnixMillis,
    pub(crate) ended: UnixMillis,
    pub(crate) message: &'a str,
}

/// Signs a receipt.
pub(crate) fn sign(account: Account<'_>, keypair: &Keypair) -> Result<Vec<u8>, StatementError> {
    let claims = account.claims;
    let number = |number: Option<f64>| number.filter(|number| !number.is_nan());
    let receipt = Receipt {
        node: keypair.peer_id(),
        client: claims.client,
        issuer: claims.issuer,
        token_id: claims.token_id,
        job: claims.job,
        task: claims.task,
        epoch: claims.epoch,
        spec: claims.spec,
        outcome: account.outcome,
        device: cut(account.device, MAX_NAME),
        device_kind: account.device_kind,
        inputs: account.inputs,
        outputs: account
            .artifacts
            .iter()
            .map(|artifact| Output {
                name: artifact.name.clone(),
                digest: artifact.digest,
                size: artifact.size,
            })
            .collect(),
        steps: account.summary.map_or(0, |summary| summary.steps),
        samples: account.summary.map_or(0, |summary| summary.samples),
        loss: number(account.summary.and_then(|summary| summary.loss)),
        accuracy: number(account.summary.and_then(|summary| summary.accuracy)),
        started_at: account.began,
        // The clock may have been set back meanwhile.
        ended_at: account.ended.max(account.began),
        message: cut(account.message, MAX_MESSAGE),
    };
    Ok(statement::sign(&receipt, keypair)?.bytes().to_vec())
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}
