//! Settings: defaults, then the file, then `EMBERMESH_*`, then flags. Resolved
//! once; unknown keys are refused wherever they come from.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use directories::ProjectDirs;
use embermesh_client::{IndexTarget, bounds::MAX_INDEXES};
use embermesh_index_server::IndexConfig;
use embermesh_mesh::road::RoadChoice;
use embermesh_node::NodeConfig;
use figment::{
    Figment,
    error::Kind,
    providers::{Env, Format as _, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

use crate::{
    direct::MeshSection, exit::WrongInput, gateway::GatewaySection, indexes::Addresses,
    output::Format, private::PrivateSection,
};

/// The beginning of every environment variable that is read.
pub(crate) const ENV_PREFIX: &str = "EMBERMESH_";
/// How close a word must be to be suggested (Jaro-Winkler).
const LIKENESS: f64 = 0.8;

/// The example file: every key with its default, explained.
pub(crate) const EXAMPLE: &str = include_str!("../config.example.toml");

/// Everything that can be set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// The key of the user. Without one: `key.pem` beside the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    /// The indexes that client commands talk to, in the order in which they are asked.
    pub(crate) index: Addresses,
    /// Lets a submit that no index answers go to the nodes themselves.
    pub(crate) index_or_none: bool,
    /// The form of results.
    pub(crate) output: Format,
    /// The roads that clients take to nodes.
    pub(crate) road: Road,
    /// A filter for the log, as `tracing` reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<String>,
    /// Who may take part in the mesh: of clients, nodes and indexes that use this file.
    pub(crate) private: PrivateSection,
    /// How clients are part of the mesh without an index.
    pub(crate) mesh: MeshSection,
    /// `embermesh index run`.
    pub(crate) index_server: IndexConfig,
    /// The foreign systems that `embermesh index run` serves.
    pub(crate) gateway: GatewaySection,
    /// `embermesh node run`.
    pub(crate) node: NodeConfig,
}

/// The roads to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Road {
    /// TLS, else the mesh.
    #[default]
    Auto,
    /// Mutual TLS only.
    Tls,
    /// A stream of the mesh only.
    Mesh,
}

impl From<Road> for RoadChoice {
    fn from(road: Road) -> Self {
        match road {
            Road::Auto => Self::Auto,
            Road::Tls => Self::Tls,
            Road::Mesh => Self::Mesh,
        }
    }
}

impl Settings {
    /// Where the indexes are.
    pub(crate) fn index_targets(&self) -> anyhow::Result<Vec<IndexTarget>> {
        let targets = self.index.targets()?;
        if targets.is_empty() {
            return Err(WrongInput(
                "no index is set: give --index HOST:PORT, set EMBERMESH_INDEX, or write `index = \"…\"` into the configuration file".to_owned(),
            )
            .into());
        }
        if targets.len() > MAX_INDEXES {
            return Err(WrongInput(format!(
                "{} indexes are set, and {MAX_INDEXES} at most are asked: take some out of `index`",
                targets.len()
            ))
            .into());
        }
        Ok(targets)
    }
}

/// The folder of the configuration file and of the user's key.
pub(crate) fn default_folder() -> anyhow::Result<PathBuf> {
    let folders = ProjectDirs::from("", "", "embermesh")
        .context("this user has no home folder: give --config and --key")?;
    Ok(folders.config_dir().to_owned())
}

/// Resolves the settings. `flags` is what was typed, as the same keys.
pub(crate) fn resolve(
    file: Option<&Path>,
    flags: figment::value::Dict,
) -> anyhow::Result<Settings> {
    let mut figment = Figment::from(Serialized::defaults(defaults()));
    match file {
        Some(path) if !path.is_file() => {
            return Err(WrongInput(format!(
                "there is no configuration file {}: `embermesh config example` prints one",
                path.display()
            ))
            .into());
        }
        Some(path) => figment = figment.merge(Toml::file_exact(path)),
        None => {
            let usual = default_folder().map(|folder| folder.join("config.toml"));
            if let Ok(path) = usual
                && path.is_file()
            {
                figment = figment.merge(Toml::file_exact(path));
            }
        }
    }
    figment
        .merge(Env::prefixed(ENV_PREFIX).split("__"))
        .merge(Serialized::defaults(flags))
        .extract()
        .map_err(|error| WrongInput(told(&error)).into())
}

/// The index that clients talk to unless told otherwise.
pub(crate) fn default_index() -> String {
    format!("127.0.0.1:{}", embermesh_index_server::config::DEFAULT_PORT)
}

fn defaults() -> Settings {
    Settings {
        index: Addresses::from(default_index()),
        ..Settings::default()
    }
}

fn told(error: &figment::Error) -> String {
    let texts: Vec<String> = error
        .clone()
        .into_iter()
        .map(|error| told_one(&error))
        .collect();
    texts.join("\n")
}

fn told_one(error: &figment::Error) -> String {
    let at = if error.path.is_empty() {
        String::new()
    } else {
        format!(" in `{}`", error.path.join("."))
    };
    let origin = error
        .metadata
        .as_ref()
        .map(|metadata| match &metadata.source {
            Some(source) => format!(" ({source})"),
            None => format!(" ({})", metadata.name),
        })
        .unwrap_or_default();
    match &error.kind {
        Kind::UnknownField(unknown, known) => {
            let hint = closest(unknown, known)
                .map(|word| format!("; did you mean `{word}`?"))
                .unwrap_or_else(|| "; `embermesh config example` shows them all".to_owned());
            format!("unknown setting `{unknown}`{at}{origin}{hint}")
        }
        kind => format!("the setting{at} is wrong{origin}: {kind}"),
    }
}

fn closest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|word| (strsim::jaro_winkler(unknown, word), *word))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_text(text: &str) -> anyhow::Result<Settings> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text)?;
        resolve(Some(&path), figment::value::Dict::new())
    }

    #[test]
    fn the_example_is_the_defaults() {
        let example = from_text(EXAMPLE).unwrap();
        let defaults = Settings {
            key: example.key.clone(),
            ..defaults()
        };
        assert_eq!(
            serde_json::to_value(&example).unwrap(),
            serde_json::to_value(&defaults).unwrap()
        );
        // Every key that there is, is in the example.
        for (name, section) in [
            (
                "index_server",
                serde_json::to_value(&defaults.index_server).unwrap(),
            ),
            ("node", serde_json::to_value(&defaults.node).unwrap()),
        ] {
            for key in section.as_object().unwrap().keys() {
                assert!(
                    EXAMPLE.contains(&format!("{key} ="))
                        || EXAMPLE.contains(&format!("[{name}.{key}]")),
                    "{name}.{key} is not in the example"
                );
            }
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_the_word_that_was_meant() {
        let error = from_text("outptu = \"json\"").unwrap_err().to_string();
        assert!(
            error.contains("outptu") && error.contains("`output`"),
            "{error}"
        );
        let error = from_text("[node]\nslotz = 3").unwrap_err().to_string();
        assert!(
            error.contains("slotz") && error.contains("`slots`"),
            "{error}"
        );
        let error = from_text("[node]\nslots = \"many\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("node.slots"), "{error}");
        assert_eq!(
            crate::exit::exit_of(&from_text("x = 1").unwrap_err()),
            crate::exit::Exit::Input
        );
    }

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, "index = \"a:1\"\nroad = \"tls\"").unwrap();
        let flags = figment::value::Dict::from([("index".to_owned(), "b:2".into())]);
        let settings = resolve(Some(&path), flags).unwrap();
        assert_eq!(settings.index, Addresses::from("b:2".to_owned()));
        assert_eq!(settings.road, Road::Tls);
    }
}
