//! What bytes, or the name of a file, look like.

/// The formats that data comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Comma-separated values.
    Csv,
    /// Images as rows, the label last.
    DigitsCsv,
    /// An object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
    /// A NumPy array.
    Npy,
    /// NumPy arrays by name.
    Npz,
    /// Tensors by name.
    Safetensors,
    /// Images as MNIST has them.
    Idx,
    /// An archive of images.
    Images,
}

/// The words for them.
pub(super) const WORDS: &str =
    "csv, digits_csv, jsonl, parquet, npy, npz, safetensors, idx or images";

impl Format {
    /// The format that a word means.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "csv" => Self::Csv,
            "digits_csv" | "digits" => Self::DigitsCsv,
            "jsonl" | "ndjson" => Self::Jsonl,
            "parquet" => Self::Parquet,
            "npy" => Self::Npy,
            "npz" => Self::Npz,
            "safetensors" => Self::Safetensors,
            "idx" | "mnist" => Self::Idx,
            "images" => Self::Images,
            _ => return None,
        })
    }

    /// The format that bytes begin like.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"\x93NUMPY") {
            return Some(Self::Npy);
        }
        if bytes.starts_with(b"PK\x03\x04") {
            // Only archives of arrays have such names.
            let is_array = bytes.windows(4).take(512).any(|part| part == b".npy");
            return Some(if is_array { Self::Npz } else { Self::Images });
        }
        if bytes.starts_with(b"PAR1") {
            return Some(Self::Parquet);
        }
        if bytes.starts_with(&[0, 0, 8, 3]) {
            return Some(Self::Idx);
        }
        if is_safetensors(bytes) {
            return Some(Self::Safetensors);
        }
        let begin = &bytes[..bytes.len().min(4096)];
        if begin.contains(&0) || !begin.iter().any(|byte| matches!(byte, b'\n' | b',')) {
            return None;
        }
        match begin.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Some(Self::Jsonl),
            Some(byte) if *byte >= b' ' && *byte < 0x80 => Some(Self::Csv),
            _ => None,
        }
    }

    /// The format that a name ends like.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if [".tar", ".tar.gz", ".tgz", ".zip"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            return Some(Self::Images);
        }
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        if name.ends_with("-ubyte") {
            return Some(Self::Idx);
        }
        let (_, end) = name.rsplit_once('.')?;
        match end {
            "csv" | "jsonl" | "ndjson" | "parquet" | "npy" | "npz" | "safetensors" | "idx" => {
                Self::of_word(end)
            }
            _ => None,
        }
    }
}

/// The length of a header of JSON, then that header.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    let length = u64::from_le_bytes(*length);
    rest.first() == Some(&b'{') && length >= 2 && length <= rest.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_known_by_their_beginning() {
        let safetensors = [&2u64.to_le_bytes()[..], b"{}"].concat();
        for (bytes, format) in [
            (&b"\x93NUMPY\x01\x00"[..], Some(Format::Npy)),
            (b"PK\x03\x04..........x.npy", Some(Format::Npz)),
            (b"PK\x03\x04..........cats/1.png", Some(Format::Images)),
            (b"PAR1", Some(Format::Parquet)),
            (b"\x00\x00\x08\x03\x00", Some(Format::Idx)),
            (&safetensors, Some(Format::Safetensors)),
            (b"{\"x\": 1}\n", Some(Format::Jsonl)),
            (b"a,b\n1,2\n", Some(Format::Csv)),
            (b"5.1,3.5\n", Some(Format::Csv)),
            (b"", None),
            (b"word", None),
            (b"\x00\x01,\n", None),
            (b"\x1f\x8b\x08,\n", None),
        ] {
            assert_eq!(Format::of_bytes(bytes), format, "{bytes:?}");
        }
    }

    #[test]
    fn names_are_known_by_their_end() {
        for (name, format) in [
            ("a/digits.CSV", Some(Format::Csv)),
            ("digits.csv.gz", Some(Format::Csv)),
            ("train-images-idx3-ubyte.gz", Some(Format::Idx)),
            ("cats.tar.gz", Some(Format::Images)),
            ("rows.ndjson", Some(Format::Jsonl)),
            ("digits", None),
            ("digits.docx", None),
        ] {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
    }
}
