//! What the owner of a node allows its jobs to have fetched. Nothing, unless it is
//! said here.

use std::{fmt, net::IpAddr};

use embermesh_job::units::Bytes;
use serde::{Deserialize, Serialize};

use super::guard::Guard;
use crate::config::InvalidConfig;

/// The most entries of each list.
const MAX_ENTRIES: usize = 256;

/// Origins from which the daemon fetches inputs for jobs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OriginsConfig {
    /// Hosts of the web: `example.org` for HTTPS, `example.org:8443` with another
    /// port, `http://example.org` for what is not encrypted.
    pub hosts: Vec<String>,
    /// Addresses of this machine's networks, or of itself, that a host may have.
    /// Any other private address is refused, whatever name leads to it.
    pub private: Vec<IpAddr>,
    /// The largest input that is fetched.
    pub max_size: Bytes,
    /// Buckets.
    pub s3: S3Config,
}

/// S3, or a server that speaks like it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Config {
    /// Buckets from which is fetched.
    pub buckets: Vec<String>,
    /// The region. Empty means `us-east-1`.
    pub region: String,
    /// The server, when it is not Amazon's: `https://host:port`. What is named here
    /// may have a private address.
    pub endpoint: String,
    /// Who asks. Empty means nobody: public objects only.
    pub access_key_id: String,
    /// The secret that belongs to it.
    pub secret_access_key: Secret,
    /// For keys of a session.
    pub session_token: Secret,
}

/// A text that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"...\"" })
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(if self.0.is_empty() { "" } else { "..." })
    }
}

impl Default for OriginsConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            private: Vec::new(),
            max_size: Bytes(10 << 30),
            s3: S3Config::default(),
        }
    }
}

impl OriginsConfig {
    /// Checks what the types cannot.
    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        for (key, count) in [
            ("origins.hosts", self.hosts.len()),
            ("origins.private", self.private.len()),
            ("origins.s3.buckets", self.s3.buckets.len()),
        ] {
            if count > MAX_ENTRIES {
                return Err(InvalidConfig::OutOfRange {
                    key,
                    value: count as u64,
                    must: format!("at most {MAX_ENTRIES} entries"),
                });
            }
        }
        let s3 = &self.s3;
        let secret = !s3.secret_access_key.reveal().is_empty();
        if secret == s3.access_key_id.is_empty() {
            return Err(InvalidConfig::Origin {
                key: "origins.s3.access_key_id",
                text: s3.access_key_id.clone(),
                reason: "give it together with its `secret_access_key`".to_owned(),
            });
        }
        if !s3.endpoint.is_empty() {
            Guard::entry(&s3.endpoint).map_err(|reason| InvalidConfig::Origin {
                key: "origins.s3.endpoint",
                text: s3.endpoint.clone(),
                reason,
            })?;
        }
        self.guard().map(drop)
    }

    pub(super) fn guard(&self) -> Result<Guard, InvalidConfig> {
        Guard::new(&self.hosts, self.private.clone()).map_err(|(text, reason)| {
            InvalidConfig::Origin {
                key: "origins.hosts",
                text,
                reason,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allowed_unless_it_is_said() {
        let config = OriginsConfig::default();
        config.validate().unwrap();
        let guard = config.guard().unwrap();
        assert!(guard.judge("https://example.org/a").is_err());
    }

    #[test]
    fn what_is_no_host_names_its_key() {
        for (json, word) in [
            (r#"{"hosts":["ftp://a"]}"#, "origins.hosts"),
            (r#"{"hosts":["a/b"]}"#, "origins.hosts"),
            (r#"{"hosts":["a:x"]}"#, "origins.hosts"),
            (r#"{"s3":{"endpoint":"x y"}}"#, "origins.s3.endpoint"),
            (r#"{"s3":{"access_key_id":"AKIA"}}"#, "secret_access_key"),
        ] {
            let config: OriginsConfig = serde_json::from_str(json).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(word), "{json}: {error}");
        }
    }

    #[test]
    fn secrets_are_shown_nowhere() {
        let text =
            r#"{"s3":{"access_key_id":"AKIA","secret_access_key":"hush","session_token":"hush"}}"#;
        let config: OriginsConfig = serde_json::from_str(text).unwrap();
        config.validate().unwrap();
        assert!(!format!("{config:?}").contains("hush"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hush"));
    }
}
