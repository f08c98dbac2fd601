//! Statements of each kind: the fields, the exact bytes, and bytes that are
//! refused.

use embermesh_crypto::{
    Digest, Epoch, JobId, Keypair, PeerId, TaskIndex, TokenId, UnixMillis,
    statement::{
        Advert, DeviceAdvert, DeviceKind, IssuerKey, KeySet, Outcome, Output, Receipt, Revocation,
        Role, Runtimes, Signed, Statement, StatementError, sign,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::hexadecimal::{array, decode, encode};

const SIGNER: u8 = 3;
const STRANGER: u8 = 5;
const NOW_MS: u64 = 1_700_000_000_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// `advert`, `receipt`, `revocation` or `key_set`.
    kind: String,
    name: String,
    /// The domain whose statement the bytes are offered as.
    domain: String,
    /// The signer's seed, where the bytes are what signing the fields gives.
    seed: Option<String>,
    fields: Option<Value>,
    /// Signature and payload.
    bytes: String,
    /// `accepted`, or why it is refused.
    expected: String,
}

/// A kind whose fields can be shown.
trait Shown: Statement {
    const KIND: &'static str;
    fn fields(&self) -> Value;
}

impl Shown for Advert {
    const KIND: &'static str = "advert";

    fn fields(&self) -> Value {
        let devices: Vec<Value> = self
            .devices
            .iter()
            .map(|device| {
                json!({
                    "name": device.name,
                    "kind": device.kind,
                    "memory_bytes": device.memory_bytes,
                    "mflops": device.mflops,
                    "fault": device.fault,
                })
            })
            .collect();
        json!({
            "peer": self.peer,
            "network": self.network,
            "sequence": self.sequence,
            "issued_at": self.issued_at,
            "expires_at": self.expires_at,
            "role": self.role,
            "version": self.version,
            "mesh_addresses": self.mesh_addresses,
            "tls_addresses": self.tls_addresses,
            "region": self.region,
            "price_micros_per_hour": self.price_micros_per_hour,
            "devices": devices,
            "slots": self.slots,
            "free_slots": self.free_slots,
            "queued": self.queued,
            "draining": self.draining,
        })
    }
}

impl Shown for Receipt {
    const KIND: &'static str = "receipt";

    fn fields(&self) -> Value {
        serde_json::to_value(self).unwrap()
    }
}

impl Shown for Revocation {
    const KIND: &'static str = "revocation";

    fn fields(&self) -> Value {
        json!({
            "index": self.index,
            "sequence": self.sequence,
            "issued_at": self.issued_at,
            "min_epoch": self.min_epoch,
            "tokens": self.tokens,
        })
    }
}

impl Shown for KeySet {
    const KIND: &'static str = "key_set";

    fn fields(&self) -> Value {
        let keys: Vec<Value> = self
            .keys
            .iter()
            .map(|key| {
                json!({
                    "key": key.key,
                    "not_before": key.not_before,
                    "not_after": key.not_after,
                })
            })
            .collect();
        json!({
            "index": self.index,
            "sequence": self.sequence,
            "issued_at": self.issued_at,
            "expires_at": self.expires_at,
            "keys": keys,
        })
    }
}

fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

fn peer(seed: u8) -> PeerId {
    key(seed).peer_id()
}

fn advert() -> Advert {
    Advert {
        peer: peer(SIGNER),
        network: "embermesh".parse().unwrap(),
        sequence: 7,
        issued_at: UnixMillis(NOW_MS),
        expires_at: UnixMillis(NOW_MS + 300_000),
        role: Role::Node,
        version: "0.1.0".to_owned(),
        mesh_addresses: vec!["/ip4/127.0.0.1/tcp/4001".to_owned()],
        tls_addresses: vec!["127.0.0.1:7001".to_owned()],
        region: "eu".to_owned(),
        price_micros_per_hour: 250_000,
        devices: vec![
            DeviceAdvert {
                name: "cpu".to_owned(),
                kind: DeviceKind::Cpu,
                memory_bytes: 1 << 33,
                mflops: 90_000,
                fault: None,
            },
            DeviceAdvert {
                name: "gpu".to_owned(),
                kind: DeviceKind::Wgpu,
                memory_bytes: 1 << 34,
                mflops: 0,
                fault: Some("the probe timed out".to_owned()),
            },
        ],
        slots: 2,
        free_slots: 1,
        queued: 0,
        draining: false,
        runtimes: Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
        missing_fences: None,
    }
}

fn receipt() -> Receipt {
    Receipt {
        node: peer(SIGNER),
        client: peer(2),
        issuer: peer(1),
        token_id: TokenId([9; 16]),
        job: JobId::v7(UnixMillis(NOW_MS), [1; 10]),
        task: TaskIndex(0),
        epoch: Epoch(2),
        spec: Digest::of(b"spec"),
        outcome: Outcome::Succeeded,
        device: "cpu".to_owned(),
        device_kind: DeviceKind::Cpu,
        inputs: vec![Digest::of(b"in")],
        outputs: vec![Output {
            name: "model.safetensors".to_owned(),
            digest: Digest::of(b"out"),
            size: 3,
        }],
        steps: 90,
        samples: 2874,
        loss: Some(0.25),
        accuracy: Some(0.975),
        started_at: UnixMillis(NOW_MS),
        ended_at: UnixMillis(NOW_MS + 4200),
        message: String::new(),
        account: None,
    }
}

fn failed_receipt() -> Receipt {
    Receipt {
        outcome: Outcome::Failed,
        outputs: Vec::new(),
        loss: None,
        accuracy: None,
        message: "the labels do not fit the classes".to_owned(),
        ..receipt()
    }
}

fn revocation() -> Revocation {
    Revocation {
        index: peer(SIGNER),
        sequence: 4,
        issued_at: UnixMillis(NOW_MS),
        min_epoch: 2,
        tokens: vec![TokenId([1; 16]), TokenId([2; 16])],
    }
}

fn key_set() -> KeySet {
    KeySet {
        index: peer(SIGNER),
        sequence: 1,
        issued_at: UnixMillis(NOW_MS),
        expires_at: UnixMillis(NOW_MS + 3_600_000),
        keys: vec![IssuerKey {
            key: peer(1),
            not_before: UnixMillis(NOW_MS),
            not_after: UnixMillis(NOW_MS + 86_400_000),
        }],
    }
}

pub(crate) fn generate() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(kind("node", &advert(), Revocation::DOMAIN));
    cases.extend(broken(&[
        ("lives 300001 ms", {
            let mut long = advert();
            long.expires_at = UnixMillis(NOW_MS + 300_001);
            long
        }),
        ("more free slots than slots", {
            let mut eager = advert();
            eager.free_slots = 3;
            eager
        }),
    ]));
    cases.extend(kind("succeeded", &receipt(), Advert::DOMAIN));
    cases.push(accepted("failed", &failed_receipt()));
    cases.extend(broken(&[
        ("loss is not a number", {
            let mut nan = receipt();
            nan.loss = Some(f64::NAN);
            nan
        }),
        ("ends before it begins", {
            let mut reversed = receipt();
            reversed.ended_at = UnixMillis(NOW_MS - 1);
            reversed
        }),
        ("attempt 0", {
            let mut zero = receipt();
            zero.epoch = Epoch(0);
            zero
        }),
    ]));
    cases.extend(kind("two tokens", &revocation(), KeySet::DOMAIN));
    cases.extend(broken(&[
        ("tokens unordered", {
            let mut unordered = revocation();
            unordered.tokens.reverse();
            unordered
        }),
        ("a token twice", {
            let mut twice = revocation();
            twice.tokens = vec![TokenId([1; 16]); 2];
            twice
        }),
    ]));
    cases.extend(kind("one key", &key_set(), Revocation::DOMAIN));
    cases.extend(broken(&[
        ("no key", {
            let mut none = key_set();
            none.keys.clear();
            none
        }),
        ("a key that ends before it begins", {
            let mut reversed = key_set();
            reversed.keys[0].not_after = UnixMillis(NOW_MS - 1);
            reversed
        }),
    ]));
    cases
}

