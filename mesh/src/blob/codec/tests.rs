//! The codec against bao-tree's own, and against every flipped bit.

use bao_tree::io::{outboard::PreOrderMemOutboard, sync::encode_ranges};
use proptest::prelude::*;

use super::*;

const G: usize = super::super::GROUP_BYTES as usize;

fn data(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|n| (n as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect()
}

fn outboard(data: &[u8]) -> PreOrderMemOutboard {
    PreOrderMemOutboard::create(data, tree(0).block_size())
}

fn encode(data: &[u8], groups: &Groups, target: usize) -> Vec<u8> {
    let outboard = outboard(data);
    let mut encoder = Encoder::new(groups, data, outboard.data);
    let mut all = Vec::new();
    loop {
        let mut chunk = vec![0; target + MAX_ITEM_BYTES];
        let (filled, more) = encoder.fill(&mut chunk).unwrap();
        all.extend_from_slice(&chunk[..filled]);
        if !more {
            return all;
        }
    }
}

/// What comes out: the data in its place, and how much of it.
fn decode(root: Hash, groups: &Groups, pieces: &[&[u8]]) -> Result<(Vec<u8>, u64), CodecError> {
    let mut decoder = Decoder::new(root, groups);
    let mut out = vec![0; usize::try_from(groups.size()).unwrap()];
    let mut bytes = 0;
    for piece in pieces {
        decoder.push::<CodecError>(piece, |item| {
            if let Item::Data { offset, data } = item {
                let at = usize::try_from(offset).unwrap();
                out[at..at + data.len()].copy_from_slice(data);
                bytes += data.len() as u64;
            }
            Ok(())
        })?;
    }
    decoder.finish()?;
    Ok((out, bytes))
}

/// The length of an encoding, found by walking it.
fn walked_bytes(groups: &Groups) -> u64 {
    ResponseIter::new(tree(groups.size()), groups.chunks())
        .map(|item| item_bytes(&item) as u64)
        .sum()
}

#[test]
fn the_encoding_is_bao() {
    for bytes in [
        0,
        1,
        1024,
        G - 1,
        G,
        G + 1,
        2 * G,
        3 * G + 17,
        8 * G,
        37 * G + 1,
    ] {
        let data = data(bytes);
        let outboard = outboard(&data);
        for asked in [
            (0, 0),
            (0, 1),
            (bytes as u64 / 2, 1),
            (bytes as u64 / 3, 2 * G as u64),
        ] {
            let Some(groups) = Groups::covering(bytes as u64, &[asked]) else {
                continue;
            };
            let mut theirs = Vec::new();
            encode_ranges(&data[..], &outboard, &groups.chunks(), &mut theirs).unwrap();
            let ours = encode(&data, &groups, 1);
            assert_eq!(ours, theirs, "{bytes} {asked:?}");
            assert_eq!(encoded_bytes(&groups), ours.len() as u64);
            let (out, got) = decode(outboard.root, &groups, &[&ours]).unwrap();
            assert_eq!(got, groups.bytes());
            if asked == (0, 0) {
                assert_eq!(out, data);
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let data = data(5 * G + 300);
    let groups = Groups::all(data.len() as u64);
    let root = blake3::hash(&data);
    let good = encode(&data, &groups, 4096);
    decode(root, &groups, &[&good]).unwrap();
    // Every byte, each with another of its bits.
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let error = decode(root, &groups, &[&bad]).unwrap_err();
        assert!(
            matches!(
                error,
                CodecError::CorruptData { .. } | CodecError::CorruptTree { .. }
            ),
            "{at}: {error}"
        );
    }
}

#[test]
fn every_cut_and_every_surplus_is_found() {
    let data = data(2 * G + 9);
    let groups = Groups::all(data.len() as u64);
    let root = blake3::hash(&data);
    let good = encode(&data, &groups, 4096);
    for cut in (0..good.len()).step_by(61).chain([good.len() - 1]) {
        let missing = (good.len() - cut) as u64;
        assert_eq!(
            decode(root, &groups, &[&good[..cut]]).unwrap_err(),
            CodecError::Truncated { missing }
        );
    }
    assert_eq!(
        decode(root, &groups, &[&good, &[0]]).unwrap_err(),
        CodecError::Overlong
    );
}

#[test]
fn a_false_size_is_found() {
    let data = data(4 * G);
    let root = blake3::hash(&data);
    let good = encode(&data, &Groups::all(data.len() as u64), 4096);
    for claimed in [0, 1, G, 2 * G, 4 * G - 1, 4 * G + 1, 5 * G, 64 * G] {
        let groups = Groups::all(claimed as u64);
        let mut forged = good.clone();
        forged.resize(usize::try_from(encoded_bytes(&groups)).unwrap(), 0);
        assert!(decode(root, &groups, &[&forged]).is_err(), "{claimed}");
    }
}

#[test]
fn nothing_unchecked_comes_out() {
    let data = data(3 * G);
    let groups = Groups::all(data.len() as u64);
    let mut bad = encode(&data, &groups, 4096);
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let mut decoder = Decoder::new(blake3::hash(&data), &groups);
    let mut out = Vec::new();
    let pushed = decoder.push::<CodecError>(&bad, |item| {
        if let Item::Data { data, .. } = item {
            out.extend_from_slice(data);
        }
        Ok(())
    });
    assert_eq!(
        pushed,
        Err(CodecError::CorruptData {
            offset: 2 * G as u64
        })
    );
    assert_eq!(out, data[..2 * G]);
}

proptest! {
    #[test]
    fn the_length_is_known_without_a_walk(
        size in 0u64..400 * G as u64,
        asked in prop::collection::vec((0u64..400 * G as u64, 0u64..40 * G as u64), 1..9),
    ) {
        let all = Groups::all(size);
        prop_assert_eq!(encoded_bytes(&all), walked_bytes(&all));
        if let Some(groups) = Groups::covering(size, &asked) {
            prop_assert_eq!(encoded_bytes(&groups), walked_bytes(&groups));
        }
    }

    #[test]
    fn any_ranges_in_any_pieces(
        bytes in 0usize..6 * G,
        asked in prop::collection::vec((0u64..6 * G as u64, 0u64..3 * G as u64), 1..5),
        piece in 1usize..40_000,
        target in 1usize..60_000,
    ) {
        let data = data(bytes);
        if let Some(groups) = Groups::covering(bytes as u64, &asked) {
            let encoded = encode(&data, &groups, target);
            let pieces: Vec<&[u8]> = encoded.chunks(piece).collect();
            let (out, got) = decode(blake3::hash(&data), &groups, &pieces).unwrap();
            prop_assert_eq!(got, groups.bytes());
            for (offset, length) in groups.pairs() {
                let end = if length == 0 { bytes as u64 } else { offset + length };
                let range = usize::try_from(offset).unwrap()..usize::try_from(end).unwrap();
                prop_assert_eq!(&out[range.clone()], &data[range]);
            }
        }
    }
}
