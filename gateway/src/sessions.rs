//! Permissions to ask a model once, as JSON Web Tokens under RS256: the verifiers of the
//! systems that use them take nothing else (RFC 7518, section 3.3). The key is this
//! gateway's own, is kept, and is shared with nobody; what verifies is its public half.

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose};
use embermesh_crypto::{Digest, UnixMillis};
use embermesh_dialects::{
    Dialect, ErrorCode, Failure,
    port::{
        Principal,
        sessions::{Grant, Issued, Sessions},
    },
    titancompute::ISSUER,
};
use embermesh_storage::folder::private_options;
use serde::{Deserialize, Serialize};

use crate::{Gateway, failure::store_failed};

/// The one header that is issued and taken, compared byte for byte: there is no
/// algorithm to choose.
const HEADER: &str = r#"{"alg":"RS256","typ":"JWT"}"#;
/// How long a session is good, in seconds.
const LIFETIME: u64 = 60;
/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 4096;
/// Sessions that were taken and have not expired. At the bound no session is taken
/// until some have.
const MAX_TAKEN: usize = 100_000;

/// What a session says. Verifiers elsewhere want the first eight; the last is ours.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    agent_id: String,
    client_id: String,
    model: String,
    jti: String,
    iat: u64,
    exp: u64,
    nbf: u64,
    iss: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<Digest>,
}

/// Signs sessions, and remembers which were taken.
pub(crate) struct Signer {
    key: KeyPair,
    pem: String,
    taken: Mutex<BTreeSet<(u64, String)>>,
}

impl Signer {
    /// Reads the key (PKCS #8) from a file, or makes one of 2048 bits.
    pub(crate) fn load_or_create(path: &Path) -> io::Result<Self> {
        let key = match std::fs::read(path) {
            Ok(bytes) => {
                KeyPair::from_pkcs8(&bytes).map_err(|error| io::Error::other(error.to_string()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            Err(error) => return Err(error),
        };
        let der = key
            .public_key()
            .as_der()
            .map_err(|_| io::Error::other("the key has no public half"))?;
        let text = general_purpose::STANDARD.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(Self {
            key,
            pem,
            taken: Mutex::default(),
        })
    }

    fn issue(&self, grant: &Grant, id: &str, now: u64) -> Result<Issued, Failure> {
        let claims = Claims {
            agent_id: grant.agent.clone(),
            client_id: grant.client.name.clone(),
            model: grant.model.clone(),
            jti: id.to_owned(),
            iat: now,
            exp: now + LIFETIME,
            nbf: now,
            iss: ISSUER.to_owned(),
            prompt: grant.prompt,
        };
        let claims = serde_json::to_vec(&claims).map_err(|error| store_failed(&error))?;
        let url = general_purpose::URL_SAFE_NO_PAD;
        let signed = format!("{}.{}", url.encode(HEADER), url.encode(claims));
        if signed.len() > MAX_TOKEN / 2 {
            return Err(Failure::invalid(
                "the names of client and model are too long",
            ));
        }
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|error| store_failed(&error))?;
        Ok(Issued {
            token: format!("{signed}.{}", url.encode(signature)),
            id: id.to_owned(),
            expires: UnixMillis((now + LIFETIME) * 1000),
        })
    }

    fn redeem(&self, token: &str, prompt: Digest, now: u64) -> Result<Grant, Failure> {
        let refuse = |why: &str| {
            let message = format!("Invalid session token: {why}");
            Failure::new(ErrorCode::Unauthenticated, message)
        };
        if token.len() > MAX_TOKEN {
            return Err(refuse("it is too long"));
        }
        let url = general_purpose::URL_SAFE_NO_PAD;
        let (signed, signature) = token
            .rsplit_once('.')
            .ok_or_else(|| refuse("it is no token"))?;
        let signature = url
            .decode(signature)
            .map_err(|_| refuse("its signature cannot be read"))?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| refuse("its signature is not this coordinator's"))?;
        let claims = signed
            .strip_prefix(&url.encode(HEADER))
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|claims| url.decode(claims).ok())
            .and_then(|claims| serde_json::from_slice::<Claims>(&claims).ok())
            .ok_or_else(|| refuse("it is none of this coordinator's kind"))?;
        if claims.iss != ISSUER {
            return Err(refuse("it was issued by another"));
        }
        if now < claims.nbf {
            return Err(refuse("it is not valid yet"));
        }
        if now >= claims.exp {
            return Err(refuse("it has expired; ask the coordinator again"));
        }
        if claims.prompt.is_some_and(|given| given != prompt) {
            return Err(refuse("it was given for another prompt"));
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // What has expired needs no memory.
        *taken = taken.split_off(&(now, String::new()));
        if taken.len() >= MAX_TAKEN {
            let message = "too many sessions within a minute; try again";
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        if !taken.insert((claims.exp, claims.jti)) {
            return Err(refuse("it was used before; ask the coordinator again"));
        }
        drop(taken);
        Ok(Grant {
            client: Principal {
                dialect: Dialect::TitanCompute,
                name: claims.client_id,
            },
            agent: claims.agent_id,
            model: claims.model,
            prompt: claims.prompt,
        })
    }
}

fn create(path: &Path) -> io::Result<KeyPair> {
    let failed = |_| io::Error::other("the key could not be made");
    let key = KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
    let der = key.as_der().map_err(failed)?;
    let draft = path.with_extension("new");
    let mut file = private_options().create(true).truncate(true).open(&draft)?;
    io::Write::write_all(&mut file, der.as_ref())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(key)
}

#[tonic::async_trait]
impl Sessions for Gateway {
    async fn issue(&self, grant: &Grant) -> Result<Issued, Failure> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| store_failed(&error))?;
        let id = general_purpose::URL_SAFE_NO_PAD.encode(id);
        self.inner
            .signer
            .issue(grant, &id, UnixMillis::now().0 / 1000)
    }

