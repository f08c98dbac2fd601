//! Job files: a spec as people write it, in TOML or JSON, with paths where the
//! spec has digests. All validation of human input ends here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use embermesh_crypto::Digest;

mod budget;
mod source;

pub use self::budget::take_budget;
pub use self::source::{FileSource, FolderSource, Remote, Source};
use crate::{
    model::Model,
    spec::{
        ClientData, Dataset, Input, InvalidSpec, JobSpec, LanguageModel, MAX_SPEC_LEN, Origin,
        model_files,
    },
};

/// How close a word must be to be suggested (Jaro-Winkler).
const LIKENESS: f64 = 0.75;

/// What stands for the files of a folder until it is looked into.
const STAND_IN_FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// The two ways to write a job file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

impl Format {
    /// The format that a file's name ends with.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// A job file: a spec whose inputs may be paths.
#[derive(Clone, Debug, PartialEq)]
pub struct JobFile(JobSpec<Source>);

/// A job file that is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidJobFile {
    /// Larger than a spec may be.
    #[error("the job file has {0} bytes, of {MAX_SPEC_LEN} allowed")]
    TooLarge(usize),
    /// Where it cannot be read, and why.
    #[error("{message}{}", hint.as_deref().map(|word| format!("\nhint: did you mean `{word}`?")).unwrap_or_default())]
    Syntax {
        /// The parser's message, with line and column.
        message: String,
        /// A known word that is close to the unknown one.
        hint: Option<String>,
    },
    /// It can be read, and asks for what cannot be.
    #[error(transparent)]
    Spec(#[from] InvalidSpec),
    /// Data of which a part stays and another travels.
    #[error("{0}")]
    Stay(&'static str),
    /// A path without its blob.
    #[error("no blob was given for the file {}", .0.display())]
    Unresolved(PathBuf),
    /// A folder where one file belongs, or one that was not looked into.
    #[error("the folder {} was given where a file belongs; only the model of a language model is a folder", .0.display())]
    Folder(PathBuf),
    /// A folder that holds no model.
    #[error("the folder {}: {reason}", folder.display())]
    NoModel {
        /// Which.
        folder: PathBuf,
        /// What it lacks.
        reason: InvalidSpec,
    },
}

impl JobFile {
    /// Reads a job file.
    ///
    /// # Errors
    /// [`InvalidJobFile`], with the line and, for an unknown field, the known
    /// one that is closest.
    pub fn parse(text: &str, format: Format) -> Result<Self, InvalidJobFile> {
        if text.len() > MAX_SPEC_LEN {
            return Err(InvalidJobFile::TooLarge(text.len()));
        }
        let parsed = match format {
            Format::Toml => toml::from_str(text).map_err(|error| error.to_string()),
            Format::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
        };
        let file = parsed.map(Self).map_err(|message| InvalidJobFile::Syntax {
            hint: closest_known_word(&message),
            message: message.trim_end().to_owned(),
        })?;
        // Everything but the inputs can be judged before any file is read.
        let stand_in = Input {
            digest: Digest::from_bytes([0; 32]),
            size: 1,
        };
        file.stays_whole()?;
        let mut whole = file.clone();
        if let Some(folder) = whole.folder().map(Path::to_owned) {
            whole.expand(&folder, &STAND_IN_FILES.map(str::to_owned))?;
        }
        whole
            .with_inputs(|source| match source {
                Source::Blob(input) => Ok(input),
                Source::Remote(remote) => Ok(remote.input.unwrap_or(stand_in)),
                Source::File(_) => Ok(stand_in),
                Source::Folder(FolderSource { folder }) => Err(InvalidJobFile::Folder(folder)),
            })?
            .validate()?;
        Ok(file)
    }

    /// The folder of a language model that has not been [expanded](Self::expand).
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self.0.language_model()? {
            LanguageModel::File(Source::Folder(folder)) => Some(&folder.folder),
            _ => None,
        }
    }

    /// Puts the files of a folder in its place: of `names`, their paths in the
    /// folder with `/`, those that a language model is made of.
    ///
    /// # Errors
    /// When they are no model.
    pub fn expand(&mut self, folder: &Path, names: &[String]) -> Result<(), InvalidJobFile> {
        let files = model_files(names).map_err(|reason| InvalidJobFile::NoModel {
            folder: folder.to_owned(),
            reason,
        })?;
        let file = |name: String| {
            let path = folder.join(&name);
            (name, Source::File(FileSource { path, stay: false }))
        };
        if self.folder() == Some(folder)
            && let Some(model) = self.0.language_model_mut()
        {
            *model = LanguageModel::Files(files.into_iter().map(file).collect());
        }
        Ok(())
    }

    /// The paths of the files that travel, each once.
    #[must_use]
    pub fn sources(&self) -> Vec<&Path> {
        self.paths(false)
    }

    /// The origins whose digest or size is not said, each once.
    #[must_use]
    pub fn unmeasured(&self) -> Vec<&str> {
        let mut origins: Vec<&str> = self
            .0
            .input_refs()
            .into_iter()
            .filter_map(|source| match source {
                Source::Remote(remote) if remote.input.is_none() => Some(remote.from.as_str()),
                _ => None,
            })
            .collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }

    /// The data that stays with the client, the model that it is for, and its files;
    /// `None` where all data travels.
    #[must_use]
    pub fn staying(&self) -> Option<(&Dataset<Source>, &Model, Vec<&Path>)> {
        let paths = self.paths(true);
        match (self.0.data(), self.0.model()) {
            (Some(data), Some(model)) if !paths.is_empty() => Some((data, model, paths)),
            _ => None,
        }
    }

    /// The same job with what the spec says of data that stays.
    #[must_use]
    pub fn with_client_data(&self, data: ClientData) -> Self {
        Self(self.0.clone().with_data(Dataset::Client(data)))
    }

    /// The spec, once each path and each unmeasured origin is known as a blob.
    ///
    /// # Errors
    /// When one has no blob, or the spec is not valid with them.
    pub fn resolve(&self, blobs: &BTreeMap<PathBuf, Input>) -> Result<JobSpec, InvalidJobFile> {
        let known = |path: &Path| {
            blobs
                .get(path)
                .copied()
                .ok_or_else(|| InvalidJobFile::Unresolved(path.to_owned()))
        };
        let mut origins = Vec::new();
        let mut spec = self.with_inputs(|source| match source {
            Source::Blob(input) => Ok(input),
            Source::File(file) => known(&file.path),
            Source::Folder(folder) => Err(InvalidJobFile::Folder(folder.folder)),
            Source::Remote(Remote { from, input }) => {
                let input = match input {
                    Some(input) => input,
                    None => known(Path::new(&from))?,
                };
                let origin = Origin {
                    digest: input.digest,
                    from,
                };
                if !origins.contains(&origin) {
                    origins.push(origin);
                }
                Ok(input)
            }
        })?;
        spec.requires.origins.extend(origins);
        spec.validate()?;
        Ok(spec)
    }

    fn paths(&self, stay: bool) -> Vec<&Path> {
        let mut paths: Vec<&Path> = self
            .0
            .input_refs()
            .into_iter()
            .filter_map(|source| match source {
                Source::File(file) if file.stay == stay => Some(file.path.as_path()),
                _ => None,
            })
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Checks that data stays as a whole or not at all.
    fn stays_whole(&self) -> Result<(), InvalidJobFile> {
        let stays = |source: &&Source| matches!(source, Source::File(file) if file.stay);
        let all = self.0.input_refs();
        let kept = all.iter().filter(|source| stays(source)).count();
        if kept == 0 {
            return Ok(());
        }
        let data = self.0.data().map(Dataset::input_refs).unwrap_or_default();
        if data.is_empty() || data.iter().filter(|source| stays(source)).count() != kept {
            return Err(InvalidJobFile::Stay(
                "`stay = true` is for files of data: what else a job reads must travel",
            ));
        }
        if self.0.model().is_none() {
            return Err(InvalidJobFile::Stay(
                "data stays beside a model that the job file declares: with a model that is a file it must travel",
            ));
        }
        if kept != data.len() {
            return Err(InvalidJobFile::Stay(
                "data stays as a whole: give `stay = true` to each of its files, or to none",
            ));
        }
        Ok(())
    }

    fn with_inputs<E>(&self, name: impl FnMut(Source) -> Result<Input, E>) -> Result<JobSpec, E> {
        self.0.clone().try_map_inputs(name)
    }
}

/// From "unknown field `x`, expected one of `a`, `b`": the closest to `x`.
fn closest_known_word(message: &str) -> Option<String> {
    let (_, after) = message
        .split_once("unknown field `")
        .or_else(|| message.split_once("unknown variant `"))?;
    let mut words = after.split('`').step_by(2);
    let unknown = words.next()?;
    words
        .map(|known| (strsim::jaro_winkler(unknown, known), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "digits"

[work.train]
passes = 2
batch = 32
holdout = 0.2

[work.train.model]
input = [1, 8, 8]
layers = [
    { op = "conv2d", channels = 8, kernel = 3, padding = 1 },
    { op = "relu" },
    { op = "flatten" },
    { op = "dense", units = 10 },
]

[work.train.data.digits_csv]
file = { path = "digits.csv" }
classes = 10

[limits]
memory = "512 MiB"
wall = "2m"
"#;

    fn refused(text: &str) -> String {
        JobFile::parse(text, Format::Toml).unwrap_err().to_string()
    }

    #[test]
    fn a_file_becomes_a_spec_with_one_digest() {
        let file = JobFile::parse(GOOD, Format::Toml).unwrap();
        assert_eq!(file.sources(), [Path::new("digits.csv")]);
        assert!(matches!(
            file.resolve(&BTreeMap::new()),
            Err(InvalidJobFile::Unresolved(_))
        ));
        let input = Input {
            digest: Digest::of(b"data"),
            size: 4,
        };
        let blobs = BTreeMap::from([(PathBuf::from("digits.csv"), input)]);
        let spec = file.resolve(&blobs).unwrap();
        assert_eq!(spec.inputs(), [input]);
        assert_eq!(spec.limits.memory.0, 512 << 20);
        let bytes = spec.canonical();
        assert_eq!(JobSpec::from_canonical(&bytes).unwrap(), spec);
        // White space, another order of keys, and a duplicate are other bytes.
        let loose = String::from_utf8(bytes.clone())
            .unwrap()
            .replacen(':', ": ", 1);
        assert_eq!(
            JobSpec::from_canonical(loose.as_bytes()).unwrap_err(),
            InvalidSpec::NotCanonical
        );
        // The digest is published: it must not change by accident.
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            include_str!("../vectors/digits.spec.json").trim_end()
        );
        assert_eq!(
            spec.digest().to_string(),
            include_str!("../vectors/digits.spec.blake3").trim_end()
        );
    }

    #[test]
    fn the_same_in_json() {
        let toml = JobFile::parse(GOOD, Format::Toml).unwrap();
        let json = serde_json::to_string_pretty(&toml.0).unwrap();
        assert_eq!(JobFile::parse(&json, Format::Json).unwrap(), toml);
    }

    #[test]
    fn mistakes_are_named_with_the_line_and_the_word_that_was_meant() {
        let text = refused(&GOOD.replace("passes", "pases"));
        assert!(
            text.contains("pases") && text.contains("did you mean `passes`"),
            "{text}"
        );
        assert!(text.contains("line "), "{text}");
        let text = refused(&GOOD.replace("padding = 1", "padding = 1, biass = true"));
        assert!(text.contains("biass"), "{text}");
        let text = refused(&GOOD.replace("units = 10", "units = 9"));
        assert!(text.contains("10 classes"), "{text}");
        let text = refused(&GOOD.replace("kernel = 3", "kernel = 30"));
        assert!(text.contains("layer 1 \"conv2d_1\""), "{text}");
        let text = refused(&GOOD.replace("512 MiB", "512 MoB"));
        assert!(text.contains("512 MoB"), "{text}");
        let text = refused(
            &GOOD
                .replace("512 MiB", "1 MiB")
                .replace("batch = 32", "batch = 4096"),
        );
        assert!(text.contains("limits.memory"), "{text}");
        let input = |to: &str| refused(&GOOD.replace("{ path = \"digits.csv\" }", to));
        let text = input("{ pth = \"digits.csv\" }");
        assert!(text.contains("did you mean `path`"), "{text}");
        let text = input("\"digits.csv\"");
        assert!(text.contains("an input: { path"), "{text}");
        let text = input("{ path = \"a\", size = 1 }");
        assert!(text.contains("either a `path`"), "{text}");
        for bad in ["", "name = 1", "[[", "name = \"x\""] {
            assert!(!refused(bad).is_empty());
        }
        assert!(JobFile::parse(&"#".repeat(MAX_SPEC_LEN + 1), Format::Toml).is_err());
        assert!(
            JobFile::parse("{", Format::Json)
                .unwrap_err()
                .to_string()
                .contains("line 1")
        );
    }

    #[test]
    fn a_folder_is_its_files() {
        let text = r#"
name = "vectors"

[work.embed]
model = { folder = "models/minilm" }
texts = { inline = ["one", "two"] }
"#;
        let mut file = JobFile::parse(text, Format::Toml).unwrap();
        assert!(file.sources().is_empty());
        assert!(matches!(
            file.resolve(&BTreeMap::new()),
            Err(InvalidJobFile::Folder(_))
        ));
        let folder = file.folder().unwrap().to_owned();
        let names = [
            "a.txt",
            "config.json",
            "tokenizer.json",
            "model.safetensors",
        ];
        let names = names.map(str::to_owned);
        let incomplete = file.expand(&folder, &names[..2]).unwrap_err().to_string();
        assert!(
            incomplete.contains("tokenizer.json is missing"),
            "{incomplete}"
        );
        file.expand(&folder, &names).unwrap();
        assert_eq!(file.folder(), None);
        let blobs: BTreeMap<_, _> = file
            .sources()
            .into_iter()
            .map(|path| {
                let digest = Digest::of(path.as_os_str().as_encoded_bytes());
                (path.to_owned(), Input { digest, size: 4 })
            })
            .collect();
        assert_eq!(blobs.len(), 3);
        let spec = file.resolve(&blobs).unwrap();
        assert_eq!(JobSpec::from_canonical(&spec.canonical()).unwrap(), spec);
        let batch = refused(&text.replace("[work.embed]", "[work.embed]\nbatch = 0"));
        assert!(batch.contains("`batch`"), "{batch}");
        let gguf = text.replace("{ folder = \"models/minilm\" }", "{ path = \"x.gguf\" }");
        assert!(refused(&gguf).contains("folder"));
        let data = GOOD.replace("{ path = \"digits.csv\" }", "{ folder = \"digits\" }");
        assert!(refused(&data).contains("where a file belongs"));
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        for (from, to) in [
            ("passes = 2", "passes = 0"),
            ("batch = 32", "batch = 70000"),
            ("holdout = 0.2", "holdout = 0.95"),
            ("holdout = 0.2", "holdout = nan"),
            ("wall = \"2m\"", "wall = \"1ms\""),
            ("classes = 10", "classes = 1"),
            ("name = \"digits\"", "name = \"\""),
            ("name = \"digits\"", "name = \"a\\u0007\""),
        ] {
            assert!(GOOD.contains(from));
            assert!(!refused(&GOOD.replace(from, to)).is_empty(), "{to}");
        }
    }
}
