//! The cases of `tokens.json`, made from fixed seeds.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use embermesh_crypto::{
    Digest, Epoch, JobId, Keypair, PeerId, TaskIndex, TokenId, UnixMillis, UnixSeconds,
    token::{Ceilings, Claims, Method, issue},
};

use super::{AdmissionCase, BearerText, Case, Context, Key, Task, Trust, Vectors};
use crate::hexadecimal::encode;

const NOW_S: u64 = 1_700_000_000;
const ISSUER: u8 = 1;
const CLIENT: u8 = 2;
const NODE: u8 = 3;
const INDEX: u8 = 4;
const STRANGER: u8 = 5;

fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

fn peer(seed: u8) -> PeerId {
    key(seed).peer_id()
}

fn claims() -> Claims {
    Claims {
        issuer: peer(ISSUER),
        client: peer(CLIENT),
        node: peer(NODE),
        job: JobId::v7(UnixMillis(NOW_S * 1000), [1; 10]),
        task: TaskIndex(0),
        epoch: Epoch(2),
        spec: Digest::of(b"spec"),
        methods: [Method::Run, Method::Attach].into_iter().collect(),
        ceilings: CEILINGS,
        token_id: TokenId([9; 16]),
        issued_at: UnixSeconds(NOW_S),
        not_before: UnixSeconds(NOW_S),
        expires_at: UnixSeconds(NOW_S + 600),
        revocation_epoch: 3,
    }
}

const CEILINGS: Ceilings = Ceilings {
    memory_bytes: 1 << 30,
    wall_ms: 60_000,
    output_bytes: 1 << 20,
};

fn context() -> Context {
    Context {
        node: peer(NODE),
        bearer: BearerText::Peer(peer(CLIENT)),
        method: "run".to_owned(),
        task: Some(Task {
            job: claims().job,
            task: TaskIndex(0),
        }),
        spec: Some(Digest::of(b"spec")),
        now_ms: NOW_S * 1000,
        trust: Trust {
            issuer: peer(ISSUER),
            identity: peer(INDEX),
            min_revocation_epoch: 3,
            revoked: BTreeSet::new(),
        },
    }
}

fn header() -> String {
    URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"embermesh-assignment+jwt"}"#)
}

