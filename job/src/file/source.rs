//! How a job file names an input: a file beside it, a blob that the mesh has, or an
//! origin from which a node fetches it.

use std::path::PathBuf;

use embermesh_crypto::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::spec::{Input, Location};

/// How a job file names an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Source {
    /// A blob that the mesh has.
    Blob(Input),
    /// A file beside the job file.
    File(FileSource),
    /// A folder with the files of a language model.
    Folder(FolderSource),
    /// What a node fetches by itself.
    Remote(Remote),
}

/// A folder, relative to the job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderSource {
    /// Where it is.
    pub folder: PathBuf,
}

/// A file, relative to the job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileSource {
    /// Where it is.
    pub path: PathBuf,
    /// Whether its samples stay here: the node asks for those of a batch.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stay: bool,
}

/// An origin: on the web, in a bucket, in a folder that a node's owner shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// `https://host/path`, `http://host/path`, `s3://bucket/key` or
    /// `shared:name/path`.
    pub from: String,
    /// Its digest and size, where the file says them.
    pub input: Option<Input>,
}

#[derive(Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an input: { path = \"FILE\" }, { folder = \"FOLDER\" } for a language model, { url = \"https://...\" }, { shared = \"NAME/FILE\" }, or { digest = \"HEX\", size = BYTES }"
)]
struct Form {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stay: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl Serialize for Remote {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let shared = self.from.strip_prefix("shared:").map(str::to_owned);
        Form {
            path: None,
            folder: None,
            stay: None,
            url: shared.is_none().then(|| self.from.clone()),
            shared,
            digest: self.input.map(|input| input.digest),
            size: self.input.map(|input| input.size),
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for Source {
    /// By hand, because an untagged enum does not say which field is wrong.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let Form {
            path,
            folder,
            stay,
            url,
            shared,
            digest,
            size,
        } = Form::deserialize(d)?;
        let input = match (digest, size) {
            (Some(digest), Some(size)) => Some(Input { digest, size }),
            (None, None) => None,
            _ => {
                return Err(de::Error::custom(
                    "an input is either a `path`, a `folder`, a `url`, a `shared` file, or a `digest` and a `size`: `digest` and `size` go together",
                ));
            }
        };
        if stay.is_some() && path.is_none() {
            return Err(de::Error::custom("`stay` goes with a `path`"));
        }
        let remote = |from: String| {
            from.parse::<Location>()
                .map_err(|reason| de::Error::custom(format!("{from:?}: {reason}")))?;
            Ok(Self::Remote(Remote { from, input }))
        };
        if let Some(folder) = folder {
            if path.is_some() || url.is_some() || shared.is_some() || input.is_some() {
                return Err(de::Error::custom(
                    "an input is either a `path`, a `folder`, a `url`, a `shared` file, or a `digest` and a `size`",
                ));
            }
            return Ok(Self::Folder(FolderSource { folder }));
        }
        match (path, url, shared, input) {
            (Some(path), None, None, None) => Ok(Self::File(FileSource {
                path,
                stay: stay.unwrap_or(false),
            })),
            (None, Some(url), None, _) if url.starts_with("shared:") => Err(de::Error::custom(
                "write `shared = \"NAME/FILE\"` for a file that a node shares",
            )),
            (None, Some(url), None, _) => remote(url),
            (None, None, Some(_), None) => Err(de::Error::custom(
                "a `shared` file goes with its `digest` and `size`: only its node has the bytes",
            )),
            (None, None, Some(shared), _) => remote(format!("shared:{shared}")),
            (None, None, None, Some(input)) => Ok(Self::Blob(input)),
            _ => Err(de::Error::custom(
                "an input is either a `path`, a `folder`, a `url`, a `shared` file, or a `digest` and a `size`",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Result<Source, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn each_form_reads_back_as_it_was_written() {
        let digest = "0".repeat(64);
        let measured = format!(r#""digest":"{digest}","size":5"#);
        for text in [
            r#"{"path":"a.csv"}"#.to_owned(),
            r#"{"path":"a.csv","stay":true}"#.to_owned(),
            format!("{{{measured}}}"),
            r#"{"url":"https://a/b"}"#.to_owned(),
            format!(r#"{{"url":"s3://a/b",{measured}}}"#),
            format!(r#"{{"shared":"sets/b.csv",{measured}}}"#),
        ] {
            let read = source(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_source_is_refused_with_the_cure() {
        let digest = "0".repeat(64);
        for (text, cure) in [
            ("{}".to_owned(), "either a `path`"),
            (r#"{"path":"a","size":1}"#.to_owned(), "go together"),
            (
                r#"{"url":"https://a/b","stay":true}"#.to_owned(),
                "goes with a `path`",
            ),
            (
                r#"{"path":"a","url":"https://a/b"}"#.to_owned(),
                "either a `path`",
            ),
            (r#"{"url":"ftp://a/b"}"#.to_owned(), "begins with none"),
            (r#"{"url":"shared:a/b"}"#.to_owned(), "write `shared"),
            (r#"{"shared":"a/b"}"#.to_owned(), "`digest` and `size`"),
            (
                format!(r#"{{"shared":"a/../b","digest":"{digest}","size":1}}"#),
                "..",
            ),
        ] {
            let error = source(&text).unwrap_err();
            assert!(error.contains(cure), "{text}: {error}");
        }
    }
}
