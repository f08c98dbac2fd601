//! Checks what a node signed against what was asked of it.

use embermesh_crypto::{
    digest::Digest,
    ids::{JobId, PeerId},
    statement::{Receipt, Signed, StatementError, Verified},
};

/// What a receipt must say; what is `None` may be anything.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// The job.
    pub job: Option<JobId>,
    /// The digest of the canonical spec.
    pub spec: Option<Digest>,
    /// The client.
    pub client: Option<PeerId>,
    /// The node that ran it.
    pub node: Option<PeerId>,
    /// An artifact that it must name.
    pub artifact: Option<Digest>,
    /// The model.
    pub model: Option<Digest>,
    /// A blob that it must have read.
    pub input: Option<Digest>,
}

/// Why a receipt does not hold.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Its form or its signature is wrong.
    #[error("the receipt is not valid: {0}")]
    Statement(#[from] StatementError),
    /// It is for something else.
    #[error("the receipt is for {what} {found}, not {expected}")]
    Mismatch {
        /// Which field.
        what: &'static str,
        /// As the receipt says.
        found: String,
        /// As it should.
        expected: String,
    },
    /// It says nothing of what is asked: an older node signed it.
    #[error("the receipt says nothing of the {0}: it is of a version before such receipts")]
    Silent(&'static str),
    /// It does not name the input.
    #[error("the receipt names no input {0}")]
    NoSuchInput(Digest),
    /// It does not name the artifact.
    #[error("the receipt names no output {0}: it is not the receipt of these bytes")]
    NoSuchOutput(Digest),
}

/// Verifies a receipt's signature and what it says.
///
/// # Errors
/// [`ReceiptError`] for the first thing that does not hold.
pub fn check(bytes: &[u8], expect: &Expect) -> Result<Verified<Receipt>, ReceiptError> {
    let receipt = Signed::<Receipt>::from_bytes(bytes)?.open()?;
    same("job", &receipt.job, expect.job.as_ref())?;
    same("spec", &receipt.spec, expect.spec.as_ref())?;
    same("client", &receipt.client, expect.client.as_ref())?;
    same("node", &receipt.node, expect.node.as_ref())?;
    if let Some(expected) = &expect.model {
        let account = receipt.account.as_ref();
        let model = account.and_then(|account| account.model);
        let found = model.ok_or(ReceiptError::Silent("model"))?;
        same("model", &found, Some(expected))?;
    }
    if let Some(input) = expect.input
        && !receipt.inputs.contains(&input)
    {
        return Err(ReceiptError::NoSuchInput(input));
    }
    if let Some(artifact) = expect.artifact
        && !receipt
            .outputs
            .iter()
            .any(|output| output.digest == artifact)
    {
        return Err(ReceiptError::NoSuchOutput(artifact));
    }
    Ok(receipt)
}

fn same<T: PartialEq + ToString>(
    what: &'static str,
    found: &T,
    expected: Option<&T>,
) -> Result<(), ReceiptError> {
    match expected {
        Some(expected) if expected != found => Err(ReceiptError::Mismatch {
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::{
        Keypair,
        ids::{Epoch, TaskIndex, TokenId},
        statement::{ACCOUNT_VERSION, Account, DeviceKind, Outcome, Output, sign},
        time::UnixMillis,
    };

    use super::*;

    fn receipt(node: &Keypair) -> Receipt {
        Receipt {
            node: node.peer_id(),
            client: Keypair::from_seed(&[2; 32]).peer_id(),
            issuer: Keypair::from_seed(&[3; 32]).peer_id(),
            token_id: TokenId([4; 16]),
            job: JobId::v7(UnixMillis(1), [5; 10]),
            task: TaskIndex(0),
            epoch: Epoch::FIRST,
            spec: Digest::of(b"spec"),
            outcome: Outcome::Succeeded,
            device: "cpu".to_owned(),
            device_kind: DeviceKind::Cpu,
            inputs: vec![Digest::of(b"in")],
            outputs: vec![Output {
                name: "weights".to_owned(),
                digest: Digest::of(b"out"),
                size: 3,
            }],
            steps: 1,
            samples: 1,
            loss: Some(0.5),
            accuracy: None,
            started_at: UnixMillis(1),
            ended_at: UnixMillis(2),
            message: String::new(),
            account: Some(Account {
                version: ACCOUNT_VERSION,
                kind: "train".to_owned(),
                model: Some(Digest::of(b"model")),
                resumed_from: None,
                program: "embermesh 0".to_owned(),
                backend: "burn 0 flex".to_owned(),
                driver: "Linux".to_owned(),
                wall_ms: 1,
                cpu_ms: Some(1),
                peak_memory_bytes: Some(1),
                memory_ceiling_bytes: 2,
                wall_ceiling_ms: 2,
                cpu_ceiling_ms: None,
                output_ceiling_bytes: 2,
                previous: None,
            }),
        }
    }

    #[test]
    fn each_field_that_does_not_match_is_named() {
        let node = Keypair::from_seed(&[1; 32]);
        let content = receipt(&node);
        let signed = sign(&content, &node).unwrap();
        let right = Expect {
            job: Some(content.job),
            spec: Some(content.spec),
            client: Some(content.client),
            node: Some(content.node),
            artifact: Some(Digest::of(b"out")),
            model: Some(Digest::of(b"model")),
            input: Some(Digest::of(b"in")),
        };
        assert!(check(signed.bytes(), &right).is_ok());
        let other = Keypair::from_seed(&[9; 32]).peer_id();
        for (expect, word) in [
            (
                Expect {
                    job: Some(JobId::v7(UnixMillis(9), [1; 10])),
                    ..right.clone()
                },
                "job",
            ),
            (
                Expect {
                    spec: Some(Digest::of(b"x")),
                    ..right.clone()
                },
                "spec",
            ),
            (
                Expect {
                    client: Some(other),
                    ..right.clone()
                },
                "client",
            ),
            (
                Expect {
                    node: Some(other),
                    ..right.clone()
                },
                "node",
            ),
            (
                Expect {
                    model: Some(Digest::of(b"x")),
                    ..right.clone()
                },
                "model",
            ),
            (
                Expect {
                    input: Some(Digest::of(b"x")),
                    ..right.clone()
                },
                "input",
            ),
            (
                Expect {
                    artifact: Some(Digest::of(b"x")),
                    ..right.clone()
                },
                "output",
            ),
        ] {
            let error = check(signed.bytes(), &expect).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_receipt_of_an_older_node_holds_and_says_what_it_does_not_say() {
        let node = Keypair::from_seed(&[1; 32]);
        let content = Receipt {
            account: None,
            ..receipt(&node)
        };
        let signed = sign(&content, &node).unwrap();
        assert!(check(signed.bytes(), &Expect::default()).is_ok());
        let model = Expect {
            model: Some(Digest::of(b"model")),
            ..Expect::default()
        };
        assert!(matches!(
            check(signed.bytes(), &model),
            Err(ReceiptError::Silent("model"))
        ));
    }

    #[test]
    fn a_flipped_byte_is_noticed_wherever_it_is() {
        let node = Keypair::from_seed(&[1; 32]);
        let signed = sign(&receipt(&node), &node).unwrap();
        for at in 0..signed.bytes().len() {
            let mut bytes = signed.bytes().to_vec();
            bytes[at] ^= 1;
            assert!(check(&bytes, &Expect::default()).is_err(), "byte {at}");
        }
    }
}
