//! Every refusal of the design, one by one.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;

const NOW: u64 = 1_700_000_000;

struct Trust {
    issuer: PeerId,
    identity: PeerId,
    min_epoch: u64,
    revoked: BTreeSet<TokenId>,
}

impl IssuerTrust for Trust {
    fn authority(&self, issuer: &PeerId, _: UnixMillis) -> Option<Authority> {
        (*issuer == self.issuer).then_some(Authority {
            identity: self.identity,
            min_revocation_epoch: self.min_epoch,
        })
    }

    fn is_revoked(&self, _: &PeerId, token: &TokenId) -> bool {
        self.revoked.contains(token)
    }
}

fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

const ISSUER: u8 = 1;
const CLIENT: u8 = 2;
const NODE: u8 = 3;
const INDEX: u8 = 4;
const STRANGER: u8 = 5;

fn trust() -> Trust {
    Trust {
        issuer: key(ISSUER).peer_id(),
        identity: key(INDEX).peer_id(),
        min_epoch: 3,
        revoked: BTreeSet::new(),
    }
}

fn claims() -> Claims {
    Claims {
        issuer: key(ISSUER).peer_id(),
        client: key(CLIENT).peer_id(),
        node: key(NODE).peer_id(),
        job: JobId::v7(UnixMillis(NOW * 1000), [1; 10]),
        task: TaskIndex(0),
        epoch: Epoch(2),
        spec: Digest::of(b"spec"),
        methods: [Method::Run, Method::Attach].into_iter().collect(),
        ceilings: Ceilings {
            memory_bytes: 1 << 30,
            wall_ms: 60_000,
            output_bytes: 1 << 20,
        },
        token_id: TokenId([9; 16]),
        issued_at: UnixSeconds(NOW),
        not_before: UnixSeconds(NOW),
        expires_at: UnixSeconds(NOW + 600),
        revocation_epoch: 3,
    }
}

fn expect(trust: &Trust) -> Expectation<'_> {
    Expectation {
        node: key(NODE).peer_id(),
        bearer: Bearer::Peer(key(CLIENT).peer_id()),
        method: Method::Run,
        task: None,
        spec: Some(Digest::of(b"spec")),
        now: UnixMillis(NOW * 1000),
        trust,
    }
}

fn token() -> String {
    issue(&claims(), &key(ISSUER)).unwrap()
}

/// A token with any payload under a true signature of the issuer.
fn forge(json: &str) -> String {
    let header = token().split('.').next().unwrap().to_owned();
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(json));
    let signature = key(ISSUER).sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn payload() -> String {
    let token = token();
    let part = token.split('.').nth(1).unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn code(result: Result<Assignment, Refusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code(), |_| "accepted")
}

#[test]
fn a_true_token_is_accepted_and_says_what_was_signed() {
    let trust = trust();
    let assignment = verify(&token(), &expect(&trust)).unwrap();
    assert_eq!(assignment.claims(), &claims());
    assert_eq!(assignment.text(), token());
}

#[test]
fn each_binding_is_refused_with_its_code() {
    let trust = trust();
    let stranger = key(STRANGER).peer_id();
    let other_task = TaskRef {
        job: claims().job,
        task: TaskIndex(1),
    };
    type Change<'a> = Box<dyn Fn(&mut Expectation<'a>) + 'a>;
    let cases: Vec<(&str, Change<'_>)> = vec![
        ("wrong_node", Box::new(|e| e.node = stranger)),
        (
            "wrong_client",
            Box::new(|e| e.bearer = Bearer::Peer(stranger)),
        ),
        (
            "wrong_client",
            Box::new(|e| e.bearer = Bearer::Issuer(stranger)),
        ),
        (
            "wrong_job",
            Box::new(|e| e.spec = Some(Digest::of(b"other"))),
        ),
        ("wrong_job", Box::new(|e| e.task = Some(other_task))),
        (
            "method_not_allowed",
            Box::new(|e| e.method = Method::Cancel),
        ),
        (
            "accepted",
            Box::new(|e| e.bearer = Bearer::Issuer(key(INDEX).peer_id())),
        ),
    ];
    for (expected, change) in cases {
        let mut expectation = expect(&trust);
        change(&mut expectation);
        assert_eq!(code(verify(&token(), &expectation)), expected);
    }
    let mut unknown = self::trust();
    unknown.issuer = stranger;
    assert_eq!(code(verify(&token(), &expect(&unknown))), "unknown_issuer");
}

