//! Where an input lies that nobody sends: on the web, in a bucket, in a folder that
//! the owner of a node shares. The digest names the bytes all the same; an origin
//! only says where a node finds them, if its owner lets it look there.

use std::{collections::BTreeSet, fmt, str::FromStr};

use embermesh_crypto::Digest;
use serde::{Deserialize, Serialize};

use super::{Input, InvalidSpec, invalid::field};

/// The most origins of a spec.
pub const MAX_ORIGINS: usize = 64;
/// The longest origin, in bytes.
pub const MAX_ORIGIN: usize = 2048;
/// The longest name of a bucket, or of a shared folder, in bytes.
const MAX_PLACE: usize = 64;

/// Where an input lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Which input.
    pub digest: Digest,
    /// `https://host/path`, `http://host/path`, `s3://bucket/key` or
    /// `shared:name/path`.
    pub from: String,
}

/// An origin, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A server of the web.
    Web {
        /// Its name or address, in lower case and without brackets.
        host: String,
        /// Its port.
        port: u16,
        /// The whole URL.
        url: String,
    },
    /// An object of S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key of the object.
        key: String,
    },
    /// A file that the owner of a node shares.
    Shared {
        /// What the owner calls the folder.
        name: String,
        /// The file in it, with `/` between folders.
        path: String,
    },
}

impl FromStr for Location {
    type Err = String;

    /// Reads an origin; the error says what is wrong with it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_ORIGIN {
            return Err(format!("it has more than {MAX_ORIGIN} bytes"));
        }
        if let Some(rest) = text.strip_prefix("shared:") {
            return shared(rest);
        }
        if text.chars().any(|letter| {
            !letter.is_ascii_graphic() || matches!(letter, '\\' | '#' | '"' | '<' | '>')
        }) {
            return Err("it holds a letter that a URL has not: encode it as %XX".to_owned());
        }
        match text.split_once("://") {
            Some(("https", rest)) => web(text, rest, 443),
            Some(("http", rest)) => web(text, rest, 80),
            Some(("s3", rest)) => s3(rest),
            _ => Err("it begins with none of https://, http://, s3:// and shared:".to_owned()),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web { url, .. } => f.write_str(url),
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Shared { name, path } => write!(f, "shared:{name}/{path}"),
        }
    }
}

fn web(url: &str, rest: &str, usual: u16) -> Result<Location, String> {
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("it carries a name or a password: credentials are the node owner's".to_owned());
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(six) => {
            let (host, port) = six.split_once(']').ok_or("a bracket is not closed")?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("it names no host".to_owned());
    }
    let port = match port {
        None => usual,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("the port is not from 1 to 65535")?,
    };
    Ok(Location::Web {
        host: host.to_ascii_lowercase(),
        port,
        url: url.to_owned(),
    })
}

fn s3(rest: &str) -> Result<Location, String> {
    let (bucket, key) = rest.split_once('/').ok_or("write s3://bucket/key")?;
    let known = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
    if bucket.is_empty() || bucket.len() > MAX_PLACE || !bucket.chars().all(known) {
        return Err("a bucket has letters, digits, dots and hyphens".to_owned());
    }
    parts(key)?;
    Ok(Location::S3 {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    })
}

fn shared(rest: &str) -> Result<Location, String> {
    let (name, path) = rest.split_once('/').ok_or("write shared:name/file")?;
    share_name(name)?;
    if path
        .chars()
        .any(|letter| letter.is_control() || letter == '\\')
    {
        return Err("a path has `/` between folders and no control letters".to_owned());
    }
    parts(path)?;
    Ok(Location::Shared {
        name: name.to_owned(),
        path: path.to_owned(),
    })
}

/// Whether a name can be that of a shared folder.
///
/// # Errors
/// What is wrong with it.
pub fn share_name(name: &str) -> Result<(), String> {
    let known = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if name.is_empty() || name.len() > MAX_PLACE || !name.chars().all(known) {
        return Err(format!(
            "a shared folder's name has 1 to {MAX_PLACE} letters, digits, hyphens and underscores"
        ));
    }
    Ok(())
}

/// Whether every part of a path is a name.
fn parts(path: &str) -> Result<(), String> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("a path has no empty part, no `.` and no `..`".to_owned());
    }
    Ok(())
}

/// Checks the origins of a spec that reads `inputs`.
pub(super) fn validate(origins: &[Origin], inputs: &[Input]) -> Result<(), InvalidSpec> {
    let refuse = |reason: String| Err(field("requires.origins", reason));
    if origins.len() > MAX_ORIGINS {
        return refuse(format!("give at most {MAX_ORIGINS}"));
    }
    let mut seen = BTreeSet::new();
    for Origin { digest, from } in origins {
        if let Err(reason) = from.parse::<Location>() {
            return refuse(format!("{from:?}: {reason}"));
        }
        if !inputs.iter().any(|input| input.digest == *digest) {
            return refuse(format!("{from:?} is of no input of the job"));
        }
        if !seen.insert(digest) {
            return refuse(format!("{from:?} is a second origin of its input"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_and_written() {
        for (text, expected) in [
            ("https://Example.org/a/b.csv?x=1", ("example.org", 443)),
            ("http://127.0.0.1:8080/a", ("127.0.0.1", 8080)),
            ("http://[::1]:81/a", ("::1", 81)),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), text);
            let Location::Web { host, port, .. } = location else {
                panic!("{text} is of the web");
            };
            assert_eq!((host.as_str(), port), expected);
        }
        for text in ["s3://my-bucket/a/b.csv", "shared:sets/a b/c.csv"] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_reason() {
        for (text, reason) in [
            ("ftp://a/b", "begins with none"),
            ("file:///etc/passwd", "begins with none"),
            ("https:///a", "no host"),
            ("https://user:word@a/b", "credentials"),
            ("https://a:0/b", "port"),
            ("https://a/b c", "%XX"),
            ("https://a/b\\c", "%XX"),
            ("https://a/b#c", "%XX"),
            ("http://[::1/a", "bracket"),
            ("s3://bucket", "s3://bucket/key"),
            ("s3:///key", "a bucket"),
            ("s3://bucket/../key", ".."),
            ("shared:sets", "shared:name/file"),
            ("shared:se/../../etc/passwd", ".."),
            ("shared:sets//etc/passwd", "empty"),
            ("shared:../etc/passwd", "letters, digits"),
            ("shared:sets/a\\b", "control"),
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(
            format!("https://a/{}", "x".repeat(MAX_ORIGIN))
                .parse::<Location>()
                .is_err()
        );
    }

    #[test]
    fn an_origin_belongs_to_one_input() {
        let input = Input {
            digest: Digest::of(b"a"),
            size: 1,
        };
        let origin = Origin {
            digest: input.digest,
            from: "https://a/b".to_owned(),
        };
        assert!(validate(std::slice::from_ref(&origin), &[input]).is_ok());
        let twice = [origin.clone(), origin.clone()];
        assert!(validate(&twice, &[input]).is_err());
        assert!(validate(&[origin], &[]).is_err());
    }
}
