//! The Llama family as a folder describes it: `config.json` for the sizes, and
//! tensors by the names of the `transformers` library.
//!
//! What a config asks for and this network does not do is refused by its key:
//! the text would silently be another than the model's maker meant.

use serde::Deserialize;
use serde_json::Value;

use super::attention::Heads;
use super::model::{Layer, Model, Shape};
use super::product::Matrix;
use super::quant::Kind;
use super::rope::{Pairs, Rope};
use crate::hub::weights::{Element, Weights};
use crate::hub::{Folder, InvalidFolder, bounded};

/// The file.
const FILE: &str = "config.json";
/// The most layers of a model.
const MAX_LAYERS: u64 = 1024;
/// The largest width of anything in it.
const MAX_WIDTH: u64 = 1 << 20;
/// The most tokens that it may be able to read, and that it may know.
const MAX_CONTEXT: u64 = 1 << 24;

/// What `config.json` says.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    model_type: String,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    vocab_size: u64,
    max_position_embeddings: u64,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_scaling: Value,
    /// Both of them, as newer files have it.
    #[serde(default)]
    rope_parameters: Value,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    hidden_act: String,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    sliding_window: Option<u64>,
    #[serde(default)]
    quantization_config: Value,
    #[serde(default)]
    pub(crate) eos_token_id: Value,
}

fn wrong(reason: impl Into<String>) -> InvalidFolder {
    InvalidFolder::new(FILE, reason)
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}

impl Config {
    /// Reads it, and refuses what is not run.
    pub(crate) fn read(folder: &Folder) -> Result<Self, InvalidFolder> {
        let config: Option<Self> = folder.settings(FILE)?;
        let config = config.ok_or_else(|| wrong("it is missing"))?;
        if !matches!(config.model_type.as_str(), "llama" | "mistral") {
            let found = shown(&config.model_type);
            return Err(wrong(format!(
                "`model_type` is {found}, and \"llama\" and \"mistral\" are run"
            )));
        }
        if !matches!(config.hidden_act.as_str(), "silu" | "swish" | "") {
            let found = shown(&config.hidden_act);
            return Err(wrong(format!(
                "`hidden_act` is {found}, and \"silu\" is run"
            )));
        }
        for (name, set) in [
            ("attention_bias", config.attention_bias),
            ("mlp_bias", config.mlp_bias),
            ("quantization_config", !config.quantization_config.is_null()),
        ] {
            if set {
                return Err(wrong(format!("`{name}` is set, which is not run")));
            }
        }
        if let Some(window) = config.sliding_window
            && window < config.max_position_embeddings
        {
            return Err(wrong(format!(
                "`sliding_window` is {window}, less than the context, which is not run"
            )));
        }
        Ok(config)
    }

    fn shape(&self) -> Result<Shape, InvalidFolder> {
        let width = bounded("hidden_size", self.hidden_size, MAX_WIDTH)?;
        let queries = bounded("num_attention_heads", self.num_attention_heads, MAX_WIDTH)?;
        let keys = self.num_key_value_heads.unwrap_or(self.num_attention_heads);
        let keys = bounded("num_key_value_heads", keys, MAX_WIDTH)?;
        if !queries.is_multiple_of(keys) {
            return Err(wrong(format!(
                "`num_key_value_heads`: {keys} heads cannot serve {queries} evenly"
            )));
        }
        let head = self.head_dim.unwrap_or((width / queries) as u64);
        let head = bounded("head_dim", head, MAX_WIDTH)?;
        if !head.is_multiple_of(2) {
            return Err(wrong(format!("`head_dim` is {head}, which is not even")));
        }
        let context = self.max_position_embeddings;
        Ok(Shape {
            width,
            inner: bounded("intermediate_size", self.intermediate_size, MAX_WIDTH)?,
            heads: Heads {
                queries,
                keys,
                width: head,
            },
            vocabulary: bounded("vocab_size", self.vocab_size, MAX_CONTEXT)?,
            context: bounded("max_position_embeddings", context, MAX_CONTEXT)?,
            epsilon: self.rms_norm_eps.unwrap_or(1e-6).clamp(0.0, 1.0) as f32,
        })
    }

