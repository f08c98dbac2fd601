//! Sizes, spans of time and prices, as people write them ("512 MiB", "10m")
//! and as the canonical form has them: whole numbers of the smallest unit.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};

/// The largest number that every JSON implementation keeps exact (RFC 8785,
/// section 3.2.2.3): 2^53 - 1.
pub const MAX_EXACT: u64 = (1 << 53) - 1;

/// A text that is no quantity of its unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: write {example}")]
pub struct InvalidUnit {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// A price in millionths of a unit of account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct MicroUnits(pub u64);

const BYTES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];
const SPANS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

impl FromStr for Bytes {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        quantity(text, &BYTES).map(Self).ok_or_else(|| InvalidUnit {
            text: text.to_owned(),
            what: "a size",
            example: "bytes, or a number with KiB, MiB, GiB, KB, MB or GB, such as \"512 MiB\"",
        })
    }
}

impl FromStr for Millis {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        quantity(text, &SPANS).map(Self).ok_or_else(|| InvalidUnit {
            text: text.to_owned(),
            what: "a span of time",
            example: "milliseconds, or a number with ms, s, m, h or d, such as \"90s\"",
        })
    }
}

impl FromStr for MicroUnits {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A decimal point means whole units, as a price is shown.
        let price = match text.split_once('.') {
            Some((_, fraction)) if fraction.len() > 6 => None,
            Some(_) => quantity(&format!("{}U", text.trim()), &[("U", 1_000_000)]),
            None => quantity(text, &[]),
        };
        price.map(Self).ok_or_else(|| InvalidUnit {
            text: text.to_owned(),
            what: "a price",
            example: "millionths of a unit, such as \"250000\", or units with a decimal point and six digits at most behind it, such as \"0.25\"",
        })
    }
}

/// A decimal number, perhaps with a fraction, and a suffix of the table. What is
/// left below the smallest unit is cut off after a suffix and refused without one.
fn quantity(text: &str, suffixes: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let (number, factor) = suffixes
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?.trim_end(), *factor)))
        .filter(|(number, _)| number.ends_with(|c: char| c.is_ascii_digit()))
        .unwrap_or((text, 1));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    if factor == 1 && fraction.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let number: u128 = format!("{whole}{fraction}").parse().ok()?;
    let value = number.checked_mul(u128::from(factor))? / scale;
    u64::try_from(value)
        .ok()
        .filter(|value| *value <= MAX_EXACT)
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = BYTES[..4].iter().rev().find(|(_, size)| self.0 >= *size);
        match step {
            Some((name, size)) if self.0.is_multiple_of(*size) => {
                write!(f, "{} {name}", self.0 / size)
            }
            Some((name, size)) => write!(f, "{:.1} {name}", self.0 as f64 / *size as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = SPANS.iter().rev().find(|(_, span)| self.0 >= *span);
        match step {
            Some((name, span)) if self.0.is_multiple_of(*span) => {
                write!(f, "{}{name}", self.0 / span)
            }
            Some((name, span)) => write!(f, "{:.1}{name}", self.0 as f64 / *span as f64),
            None => write!(f, "0ms"),
        }
    }
}

impl fmt::Display for MicroUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

macro_rules! number_or_text {
    ($name:ident) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a whole number or a text with a unit")
                    }

                    fn visit_u64<E: de::Error>(self, value: u64) -> Result<$name, E> {
                        if value > MAX_EXACT {
                            return Err(E::custom("larger than 2^53 - 1"));
                        }
                        Ok($name(value))
                    }

                    fn visit_i64<E: de::Error>(self, value: i64) -> Result<$name, E> {
                        u64::try_from(value)
                            .map_err(|_| E::custom("less than zero"))
                            .and_then(|value| self.visit_u64(value))
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                d.deserialize_any(Visitor)
            }
        }
    };
}
number_or_text!(Bytes);
number_or_text!(Millis);
number_or_text!(MicroUnits);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_may_write_units() {
        assert_eq!("512 MiB".parse(), Ok(Bytes(512 << 20)));
        assert_eq!("1.5GiB".parse(), Ok(Bytes(3 << 29)));
        assert_eq!("2MB".parse(), Ok(Bytes(2_000_000)));
        assert_eq!("77".parse(), Ok(Bytes(77)));
        assert_eq!("90s".parse(), Ok(Millis(90_000)));
        assert_eq!("10m".parse(), Ok(Millis(600_000)));
        assert_eq!("250ms".parse(), Ok(Millis(250)));
        for bad in [
            "",
            "x",
            "-1",
            "1 XB",
            "1e9",
            "MiB",
            "9999999999 TiB",
            "1..2",
            "0x10",
        ] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
            assert!(bad.parse::<Millis>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_price_reads_back_as_it_is_shown() {
        for price in [0, 1, 250_000, 1_250_000, MAX_EXACT] {
            let shown = MicroUnits(price).to_string();
            assert_eq!(shown.parse(), Ok(MicroUnits(price)), "{shown}");
        }
        assert_eq!("0.25".parse(), Ok(MicroUnits(250_000)));
        assert_eq!("250000".parse(), Ok(MicroUnits(250_000)));
        for bad in ["", ".", ".5", "0.0000001", "1.2.3", "-1", "0.25U", "1e-3"] {
            assert!(bad.parse::<MicroUnits>().is_err(), "{bad}");
        }
    }

    #[test]
    fn part_of_a_byte_is_nothing() {
        assert_eq!("1.0".parse(), Ok(Bytes(1)));
        assert_eq!("1.1 KiB".parse(), Ok(Bytes(1126)));
        assert!("1.5".parse::<Bytes>().is_err());
        assert!("1.5 B".parse::<Bytes>().is_err());
        assert!("0.5ms".parse::<Millis>().is_err());
    }

    #[test]
    fn units_are_shown_short() {
        assert_eq!(Bytes(512 << 20).to_string(), "512 MiB");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(Millis(90_000).to_string(), "1.5m");
        assert_eq!(MicroUnits(1_250_000).to_string(), "1.250000");
    }
}