/// One accepted statement, and what is refused whatever its kind.
fn kind<T: Shown>(name: &str, content: &T, other_domain: &str) -> Vec<Case> {
    let good = accepted(name, content);
    let bytes = decode(&good.bytes);
    let payload = &bytes[64..];
    let signed = |payload: &[u8]| raw(T::DOMAIN, payload, SIGNER);
    let changed = |at: usize| {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        changed
    };
    // Each kind is a map of fewer than 24 entries, so its head is one byte.
    let entries = payload[0] & 0x1f;
    assert!(payload[0] >> 5 == 5 && entries < 23, "{}", T::KIND);
    let rest = &payload[1..];
    let long_head = [&[0xb8, entries], rest].concat();
    let indefinite = [&[0xbf], rest, &[0xff]].concat();
    let unknown_field = [&[payload[0] + 1], rest, &[0x17, 0x00]].concat();
    let trailing = [payload, &[0x00]].concat();
    let too_long = vec![0; T::MAX_LEN + 1];
    let instant = NOW_MS.to_be_bytes();
    let in_payload = payload.windows(8).position(|window| window == instant);
    let last_of_instant = 64 + in_payload.unwrap() + 7;
    // The key of the signer is the first value: head, key 0, byte string of 32.
    let stranger = [&payload[..4], peer(STRANGER).as_bytes(), &payload[36..]].concat();
    let refused = [
        (
            "signed under another domain",
            "bad_signature",
            raw(other_domain, payload, SIGNER),
        ),
        (
            "signed by another key",
            "bad_signature",
            raw(T::DOMAIN, payload, STRANGER),
        ),
        (
            "names another signer",
            "bad_signature",
            [&bytes[..64], &stranger[..]].concat(),
        ),
        ("first bit of R flipped", "bad_signature", changed(0)),
        ("first bit of S flipped", "bad_signature", changed(32)),
        (
            "one bit of a time flipped",
            "bad_signature",
            changed(last_of_instant),
        ),
        (
            "an array instead of a map",
            "malformed",
            [&bytes[..64], &[payload[0] ^ 0x20], rest].concat(),
        ),
        (
            "non-canonical: map head in two bytes",
            "not_canonical",
            signed(&long_head),
        ),
        (
            "non-canonical: indefinite map",
            "not_canonical",
            signed(&indefinite),
        ),
        (
            "non-canonical: an unknown field",
            "not_canonical",
            signed(&unknown_field),
        ),
        (
            "non-canonical: a byte follows",
            "not_canonical",
            signed(&trailing),
        ),
        (
            "payload cut by one byte",
            "malformed",
            signed(&payload[..payload.len() - 1]),
        ),
        (
            "a signature without a payload",
            "size",
            bytes[..64].to_vec(),
        ),
        ("one byte longer than its kind may be", "size", too_long),
    ];
    let mut cases = vec![good];
    cases.extend(
        refused
            .into_iter()
            // The longest revocation is a page of zeros that teaches nothing.
            .filter(|(_, _, bytes)| bytes.len() <= 5000)
            .map(|(name, expected, bytes)| Case {
                kind: T::KIND.to_owned(),
                name: name.to_owned(),
                domain: T::DOMAIN.to_owned(),
                seed: None,
                fields: None,
                bytes: encode(&bytes),
                expected: expected.to_owned(),
            }),
    );
    cases
}

