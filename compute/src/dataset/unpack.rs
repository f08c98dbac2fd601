//! Compressed files, read through a bound: what comes out is counted before it
//! is kept, so that a bomb is refused and not swallowed.

use std::borrow::Cow;
use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use super::room::Room;
use crate::failure::{InvalidData, Place};

/// The first bytes of a gzip file.
pub(crate) const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes that are unpacked at a time.
const PIECE: usize = 64 * 1024;

/// The bytes of a file, unpacked when they are compressed by gzip.
pub(crate) fn unpack<'a>(
    bytes: &'a [u8],
    file: &str,
    room: &mut Room,
) -> Result<Cow<'a, [u8]>, InvalidData> {
    if !bytes.starts_with(&GZIP) {
        return Ok(Cow::Borrowed(bytes));
    }
    slurp(MultiGzDecoder::new(bytes), "gzip", file, room).map(Cow::Owned)
}

/// All that a reader of `format` gives, counted piece by piece.
pub(crate) fn slurp(
    mut from: impl Read,
    format: &str,
    file: &str,
    room: &mut Room,
) -> Result<Vec<u8>, InvalidData> {
    let mut all = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(all),
            Ok(count) => {
                room.reserve(&mut all, count, file)?;
                all.extend_from_slice(&piece[..count]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Place::file(file).has(
                    format!("{format} that breaks after {} bytes ({error})", all.len()),
                    "a whole file",
                ));
            }
        }
    }
}

/// A reader that ends with an error rather than give more than `left` bytes.
pub(crate) struct Bounded<R> {
    from: R,
    left: u64,
}

impl<R> Bounded<R> {
    pub(crate) fn new(from: R, left: u64) -> Self {
        Self { from, left }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(to)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            std::io::Error::new(
                ErrorKind::FileTooLarge,
                "it unpacks to more than limits.memory leaves for it",
            )
        })?;
        Ok(count)
    }
}

/// Bytes as a gzip file, for tests.
#[cfg(test)]
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_recognised_and_a_bomb_is_refused_while_it_unpacks() {
        let mut room = Room::new(1 << 20);
        assert_eq!(*unpack(b"plain", "x", &mut room).unwrap(), *b"plain");
        let packed = gzip(b"1,2,3");
        assert_eq!(*unpack(&packed, "x", &mut room).unwrap(), *b"1,2,3");
        // 64 MiB of zeros in 64 KiB.
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 1 << 17);
        let refused = unpack(&bomb, "data.csv.file", &mut Room::new(8 << 20)).unwrap_err();
        assert!(matches!(refused, InvalidData::NoRoom { .. }), "{refused}");
        for end in 2..packed.len() {
            let cut = unpack(&packed[..end], "data.csv.file", &mut room).unwrap_err();
            assert!(
                cut.to_string().starts_with("data.csv.file: found gzip"),
                "{cut}"
            );
        }
    }
}