    async fn redeem(&self, token: &str, prompt: Digest) -> Result<Grant, Failure> {
        let now = UnixMillis::now().0 / 1000;
        self.inner.signer.redeem(token, prompt, now)
    }

    fn public_key(&self) -> String {
        self.inner.signer.pem.clone()
    }

    fn now(&self) -> UnixMillis {
        UnixMillis::now()
    }

    fn started_at(&self) -> UnixMillis {
        self.inner.started_at
    }

    fn endpoint(&self) -> String {
        self.inner.endpoint.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            client: Principal {
                dialect: Dialect::TitanCompute,
                name: "client-1".to_owned(),
            },
            agent: "agent-1".to_owned(),
            model: "chat".to_owned(),
            prompt: Some(Digest::of(b"Why?")),
        }
    }

    /// The digest of the prompt.
    fn asked() -> Digest {
        Digest::of(b"Why?")
    }

    fn signer() -> (tempfile::TempDir, Signer) {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::load_or_create(&folder.path().join("key")).unwrap();
        (folder, signer)
    }

    fn why(result: Result<Grant, Failure>) -> String {
        let failure = result.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Unauthenticated);
        failure.message
    }

    #[test]
    fn a_session_is_taken_once_in_its_time_and_outlives_a_restart() {
        let (folder, signer) = signer();
        let issued = signer.issue(&grant(), "id-1", 1000).unwrap();
        assert!(why(signer.redeem(&issued.token, asked(), 999)).contains("not valid yet"));
        assert!(why(signer.redeem(&issued.token, asked(), 1060)).contains("expired"));
        let other = signer.redeem(&issued.token, Digest::of(b"Why not?"), 1059);
        assert!(why(other).contains("another prompt"));
        // That try has not used it up.
        assert_eq!(
            signer.redeem(&issued.token, asked(), 1059).unwrap(),
            grant()
        );
        assert!(why(signer.redeem(&issued.token, asked(), 1059)).contains("used before"));
        // The key is the same after a restart.
        let again = Signer::load_or_create(&folder.path().join("key")).unwrap();
        assert_eq!(again.pem, signer.pem);
        let next = signer.issue(&grant(), "id-2", 1000).unwrap();
        assert_eq!(again.redeem(&next.token, asked(), 1000).unwrap(), grant());
    }

    #[test]
    fn a_session_without_a_prompt_is_good_for_any_and_once() {
        let (_folder, signer) = signer();
        let any = Grant {
            prompt: None,
            ..grant()
        };
        let issued = signer.issue(&any, "id-1", 1000).unwrap();
        let taken = signer.redeem(&issued.token, Digest::of(b"Why not?"), 1000);
        assert_eq!(taken.unwrap(), any);
        assert!(why(signer.redeem(&issued.token, asked(), 1000)).contains("used before"));
    }

    #[test]
    fn of_many_who_take_a_session_at_once_one_has_it() {
        let (_folder, signer) = signer();
        for number in 0..20 {
            let issued = signer
                .issue(&grant(), &format!("id-{number}"), 1000)
                .unwrap();
            let taken = std::thread::scope(|scope| {
                let take = || signer.redeem(&issued.token, asked(), 1000).is_ok();
                let takers = [(); 8].map(|()| scope.spawn(take));
                takers.map(|taker| taker.join().unwrap())
            });
            assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
        }
    }

    #[test]
    fn a_session_that_was_touched_is_refused() {
        let (_folder, signer) = signer();
        let token = signer.issue(&grant(), "id-1", 1000).unwrap().token;
        for at in (0..token.len()).step_by(7) {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(bytes).unwrap();
            // The last character of a signature has bits that mean nothing.
            assert!(signer.redeem(&touched, asked(), 1000).is_err(), "at {at}");
        }
        for garbage in ["", ".", "..", "a.b.c", &"x".repeat(MAX_TOKEN + 1)] {
            assert!(why(signer.redeem(garbage, asked(), 1000)).contains("Invalid session token"));
        }
        let (_other_folder, other) = self::signer();
        assert!(why(other.redeem(&token, asked(), 1000)).contains("not this coordinator's"));
        let none = token.split('.').nth(1).unwrap();
        let url = general_purpose::URL_SAFE_NO_PAD;
        let unsigned = format!("{}.{none}.", url.encode(r#"{"alg":"none"}"#));
        assert!(signer.redeem(&unsigned, asked(), 1000).is_err());
        assert!(signer.redeem(&token, asked(), 1000).is_ok());
    }

    /// RFC 7468: what verifiers elsewhere read.
    #[test]
    fn the_public_key_is_pem_of_a_2048_bit_key() {
        let (_folder, signer) = signer();
        let text: String = signer
            .pem
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let der = general_purpose::STANDARD.decode(text).unwrap();
        // SEQUENCE { SEQUENCE { rsaEncryption, NULL }, BIT STRING }.
        assert_eq!(der.len(), 294);
        assert_eq!(&der[..4], [0x30, 0x82, 0x01, 0x22]);
        assert!(signer.pem.lines().all(|line| line.len() <= 64));
    }
}