#[test]
fn times_are_judged_with_thirty_seconds_of_skew() {
    let trust = trust();
    let mut early = claims();
    early.not_before = UnixSeconds(NOW + 100);
    let early = issue(&early, &key(ISSUER)).unwrap();
    let at = |token: &str, second: u64| {
        let mut expectation = expect(&trust);
        expectation.now = UnixMillis(second * 1000);
        code(verify(token, &expectation))
    };
    assert_eq!(at(&early, NOW + 69), "not_yet_valid");
    assert_eq!(at(&early, NOW + 70), "accepted");
    assert_eq!(at(&token(), NOW + 629), "accepted");
    assert_eq!(at(&token(), NOW + 630), "expired");
}

#[test]
fn a_token_is_taken_back_by_epoch_or_by_name() {
    let mut by_epoch = trust();
    by_epoch.min_epoch = 4;
    assert_eq!(code(verify(&token(), &expect(&by_epoch))), "revoked");
    let mut by_name = trust();
    by_name.revoked.insert(claims().token_id);
    assert_eq!(code(verify(&token(), &expect(&by_name))), "revoked");
}

#[test]
fn an_attempt_is_admitted_once_and_in_order() {
    let trust = trust();
    let assignment = verify(&token(), &expect(&trust)).unwrap();
    let fits = claims().ceilings;
    let admitted = |seen, asked| admit(&assignment, seen, asked).map_err(|r| r.code());
    assert_eq!(admitted(None, fits), Ok(()));
    assert_eq!(admitted(Some(Epoch(1)), fits), Ok(()));
    assert_eq!(admitted(Some(Epoch(2)), fits), Err("replayed"));
    assert_eq!(admitted(Some(Epoch(3)), fits), Err("stale_epoch"));
    for over in [
        Ceilings {
            memory_bytes: fits.memory_bytes + 1,
            ..fits
        },
        Ceilings {
            wall_ms: fits.wall_ms + 1,
            ..fits
        },
        Ceilings {
            output_bytes: fits.output_bytes + 1,
            ..fits
        },
    ] {
        assert_eq!(admitted(None, over), Err("over_ceiling"));
    }
}

#[test]
fn no_bit_of_a_token_can_change() {
    let trust = trust();
    let token = token();
    for bit in 0..token.len() * 8 {
        let mut bytes = token.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let refused = code(verify(&text, &expect(&trust)));
        assert!(
            ["malformed", "bad_signature"].contains(&refused),
            "bit {bit}: {refused}"
        );
    }
    for len in 0..token.len() {
        assert_ne!(code(verify(&token[..len], &expect(&trust))), "accepted");
    }
}

