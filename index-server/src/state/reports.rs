//! What became of an attempt, as its node tells it. Everything here may be sent
//! again, and counts only from the attempt that is current.

use bytes::Bytes;
use embermesh_crypto::{
    ids::PeerId,
    statement::{Receipt, Signed},
    time::UnixMillis,
};
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    assignment::TaskKey,
    event::{Event, EventKind, Outcome},
    lifecycle::Input,
    order::Report,
    wire::MAX_TEXT,
};

use super::{
    Outputs, Refused, Reply, State, StoredReceipt,
    record::TASK,
    settings::{HOLDERS_KEPT, INPUTS_REPORTED},
};

/// The longest code of a failure that is kept, in bytes: a word.
const FAILURE_CODE: usize = 64;

/// The longest message of a failure that is kept, in bytes.
const FAILURE_MESSAGE: usize = 2_048;

/// What the lifecycle writes around the two, in bytes, and some more.
const FAILURE_FRAME: usize = 256;

// The whole becomes one text, which whoever reads a job must accept.
const _: () = assert!(FAILURE_CODE + FAILURE_MESSAGE + FAILURE_FRAME <= MAX_TEXT);

impl State {
    /// Takes a report.
    pub(super) fn report(
        &mut self,
        node: PeerId,
        key: TaskKey,
        report: Report,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Result<Reply, Refused> {
        let record = self.record(key.job)?;
        let current = record.job.epoch;
        if key.task != TASK || key.epoch > current {
            return Err(Refused::StaleEpoch {
                job: key.job,
                asked: key.epoch,
                current,
            });
        }
        let attempt = record
            .job
            .attempts
            .iter()
            .find(|attempt| attempt.epoch == key.epoch);
        if attempt.is_some_and(|attempt| attempt.node != node) {
            return Err(Refused::NotItsNode { job: key.job, node });
        }
        if !self.runs(&node, &key) {
            return self.late_report(node, key, report, out);
        }
        // Its node has it from its client.
        self.claim(key.job);
        match report {
            Report::Event(event) => self.report_event(node, key, *event, now, out)?,
            Report::AttemptFailed { code, message } => {
                let input = Input::AttemptFailed {
                    epoch: key.epoch,
                    code: shorten(code, FAILURE_CODE),
                    message: shorten(message, FAILURE_MESSAGE),
                };
                self.step(key.job, input, now, out)?;
            }
            Report::Checkpoint(checkpoint) => self.report_checkpoint(key, checkpoint, now, out)?,
            Report::Inputs(blobs) => self.report_inputs(key, blobs, out)?,
        }
        Ok(Reply::Reported { accepted: true })
    }

    /// A report of an attempt that is over. The one that ended the job may come
    /// again, and so may the receipt of a job that was cancelled meanwhile.
    fn late_report(
        &mut self,
        node: PeerId,
        key: TaskKey,
        report: Report,
        out: &mut Outputs,
    ) -> Result<Reply, Refused> {
        let record = self.record(key.job)?;
        let accepted = record.outcome().is_some() && record.job.epoch == key.epoch;
        let over = match &report {
            Report::Event(event) => event.kind.is_final(),
            Report::AttemptFailed { .. } => true,
            Report::Checkpoint(_) | Report::Inputs(_) => false,
        };
        if over && self.registry.left(&node, |left| *left == key) {
            self.placing_due = true;
        }
        if accepted
            && let Report::Event(event) = report
            && let EventKind::Finished {
                receipt, outcome, ..
            } = &event.kind
        {
            let receipt = self.check_receipt(&node, &key, receipt, *outcome)?;
            self.writes.receipts.push(receipt);
            let cancelled = *outcome == Outcome::Cancelled;
            if let Some(record) = self.jobs.get_mut(&key.job)
                && cancelled
                && record.job.finished.is_none()
            {
                record.job.finished = Some(*event);
                self.dirty.insert(key.job);
                out.changed.insert(key.job);
            }
        }
        Ok(Reply::Reported { accepted })
    }

    fn report_event(
        &mut self,
        node: PeerId,
        key: TaskKey,
        event: Event,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        if event.epoch != key.epoch {
            return Err(Refused::StaleEpoch {
                job: key.job,
                asked: event.epoch,
                current: key.epoch,
            });
        }
        let EventKind::Finished {
            receipt, outcome, ..
        } = &event.kind
        else {
            self.dirty.insert(key.job);
            return self.step(key.job, Input::Heard(event), now, out);
        };
        let receipt = self.check_receipt(&node, &key, receipt, *outcome)?;
        let input = Input::Finished {
            epoch: key.epoch,
            event,
        };
        self.step(key.job, input, now, out)?;
        self.writes.receipts.push(receipt);
        Ok(())
    }

    fn report_checkpoint(
        &mut self,
        key: TaskKey,
        mut checkpoint: Checkpoint,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        checkpoint.blob.holders.truncate(HOLDERS_KEPT);
        let input = Input::Checkpoint {
            epoch: key.epoch,
            checkpoint,
        };
        self.step(key.job, input, now, out)?;
        self.dirty.insert(key.job);
        Ok(())
    }

    fn report_inputs(
        &mut self,
        key: TaskKey,
        blobs: Vec<BlobRef>,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        if blobs.len() > INPUTS_REPORTED {
            return Err(Refused::TooMany {
                what: "the list of inputs",
                most: INPUTS_REPORTED,
            });
        }
        let Some(record) = self.jobs.get_mut(&key.job) else {
            return Err(Refused::UnknownJob(key.job));
        };
        // Only the spec says what the inputs are; a report says who holds them.
        let wanted = record.open.as_ref().map_or(&[][..], |open| &open.inputs);
        record.job.inputs_holders = blobs
            .into_iter()
            .filter(|blob| wanted.iter().any(|input| input.digest == blob.digest))
            .map(|mut blob| {
                blob.holders.truncate(HOLDERS_KEPT);
                blob
            })
            .collect();
        self.dirty.insert(key.job);
        out.changed.insert(key.job);
        Ok(())
    }

    /// A receipt must be the node's own, and for this very attempt.
    fn check_receipt(
        &self,
        node: &PeerId,
        key: &TaskKey,
        bytes: &[u8],
        outcome: Outcome,
    ) -> Result<StoredReceipt, Refused> {
        let receipt = Signed::<Receipt>::from_bytes(bytes.to_vec())?.open()?;
        let record = self.record(key.job)?;
        let wrong = |what: &str| Refused::Receipt {
            why: format!("it names another {what} than the attempt"),
        };
        if receipt.node != *node {
            return Err(wrong("node"));
        }
        if receipt.client != record.job.owner {
            return Err(wrong("client"));
        }
        if (receipt.job, receipt.task, receipt.epoch) != (key.job, key.task, key.epoch) {
            return Err(wrong("job or epoch"));
        }
        if receipt.spec != record.job.spec_digest {
            return Err(wrong("spec"));
        }
        if receipt.outcome != outcome {
            return Err(wrong("outcome"));
        }
        Ok(StoredReceipt {
            job: key.job,
            epoch: key.epoch,
            node: *node,
            bytes: Bytes::copy_from_slice(bytes),
        })
    }
}

/// A text of at most `most` bytes, cut between two characters.
fn shorten(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}
