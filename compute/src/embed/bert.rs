//! The encoder: embeddings of words, places and segments, and layers in which
//! each token looks at all others of its text (Devlin and others 2019). Over
//! burn's tensors, so on whatever device the node gives.

use burn::tensor::activation::{gelu, relu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData, module};

use super::config::{Activation, Config};
use crate::hub::InvalidFolder;
use crate::hub::weights::Weights;
use crate::network::activation::approximate_gelu;

/// What hides a place where a text has no token: as good as minus infinity,
/// and a number all the same.
const HIDDEN: f32 = -1e30;

/// An encoder on a device.
pub(super) struct Bert {
    config: Config,
    device: Device,
    words: Tensor<2>,
    /// With the embedding of the only segment added.
    places: Tensor<2>,
    norm: Norm,
    layers: Vec<Layer>,
    /// Numbers in all of it.
    pub(super) parameters: u64,
}

struct Layer {
    /// Queries, keys and values in one.
    read: Linear,
    mixed: Linear,
    mixed_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

struct Linear {
    /// Inputs by outputs.
    weight: Tensor<2>,
    bias: Tensor<1>,
}

struct Norm {
    weight: Tensor<1>,
    bias: Tensor<1>,
}

/// Texts of one step, filled up to the longest.
pub(super) struct Texts<'t> {
    /// Tokens of each.
    pub(super) tokens: Vec<&'t [u32]>,
}

impl Texts<'_> {
    fn length(&self) -> usize {
        self.tokens.iter().map(|text| text.len()).max().unwrap_or(0)
    }

    /// One where a text has a token and zero where it has none: texts by places.
    pub(super) fn mask(&self, device: &Device) -> Tensor<2> {
        let length = self.length();
        let mut mask = vec![0.0_f32; self.tokens.len() * length];
        for (row, text) in mask.chunks_exact_mut(length.max(1)).zip(&self.tokens) {
            row[..text.len()].fill(1.0);
        }
        let data = TensorData::new(mask, [self.tokens.len(), length]);
        Tensor::from_data(data, device)
    }

    fn ids(&self, device: &Device) -> Tensor<1, Int> {
        let length = self.length();
        let mut ids = vec![0_i32; self.tokens.len() * length];
        for (row, text) in ids.chunks_exact_mut(length.max(1)).zip(&self.tokens) {
            for (to, token) in row.iter_mut().zip(*text) {
                *to = *token as i32;
            }
        }
        let count = ids.len();
        Tensor::from_data(TensorData::new(ids, [count]), device)
    }
}

impl Bert {
    /// Takes the tensors of a folder to a device.
    pub(super) fn load(
        config: Config,
        weights: &mut Weights<'_>,
        device: &Device,
    ) -> Result<Self, InvalidFolder> {
        let word = "embeddings.word_embeddings.weight";
        let prefix = if weights.has(word) { "" } else { "bert." };
        let width = config.width;
        let mut from = Loader {
            weights,
            device,
            prefix,
        };
        let words = from.matrix(word, config.vocabulary, width)?;
        let places = from.matrix(
            "embeddings.position_embeddings.weight",
            config.context,
            width,
        )?;
        let segments = from.matrix(
            "embeddings.token_type_embeddings.weight",
            config.segments,
            width,
        )?;
        let places = places.add(segments.narrow(0, 0, 1));
        let norm = from.norm("embeddings.LayerNorm", width)?;
        let mut layers = Vec::with_capacity(config.layers);
        for number in 0..config.layers {
            layers.push(from.layer(number, &config)?);
        }
        weights.no_others(|name| {
            let name = name.strip_prefix(prefix).unwrap_or(name);
            name.starts_with("pooler.")
                || name.starts_with("cls.")
                || name == "embeddings.position_ids"
        })?;
        Ok(Self {
            parameters: weights.parameters(),
            config,
            device: device.clone(),
            words,
            places,
            norm,
            layers,
        })
    }

    /// Bytes that a step of so many texts of so many tokens takes.
    pub(super) fn step_bytes(config: &Config, texts: usize, tokens: usize) -> u64 {
        let (texts, tokens) = (texts as u64, tokens as u64);
        let each = 10 * config.width as u64 + 3 * config.inner as u64;
        let shares = 3 * config.heads as u64 * tokens;
        texts
            .saturating_mul(tokens)
            .saturating_mul(each.saturating_add(shares))
            .saturating_mul(4)
    }

    /// A vector for each token: texts, places, numbers.
    pub(super) fn forward(&self, texts: &Texts<'_>, mask: &Tensor<2>) -> Tensor<3> {
        let (count, length) = (texts.tokens.len(), texts.length());
        let width = self.config.width;
        let words = self.words.clone().select(0, texts.ids(&self.device));
        let places = self.places.clone().narrow(0, 0, length);
        let x = words
            .reshape([count, length, width])
            .add(places.reshape([1, length, width]));
        let mut x = self.norm.apply(x, self.config.epsilon);
        let hidden = mask
            .clone()
            .sub_scalar(1.0)
            .mul_scalar(-HIDDEN)
            .reshape([count, 1, 1, length]);
        for layer in &self.layers {
            x = self.layer(layer, x, &hidden);
        }
        x
    }