fn accepted<T: Shown>(name: &str, content: &T) -> Case {
    Case {
        kind: T::KIND.to_owned(),
        name: name.to_owned(),
        domain: T::DOMAIN.to_owned(),
        seed: Some(encode(&[SIGNER; 32])),
        fields: Some(content.fields()),
        bytes: encode(sign(content, &key(SIGNER)).unwrap().bytes()),
        expected: "accepted".to_owned(),
    }
}

/// Statements under a true signature that break a rule of their kind.
fn broken<T: Shown>(contents: &[(&str, T)]) -> Vec<Case> {
    contents
        .iter()
        .map(|(name, content)| Case {
            kind: T::KIND.to_owned(),
            name: format!("broken rule: {name}"),
            domain: T::DOMAIN.to_owned(),
            seed: Some(encode(&[SIGNER; 32])),
            fields: Some(content.fields()),
            bytes: encode(&raw(T::DOMAIN, &minicbor::to_vec(content).unwrap(), SIGNER)),
            expected: "invalid".to_owned(),
        })
        .collect()
}

/// Signs any payload under any domain.
fn raw(domain: &str, payload: &[u8], seed: u8) -> Vec<u8> {
    let message = [domain.as_bytes(), &[0], payload].concat();
    [&key(seed).sign(&message)[..], payload].concat()
}

pub(crate) fn check(cases: &[Case]) {
    for case in cases {
        match case.kind.as_str() {
            Advert::KIND => check_case::<Advert>(case),
            Receipt::KIND => check_case::<Receipt>(case),
            Revocation::KIND => check_case::<Revocation>(case),
            KeySet::KIND => check_case::<KeySet>(case),
            other => panic!("unknown kind {other}"),
        }
    }
    for kind in [Advert::KIND, Receipt::KIND, Revocation::KIND, KeySet::KIND] {
        for expected in ["accepted", "bad_signature", "not_canonical", "invalid"] {
            let has = |case: &Case| case.kind == kind && case.expected == expected;
            assert!(cases.iter().any(has), "no {kind} that is {expected}");
        }
    }
}

fn check_case<T: Shown>(case: &Case) {
    let name = format!("{}: {}", case.kind, case.name);
    assert_eq!(case.domain, T::DOMAIN, "{name}");
    let bytes = decode(&case.bytes);
    let opened = Signed::<T>::from_bytes(bytes.clone()).and_then(|signed| signed.open());
    let code = opened.as_ref().map_or_else(word, |_| "accepted");
    assert_eq!(code, case.expected, "{name}: {opened:?}");
    if let Some(seed) = &case.seed {
        let seed: [u8; 32] = array(seed);
        assert_eq!(raw(T::DOMAIN, &bytes[64..], seed[0]), bytes, "{name}");
    }
    if let Ok(verified) = opened {
        assert_eq!(Some(verified.fields()), case.fields, "{name}");
        let again = sign(&*verified, &key(SIGNER)).unwrap();
        assert_eq!(again.bytes(), bytes, "{name}");
    }
}

fn word(error: &StatementError) -> &'static str {
    match error {
        StatementError::Size { .. } => "size",
        StatementError::Malformed(_) => "malformed",
        StatementError::NotCanonical => "not_canonical",
        StatementError::Invalid(_) => "invalid",
        StatementError::BadSignature => "bad_signature",
        StatementError::WrongSigner => "wrong_signer",
    }
}
