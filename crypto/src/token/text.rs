//! The text form: `base64url(header).base64url(claims).base64url(signature)`.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD},
};
use serde::{Deserialize, Serialize};

use super::{Ceilings, Claims, MAX_TOKEN_LEN, Methods, Refusal};
use crate::{Digest, Epoch, JobId, Keypair, PeerId, TaskIndex, TokenId, UnixSeconds};

/// `{"alg":"EdDSA","typ":"embermesh-assignment+jwt"}` in base64url.
const HEADER: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6ImVtYmVybWVzaC1hc3NpZ25tZW50K2p3dCJ9";

/// Without padding, and refusing trailing bits that are not zero, so that each
/// value has one text.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

/// The claims as JSON has them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    iss: PeerId,
    sub: PeerId,
    aud: PeerId,
    cnf: Confirmation,
    job: JobId,
    task: TaskIndex,
    epoch: Epoch,
    spec: Digest,
    methods: Methods,
    max: Ceilings,
    jti: TokenId,
    iat: UnixSeconds,
    nbf: UnixSeconds,
    exp: UnixSeconds,
    rev: u64,
}

/// The client's key again, in the form of RFC 7800 and RFC 8037.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    jwk: Jwk,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
}

impl Jwk {
    fn of(peer: &PeerId) -> Self {
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: BASE64.encode(peer.as_bytes()),
        }
    }
}

pub(super) fn write(claims: &Claims, keypair: &Keypair) -> String {
    let wire = Wire {
        iss: claims.issuer,
        sub: claims.client,
        aud: claims.node,
        cnf: Confirmation {
            jwk: Jwk::of(&claims.client),
        },
        job: claims.job,
        task: claims.task,
        epoch: claims.epoch,
        spec: claims.spec,
        methods: claims.methods,
        max: claims.ceilings,
        jti: claims.token_id,
        iat: claims.issued_at,
        nbf: claims.not_before,
        exp: claims.expires_at,
        rev: claims.revocation_epoch,
    };
    let json = serde_json::to_vec(&wire).expect("texts and integers always have a JSON form");
    let mut token = format!("{HEADER}.{}", BASE64.encode(json));
    let signature = keypair.sign(token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

/// Form, then the signature of the issuer that the claims name, then the
/// claims.
pub(super) fn read(token: &str) -> Result<Claims, Refusal> {
    if token.len() > MAX_TOKEN_LEN {
        return Err(Refusal::Malformed("longer than 4096 bytes"));
    }
    let (message, signature) = token
        .rsplit_once('.')
        .ok_or(Refusal::Malformed("not three parts"))?;
    let (header, payload) = message
        .split_once('.')
        .ok_or(Refusal::Malformed("not three parts"))?;
    if header != HEADER {
        return Err(Refusal::Malformed("not the header of an assignment"));
    }
    let signature: [u8; 64] = BASE64
        .decode(signature)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Refusal::Malformed(
            "the signature is not 64 bytes of base64url",
        ))?;
    let json = BASE64
        .decode(payload)
        .map_err(|_| Refusal::Malformed("the claims are not base64url"))?;
    // Only the issuer's key is taken from claims that nobody has verified; the
    // rest is parsed once the signature holds.
    issuer_of(&json)?
        .verify(message.as_bytes(), &signature)
        .map_err(|_| Refusal::BadSignature)?;
    let wire: Wire = serde_json::from_slice(&json)
        .map_err(|_| Refusal::Malformed("a claim is unknown, repeated, missing or ill-formed"))?;
    if wire.cnf.jwk != Jwk::of(&wire.sub) {
        return Err(Refusal::Malformed("`cnf` holds another key than `sub`"));
    }
    let claims = Claims {
        issuer: wire.iss,
        client: wire.sub,
        node: wire.aud,
        job: wire.job,
        task: wire.task,
        epoch: wire.epoch,
        spec: wire.spec,
        methods: wire.methods,
        ceilings: wire.max,
        token_id: wire.jti,
        issued_at: wire.iat,
        not_before: wire.nbf,
        expires_at: wire.exp,
        revocation_epoch: wire.rev,
    };
    claims
        .check()
        .map_err(|_| Refusal::Malformed("its times, epoch or methods contradict the rules"))?;
    Ok(claims)
}

fn issuer_of(json: &[u8]) -> Result<PeerId, Refusal> {
    #[derive(Deserialize)]
    struct OnlyIssuer {
        iss: PeerId,
    }
    serde_json::from_slice::<OnlyIssuer>(json)
        .map(|claims| claims.iss)
        .map_err(|_| Refusal::Malformed("the claims name no issuer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_it_says() {
        let json = BASE64.decode(HEADER).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"alg":"EdDSA","typ":"embermesh-assignment+jwt"}"#
        );
    }
}