    fn layer(&self, layer: &Layer, x: Tensor<3>, hidden: &Tensor<4>) -> Tensor<3> {
        let epsilon = self.config.epsilon;
        let mixed = layer.mixed.apply(self.attend(layer, x.clone(), hidden));
        let x = layer.mixed_norm.apply(x.add(mixed), epsilon);
        let inner = layer.up.apply(x.clone());
        let bent = match self.config.activation {
            Activation::Gelu => gelu(inner),
            Activation::GeluTanh => approximate_gelu(inner),
            Activation::Relu => relu(inner),
        };
        layer.norm.apply(x.add(layer.down.apply(bent)), epsilon)
    }

    fn attend(&self, layer: &Layer, x: Tensor<3>, hidden: &Tensor<4>) -> Tensor<3> {
        let [texts, length, width] = x.dims();
        let heads = self.config.heads;
        let all = layer.read.apply(x);
        let part = |number: usize| {
            all.clone()
                .narrow(2, number * width, width)
                .reshape([texts, length, heads, width / heads])
                .swap_dims(1, 2)
        };
        let scale = 1.0 / ((width / heads) as f64).sqrt();
        let scores = part(0)
            .mul_scalar(scale)
            .matmul(part(1).swap_dims(2, 3))
            .add(hidden.clone());
        softmax(scores, 3)
            .matmul(part(2))
            .swap_dims(1, 2)
            .reshape([texts, length, width])
    }
}

impl Linear {
    fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        let [texts, length, inputs] = x.dims();
        let [_, outputs] = self.weight.dims();
        let rows: Tensor<2> = x
            .reshape([texts * length, inputs])
            .matmul(self.weight.clone());
        rows.add(self.bias.clone().reshape([1, outputs]))
            .reshape([texts, length, outputs])
    }
}

impl Norm {
    fn apply(&self, x: Tensor<3>, epsilon: f64) -> Tensor<3> {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        module::layer_norm(x, weight, Some(bias), epsilon)
    }
}

/// Takes tensors by name to a device.
struct Loader<'w, 'a> {
    weights: &'w mut Weights<'a>,
    device: &'w Device,
    prefix: &'static str,
}

impl Loader<'_, '_> {
    fn numbers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InvalidFolder> {
        let name = format!("{}{name}", self.prefix);
        self.weights.numbers(&name, shape)
    }

    fn matrix(
        &mut self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Tensor<2>, InvalidFolder> {
        let numbers = self.numbers(name, &[rows, columns])?;
        let data = TensorData::new(numbers, [rows, columns]);
        Ok(Tensor::from_data(data, self.device))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, InvalidFolder> {
        let numbers = self.numbers(name, &[len])?;
        Ok(Tensor::from_data(
            TensorData::new(numbers, [len]),
            self.device,
        ))
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm, InvalidFolder> {
        // Files of old have the names of TensorFlow.
        let old = format!("{}{name}.gamma", self.prefix);
        let names = if self.weights.has(&old) {
            ["gamma", "beta"]
        } else {
            ["weight", "bias"]
        };
        Ok(Norm {
            weight: self.vector(&format!("{name}.{}", names[0]), width)?,
            bias: self.vector(&format!("{name}.{}", names[1]), width)?,
        })
    }

    fn linear(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear, InvalidFolder> {
        let weight = self.matrix(&format!("{name}.weight"), outputs, inputs)?;
        Ok(Linear {
            weight: weight.transpose(),
            bias: self.vector(&format!("{name}.bias"), outputs)?,
        })
    }

    fn layer(&mut self, number: usize, config: &Config) -> Result<Layer, InvalidFolder> {
        let name = |part: &str| format!("encoder.layer.{number}.{part}");
        let (width, inner) = (config.width, config.inner);
        let read = ["query", "key", "value"]
            .map(|part| self.linear(&name(&format!("attention.self.{part}")), width, width));
        let [query, key, value] = read;
        let read = [query?, key?, value?];
        let (weights, biases): (Vec<_>, Vec<_>) =
            read.into_iter().map(|it| (it.weight, it.bias)).unzip();
        Ok(Layer {
            read: Linear {
                weight: Tensor::cat(weights, 1),
                bias: Tensor::cat(biases, 0),
            },
            mixed: self.linear(&name("attention.output.dense"), width, width)?,
            mixed_norm: self.norm(&name("attention.output.LayerNorm"), width)?,
            up: self.linear(&name("intermediate.dense"), width, inner)?,
            down: self.linear(&name("output.dense"), inner, width)?,
            norm: self.norm(&name("output.LayerNorm"), width)?,
        })
    }
}
