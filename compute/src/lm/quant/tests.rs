//! Blocks of every kind, beside what the `gguf` package makes of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Kind;

#[derive(Deserialize)]
struct Golden {
    name: String,
    bytes: String,
    values: Vec<f64>,
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn blocks_hold_the_numbers_that_others_read() {
    let text = include_str!("../../../tests/golden/lm/quants.json");
    let golden: BTreeMap<u32, Golden> = serde_json::from_str(text).unwrap();
    assert_eq!(golden.len(), Kind::ALL.len() - 1, "all but F32");
    for (number, golden) in golden {
        let kind = Kind::of(number).unwrap();
        let count = golden.values.len();
        let bytes = bytes(&golden.bytes);
        assert_eq!(kind.bytes_of(&[count as u64]), Some(bytes.len() as u64));
        let mut values = vec![0.0; count];
        kind.unpack(&bytes, &mut values);
        for (at, (value, expected)) in values.iter().zip(golden.values).enumerate() {
            let far = (f64::from(*value) - expected).abs();
            assert!(
                far <= 1e-6 * (1.0 + expected.abs()),
                "{}: number {at} is {value}, not {expected}",
                golden.name
            );
        }
    }
    let mut values = [0.0; 2];
    Kind::F32.unpack(&[0, 0, 128, 63, 0, 0, 0, 192], &mut values);
    assert_eq!(values, [1.0, -2.0]);
}

#[test]
fn rows_are_of_whole_blocks() {
    assert_eq!(Kind::Q4_1.bytes_of(&[33]), None);
    assert_eq!(Kind::Q6K.bytes_of(&[256, 3]), Some(630));
    assert_eq!(Kind::F32.bytes_of(&[0, 3]), None);
    assert_eq!(Kind::F32.bytes_of(&[u64::MAX, 2]), None);
    assert_eq!(Kind::of(99), None);
}
