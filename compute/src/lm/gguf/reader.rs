//! A place in the file's bytes, from which lengths are believed only when the
//! bytes are there.

use super::InvalidGguf;

/// Reads one thing after another.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// All bytes from here on.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next bytes, `len` of them.
    pub(super) fn bytes(&mut self, len: u64, what: &'static str) -> Result<&'a [u8], InvalidGguf> {
        let rest = self.rest();
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let Some(taken) = taken else {
            return Err(InvalidGguf::Truncated {
                at: self.at,
                what,
                needed: len,
                left: self.left(),
            });
        };
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], InvalidGguf> {
        let bytes = self.bytes(N as u64, what)?;
        let mut array = [0; N];
        array.copy_from_slice(bytes);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, InvalidGguf> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, InvalidGguf> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// How many of something follow, each of which takes `least` bytes or more.
    pub(super) fn count(
        &mut self,
        what: &'static str,
        most: usize,
        least: usize,
    ) -> Result<usize, InvalidGguf> {
        let at = self.at;
        let count = self.u64(what)?;
        let counted = usize::try_from(count).ok().filter(|count| *count <= most);
        let counted = counted.ok_or(InvalidGguf::TooMany { what, count, most })?;
        let needed = counted as u64 * least as u64;
        if needed > self.left() as u64 {
            return Err(InvalidGguf::Truncated {
                at,
                what,
                needed,
                left: self.left(),
            });
        }
        Ok(counted)
    }

    /// A text of any length that the file has.
    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, InvalidGguf> {
        let len = self.u64(what)?;
        let at = self.at;
        let bytes = self.bytes(len, what)?;
        std::str::from_utf8(bytes).map_err(|_| InvalidGguf::Text { at, what })
    }

    /// A text of 1 to `most` bytes.
    pub(super) fn name(&mut self, most: usize, what: &'static str) -> Result<&'a str, InvalidGguf> {
        let at = self.at;
        let name = self.text(what)?;
        if name.is_empty() || name.len() > most {
            return Err(InvalidGguf::Text { at, what });
        }
        Ok(name)
    }
}
