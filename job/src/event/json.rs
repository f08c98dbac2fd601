//! How the fields of an event are written where JSON has no word for them:
//! numbers that are not finite, and binary statements.

use std::fmt;

use serde::{Deserialize, Deserializer, Serializer, de};

/// A measure: a JSON number when it is finite, else `"NaN"`, `"inf"` or
/// `"-inf"`.
pub(super) mod number {
    use super::{Deserializer, Measure, Serializer, deserialize_measure, serialize_measure};

    pub(in crate::event) fn serialize<S: Serializer>(value: &f64, s: S) -> Result<S::Ok, S::Error> {
        serialize_measure(*value, s)
    }

    pub(in crate::event) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
        deserialize_measure(d).map(|Measure(value)| value)
    }
}

/// The same, or `null` where there is none.
pub(super) mod optional_number {
    use serde::Deserialize;

    use super::{Deserializer, Measure, Serializer, serialize_measure};

    pub(in crate::event) fn serialize<S: Serializer>(
        value: &Option<f64>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serialize_measure(*value, s),
            None => s.serialize_none(),
        }
    }

    pub(in crate::event) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<f64>, D::Error> {
        let measure = Option::<Measure>::deserialize(d)?;
        Ok(measure.map(|Measure(value)| value))
    }
}

/// Measures by name.
pub(super) mod numbers {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::{Deserializer, Measure, Serializer, serialize_measure};

    struct Shown(f64);

    impl Serialize for Shown {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            serialize_measure(self.0, s)
        }
    }

    pub(in crate::event) fn serialize<S: Serializer>(
        values: &BTreeMap<String, f64>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_map(values.iter().map(|(name, value)| (name, Shown(*value))))
    }

    pub(in crate::event) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<BTreeMap<String, f64>, D::Error> {
        let values = BTreeMap::<String, Measure>::deserialize(d)?;
        Ok(values
            .into_iter()
            .map(|(name, Measure(value))| (name, value))
            .collect())
    }
}

/// Binary statements, as pairs of hex digits.
pub(super) mod hex {
    use std::fmt::Write;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::event) fn serialize<S: Serializer>(
        bytes: &[u8],
        s: S,
    ) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        s.serialize_str(&text)
    }

    pub(in crate::event) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        let invalid = || de::Error::custom("expected pairs of hex digits");
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
        if !text.len().is_multiple_of(2) {
            return Err(invalid());
        }
        text.as_bytes()
            .chunks_exact(2)
            .map(|pair| byte(pair).ok_or_else(invalid))
            .collect()
    }
}

struct Measure(f64);

fn serialize_measure<S: Serializer>(value: f64, s: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        s.serialize_f64(value)
    } else {
        s.collect_str(&value)
    }
}

fn deserialize_measure<'de, D: Deserializer<'de>>(d: D) -> Result<Measure, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = Measure;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, \"NaN\", \"inf\" or \"-inf\"")
        }

        fn visit_f64<E>(self, value: f64) -> Result<Measure, E> {
            Ok(Measure(value))
        }

        fn visit_u64<E>(self, value: u64) -> Result<Measure, E> {
            Ok(Measure(value as f64))
        }

        fn visit_i64<E>(self, value: i64) -> Result<Measure, E> {
            Ok(Measure(value as f64))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Measure, E> {
            Ok(Measure(match text {
                "NaN" => f64::NAN,
                "inf" => f64::INFINITY,
                "-inf" => f64::NEG_INFINITY,
                _ => return Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            }))
        }
    }
    d.deserialize_any(Visitor)
}

impl<'de> Deserialize<'de> for Measure {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        deserialize_measure(d)
    }
}
