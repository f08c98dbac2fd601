//! What the owner of a job shows to the server that has it.
//!
//! A server of the system verifies a JSON Web Token under HS256, with the issuer, the times,
//! the job and its own id (RFC 7519; RFC 7518, section 3.2), and fetches no key. One secret
//! for all would let each mint tokens for every other, so each has its own: it is the
//! answer to its registration, and what is signed with it opens that server's door alone.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use embermesh_crypto::UnixMillis;
use serde::Serialize;

/// The one header that is issued.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// Who issues, in the word that servers look for.
const ISSUER: &str = "CyxWiz-Central-Server";
/// How long a token is good, in seconds.
const LIFETIME: u64 = 600;

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    job_id: &'a str,
    node_id: &'a str,
    iss: &'static str,
    iat: u64,
    exp: u64,
}

/// A token for somebody and one job at one server, and when it expires.
pub(super) fn issue(
    key: &str,
    owner: &str,
    server: &str,
    job: &str,
    now: UnixMillis,
) -> Result<(String, UnixMillis), serde_json::Error> {
    let iat = now.0 / 1000;
    let exp = iat + LIFETIME;
    let claims = serde_json::to_vec(&Claims {
        sub: owner,
        job_id: job,
        node_id: server,
        iss: ISSUER,
        iat,
        exp,
    })?;
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(HEADER),
        URL_SAFE_NO_PAD.encode(claims)
    );
    // The text of the key is the secret: that is what a server is configured with.
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    Ok((token, UnixMillis(exp * 1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_key_and_says_who_may_do_what_where_and_until_when() {
        let now = UnixMillis(1_700_000_000_500);
        let (token, expires) = issue("secret", "alice", "node-1", "job-1", now).unwrap();
        assert_eq!(expires, UnixMillis(1_700_000_600_000));
        let (signed, tag) = token.rsplit_once('.').unwrap();
        let (_, claims) = signed.split_once('.').unwrap();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        let expected = serde_json::json!({
            "sub": "alice", "job_id": "job-1", "node_id": "node-1",
            "iss": "CyxWiz-Central-Server", "iat": 1_700_000_000, "exp": 1_700_000_600,
        });
        assert_eq!(claims, expected);
        let tag = URL_SAFE_NO_PAD.decode(tag).unwrap();
        let verify = |key: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
        };
        assert!(verify("secret"));
        assert!(!verify("another"));
    }
}
