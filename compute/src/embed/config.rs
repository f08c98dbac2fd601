//! The sizes of an encoder, as its `config.json` says them.

use serde::Deserialize;

use crate::hub::{Folder, InvalidFolder, bounded};

/// The file.
const FILE: &str = "config.json";
/// The largest width of anything.
const MAX_WIDTH: u64 = 1 << 16;
/// The most layers.
const MAX_LAYERS: u64 = 256;
/// The most tokens that it may know.
const MAX_VOCABULARY: u64 = 1 << 24;

/// Sizes of a BERT (Devlin and others 2019).
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) vocabulary: usize,
    /// Tokens that it reads at most.
    pub(super) context: usize,
    /// Kinds of segments, of which a text is the first.
    pub(super) segments: usize,
    pub(super) epsilon: f64,
    pub(super) activation: Activation,
}

/// What bends the inner values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    Gelu,
    GeluTanh,
    Relu,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    model_type: String,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    vocab_size: u64,
    max_position_embeddings: u64,
    #[serde(default = "two")]
    type_vocab_size: u64,
    #[serde(default = "usual_epsilon")]
    layer_norm_eps: f64,
    #[serde(default)]
    hidden_act: String,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
}

fn two() -> u64 {
    2
}

fn usual_epsilon() -> f64 {
    1e-12
}

impl Config {
    /// Reads and checks it.
    pub(super) fn read(folder: &Folder) -> Result<Self, InvalidFolder> {
        let file: Option<File> = folder.settings(FILE)?;
        let file = file.ok_or_else(|| InvalidFolder::new(FILE, "it is missing"))?;
        let wrong = |reason: String| Err(InvalidFolder::new(FILE, reason));
        let shown = |text: &str| format!("{:?}", text.chars().take(64).collect::<String>());
        if file.model_type != "bert" {
            let found = shown(&file.model_type);
            return wrong(format!(
                "`model_type` is {found}, and encoders of type \"bert\" are run"
            ));
        }
        if let Some(kind) = file.position_embedding_type.as_deref()
            && kind != "absolute"
        {
            let found = shown(kind);
            return wrong(format!(
                "`position_embedding_type` is {found}, and \"absolute\" is run"
            ));
        }
        if file.is_decoder {
            return wrong("`is_decoder` is true: it is no encoder".to_owned());
        }
        let activation = match file.hidden_act.as_str() {
            "gelu" | "" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            other => {
                let found = shown(other);
                return wrong(format!(
                    "`hidden_act` is {found}, and gelu, gelu_new and relu are run"
                ));
            }
        };
        let config = Self {
            width: bounded("hidden_size", file.hidden_size, MAX_WIDTH)?,
            inner: bounded("intermediate_size", file.intermediate_size, 4 * MAX_WIDTH)?,
            layers: bounded("num_hidden_layers", file.num_hidden_layers, MAX_LAYERS)?,
            heads: bounded("num_attention_heads", file.num_attention_heads, MAX_WIDTH)?,
            vocabulary: bounded("vocab_size", file.vocab_size, MAX_VOCABULARY)?,
            context: bounded(
                "max_position_embeddings",
                file.max_position_embeddings,
                MAX_WIDTH,
            )?,
            segments: bounded("type_vocab_size", file.type_vocab_size, 1024)?,
            epsilon: file.layer_norm_eps,
            activation,
        };
        if !config.width.is_multiple_of(config.heads) {
            return wrong(format!(
                "{} heads do not divide a width of {}",
                config.heads, config.width
            ));
        }
        if !(0.0..=1.0).contains(&config.epsilon) {
            return wrong("`layer_norm_eps` is not from 0 to 1".to_owned());
        }
        Ok(config)
    }
}
