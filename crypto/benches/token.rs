//! What a token costs: to issue, to verify, and beside it the bare signature
//! check of a message of the same length.
//!
//! `cargo bench -p embermesh-crypto --bench token`. After criterion's means it
//! prints the percentiles of single verifications, because a node judges each
//! call by one.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::Criterion;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use embermesh_crypto::{
    Digest, Epoch, JobId, Keypair, PeerId, TaskIndex, TokenId, UnixMillis, UnixSeconds,
    token::{
        Authority, Bearer, Ceilings, Claims, Expectation, IssuerTrust, Method, Methods, issue,
        verify,
    },
};

const NOW_S: u64 = 1_700_000_000;
/// How many single verifications the percentiles are taken from.
const SINGLES: usize = 20_000;
/// Verifications that warm the caches before the first is measured.
const WARM_UP: usize = 1_000;

/// Believes one issuer.
struct OneIssuer(PeerId);

impl IssuerTrust for OneIssuer {
    fn authority(&self, issuer: &PeerId, _: UnixMillis) -> Option<Authority> {
        (*issuer == self.0).then_some(Authority {
            identity: self.0,
            min_revocation_epoch: 0,
        })
    }

    fn is_revoked(&self, _: &PeerId, _: &TokenId) -> bool {
        false
    }
}

fn claims(issuer: &Keypair) -> Claims {
    Claims {
        issuer: issuer.peer_id(),
        client: Keypair::from_seed(&[2; 32]).peer_id(),
        node: Keypair::from_seed(&[3; 32]).peer_id(),
        job: JobId::v7(UnixMillis(NOW_S * 1000), [1; 10]),
        task: TaskIndex(0),
        epoch: Epoch::FIRST,
        spec: Digest::of(b"spec"),
        methods: Methods::all(),
        ceilings: Ceilings {
            memory_bytes: 1 << 30,
            wall_ms: 60_000,
            output_bytes: 1 << 20,
        },
        token_id: TokenId([9; 16]),
        issued_at: UnixSeconds(NOW_S),
        not_before: UnixSeconds(NOW_S),
        expires_at: UnixSeconds(NOW_S + 600),
        revocation_epoch: 0,
    }
}

fn main() {
    let issuer = Keypair::from_seed(&[1; 32]);
    let claims = claims(&issuer);
    let token = issue(&claims, &issuer).expect("the claims are in order");
    let trust = OneIssuer(issuer.peer_id());
    let expectation = Expectation {
        node: claims.node,
        bearer: Bearer::Peer(claims.client),
        method: Method::Run,
        task: None,
        spec: Some(claims.spec),
        now: UnixMillis(NOW_S * 1000),
        trust: &trust,
    };
    let plain = Plain::of_len(token.len());
    assert!(verify(&token, &expectation).is_ok());
    assert!(plain.verify().is_ok());

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("token");
    group.bench_function("issue", |b| b.iter(|| issue(black_box(&claims), &issuer)));
    group.bench_function("verify", |b| {
        b.iter(|| verify(black_box(&token), &expectation))
    });
    group.bench_function("ed25519-dalek verify_strict", |b| b.iter(|| plain.verify()));
    group.finish();
    criterion.final_summary();

    // A trial run, as `cargo test --benches` makes, is not a measurement.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!(
        "token of {} bytes, {SINGLES} single calls each",
        token.len()
    );
    percentiles("verify", || verify(black_box(&token), &expectation).is_ok());
    percentiles("ed25519-dalek verify_strict", || plain.verify().is_ok());
}

/// The peer: a signature over a message as long as the token, and a key that
/// is decompressed already.
struct Plain {
    key: VerifyingKey,
    message: Vec<u8>,
    signature: Signature,
}

impl Plain {
    fn of_len(len: usize) -> Self {
        let signing = SigningKey::from_bytes(&[1; 32]);
        let message = vec![b'e'; len];
        Self {
            key: signing.verifying_key(),
            signature: signing.sign(&message),
            message,
        }
    }

    fn verify(&self) -> Result<(), ed25519_dalek::SignatureError> {
        self.key
            .verify_strict(black_box(&self.message), &self.signature)
    }
}

fn percentiles(name: &str, call: impl Fn() -> bool) {
    for _ in 0..WARM_UP {
        assert!(call(), "{name} refused what is in order");
    }
    let mut spans: Vec<Duration> = (0..SINGLES)
        .map(|_| {
            let start = Instant::now();
            let held = call();
            let span = start.elapsed();
            assert!(held, "{name} refused what is in order");
            span
        })
        .collect();
    spans.sort_unstable();
    let micros = |per_mille: usize| {
        let at = (spans.len() * per_mille / 1000).min(spans.len() - 1);
        spans[at].as_secs_f64() * 1e6
    };
    println!(
        "{name}: p50 {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs",
        micros(500),
        micros(990),
        micros(999)
    );
}
