//! The receipt: what a node ran, on what, and what came out.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::{Account, DeviceKind, Statement, short};
use crate::{Digest, Epoch, JobId, PeerId, TaskIndex, TokenId, UnixMillis};

/// The most inputs, and the most outputs, that a receipt names.
const MAX_BLOBS: usize = 128;
/// The longest name in a receipt, in bytes.
const MAX_NAME: usize = 128;
/// The longest message in a receipt, in bytes.
const MAX_MESSAGE: usize = 1024;

/// A node's signed statement of what it ran, on what, and what came out.
/// Anyone can check it with no network.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Receipt {
    /// Who ran it and signs this.
    #[n(0)]
    pub node: PeerId,
    /// For whom.
    #[n(1)]
    pub client: PeerId,
    /// Whose key signed the assignment.
    #[n(2)]
    pub issuer: PeerId,
    /// Which token allowed it.
    #[n(3)]
    pub token_id: TokenId,
    /// The job.
    #[n(4)]
    pub job: JobId,
    /// The task in its plan.
    #[n(5)]
    pub task: TaskIndex,
    /// The attempt.
    #[n(6)]
    pub epoch: Epoch,
    /// The digest of the canonical spec.
    #[n(7)]
    pub spec: Digest,
    /// How it ended.
    #[n(8)]
    pub outcome: Outcome,
    /// The name of the device.
    #[n(9)]
    pub device: String,
    /// The backend.
    #[n(10)]
    pub device_kind: DeviceKind,
    /// The blobs that it read.
    #[n(11)]
    pub inputs: Vec<Digest>,
    /// The blobs that it made.
    #[n(12)]
    pub outputs: Vec<Output>,
    /// Optimiser steps, or batches, in the whole task.
    #[n(13)]
    pub steps: u64,
    /// Samples seen.
    #[n(14)]
    pub samples: u64,
    /// The final loss, if the work has one.
    #[n(15)]
    pub loss: Option<f64>,
    /// The final accuracy, 0 to 1, if the work has one.
    #[n(16)]
    pub accuracy: Option<f64>,
    /// When the attempt began, by the node's clock.
    #[n(17)]
    pub started_at: UnixMillis,
    /// When it ended, by the node's clock.
    #[n(18)]
    pub ended_at: UnixMillis,
    /// Why it failed, if it did.
    #[n(19)]
    pub message: String,
    /// How it was done. Receipts of the first version have none.
    #[n(20)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did what was asked.
    #[n(0)]
    Succeeded,
    /// It cannot be done.
    #[n(1)]
    Failed,
    /// Its owner stopped it.
    #[n(2)]
    Cancelled,
}

/// One blob that a task made.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Output {
    /// Its name within the task.
    #[n(0)]
    pub name: String,
    /// Its digest.
    #[n(1)]
    pub digest: Digest,
    /// Its size in bytes.
    #[n(2)]
    pub size: u64,
}

impl Statement for Receipt {
    const DOMAIN: &'static str = "embermesh/receipt/v1";
    const MAX_LEN: usize = 16 * 1024;

    fn signer(&self) -> PeerId {
        self.node
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.epoch < Epoch::FIRST {
            return Err("a receipt's epoch starts at 1");
        }
        if self.ended_at < self.started_at {
            return Err("a receipt's task ends after it began");
        }
        if self.inputs.len() > MAX_BLOBS || self.outputs.len() > MAX_BLOBS {
            return Err("a receipt names too many blobs");
        }
        let names = self.outputs.iter().map(|output| &output.name);
        if !short(names.chain([&self.device]), MAX_NAME) || !short([&self.message], MAX_MESSAGE) {
            return Err("a text in a receipt is too long");
        }
        // A NaN has many encodings and says nothing.
        if [self.loss, self.accuracy]
            .into_iter()
            .flatten()
            .any(f64::is_nan)
        {
            return Err("a receipt's numbers are numbers");
        }
        self.account.as_ref().map_or(Ok(()), Account::check)
    }
}
