//! Files that lie: whatever a GGUF file says, it is read or refused with what
//! is wrong, and nothing is allocated that its own bytes do not pay for.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

#[path = "support/tiny.rs"]
mod tiny;

use embermesh_compute::lm::{InvalidGguf, MAX_GROWTH, inspect};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What is allocated whatever the file is: the patterns that cut texts, and
/// messages.
const FIXED: usize = 4 << 20;

/// Reads a file and checks what that took.
fn read(bytes: &[u8]) -> Result<(), InvalidGguf> {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let read = inspect(bytes).map(drop);
    let took = MEMORY.peak_usage().saturating_sub(before);
    let allowed = bytes.len() * MAX_GROWTH as usize + FIXED;
    assert!(took <= allowed, "{took} bytes of {allowed} for {read:?}");
    read
}

/// Where the names and lengths end and the weights begin.
fn header(bytes: &[u8]) -> usize {
    let last = bytes.windows(10).rposition(|part| part == b"ffn_norm.w");
    last.unwrap() + 300
}

#[test]
fn every_cut_is_refused() {
    let bytes = tiny::writer().bytes();
    assert_eq!(read(&bytes), Ok(()));
    let header = header(&bytes);
    for end in (0..header).chain((header..bytes.len()).step_by(4093)) {
        let refused = read(&bytes[..end]).unwrap_err();
        assert!(!refused.to_string().is_empty());
    }
    read(&bytes[..bytes.len() - 1]).unwrap_err();
}

#[test]
fn every_flipped_byte_is_read_or_refused() {
    let whole = tiny::writer().bytes();
    let mut refused = 0;
    for at in 0..header(&whole) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            refused += usize::from(read(&bytes).is_err());
        }
    }
    println!("{refused} of {} were refused", 3 * header(&whole));
    assert!(refused > 1000);
}

/// A file of version 3 with these counts and this behind them.
fn file(tensors: u64, entries: u64, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(entries.to_le_bytes());
    bytes.extend(rest.concat());
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

#[test]
fn a_lie_is_named() {
    let huge = (1_u64 << 60).to_le_bytes();
    let string = 8_u32.to_le_bytes();
    let list = 9_u32.to_le_bytes();
    let refusal = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    let said = refusal(b"GGML....");
    assert!(said.contains("not a GGUF"), "{said}");
    let said = refusal(&file(1 << 60, 0, &[]));
    assert!(said.contains("tensors, of 65536"), "{said}");
    let said = refusal(&file(0, 60_000, &[]));
    assert!(
        said.contains("metadata entries takes 840000 bytes, and 0"),
        "{said}"
    );
    let said = refusal(&file(0, 1, &[&huge, &[0; 64]]));
    assert!(said.contains("1152921504606846976"), "{said}");
    let said = refusal(&file(0, 1, &[&text("a"), &string, &huge]));
    assert!(said.contains("text of a value"), "{said}");
    let said = refusal(&file(0, 1, &[&text("a"), &list, &string, &huge]));
    assert!(said.contains("items of a list"), "{said}");
    let said = refusal(&file(0, 1, &[&text("a"), &list, &list, &huge]));
    assert!(said.contains("type 9"), "{said}");
    let flag = [&text("a")[..], &7_u32.to_le_bytes(), &[1]].concat();
    let said = refusal(&file(0, 2, &[&flag, &flag]));
    assert!(said.contains("twice"), "{said}");
}

/// A tensor of single precision.
fn tensor(name: &str, shape: &[u64], offset: u64) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.extend((shape.len() as u32).to_le_bytes());
    bytes.extend(shape.iter().flat_map(|axis| axis.to_le_bytes()));
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

#[test]
fn tensors_have_their_own_bytes() {
    let refusal = |tensors: &[Vec<u8>]| {
        let described: Vec<&[u8]> = tensors.iter().map(Vec::as_slice).collect();
        let mut bytes = file(tensors.len() as u64, 0, &described);
        bytes.resize(bytes.len().next_multiple_of(32) + 128, 0);
        read(&bytes).unwrap_err().to_string()
    };
    let said = refusal(&[tensor("a", &[16], 0), tensor("b", &[8], 32)]);
    assert!(said.contains("\"b\": it overlaps"), "{said}");
    let said = refusal(&[tensor("a", &[8], 0), tensor("a", &[8], 32)]);
    assert!(said.contains("twice"), "{said}");
    let said = refusal(&[tensor("a", &[8], 4)]);
    assert!(said.contains("alignment"), "{said}");
    let said = refusal(&[tensor("a", &[40], 0)]);
    assert!(said.contains("has 160 bytes and the file 128"), "{said}");
    let said = refusal(&[tensor("a", &[8], u64::MAX - 31)]);
    assert!(said.contains("\"a\""), "{said}");
    let said = refusal(&[tensor("a", &[1 << 40, 1 << 40], 0)]);
    assert!(said.contains("shape"), "{said}");
    let said = refusal(&[tensor("a", &[8, 0], 0)]);
    assert!(said.contains("shape"), "{said}");
    let said = refusal(&[tensor("a", &[1; 5], 0)]);
    assert!(said.contains("5 axes"), "{said}");
    let said = refusal(&[tensor("a", &[8], 0)]);
    assert!(said.contains("general.architecture"), "{said}");
}