/// Signs any text as claims, whether or not they obey the rules.
pub(super) fn sign(claims: &str, seed: u8) -> String {
    let message = format!("{}.{}", header(), URL_SAFE_NO_PAD.encode(claims));
    let signature = key(seed).sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn claims_text(claims: &Claims) -> String {
    let token = issue(claims, &key(ISSUER)).unwrap();
    let part = token.split('.').nth(1).unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub(crate) fn generate() -> Vectors {
    let named = [
        ("issuer", ISSUER),
        ("client", CLIENT),
        ("node", NODE),
        ("index", INDEX),
        ("stranger", STRANGER),
    ];
    let mut tokens = in_context();
    tokens.extend(with_claims());
    tokens.extend(as_text());
    Vectors {
        keys: named
            .map(|(name, seed)| Key {
                name: name.to_owned(),
                seed: encode(&[seed; 32]),
                public_key: encode(peer(seed).as_bytes()),
                peer_id: peer(seed),
            })
            .into(),
        tokens,
        admissions: admissions(),
    }
}

/// The same good token, judged against other facts.
fn in_context() -> Vec<Case> {
    type Change = fn(&mut Context);
    let cases: [(&str, &str, Change); 22] = [
        ("good", "accepted", |_| {}),
        ("good: delivered by its index", "accepted", |c| {
            c.bearer = BearerText::Issuer(peer(INDEX));
        }),
        (
            "good: the call names no task and no spec",
            "accepted",
            |c| {
                c.task = None;
                c.spec = None;
            },
        ),
        (
            "good: the clocks differ by 30 s at the start",
            "accepted",
            |c| {
                c.now_ms = (NOW_S - 30) * 1000;
            },
        ),
        ("good: the last millisecond", "accepted", |c| {
            c.now_ms = (NOW_S + 630) * 1000 - 1;
        }),
        ("issuer is not trusted", "unknown_issuer", |c| {
            c.trust.issuer = peer(STRANGER);
        }),
        ("asked of another node", "wrong_node", |c| {
            c.node = peer(STRANGER);
        }),
        ("held out by another peer", "wrong_client", |c| {
            c.bearer = BearerText::Peer(peer(STRANGER));
        }),
        (
            "held out by the issuing key as a peer",
            "wrong_client",
            |c| {
                c.bearer = BearerText::Peer(peer(ISSUER));
            },
        ),
        ("delivered by another index", "wrong_client", |c| {
            c.bearer = BearerText::Issuer(peer(STRANGER));
        }),
        ("for another job", "wrong_job", |c| {
            c.task = Some(Task {
                job: JobId::v7(UnixMillis(NOW_S * 1000), [2; 10]),
                task: TaskIndex(0),
            });
        }),
        ("for another task of the job", "wrong_job", |c| {
            c.task = Some(Task {
                job: claims().job,
                task: TaskIndex(1),
            });
        }),
        ("with another spec", "wrong_job", |c| {
            c.spec = Some(Digest::of(b"another spec"));
        }),
        ("a method that is not listed", "method_not_allowed", |c| {
            c.method = "cancel".to_owned();
        }),
        ("31 s early", "not_yet_valid", |c| {
            c.now_ms = (NOW_S - 30) * 1000 - 1;
        }),
        ("30 s after its end", "expired", |c| {
            c.now_ms = (NOW_S + 630) * 1000;
        }),
        ("its revocation epoch is void", "revoked", |c| {
            c.trust.min_revocation_epoch = 4;
        }),
        ("taken back by name", "revoked", |c| {
            c.trust.revoked = [TokenId([9; 16])].into();
        }),
        ("another token is taken back", "accepted", |c| {
            c.trust.revoked = [TokenId([8; 16])].into();
        }),
        ("order: issuer before node", "unknown_issuer", |c| {
            c.trust.issuer = peer(STRANGER);
            c.node = peer(STRANGER);
        }),
        ("order: node before client", "wrong_node", |c| {
            c.node = peer(STRANGER);
            c.bearer = BearerText::Peer(peer(STRANGER));
        }),
        ("order: times before revocation", "expired", |c| {
            c.now_ms = (NOW_S + 1000) * 1000;
            c.trust.min_revocation_epoch = 4;
        }),
    ];
    let text = claims_text(&claims());
    cases
        .into_iter()
        .map(|(name, expected, change)| {
            let mut case = signed(name, &text, ISSUER, expected);
            change(&mut case.context);
            case
        })
        .collect()
}

fn signed(name: &str, claims: &str, seed: u8, expected: &str) -> Case {
    Case {
        name: name.to_owned(),
        seed: Some(encode(&[seed; 32])),
        claims: Some(claims.to_owned()),
        token: sign(claims, seed),
        context: context(),
        expected: expected.to_owned(),
    }
}

/// Other claims, under a true signature unless the name says otherwise.
fn with_claims() -> Vec<Case> {
    let good = claims_text(&claims());
    let replaced = |from: &str, to: &str| {
        assert_eq!(good.matches(from).count(), 1, "{from}");
        good.replacen(from, to, 1)
    };
    let issuer = peer(ISSUER).to_string();
    let client_key = URL_SAFE_NO_PAD.encode(peer(CLIENT).as_bytes());
    let other_key = URL_SAFE_NO_PAD.encode(peer(STRANGER).as_bytes());
    let mut cases = vec![signed(
        "signed by another key than `iss`",
        &good,
        STRANGER,
        "bad_signature",
    )];
    let malformed = [
        ("claims: unknown", replaced("{\"iss\"", "{\"x\":1,\"iss\"")),
        (
            "claims: `iss` twice",
            replaced("{\"iss\"", &format!("{{\"iss\":\"{issuer}\",\"iss\"")),
        ),
        (
            "claims: `aud` twice, the same",
            replaced("\"cnf\"", &format!("\"aud\":\"{}\",\"cnf\"", peer(NODE))),
        ),
        (
            "claims: `exp` twice, the later one last",
            replaced(",\"rev\"", ",\"exp\":1900000000,\"rev\""),
        ),
        ("claims: `rev` missing", replaced(",\"rev\":3", "")),
        ("claims: not JSON", good[..good.len() - 1].to_owned()),
        ("claims: something follows", format!("{good}x")),
        (
            "claims: a fraction of a second",
            replaced("\"epoch\":2", "\"epoch\":2.5"),
        ),
        (
            "claims: `cnf` holds another key than `sub`",
            replaced(&client_key, &other_key),
        ),
        (
            "claims: a method twice",
            replaced("\"attach\",\"run\"", "\"run\",\"run\""),
        ),
        (
            "claims: methods unordered",
            replaced("\"attach\",\"run\"", "\"run\",\"attach\""),
        ),
        (
            "claims: an unknown method",
            replaced("\"attach\",\"run\"", "\"attach\",\"rule\""),
        ),
        ("claims: no method", replaced("\"attach\",\"run\"", "")),
        ("claims: attempt 0", replaced("\"epoch\":2", "\"epoch\":0")),
        (
            "claims: a life of 601 s",
            replaced("\"exp\":1700000600", "\"exp\":1700000601"),
        ),
        (
            "claims: ends when it begins",
            replaced("\"exp\":1700000600", "\"exp\":1700000000"),
        ),
        (
            "claims: valid before it was issued",
            replaced("\"nbf\":1700000000", "\"nbf\":1699999999"),
        ),
        (
            "claims: the nil job",
            replaced(
                &claims().job.to_string(),
                "00000000-0000-0000-0000-000000000000",
            ),
        ),
    ];
    cases.extend(
        malformed
            .iter()
            .map(|(name, claims)| signed(name, claims, ISSUER, "malformed")),
    );
    cases
}

/// Texts that no issuer writes.
fn as_text() -> Vec<Case> {
    let good = sign(&claims_text(&claims()), ISSUER);
    let parts: Vec<&str> = good.split('.').collect();
    let [head, body, signature] = parts[..] else {
        panic!("a token has three parts");
    };
    // A header of one's own is signed, so that only the header is wrong.
    let headed = |json: &str| {
        let message = format!("{}.{body}", URL_SAFE_NO_PAD.encode(json));
        let signature = key(ISSUER).sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let flipped = |part: &str| {
        let first = if part.starts_with('A') { "B" } else { "A" };
        format!("{first}{}", &part[1..])
    };
    // 64 bytes end with four bits that must be zero.
    let end = signature.len() - 1;
    let loose_end = match &signature[end..] {
        "A" => "B",
        "Q" => "R",
        "g" => "h",
        _ => "x",
    };
    let other_body = URL_SAFE_NO_PAD
        .encode(claims_text(&claims()).replace("\"exp\":1700000600", "\"exp\":1700000500"));
    let cases = [
        ("text: empty", String::new(), "malformed"),
        ("text: two parts", format!("{head}.{body}"), "malformed"),
        (
            "text: four parts",
            format!("{good}.{signature}"),
            "malformed",
        ),
        ("text: a space before", format!(" {good}"), "malformed"),
        ("text: a line end behind", format!("{good}\n"), "malformed"),
        (
            "text: 4097 bytes",
            format!("{good}{}", "A".repeat(4097 - good.len())),
            "malformed",
        ),
        (
            "header: none",
            headed(r#"{"alg":"none","typ":"embermesh-assignment+jwt"}"#),
            "malformed",
        ),
        (
            "header: another algorithm",
            headed(r#"{"alg":"HS256","typ":"embermesh-assignment+jwt"}"#),
            "malformed",
        ),
        (
            "header: another type",
            headed(r#"{"alg":"EdDSA","typ":"JWT"}"#),
            "malformed",
        ),
        (
            "header: a key of its own",
            headed(r#"{"alg":"EdDSA","typ":"embermesh-assignment+jwt","kid":"x"}"#),
            "malformed",
        ),
        (
            "header: the same with a space",
            headed(r#"{"alg":"EdDSA", "typ":"embermesh-assignment+jwt"}"#),
            "malformed",
        ),
        ("base64: padded signature", format!("{good}=="), "malformed"),
        (
            "base64: bits left over that are not zero",
            format!("{}{loose_end}", &good[..good.len() - 1]),
            "malformed",
        ),
        (
            "base64: a sign of the other alphabet",
            format!("{head}.{body}.+{}", &signature[1..]),
            "malformed",
        ),
        (
            "base64: a sign of the other alphabet in the claims",
            format!("{head}./{}.{signature}", &body[1..]),
            "malformed",
        ),
        (
            "signature: 63 bytes",
            format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode([0; 63])),
            "malformed",
        ),
        ("signature: empty", format!("{head}.{body}."), "malformed"),
        (
            "signature: flipped bits",
            format!("{head}.{body}.{}", flipped(signature)),
            "bad_signature",
        ),
        (
            "signature: of other claims",
            format!("{head}.{other_body}.{signature}"),
            "bad_signature",
        ),
        (
            "signature: all zero",
            format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
            "bad_signature",
        ),
    ];
    cases
        .into_iter()
        .map(|(name, token, expected)| Case {
            name: name.to_owned(),
            seed: None,
            claims: None,
            token,
            context: context(),
            expected: expected.to_owned(),
        })
        .collect()
}

fn admissions() -> Vec<AdmissionCase> {
    let over = |change: fn(&mut Ceilings)| {
        let mut asked = CEILINGS;
        change(&mut asked);
        asked
    };
    [
        ("the first attempt here", None, CEILINGS, "accepted"),
        ("a later attempt", Some(Epoch(1)), CEILINGS, "accepted"),
        (
            "the same attempt again",
            Some(Epoch(2)),
            CEILINGS,
            "replayed",
        ),
        (
            "replaced by a later one",
            Some(Epoch(3)),
            CEILINGS,
            "stale_epoch",
        ),
        (
            "memory",
            None,
            over(|c| c.memory_bytes += 1),
            "over_ceiling",
        ),
        ("wall time", None, over(|c| c.wall_ms += 1), "over_ceiling"),
        (
            "output",
            None,
            over(|c| c.output_bytes += 1),
            "over_ceiling",
        ),
    ]
    .map(|(name, newest_epoch, asked, expected)| AdmissionCase {
        name: name.to_owned(),
        newest_epoch,
        asked,
        expected: expected.to_owned(),
    })
    .into()
}
