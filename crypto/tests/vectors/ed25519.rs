//! Which keys are peers and which signatures hold: RFC 8032 and the cases in
//! which implementations of Ed25519 disagree.

use embermesh_crypto::{Keypair, PeerId};
use serde::{Deserialize, Serialize};

use crate::hexadecimal::{array, decode, encode};

/// The order of the base point, little-endian (RFC 8032, section 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Name, seed, public key, message, signature: RFC 8032, section 7.1.
const RFC_8032: [[&str; 5]; 3] = [
    [
        "rfc 8032 test 1",
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "rfc 8032 test 2",
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "rfc 8032 test 3",
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
];

/// Name, public key, message, signature, whether the key is a peer, whether
/// the signature holds: from the published vectors of "Taming the many EdDSAs"
/// (IACR ePrint 2020/1244).
const MANY_EDDSAS: [(&str, &str, &str, &str, bool, bool); 4] = [
    (
        "small-order key, small-order R, S = 0",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a0000000000000000000000000000000000000000000000000000000000000000",
        false,
        false,
    ),
    (
        "small-order key, mixed-order R",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        false,
        false,
    ),
    (
        "mixed-order key, small-order R",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        true,
        false,
    ),
    (
        "mixed-order key, mixed-order R, equation holds without cofactor",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        true,
        true,
    ),
];

/// Encodings that are no peer. The signature beside them is `R = key, S = 0`,
/// which a careless check of a small-order key accepts.
const NO_PEERS: [(&str, &str); 10] = [
    (
        "small order: the identity",
        "0100000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "small order: 2",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ),
    (
        "small order: 4",
        "0000000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "small order: 4, other sign",
        "0000000000000000000000000000000000000000000000000000000000000080",
    ),
    (
        "small order: 8",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    ),
    (
        "small order: 8, other point",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ),
    (
        "non-canonical: y = p, of order 4",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ),
    (
        "non-canonical: y = p + 1, the identity",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ),
    (
        "non-canonical: y = p + 3, of large order",
        "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ),
    (
        "not on the curve: y = 2",
        "0200000000000000000000000000000000000000000000000000000000000000",
    ),
];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    name: String,
    /// Hex; where it is given, signing the message gives the signature.
    seed: Option<String>,
    public_key: String,
    message: String,
    signature: String,
    /// Whether the key names a peer.
    is_peer: bool,
    /// The text form of that peer.
    peer_id: Option<String>,
    /// Whether the signature is that peer's.
    verifies: bool,
}

impl Case {
    fn new(name: &str, key: &str, message: &str, signature: &str, expected: (bool, bool)) -> Self {
        let (is_peer, verifies) = expected;
        Self {
            name: name.to_owned(),
            seed: None,
            public_key: key.to_owned(),
            message: message.to_owned(),
            signature: signature.to_owned(),
            is_peer,
            peer_id: PeerId::from_public_key(&array(key))
                .ok()
                .map(|peer| peer.to_string()),
            verifies,
        }
    }
}

pub(crate) fn generate() -> Vec<Case> {
    let mut cases = Vec::new();
    for [name, seed, key, message, signature] in RFC_8032 {
        let mut case = Case::new(name, key, message, signature, (true, true));
        case.seed = Some(seed.to_owned());
        cases.push(case);
    }
    let [_, _, key, message, signature] = RFC_8032[1];
    for (name, signature) in altered(signature) {
        cases.push(Case::new(name, key, message, &signature, (true, false)));
    }
    let other = "73";
    cases.push(Case::new(
        "another message",
        key,
        other,
        signature,
        (true, false),
    ));
    let stranger = RFC_8032[2][2];
    cases.push(Case::new(
        "another key",
        stranger,
        message,
        signature,
        (true, false),
    ));
    for (name, key, message, signature, is_peer, verifies) in MANY_EDDSAS {
        cases.push(Case::new(
            name,
            key,
            message,
            signature,
            (is_peer, verifies),
        ));
    }
    for (name, key) in NO_PEERS {
        let signature = format!("{key}{}", "0".repeat(64));
        cases.push(Case::new(name, key, "72", &signature, (false, false)));
    }
    cases
}

/// A true signature, changed in each of the ways that must not hold.
fn altered(signature: &str) -> Vec<(&'static str, String)> {
    let bytes: [u8; 64] = array(signature);
    let with = |change: &dyn Fn(&mut [u8; 64])| {
        let mut changed = bytes;
        change(&mut changed);
        encode(&changed)
    };
    vec![
        (
            "malleable: S + L",
            with(&|bytes| add_order(&mut bytes[32..])),
        ),
        (
            "malleable: S with its highest bits set",
            with(&|bytes| bytes[63] |= 0xe0),
        ),
        ("one bit of R flipped", with(&|bytes| bytes[0] ^= 1)),
        ("one bit of S flipped", with(&|bytes| bytes[32] ^= 1)),
        (
            "R replaced by the identity",
            with(&|bytes| {
                bytes[..32].fill(0);
                bytes[0] = 1;
            }),
        ),
        ("all zero", with(&|bytes| bytes.fill(0))),
    ]
}

fn add_order(s: &mut [u8]) {
    let mut carry = 0;
    for (byte, addend) in s.iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(addend) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "S + L fits into 32 bytes");
}

pub(crate) fn check(cases: &[Case]) {
    for case in cases {
        let name = &case.name;
        let message = decode(&case.message);
        let signature = array(&case.signature);
        let peer = PeerId::from_public_key(&array(&case.public_key));
        assert_eq!(peer.is_ok(), case.is_peer, "{name}: {peer:?}");
        let text = peer.as_ref().ok().map(ToString::to_string);
        assert_eq!(text, case.peer_id, "{name}");
        let verifies = peer.is_ok_and(|peer| peer.verify(&message, &signature).is_ok());
        assert_eq!(verifies, case.verifies, "{name}");
        if let Some(seed) = &case.seed {
            let keypair = Keypair::from_seed(&array(seed));
            assert_eq!(keypair.peer_id().to_string(), text.unwrap(), "{name}");
            assert_eq!(keypair.sign(&message), signature, "{name}");
        }
    }
}
