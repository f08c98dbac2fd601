//! Permits that a scripted node gives, or does not.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use embermesh_crypto::{
    Keypair,
    digest::Digest,
    ids::{Epoch, PeerId, TaskIndex, TokenId},
    time::UnixMillis,
    token::{self, Ceilings, Claims, Methods},
};
use embermesh_proto::v1::{self, permit_response::Answer};
use tonic::{Code, Status, metadata::MetadataValue};

/// What is answered to one who asks for a permit.
#[derive(Clone, Debug)]
pub(crate) enum Leave {
    /// The permit that is asked for.
    Give,
    /// One for the next attempt.
    GiveAnother,
    /// One for another client.
    GiveTo(PeerId),
    /// So many go first.
    Queue(u32),
    /// None, with this word.
    Refuse(&'static str),
}

/// The answers, one after the other; the last one is repeated.
#[derive(Clone, Default)]
pub(crate) struct Permits {
    seed: u8,
    answers: Arc<Mutex<VecDeque<Leave>>>,
}

impl Permits {
    pub(super) fn new(seed: u8, answers: impl IntoIterator<Item = Leave>) -> Self {
        Self {
            seed,
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
        }
    }

    #[allow(clippy::result_large_err)]
    pub(super) fn answer(
        &self,
        client: PeerId,
        asked: &v1::PermitRequest,
    ) -> Result<v1::PermitResponse, Status> {
        let leave = {
            let mut answers = self.answers.lock().unwrap();
            match answers.len() {
                0 => Leave::Refuse("not_allowed"),
                1 => answers.front().cloned().unwrap(),
                _ => answers.pop_front().unwrap(),
            }
        };
        let answer = match leave {
            Leave::Give => self.permit(client, asked, asked.epoch),
            Leave::GiveAnother => self.permit(client, asked, asked.epoch + 1),
            Leave::GiveTo(client) => self.permit(client, asked, asked.epoch),
            Leave::Queue(ahead) => Answer::Queued(v1::permit_response::Queued {
                ahead,
                code: "busy".to_owned(),
                message: "every slot is taken".to_owned(),
            }),
            Leave::Refuse(word) => {
                let mut status = Status::new(Code::PermissionDenied, "refused by the script");
                status
                    .metadata_mut()
                    .insert("embermesh-refusal", MetadataValue::from_static(word));
                return Err(status);
            }
        };
        Ok(v1::PermitResponse {
            answer: Some(answer),
        })
    }

    fn permit(&self, client: PeerId, asked: &v1::PermitRequest, epoch: u64) -> Answer {
        let node = Keypair::from_seed(&[self.seed; 32]);
        let now = UnixMillis::now().as_secs();
        let claims = Claims {
            issuer: node.peer_id(),
            client,
            node: node.peer_id(),
            job: asked.job_id.parse().unwrap(),
            task: TaskIndex(0),
            epoch: Epoch(epoch),
            spec: Digest::of(&asked.spec),
            methods: Methods::all(),
            ceilings: Ceilings {
                memory_bytes: 1 << 30,
                wall_ms: 1000,
                output_bytes: 1,
            },
            token_id: TokenId([1; 16]),
            issued_at: now,
            not_before: now,
            expires_at: now.saturating_add(600),
            revocation_epoch: 0,
        };
        Answer::Assignment(v1::NodeAssignment {
            job_id: asked.job_id.clone(),
            task: 0,
            epoch,
            node: Some(v1::PeerAddress {
                peer_id: node.peer_id().to_string(),
                ..v1::PeerAddress::default()
            }),
            auth_token: token::issue(&claims, &node).unwrap(),
            expires_at_ms: claims.expires_at.as_millis().0,
        })
    }
}
