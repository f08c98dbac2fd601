//! The bulk framing: what stands before the encoded bytes, on the TLS road and in a
//! stream of the mesh alike. Integers are little endian.
//!
//! ```text
//! request:   version u8 = 1 | digest 32 | count u8 | count x (offset u64, length u64)
//! response:  status u8 | size u64 | encoding of the groups that hold those bytes
//! ```
//!
//! A length of 0 reaches to the end. The length of the encoding follows from size
//! and ranges, so that it is not said. Requests on one connection follow each other.

use std::io;

use embermesh_crypto::digest::Digest;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Version of the framing.
const VERSION: u8 = 1;
/// Ranges in one request; a blob with more holes is asked for in turns.
pub(crate) const MAX_RANGES: usize = 64;
/// Bytes of a request before its ranges.
const HEAD_BYTES: usize = 1 + 32 + 1;
/// Bytes of a range.
const RANGE_BYTES: usize = 16;
/// Bytes of a response before the encoding.
const RESPONSE_BYTES: usize = 1 + 8;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) digest: Digest,
    /// Offsets and lengths.
    pub(crate) ranges: Vec<(u64, u64)>,
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.ranges.len() * RANGE_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.digest.as_bytes());
        let ranges = &self.ranges[..self.ranges.len().min(MAX_RANGES)];
        bytes.push(u8::try_from(ranges.len()).unwrap_or(0));
        for (offset, length) in ranges {
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        bytes
    }

    /// Reads a request; `None` when the other end closed instead.
    pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD_BYTES];
        if io.read(&mut head[..1]).await? == 0 {
            return Ok(None);
        }
        if head[0] != VERSION {
            return Err(invalid("a request of another version of the framing"));
        }
        io.read_exact(&mut head[1..]).await?;
        let count = usize::from(head[HEAD_BYTES - 1]);
        if count == 0 || count > MAX_RANGES {
            return Err(invalid("a request without ranges, or with too many"));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&head[1..33]);
        let mut ranges = Vec::with_capacity(count);
        for _ in 0..count {
            ranges.push((io.read_u64_le().await?, io.read_u64_le().await?));
        }
        Ok(Some(Self {
            digest: Digest::from_bytes(digest),
            ranges,
        }))
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// How a request was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The encoding follows.
    Sending,
    NotFound,
    Refused,
    Busy,
    /// The ranges lie past the end.
    BadRange,
    /// The holder cannot read its own copy.
    Failed,
}

const STATUSES: [Status; 6] = [
    Status::Sending,
    Status::NotFound,
    Status::Refused,
    Status::Busy,
    Status::BadRange,
    Status::Failed,
];

/// What stands before the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: Status,
    /// Bytes of the whole blob; 0 unless it is being sent.
    pub(crate) size: u64,
}

impl Response {
    pub(crate) fn encode(self) -> [u8; RESPONSE_BYTES] {
        let mut bytes = [0; RESPONSE_BYTES];
        let place = STATUSES.iter().position(|status| *status == self.status);
        bytes[0] = place
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or(u8::MAX);
        bytes[1..].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }

    pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let status = STATUSES.get(usize::from(io.read_u8().await?)).copied();
        let status = status.ok_or_else(|| invalid("an unknown status"))?;
        let size = io.read_u64_le().await?;
        Ok(Self { status, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_and_responses_go_there_and_back() {
        let request = Request {
            digest: Digest::of(b"x"),
            ranges: vec![(0, 0), (1 << 40, 17)],
        };
        let bytes = request.encode();
        assert_eq!(Request::read(&mut &bytes[..]).await.unwrap(), Some(request));
        assert_eq!(Request::read(&mut &[][..]).await.unwrap(), None);
        for status in STATUSES {
            let response = Response { status, size: 9 };
            assert_eq!(
                Response::read(&mut &response.encode()[..]).await.unwrap(),
                response
            );
        }
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let good = Request {
            digest: Digest::of(b"x"),
            ranges: vec![(0, 0)],
        }
        .encode();
        for at in [0, 33] {
            let mut bad = good.clone();
            bad[at] = 200;
            assert!(Request::read(&mut &bad[..]).await.is_err());
        }
        let mut none = good.clone();
        none[33] = 0;
        assert!(Request::read(&mut &none[..]).await.is_err());
        for cut in 1..good.len() {
            assert!(Request::read(&mut &good[..cut]).await.is_err(), "{cut}");
        }
        assert!(Response::read(&mut &[99; 9][..]).await.is_err());
    }
}
