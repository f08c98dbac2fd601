//! The receipt: this node's signed word on what it ran, on what, and what came out.

use embermesh_compute::{pipe::WorkSummary, software::Software, usage::Usage};
use embermesh_crypto::{
    Digest,
    keys::Keypair,
    statement::{
        self, ACCOUNT_VERSION, Account, DeviceKind, Outcome, Output, Receipt, StatementError,
    },
    time::UnixMillis,
    token::Claims,
};
use embermesh_job::{event::Artifact, spec::JobSpec};

/// Bytes of a device's name in a receipt.
const MAX_NAME: usize = 128;

/// Bytes of a message in a receipt.
const MAX_MESSAGE: usize = 1024;

/// What a receipt says beside what the assignment says.
pub(crate) struct Ended<'a> {
    pub(crate) claims: &'a Claims,
    pub(crate) spec: &'a JobSpec,
    pub(crate) outcome: Outcome,
    pub(crate) device: &'a str,
    pub(crate) device_kind: DeviceKind,
    pub(crate) artifacts: &'a [Artifact],
    pub(crate) summary: Option<WorkSummary>,
    pub(crate) began: UnixMillis,
    pub(crate) ended: UnixMillis,
    pub(crate) message: &'a str,
    pub(crate) software: &'a Software,
    /// What the worker took; nothing where the system does not tell.
    pub(crate) usage: Option<Usage>,
    /// Time on the device, without pauses, in milliseconds.
    pub(crate) wall_ms: u64,
    /// The checkpoint that it went on from.
    pub(crate) resumed_from: Option<Digest>,
    /// The receipt that this node signed before this one.
    pub(crate) previous: Option<Digest>,
}

/// Signs a receipt.
pub(crate) fn sign(ended: Ended<'_>, keypair: &Keypair) -> Result<Vec<u8>, StatementError> {
    let claims = ended.claims;
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
        outcome: ended.outcome,
        device: cut(ended.device, MAX_NAME),
        device_kind: ended.device_kind,
        inputs: ended
            .spec
            .inputs()
            .iter()
            .map(|input| input.digest)
            // What stayed with the client is named by the client's word.
            .chain(ended.spec.client_data().map(|said| said.digest))
            .collect(),
        outputs: ended
            .artifacts
            .iter()
            .map(|artifact| Output {
                name: artifact.name.clone(),
                digest: artifact.digest,
                size: artifact.size,
            })
            .collect(),
        steps: ended.summary.map_or(0, |summary| summary.steps),
        samples: ended.summary.map_or(0, |summary| summary.samples),
        loss: number(ended.summary.and_then(|summary| summary.loss)),
        accuracy: number(ended.summary.and_then(|summary| summary.accuracy)),
        started_at: ended.began,
        // The clock may have been set back meanwhile.
        ended_at: ended.ended.max(ended.began),
        message: cut(ended.message, MAX_MESSAGE),
        account: Some(account(&ended)),
    };
    Ok(statement::sign(&receipt, keypair)?.bytes().to_vec())
}

fn account(ended: &Ended<'_>) -> Account {
    let subject = ended.spec.subject();
    let limits = ended.spec.limits;
    let software = ended.software;
    Account {
        version: ACCOUNT_VERSION,
        kind: cut(&subject.kind, MAX_NAME),
        model: subject.model,
        resumed_from: ended.resumed_from,
        program: cut(&software.program, MAX_NAME),
        backend: cut(&software.backend, MAX_NAME),
        driver: cut(&software.driver, MAX_NAME),
        wall_ms: ended.wall_ms,
        cpu_ms: ended.usage.map(|usage| usage.cpu_ms),
        peak_memory_bytes: ended.usage.map(|usage| usage.peak_bytes),
        memory_ceiling_bytes: limits.memory.0,
        wall_ceiling_ms: limits.wall.0,
        cpu_ceiling_ms: limits.cpu.map(|cpu| cpu.0),
        output_ceiling_bytes: limits.output.0,
        previous: ended.previous,
    }
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}
