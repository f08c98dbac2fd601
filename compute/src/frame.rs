//! Framing on the pipe between the daemon and its worker: a length as four
//! little-endian bytes, then that many bytes of JSON. A length whose highest bit is
//! set is that of a [`Part`] of samples, which are bytes and no text.
//!
//! The functions are synchronous and hold no state, so that the worker uses
//! them over blocking descriptors and the daemon over whatever runtime it has
//! (see [`body_len`] and [`decode`] for the two halves).

use std::io::{ErrorKind, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest body of a frame, in bytes. A spec is at most 256 KiB and is the
/// largest thing that travels here; weights and checkpoints are files.
pub const MAX_FRAME: usize = 1024 * 1024;

/// Bytes of the length before each body.
pub const HEADER: usize = 4;

/// The most bytes of samples in one part.
pub const MAX_PART: usize = 512 * 1024;

/// The bit of a length that says that a part follows.
const PART: u32 = 1 << 31;

/// Bytes of a part before its samples.
const PART_HEAD: usize = 16;

/// Some bytes of an answer to [`crate::pipe::FromWorker::Want`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which question it answers.
    pub ask: u64,
    /// Where in the answer these bytes belong. 0 begins it anew.
    pub offset: u64,
    /// 1 to [`MAX_PART`] bytes.
    pub bytes: Vec<u8>,
}

/// What a worker hears.
#[derive(Debug)]
pub enum Incoming<T> {
    /// A message.
    Message(T),
    /// Samples.
    Part(Part),
}

/// What can be wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed the pipe between two frames.
    #[error("the pipe was closed")]
    Closed,
    /// The other side closed the pipe, or died, within a frame.
    #[error("the pipe ended in the middle of a frame")]
    Truncated,
    /// The length is above [`MAX_FRAME`].
    #[error("a frame of {0} bytes is longer than the {MAX_FRAME} allowed")]
    TooLong(usize),
    /// The body is not the expected message.
    #[error("a frame does not parse: {0}")]
    Malformed(#[source] serde_json::Error),
    /// The descriptor failed.
    #[error("the pipe failed: {0}")]
    Io(#[source] std::io::Error),
}

/// One frame: header and body.
///
/// # Errors
/// [`FrameError::TooLong`] when the message does not fit.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::Malformed)?;
    let len = frame.len() - HEADER;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len));
    }
    let header = u32::try_from(len).map_err(|_| FrameError::TooLong(len))?;
    frame[..HEADER].copy_from_slice(&header.to_le_bytes());
    Ok(frame)
}

/// How many bytes of body follow a header.
///
/// # Errors
/// [`FrameError::TooLong`], before anything of that size is allocated.
pub fn body_len(header: [u8; HEADER]) -> Result<usize, FrameError> {
    let len = u32::from_le_bytes(header) as usize;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len));
    }
    Ok(len)
}

/// The message in a body.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(FrameError::Malformed)
}

/// Writes one message and flushes it.
///
/// # Errors
/// [`FrameError::TooLong`] or [`FrameError::Io`].
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> Result<(), FrameError> {
    let frame = encode(message)?;
    to.write_all(&frame).map_err(FrameError::Io)?;
    to.flush().map_err(FrameError::Io)
}

/// One frame with a part of samples.
///
/// # Errors
/// [`FrameError::TooLong`] above [`MAX_PART`].
pub fn encode_part(part: &Part) -> Result<Vec<u8>, FrameError> {
    let len = part.bytes.len();
    if len > MAX_PART {
        return Err(FrameError::TooLong(len));
    }
    let body = u32::try_from(PART_HEAD + len).map_err(|_| FrameError::TooLong(len))?;
    let mut frame = Vec::with_capacity(HEADER + PART_HEAD + len);
    frame.extend_from_slice(&(body | PART).to_le_bytes());
    frame.extend_from_slice(&part.ask.to_le_bytes());
    frame.extend_from_slice(&part.offset.to_le_bytes());
    frame.extend_from_slice(&part.bytes);
    Ok(frame)
}

