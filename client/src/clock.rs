//! How far this machine's clock is off from that of an index or a node: each says in its
//! answer what its clock shows, and the way there and back bounds the error.

use std::time::Duration;

use embermesh_crypto::time::UnixMillis;
use embermesh_job::address::PeerAddress;
use embermesh_mesh::road::RoadKind;
use embermesh_proto::v1::{self, index_client::IndexClient};

use crate::{Client, ClientError, Ways};

/// Times that each is asked. The answer that was under way for the shortest time counts,
/// because it bounds the error best (RFC 5905, section 10).
const SAMPLES: usize = 4;

/// One look at another clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// How far that clock is ahead of this machine's, in milliseconds; below zero, behind.
    pub ahead_ms: i64,
    /// How far off that may be, in milliseconds, either way.
    pub error_ms: u64,
}

impl Reading {
    /// The offset of RFC 5905, section 8, of an answer whose sender looked at its clock once,
    /// so that the second and the third of the four instants are one.
    #[must_use]
    pub fn of(sent: UnixMillis, theirs: UnixMillis, received: UnixMillis) -> Self {
        let signed = |at: UnixMillis| i128::from(at.0);
        let there = signed(theirs) - signed(sent);
        let back = signed(theirs) - signed(received);
        let clamped = ((there + back) / 2).clamp(i64::MIN.into(), i64::MAX.into());
        Self {
            ahead_ms: i64::try_from(clamped).unwrap_or_default(),
            error_ms: received.0.saturating_sub(sent.0).div_ceil(2),
        }
    }

    /// Whether the two clocks differ by more than `span` for certain.
    #[must_use]
    pub fn is_off_by(self, span: Duration) -> bool {
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.ahead_ms.unsigned_abs() > span.saturating_add(self.error_ms)
    }

    fn better(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.error_ms <= self.error_ms => other,
            _ => self,
        }
    }
}

/// What an index or a node says of itself, and of the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its version; empty from one that does not say.
    pub version: String,
    /// Its clock; nothing from one that does not say.
    pub reading: Option<Reading>,
    /// The road by which it was asked.
    pub road: RoadKind,
}

impl Client {
    /// Asks the index for its version and the time.
    ///
    /// # Errors
    /// When it cannot be reached for a while.
    pub async fn clock(&self) -> Result<Told, ClientError> {
        let mut told = Told {
            version: String::new(),
            reading: None,
            road: RoadKind::Tls,
        };
        for _ in 0..SAMPLES {
            // Taken within the call, which may be made several times.
            let (sent, answer) = self
                .index()
                .again_on(|channel| async move {
                    let sent = UnixMillis::now();
                    let mut stub = IndexClient::new(channel);
                    let answer = stub.get_key_set(v1::GetKeySetRequest {}).await?;
                    let received = UnixMillis::now();
                    Ok(answer.map(|answer| ((sent, received), answer)))
                })
                .await?;
            told.version = answer.version;
            let theirs = (answer.now_ms != 0).then_some(UnixMillis(answer.now_ms));
            told.take(sent, theirs);
        }
        Ok(told)
    }
}

impl Ways {
    /// Asks a node for its version and the time.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn clock_of(&self, node: &PeerAddress) -> Result<Told, ClientError> {
        let link = self.node(node).await?;
        let mut told = Told {
            version: String::new(),
            reading: None,
            road: link.road,
        };
        for _ in 0..SAMPLES {
            let sent = UnixMillis::now();
            let status = link.status().await?;
            told.version = status.version;
            told.take((sent, UnixMillis::now()), status.now);
        }
        Ok(told)
    }
}

impl Told {
    fn take(&mut self, (sent, received): (UnixMillis, UnixMillis), theirs: Option<UnixMillis>) {
        if let Some(theirs) = theirs {
            let reading = Reading::of(sent, theirs, received);
            self.reading = Some(reading.better(self.reading));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(sent: u64, theirs: u64, received: u64) -> Reading {
        Reading::of(UnixMillis(sent), UnixMillis(theirs), UnixMillis(received))
    }

    #[test]
    fn the_offset_is_that_of_the_middle_of_the_way() {
        assert_eq!(
            reading(1000, 61_050, 1100),
            Reading {
                ahead_ms: 60_000,
                error_ms: 50
            }
        );
        assert_eq!(reading(61_000, 1050, 61_100).ahead_ms, -60_000);
        assert_eq!(reading(0, 50, 101).error_ms, 51);
        // No clock makes it overflow.
        assert_eq!(reading(0, u64::MAX, 0).ahead_ms, i64::MAX);
        assert_eq!(reading(u64::MAX, 0, u64::MAX).ahead_ms, i64::MIN);
    }

    #[test]
    fn only_what_is_certain_counts_as_off() {
        let span = Duration::from_secs(30);
        assert!(!reading(1000, 31_000, 1000).is_off_by(span));
        assert!(reading(1000, 31_001, 1000).is_off_by(span));
        // Ten seconds under way: five of them may be the way's.
        assert!(!reading(0, 40_000, 10_000).is_off_by(span));
        assert!(reading(0, 40_001, 10_000).is_off_by(span));
        assert!(reading(100_000, 69_999, 100_000).is_off_by(span));
    }

    #[test]
    fn the_quickest_answer_counts() {
        let mut told = Told {
            version: String::new(),
            reading: None,
            road: RoadKind::Tls,
        };
        let at = |sent, received| (UnixMillis(sent), UnixMillis(received));
        told.take(at(0, 400), Some(UnixMillis(390)));
        told.take(at(1000, 1010), Some(UnixMillis(1006)));
        told.take(at(2000, 2300), Some(UnixMillis(2290)));
        told.take(at(3000, 3001), None);
        let kept = told.reading.unwrap();
        assert_eq!((kept.ahead_ms, kept.error_ms), (1, 5));
    }
}
