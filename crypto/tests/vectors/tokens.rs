//! Tokens with what they are judged against: one that is accepted, and at
//! least one for each code that a judge can give.

mod cases;

use std::collections::BTreeSet;

pub(crate) use cases::generate;
use embermesh_crypto::{
    Digest, Epoch, JobId, Keypair, PeerId, TaskIndex, TokenId, UnixMillis,
    token::{
        Authority, Bearer, Ceilings, Expectation, IssuerTrust, Method, Refusal, TaskRef, admit,
        issue, verify,
    },
};
use serde::{Deserialize, Serialize};

use crate::hexadecimal::array;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vectors {
    keys: Vec<Key>,
    tokens: Vec<Case>,
    admissions: Vec<AdmissionCase>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    name: String,
    seed: String,
    public_key: String,
    peer_id: PeerId,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The seed that signed; absent where the text was altered by hand.
    seed: Option<String>,
    /// The exact JSON text of the claims; absent as above.
    claims: Option<String>,
    token: String,
    context: Context,
    /// `accepted`, or the code of the refusal.
    expected: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    node: PeerId,
    bearer: BearerText,
    method: String,
    task: Option<Task>,
    spec: Option<Digest>,
    now_ms: u64,
    trust: Trust,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BearerText {
    Peer(PeerId),
    Issuer(PeerId),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    job: JobId,
    task: TaskIndex,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trust {
    issuer: PeerId,
    identity: PeerId,
    min_revocation_epoch: u64,
    revoked: BTreeSet<TokenId>,
}

/// Whether the accepted token may start an attempt.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdmissionCase {
    name: String,
    newest_epoch: Option<Epoch>,
    asked: Ceilings,
    expected: String,
}

impl IssuerTrust for Trust {
    fn authority(&self, issuer: &PeerId, _: UnixMillis) -> Option<Authority> {
        (*issuer == self.issuer).then_some(Authority {
            identity: self.identity,
            min_revocation_epoch: self.min_revocation_epoch,
        })
    }

    fn is_revoked(&self, _: &PeerId, token: &TokenId) -> bool {
        self.revoked.contains(token)
    }
}

fn code<T>(result: &Result<T, Refusal>) -> &'static str {
    result.as_ref().map_or_else(Refusal::code, |_| "accepted")
}

/// The codes that [`verify`] can give.
const CODES: [&str; 10] = [
    "malformed",
    "bad_signature",
    "unknown_issuer",
    "wrong_node",
    "wrong_client",
    "wrong_job",
    "method_not_allowed",
    "not_yet_valid",
    "expired",
    "revoked",
];

pub(crate) fn check(vectors: &Vectors) {
    for key in &vectors.keys {
        let keypair = Keypair::from_seed(&array(&key.seed));
        assert_eq!(keypair.peer_id(), key.peer_id, "{}", key.name);
        assert_eq!(key.peer_id.as_bytes(), &array(&key.public_key));
    }
    let mut names = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for case in &vectors.tokens {
        assert!(names.insert(&case.name), "{} twice", case.name);
        seen.insert(case.expected.as_str());
        check_case(case);
    }
    for code in CODES {
        assert!(seen.contains(code), "no vector is refused as {code}");
    }
    let good = &vectors.tokens[0];
    let assignment = verify(&good.token, &expectation(&good.context)).unwrap();
    for case in &vectors.admissions {
        let admitted = admit(&assignment, case.newest_epoch, case.asked);
        assert_eq!(code(&admitted), case.expected, "{}", case.name);
    }
}

fn expectation(context: &Context) -> Expectation<'_> {
    Expectation {
        node: context.node,
        bearer: match context.bearer {
            BearerText::Peer(peer) => Bearer::Peer(peer),
            BearerText::Issuer(index) => Bearer::Issuer(index),
        },
        method: Method::ALL
            .into_iter()
            .find(|method| method.as_str() == context.method)
            .unwrap(),
        task: context.task.map(|asked| TaskRef {
            job: asked.job,
            task: asked.task,
        }),
        spec: context.spec,
        now: UnixMillis(context.now_ms),
        trust: &context.trust,
    }
}

fn check_case(case: &Case) {
    let name = &case.name;
    let judged = verify(&case.token, &expectation(&case.context));
    assert_eq!(code(&judged), case.expected, "{name}: {judged:?}");
    if let (Some(seed), Some(claims)) = (&case.seed, &case.claims) {
        let seed: [u8; 32] = array(seed);
        assert_eq!(cases::sign(claims, seed[0]), case.token, "{name}");
    }
    if let Ok(assignment) = judged {
        let seed = case.seed.as_ref().unwrap();
        let again = issue(assignment.claims(), &Keypair::from_seed(&array(seed))).unwrap();
        assert_eq!(again, case.token, "{name}");
    }
}