#[test]
fn unknown_repeated_missing_and_contradictory_claims_are_malformed() {
    let trust = trust();
    let payload = payload();
    assert_eq!(code(verify(&forge(&payload), &expect(&trust))), "accepted");
    let other = key(STRANGER).peer_id();
    let edits = [
        payload.replacen('{', r#"{"extra":1,"#, 1),
        payload.replacen(r#""task":0"#, r#""task":0,"task":0"#, 1),
        payload.replacen(r#""task":0,"#, "", 1),
        payload.replacen(r#""task":0"#, r#""task":-1"#, 1),
        payload.replacen(r#""task":0"#, r#""task":0.5"#, 1),
        payload.replacen(r#""epoch":2"#, r#""epoch":0"#, 1),
        payload.replacen(r#"["attach","run"]"#, r#"["run","attach"]"#, 1),
        payload.replacen(r#"["attach","run"]"#, r#"["run","run"]"#, 1),
        payload.replacen(r#"["attach","run"]"#, r#"["root"]"#, 1),
        payload.replacen(r#"["attach","run"]"#, "[]", 1),
        payload.replacen(
            &format!("\"exp\":{}", NOW + 600),
            &format!("\"exp\":{}", NOW + 601),
            1,
        ),
        payload.replacen(&claims().client.to_string(), &other.to_string(), 1),
        payload.replacen(r#""kty":"OKP""#, r#""kty":"RSA""#, 1),
        payload.replacen(r#""mem":"#, r#""meme":"#, 1),
        format!("{payload} x"),
        "[]".to_owned(),
        "{".repeat(2000),
    ];
    for edit in edits {
        assert_ne!(edit, payload, "the edit must change something");
        let refused = code(verify(&forge(&edit), &expect(&trust)));
        assert_eq!(refused, "malformed", "{edit}");
    }
}

#[test]
fn another_header_is_refused_even_under_a_true_signature() {
    let trust = trust();
    let body = token().split('.').nth(1).unwrap().to_owned();
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"typ":"embermesh-assignment+jwt","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","typ":"embermesh-assignment+jwt" }"#,
    ] {
        let message = format!("{}.{body}", URL_SAFE_NO_PAD.encode(header));
        let signature = URL_SAFE_NO_PAD.encode(key(ISSUER).sign(message.as_bytes()));
        let refused = code(verify(&format!("{message}.{signature}"), &expect(&trust)));
        assert_eq!(refused, "malformed", "{header}");
    }
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        &"x".repeat(5000),
        &token().replace('.', ""),
    ] {
        assert_eq!(code(verify(text, &expect(&trust))), "malformed");
    }
}

#[test]
fn base64_has_one_form() {
    let trust = trust();
    let token = token();
    for text in [
        format!("{token}="),
        format!("{token}=="),
        format!(" {token}"),
        format!("{token}\n"),
        token.replacen('.', "..", 1),
    ] {
        assert_eq!(code(verify(&text, &expect(&trust))), "malformed");
    }
    // 64 bytes leave four spare bits in the last character; they must be zero.
    let last = token.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).unwrap();
    assert_eq!(at % 16, 0, "the spare bits are zero when written");
    for spare in 1..16 {
        let mut text = token[..token.len() - 1].to_owned();
        text.push(alphabet.as_bytes()[at + spare] as char);
        assert_eq!(code(verify(&text, &expect(&trust))), "malformed");
    }
}

#[test]
fn known_malleabilities_of_ed25519_are_refused() {
    let trust = trust();
    let token = token();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature: [u8; 64] = URL_SAFE_NO_PAD
        .decode(signature)
        .unwrap()
        .try_into()
        .unwrap();
    let with = |signature: &[u8]| {
        let text = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        code(verify(&text, &expect(&trust)))
    };
    assert_eq!(with(&signature), "accepted");
    // S + L: the same scalar, not reduced (RFC 8032, section 5.1.7).
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut plus_l = signature;
    let mut carry = 0u16;
    for (byte, add) in plus_l[32..].iter_mut().zip(L) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(with(&plus_l), "bad_signature");
    // The high bits of S, which some verifiers mask away.
    for bit in [0x20, 0x40, 0x80] {
        let mut high = signature;
        high[63] |= bit;
        assert_eq!(with(&high), "bad_signature");
    }
    // R of small order, canonical and not, with S = 0 and with the true S.
    for r in SMALL_ORDER {
        let mut small = signature;
        small[..32].copy_from_slice(&r);
        assert_eq!(with(&small), "bad_signature");
        small[32..].fill(0);
        assert_eq!(with(&small), "bad_signature");
    }
    // An issuer of small order, under which S = 0 and R = identity verify for
    // any message in a lax verifier.
    for key in SMALL_ORDER {
        assert!(PeerId::from_public_key(&key).is_err());
    }
    assert_eq!(with(&[0; 64]), "bad_signature");
    assert_eq!(with(&signature[..63]), "malformed");
}

/// The encodings of the eight points of small order, the last three of them
/// not canonical ("Taming the many EdDSAs", Chalkias and others, table 5).
const SMALL_ORDER: [[u8; 32]; 8] = [
    hex("0100000000000000000000000000000000000000000000000000000000000000"),
    hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex("0000000000000000000000000000000000000000000000000000000000000000"),
    hex("0000000000000000000000000000000000000000000000000000000000000080"),
    hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    hex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
];

const fn hex(text: &str) -> [u8; 32] {
    const fn value(c: u8) -> u8 {
        if c <= b'9' { c - b'0' } else { c - b'a' + 10 }
    }
    let digits = text.as_bytes();
    let mut out = [0; 32];
    let mut i = 0;
    while i < 32 {
        out[i] = value(digits[2 * i]) << 4 | value(digits[2 * i + 1]);
        i += 1;
    }
    out
}

#[test]
fn claims_that_break_a_rule_are_not_signed() {
    let issued = |change: fn(&mut Claims)| {
        let mut claims = claims();
        change(&mut claims);
        issue(&claims, &key(ISSUER)).unwrap_err()
    };
    assert_eq!(issued(|c| c.expires_at.0 += 1), InvalidClaims::Times);
    assert_eq!(
        issued(|c| c.expires_at = c.not_before),
        InvalidClaims::Times
    );
    assert_eq!(issued(|c| c.issued_at.0 += 1), InvalidClaims::Times);
    assert_eq!(issued(|c| c.epoch = Epoch(0)), InvalidClaims::Epoch);
    assert_eq!(
        issued(|c| c.methods = Methods::default()),
        InvalidClaims::NoMethods
    );
    assert_eq!(
        issue(&claims(), &key(STRANGER)).unwrap_err(),
        InvalidClaims::WrongIssuer
    );
}

#[test]
fn inspection_shows_only_what_a_signature_holds() {
    let seen = inspect(&token(), UnixMillis((NOW + 10_000) * 1000)).unwrap();
    assert_eq!(seen.claims, claims());
    assert_eq!(seen.verdict.unwrap_err().code(), "expired");
    let mut broken = token();
    broken.truncate(broken.len() - 2);
    assert!(inspect(&broken, UnixMillis(0)).is_err());
}
