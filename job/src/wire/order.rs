//! Orders to nodes and reports from them.

use embermesh_proto::v1::{self, order, report_request};

use super::{InvalidMessage, list, text};
use crate::{
    assignment::TaskKey,
    order::{Order, Report, RunOrder},
    spec::MAX_SPEC_LEN,
};

/// The largest signed statement on the wire, in bytes.
const MAX_STATEMENT: usize = 64 * 1024;

impl From<Order> for v1::Order {
    fn from(order: Order) -> Self {
        let kind = match order {
            Order::Run(run) => order::Kind::Run(v1::RunOrder {
                assignment: Some(run.assignment.into()),
                spec: run.spec.into(),
                resume: run.resume.map(Into::into),
                inputs: run.inputs.into_iter().map(Into::into).collect(),
            }),
            Order::Cancel(key) => order::Kind::Cancel(key.into()),
            Order::KeySet(bytes) => order::Kind::KeySet(bytes.into()),
            Order::Revocation(bytes) => order::Kind::Revocation(bytes.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Order> for Order {
    type Error = InvalidMessage;

    fn try_from(wire: v1::Order) -> Result<Self, Self::Error> {
        Ok(
            match wire
                .kind
                .ok_or_else(|| InvalidMessage::missing("order.kind"))?
            {
                order::Kind::Run(run) => {
                    if run.spec.len() > MAX_SPEC_LEN {
                        return Err(InvalidMessage::new("spec", "it is too large"));
                    }
                    let assignment = run
                        .assignment
                        .ok_or_else(|| InvalidMessage::missing("assignment"))?;
                    Self::Run(Box::new(RunOrder {
                        assignment: assignment.try_into()?,
                        spec: run.spec.to_vec(),
                        resume: run.resume.map(TryInto::try_into).transpose()?,
                        inputs: list("inputs", run.inputs, TryInto::try_into)?,
                    }))
                }
                order::Kind::Cancel(key) => Self::Cancel(key.try_into()?),
                order::Kind::KeySet(bytes) => Self::KeySet(statement(&bytes)?),
                order::Kind::Revocation(bytes) => Self::Revocation(statement(&bytes)?),
            },
        )
    }
}

fn statement(bytes: &[u8]) -> Result<Vec<u8>, InvalidMessage> {
    if bytes.len() > MAX_STATEMENT {
        return Err(InvalidMessage::new("statement", "it is too large"));
    }
    Ok(bytes.to_vec())
}

impl Report {
    /// The report of an attempt, for the wire.
    #[must_use]
    pub fn into_wire(self, key: TaskKey) -> v1::ReportRequest {
        let report = self;
        let what = match report {
            Report::Event(event) => report_request::What::Event((*event).into()),
            Report::AttemptFailed { code, message } => {
                report_request::What::AttemptFailed(report_request::AttemptFailed { code, message })
            }
            Report::Checkpoint(checkpoint) => report_request::What::Checkpoint(checkpoint.into()),
            Report::Inputs(blobs) => report_request::What::Inputs(report_request::Inputs {
                blobs: blobs.into_iter().map(Into::into).collect(),
            }),
        };
        v1::ReportRequest {
            task: Some(key.into()),
            what: Some(what),
        }
    }

    /// A report from the wire, and the attempt that it is of.
    ///
    /// # Errors
    /// When something of it is missing or out of bounds.
    pub fn from_wire(wire: v1::ReportRequest) -> Result<(TaskKey, Self), InvalidMessage> {
        let key = wire.task.ok_or_else(|| InvalidMessage::missing("task"))?;
        let what = wire.what.ok_or_else(|| InvalidMessage::missing("what"))?;
        let report = match what {
            report_request::What::Event(event) => Report::Event(Box::new(event.try_into()?)),
            report_request::What::AttemptFailed(failed) => Report::AttemptFailed {
                code: text("code", failed.code)?,
                message: text("message", failed.message)?,
            },
            report_request::What::Checkpoint(checkpoint) => {
                Report::Checkpoint(checkpoint.try_into()?)
            }
            report_request::What::Inputs(inputs) => {
                Report::Inputs(list("inputs", inputs.blobs, TryInto::try_into)?)
            }
        };
        Ok((key.try_into()?, report))
    }
}