/// Reads one message or one part, waiting for it.
///
/// # Errors
/// As [`read`]; [`FrameError::Truncated`] for a part that is none.
pub fn incoming<T: DeserializeOwned>(from: &mut impl Read) -> Result<Incoming<T>, FrameError> {
    let header = header(from)?;
    let len = u32::from_le_bytes(header);
    if len & PART == 0 {
        return body(from, header).map(Incoming::Message);
    }
    let len = (len & !PART) as usize;
    let Some(bytes) = len.checked_sub(PART_HEAD) else {
        return Err(FrameError::Truncated);
    };
    if bytes > MAX_PART {
        return Err(FrameError::TooLong(bytes));
    }
    let mut number = || {
        let mut number = [0; 8];
        from.read_exact(&mut number).map_err(ended)?;
        Ok::<_, FrameError>(u64::from_le_bytes(number))
    };
    let (ask, offset) = (number()?, number()?);
    let mut bytes = vec![0; bytes];
    from.read_exact(&mut bytes).map_err(ended)?;
    Ok(Incoming::Part(Part { ask, offset, bytes }))
}

/// Reads one message, waiting for it.
///
/// # Errors
/// [`FrameError::Closed`] at a clean end, and every other way to fail.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, FrameError> {
    let header = header(from)?;
    body(from, header)
}

fn header(from: &mut impl Read) -> Result<[u8; HEADER], FrameError> {
    let mut header = [0; HEADER];
    loop {
        match from.read(&mut header[..1]) {
            Ok(0) => return Err(FrameError::Closed),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(FrameError::Io(error)),
        }
    }
    from.read_exact(&mut header[1..]).map_err(ended)?;
    Ok(header)
}

fn body<T: DeserializeOwned>(from: &mut impl Read, header: [u8; HEADER]) -> Result<T, FrameError> {
    let mut body = vec![0; body_len(header)?];
    from.read_exact(&mut body).map_err(ended)?;
    decode(&body)
}

fn ended(error: std::io::Error) -> FrameError {
    match error.kind() {
        ErrorKind::UnexpectedEof => FrameError::Truncated,
        _ => FrameError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_pass_in_order() {
        let mut pipe = Vec::new();
        write(&mut pipe, &"first").unwrap();
        write(&mut pipe, &vec![1, 2, 3]).unwrap();
        let mut from = pipe.as_slice();
        assert_eq!(read::<String>(&mut from).unwrap(), "first");
        assert_eq!(read::<Vec<u32>>(&mut from).unwrap(), [1, 2, 3]);
        assert!(matches!(read::<String>(&mut from), Err(FrameError::Closed)));
    }

    #[test]
    fn every_cut_of_a_frame_is_refused() {
        let frame = encode(&"a message").unwrap();
        for end in 1..frame.len() {
            assert!(
                matches!(
                    read::<String>(&mut &frame[..end]),
                    Err(FrameError::Truncated)
                ),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn a_length_above_the_bound_is_refused_before_it_is_allocated() {
        let frame = u32::MAX.to_le_bytes();
        assert!(matches!(
            read::<String>(&mut frame.as_slice()),
            Err(FrameError::TooLong(_))
        ));
        assert!(matches!(
            encode(&"x".repeat(MAX_FRAME)),
            Err(FrameError::TooLong(_))
        ));
    }

    #[test]
    fn samples_pass_between_messages_and_every_cut_of_them_is_refused() {
        let part = Part {
            ask: 7,
            offset: 3,
            bytes: vec![1, 2, 3],
        };
        let mut pipe = encode(&"before").unwrap();
        pipe.extend(encode_part(&part).unwrap());
        let mut from = pipe.as_slice();
        let first = incoming::<String>(&mut from).unwrap();
        assert!(matches!(first, Incoming::Message(text) if text == "before"));
        let second = incoming::<String>(&mut from).unwrap();
        assert!(matches!(second, Incoming::Part(found) if found == part));
        let frame = encode_part(&part).unwrap();
        for end in 1..frame.len() {
            let cut = incoming::<String>(&mut &frame[..end]);
            assert!(matches!(cut, Err(FrameError::Truncated)), "cut at {end}");
        }
        // Whoever takes messages alone takes it for one that is too long.
        assert!(matches!(
            read::<String>(&mut frame.as_slice()),
            Err(FrameError::TooLong(_))
        ));
        let long = Part {
            bytes: vec![0; MAX_PART + 1],
            ..part
        };
        assert!(matches!(encode_part(&long), Err(FrameError::TooLong(_))));
        let long = (PART | 0x7fff_ffff).to_le_bytes();
        assert!(matches!(
            incoming::<String>(&mut long.as_slice()),
            Err(FrameError::TooLong(_))
        ));
    }

    #[test]
    fn what_is_not_the_message_is_refused() {
        let frame = encode(&"text").unwrap();
        assert!(matches!(
            read::<Vec<u32>>(&mut frame.as_slice()),
            Err(FrameError::Malformed(_))
        ));
    }
}
