//! Why there is no line to an index: it is away and may be back, or it has answered
//! and would answer the same the next time.

use embermesh_client::ClientError;
use embermesh_mesh::road::{RoadError, Target};
use thiserror::Error;
use tonic::{Code, Status};

/// How often a final answer must come in a row before it is believed: an index that
/// is being stopped, or a proxy whose index is away, breaks off as a stranger would.
const SURE_AFTER: u32 = 3;

/// Why a dial or a session ended.
#[derive(Debug, Error)]
pub(super) enum Lost {
    /// It may work a moment later.
    #[error("{0}")]
    Away(String),
    /// It is no index, not the one that is meant, or one that refuses this node.
    #[error(transparent)]
    Final(ClientError),
}

impl From<String> for Lost {
    fn from(reason: String) -> Self {
        Self::Away(reason)
    }
}

/// What a dial that failed says of an index. `pinned` is whether the key that was
/// expected is the one that the node's owner has named.
pub(super) fn dialled(target: &Target, pinned: bool, error: RoadError) -> Lost {
    let address = address(target);
    Lost::Final(match error {
        RoadError::NotEmbermesh { reason, .. } => ClientError::NotAnIndex { address, reason },
        RoadError::WrongPeer {
            expected, found, ..
        } if pinned => ClientError::AnotherIndex {
            address,
            expected,
            found,
        },
        RoadError::InvalidAddress { reason, .. } => ClientError::InvalidTarget {
            text: address,
            reason,
        },
        error => return Lost::Away(error.to_string()),
    })
}

/// What the answer to a registration says of an index that did not take it.
pub(super) fn refused(target: &Target, status: &Status) -> Lost {
    let address = address(target);
    Lost::Final(match status.code() {
        Code::Unimplemented => ClientError::NotAnIndex {
            address,
            reason: "it registers no nodes, as a node does not".to_owned(),
        },
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => {
            ClientError::Refused {
                who: format!("the index {address}"),
                code: String::new(),
                message: format!("this node may not register: {}", status.message()),
            }
        }
        code => return Lost::Away(format!("{code}: {}", status.message())),
    })
}

/// Where an index is, as its owner wrote it.
fn address(target: &Target) -> String {
    target.tls.first().cloned().unwrap_or_default()
}

/// Judges the answers of an index that has not taken this node yet.
#[derive(Debug, Default)]
pub(super) struct FirstWords {
    /// Final answers in a row.
    final_answers: u32,
    /// Whether it took the node, or has been judged: nothing is final from then on.
    settled: bool,
}

impl FirstWords {
    /// The index took the node.
    pub(super) fn taken(&mut self) {
        self.settled = true;
    }

    /// Whether this answer settles it that the index never will.
    pub(super) fn settle(&mut self, lost: &Lost) -> bool {
        if self.settled || matches!(lost, Lost::Away(_)) {
            self.final_answers = 0;
            return false;
        }
        self.final_answers += 1;
        self.settled = self.final_answers >= SURE_AFTER;
        self.settled
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;

    use super::*;

    fn target() -> Target {
        Target::address("192.0.2.7:7420")
    }

    fn no() -> Lost {
        refused(&target(), &Status::invalid_argument("another network"))
    }

    #[test]
    fn who_answers_wrongly_is_told_from_who_does_not_answer() {
        let peer = |seed| Keypair::from_seed(&[seed; 32]).peer_id();
        let address = || "192.0.2.7:7420".to_owned();
        let wrong = || RoadError::WrongPeer {
            address: address(),
            expected: peer(1),
            found: peer(2),
        };
        let stranger = RoadError::NotEmbermesh {
            address: address(),
            reason: "it does not speak TLS".to_owned(),
        };
        let nobody = RoadError::Refused { address: address() };
        assert!(matches!(
            dialled(&target(), false, stranger),
            Lost::Final(ClientError::NotAnIndex { .. })
        ));
        assert!(matches!(
            dialled(&target(), true, wrong()),
            Lost::Final(ClientError::AnotherIndex { .. })
        ));
        // A key that was only seen at this address is nobody's choice.
        assert!(matches!(dialled(&target(), false, wrong()), Lost::Away(_)));
        assert!(matches!(dialled(&target(), true, nobody), Lost::Away(_)));
    }

    #[test]
    fn a_refusal_is_told_from_an_index_that_cannot_now() {
        assert!(matches!(
            refused(&target(), &Status::unimplemented("")),
            Lost::Final(ClientError::NotAnIndex { .. })
        ));
        let text = no().to_string();
        assert!(
            text.contains("192.0.2.7:7420") && text.contains("another network"),
            "{text}"
        );
        for passing in [
            Status::unavailable("stopping"),
            Status::resource_exhausted("it knows as many nodes as it can"),
            Status::internal("a fault"),
            Status::unknown("the connection was cut"),
        ] {
            assert!(matches!(refused(&target(), &passing), Lost::Away(_)));
        }
    }

    #[test]
    fn only_a_final_answer_that_stays_the_same_settles_it() {
        let mut words = FirstWords::default();
        let away = Lost::Away("nobody listens".to_owned());
        assert!(!words.settle(&no()) && !words.settle(&no()));
        assert!(!words.settle(&away));
        assert!(!words.settle(&no()) && !words.settle(&no()));
        assert!(words.settle(&no()));
        // It is said once.
        assert!(!words.settle(&no()));

        let mut words = FirstWords::default();
        words.taken();
        assert!((0..9).all(|_| !words.settle(&no())), "it knew the node");
    }
}