    fn rope(&self, head: usize) -> Result<Rope, InvalidFolder> {
        let (newer, older) = (&self.rope_parameters, &self.rope_scaling);
        let settings = if newer.is_null() { older } else { newer };
        let number = |name: &str| settings[name].as_f64().filter(|it| it.is_finite());
        let base = number("rope_theta").or(self.rope_theta).unwrap_or(10_000.0);
        let needed = |name: &str| {
            let found = number(name).filter(|value| *value > 1e-3);
            found.ok_or_else(|| wrong(format!("`rope_scaling.{name}` is missing or not above 0")))
        };
        if !(1.0..1e15).contains(&base) {
            return Err(wrong(format!(
                "`rope_theta` is {base}: positions would not turn"
            )));
        }
        let pairs = head / 2;
        let kind = settings["rope_type"].as_str();
        let kind = kind.or(settings["type"].as_str()).unwrap_or("default");
        let (scale, factors) = match kind {
            "default" => (1.0, None),
            "linear" => (needed("factor")?, None),
            "llama3" => {
                let context = needed("original_max_position_embeddings")?;
                let (low, high) = (needed("low_freq_factor")?, needed("high_freq_factor")?);
                if low >= high {
                    return Err(wrong("`rope_scaling.low_freq_factor` is not the lower one"));
                }
                let slow = Llama3 {
                    factor: needed("factor")?,
                    low,
                    high,
                    context,
                };
                (1.0, Some(slow.factors(base, pairs)))
            }
            other => {
                let found = shown(other);
                return Err(wrong(format!(
                    "`rope_scaling.rope_type` is {found}, and default, linear and llama3 are run"
                )));
            }
        };
        Ok(Rope::new(pairs, base, scale, factors.as_deref()).with(Pairs::Halves))
    }
}

/// How Llama 3.1 slows down the pairs that turn slowly (Llama Team, 2024).
struct Llama3 {
    factor: f64,
    low: f64,
    high: f64,
    context: f64,
}

impl Llama3 {
    /// By how much each pair is slower.
    fn factors(&self, base: f64, pairs: usize) -> Vec<f32> {
        let one = |pair: usize| {
            let rate = base.powf(-(pair as f64) / pairs as f64);
            let turns = self.context * rate / (2.0 * std::f64::consts::PI);
            if turns < self.low {
                self.factor
            } else if turns > self.high {
                1.0
            } else {
                let smooth = (turns - self.low) / (self.high - self.low);
                1.0 / ((1.0 - smooth) / self.factor + smooth)
            }
        };
        (0..pairs).map(|pair| one(pair) as f32).collect()
    }
}

/// Finds the tensors of a folder, which stay in its bytes.
pub(crate) fn read<'a>(
    config: &Config,
    weights: &mut Weights<'a>,
) -> Result<Model<'a>, InvalidFolder> {
    let shape = config.shape()?;
    let layers = bounded("num_hidden_layers", config.num_hidden_layers, MAX_LAYERS)?;
    let rope = config.rope(shape.heads.width)?;
    let mut from = Finder { weights };
    let (width, known) = (shape.width, shape.vocabulary);
    let embedding = from.matrix("model.embed_tokens", width, known)?;
    let output = if config.tie_word_embeddings {
        embedding
    } else {
        from.matrix("lm_head", width, known)?
    };
    let norm = from.vector("model.norm", width)?;
    let mut found = Vec::new();
    for number in 0..layers {
        found.push(from.layer(number, &shape)?);
    }
    let tied = config.tie_word_embeddings;
    weights.no_others(|name| {
        name.ends_with(".rotary_emb.inv_freq") || (tied && name == "lm_head.weight")
    })?;
    Ok(Model {
        shape,
        rope,
        embedding,
        layers: found,
        norm,
        output,
        parameters: weights.parameters(),
    })
}

struct Finder<'w, 'a> {
    weights: &'w mut Weights<'a>,
}

impl<'a> Finder<'_, 'a> {
    fn matrix(
        &mut self,
        name: &str,
        columns: usize,
        rows: usize,
    ) -> Result<Matrix<'a>, InvalidFolder> {
        let (stored, element) = self
            .weights
            .take(&format!("{name}.weight"), &[rows, columns])?;
        Ok(Matrix {
            kind: match element {
                Element::F32 => Kind::F32,
                Element::F16 => Kind::F16,
                Element::BF16 => Kind::BF16,
            },
            rows,
            columns,
            bytes: stored.bytes,
        })
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, InvalidFolder> {
        self.weights.numbers(&format!("{name}.weight"), &[len])
    }

    fn layer(&mut self, number: usize, shape: &Shape) -> Result<Layer<'a>, InvalidFolder> {
        let name = |part: &str| format!("model.layers.{number}.{part}");
        let (width, inner) = (shape.width, shape.inner);
        let (queries, keys) = (shape.queries(), shape.keys());
        Ok(Layer {
            attention_norm: self.vector(&name("input_layernorm"), width)?,
            query: self.matrix(&name("self_attn.q_proj"), width, queries)?,
            key: self.matrix(&name("self_attn.k_proj"), width, keys)?,
            value: self.matrix(&name("self_attn.v_proj"), width, keys)?,
            mixed: self.matrix(&name("self_attn.o_proj"), queries, width)?,
            inner_norm: self.vector(&name("post_attention_layernorm"), width)?,
            gate: self.matrix(&name("mlp.gate_proj"), width, inner)?,
            up: self.matrix(&name("mlp.up_proj"), width, inner)?,
            down: self.matrix(&name("mlp.down_proj"), inner, width)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_slows_down_what_turns_slowly() {
        let slow = Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            context: 8192.0,
        };
        let factors = slow.factors(500_000.0, 64);
        assert_eq!((factors[0], factors[63]), (1.0, 8.0));
        assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(factors.iter().any(|factor| *factor > 1.1 && *factor < 7.9));
    }
}
