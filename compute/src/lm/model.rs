//! The Llama family as GGUF files describe it: grouped-query attention with
//! rotary positions, RMS norms, and a gated feed-forward part in each layer.
//!
//! Every tensor's shape is checked against the file's own metadata, and a
//! tensor that this network has no use for is refused: the text would silently
//! be another than the model's maker meant.

use super::attention::Heads;
use super::gguf::{Gguf, InvalidGguf, Tensor, key, shown, tensor};
use super::product::Matrix;
use super::quant::Kind;
use super::rope::Rope;

/// The most layers of a model.
const MAX_LAYERS: u64 = 1024;
/// Tensors of a layer.
const TENSORS: usize = 9;
/// The largest width of anything in it.
const MAX_WIDTH: u64 = 1 << 20;
/// The most tokens that it may be able to read.
const MAX_CONTEXT: u64 = 1 << 24;

/// Sizes of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Numbers of a token between layers.
    pub(crate) width: usize,
    /// Numbers within the feed-forward part.
    pub(crate) inner: usize,
    pub(crate) heads: Heads,
    pub(crate) vocabulary: usize,
    /// Tokens that it was made to read.
    pub(crate) context: usize,
    /// What keeps a norm from dividing by nothing.
    pub(crate) epsilon: f32,
}

impl Shape {
    /// Numbers of all heads that ask.
    pub(crate) fn queries(&self) -> usize {
        self.heads.queries * self.heads.width
    }

    /// Numbers of all heads that are asked.
    pub(crate) fn keys(&self) -> usize {
        self.heads.keys * self.heads.width
    }
}

/// A model, its matrices still in the file's bytes.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    pub(crate) shape: Shape,
    pub(crate) rope: Rope,
    pub(crate) embedding: Matrix<'a>,
    pub(crate) layers: Vec<Layer<'a>>,
    pub(crate) norm: Vec<f32>,
    pub(crate) output: Matrix<'a>,
    /// Numbers in all tensors.
    pub(crate) parameters: u64,
}

/// One layer.
#[derive(Debug)]
pub(crate) struct Layer<'a> {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) query: Matrix<'a>,
    pub(crate) key: Matrix<'a>,
    pub(crate) value: Matrix<'a>,
    pub(crate) mixed: Matrix<'a>,
    pub(crate) inner_norm: Vec<f32>,
    pub(crate) gate: Matrix<'a>,
    pub(crate) up: Matrix<'a>,
    pub(crate) down: Matrix<'a>,
}

impl<'a> Model<'a> {
    /// Finds the tensors of a file.
    pub(crate) fn read(file: &Gguf<'a>) -> Result<Self, InvalidGguf> {
        let architecture = file.text("general.architecture")?.unwrap_or_default();
        if architecture != "llama" {
            let reason = format!("{:?} is not run, only \"llama\"", shown(architecture));
            return Err(key("general.architecture", reason));
        }
        if file.count("llama.expert_count")?.unwrap_or(0) > 0 {
            let reason = "mixtures of experts are not run";
            return Err(key("llama.expert_count", reason));
        }
        let layers = bounded(file, "llama.block_count", None, MAX_LAYERS)?;
        let mut found = Found { file, used: 0 };
        let embedding = found.embedding()?;
        let shape = read_shape(file, embedding.columns, embedding.rows)?;
        let output = found.output(&embedding)?;
        let rope = read_rope(&mut found, shape.heads.width)?;
        let norm = found.vector("output_norm.weight".to_owned(), shape.width)?;
        let mut model = Self {
            shape,
            rope,
            embedding,
            layers: Vec::with_capacity(layers.min(file.tensors().len() / TENSORS)),
            norm,
            output,
            parameters: 0,
        };
        for layer in 0..layers {
            model.layers.push(found.layer(layer, &shape)?);
        }
        if found.used != file.tensors().len() {
            return Err(found.stranger(layers));
        }
        model.parameters = file
            .tensors()
            .iter()
            .map(|tensor| tensor.shape.iter().product::<u64>())
            .fold(0, u64::saturating_add);
        Ok(model)
    }
}

fn read_shape(file: &Gguf<'_>, width: usize, vocabulary: usize) -> Result<Shape, InvalidGguf> {
    let said = bounded(file, "llama.embedding_length", None, MAX_WIDTH)?;
    if said != width {
        let reason = format!("{said} is not the width of token_embd.weight, {width}");
        return Err(key("llama.embedding_length", reason));
    }
    let queries = bounded(file, "llama.attention.head_count", None, MAX_WIDTH)?;
    let all = Some(queries as u64);
    let keys = bounded(file, "llama.attention.head_count_kv", all, MAX_WIDTH)?;
    if !queries.is_multiple_of(keys) {
        let reason = format!("{keys} heads cannot serve {queries} evenly");
        return Err(key("llama.attention.head_count_kv", reason));
    }
    let even = Some((width / queries) as u64);
    let head = bounded(file, "llama.attention.key_length", even, MAX_WIDTH)?;
    let value = bounded(file, "llama.attention.value_length", even, MAX_WIDTH)?;
    if head != value || !head.is_multiple_of(2) {
        let reason =
            format!("heads of {head} and {value} are not run: they must be equal and even");
        return Err(key("llama.attention.key_length", reason));
    }
    let epsilon = file.number("llama.attention.layer_norm_rms_epsilon")?;
    Ok(Shape {
        width,
        inner: bounded(file, "llama.feed_forward_length", None, MAX_WIDTH)?,
        heads: Heads {
            queries,
            keys,
            width: head,
        },
        vocabulary,
        context: bounded(file, "llama.context_length", None, MAX_CONTEXT)?,
        epsilon: epsilon.unwrap_or(1e-5).clamp(0.0, 1.0) as f32,
    })
}

fn read_rope(found: &mut Found<'_, '_>, head: usize) -> Result<Rope, InvalidGguf> {
    let file = found.file;
    let all = Some(head as u64);
    let turned = bounded(file, "llama.rope.dimension_count", all, head as u64)?;
    let base = file.number("llama.rope.freq_base")?.unwrap_or(10_000.0);
    let kind = file.text("llama.rope.scaling.type")?.unwrap_or("none");
    let factor = file.number("llama.rope.scaling.factor")?;
    let old = file.number("llama.rope.scale_linear")?;
    let scale = match kind {
        "none" => old.unwrap_or(1.0),
        "linear" => factor.or(old).unwrap_or(1.0),
        _ => {
            let reason = format!("{:?} is not run, only \"none\" and \"linear\"", shown(kind));
            return Err(key("llama.rope.scaling.type", reason));
        }
    };
    if base < 1.0 || scale < 1e-3 {
        return Err(key("llama.rope.freq_base", "positions would not turn"));
    }
    let pairs = turned / 2;
    let name = "rope_freqs.weight";
    let factors = match file.tensor(name) {
        Some(_) => Some(found.vector(name.to_owned(), pairs)?),
        None => None,
    };
    Ok(Rope::new(pairs, base, scale, factors.as_deref()))
}

/// A whole number of the metadata, from 1.
fn bounded(
    file: &Gguf<'_>,
    name: &str,
    usual: Option<u64>,
    most: u64,
) -> Result<usize, InvalidGguf> {
    let Some(value) = file.count(name)?.or(usual) else {
        return Err(key(name, "it is missing"));
    };
    match usize::try_from(value) {
        Ok(found) if (1..=most).contains(&value) => Ok(found),
        _ => Err(key(name, format!("{value} is not from 1 to {most}"))),
    }
}

/// The tensors of a file, and how many have been asked for.
struct Found<'f, 'a> {
    file: &'f Gguf<'a>,
    used: usize,
}

impl<'a> Found<'_, 'a> {
    fn take(&mut self, name: &str) -> Result<Tensor<'a>, InvalidGguf> {
        let found = self.file.tensor(name);
        let found = found.ok_or_else(|| tensor(name, "it is missing"))?;
        self.used += 1;
        Ok(*found)
    }

    fn embedding(&mut self) -> Result<Matrix<'a>, InvalidGguf> {
        let name = "token_embd.weight";
        let found = self.take(name)?;
        let [width, rows, ..] = found.shape;
        if width > MAX_WIDTH || rows > u64::from(u32::MAX) {
            return Err(tensor(
                name,
                format!("its shape {:?} is too large", found.shape),
            ));
        }
        matrix(&found, width as usize, rows as usize)
    }

    /// The matrix that gives the next token: its own, or the embedding again.
    fn output(&mut self, embedding: &Matrix<'a>) -> Result<Matrix<'a>, InvalidGguf> {
        match self.file.tensor("output.weight") {
            None => Ok(*embedding),
            Some(_) => self.matrix(
                "output.weight".to_owned(),
                embedding.columns,
                embedding.rows,
            ),
        }
    }

    fn matrix(
        &mut self,
        name: String,
        columns: usize,
        rows: usize,
    ) -> Result<Matrix<'a>, InvalidGguf> {
        matrix(&self.take(&name)?, columns, rows)
    }

    fn vector(&mut self, name: String, len: usize) -> Result<Vec<f32>, InvalidGguf> {
        let found = self.take(&name)?;
        let as_matrix = matrix(&found, len, 1)?;
        if !matches!(found.kind, Kind::F32 | Kind::F16 | Kind::BF16) {
            return Err(tensor(&name, "it is quantised, which is not read here"));
        }
        let mut vector = vec![0.0; len];
        as_matrix.row(0, &mut vector);
        Ok(vector)
    }

    fn layer(&mut self, layer: usize, shape: &Shape) -> Result<Layer<'a>, InvalidGguf> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let (width, inner) = (shape.width, shape.inner);
        let (queries, keys) = (shape.queries(), shape.keys());
        Ok(Layer {
            attention_norm: self.vector(name("attn_norm"), width)?,
            query: self.matrix(name("attn_q"), width, queries)?,
            key: self.matrix(name("attn_k"), width, keys)?,
            value: self.matrix(name("attn_v"), width, keys)?,
            mixed: self.matrix(name("attn_output"), queries, width)?,
            inner_norm: self.vector(name("ffn_norm"), width)?,
            gate: self.matrix(name("ffn_gate"), width, inner)?,
            up: self.matrix(name("ffn_up"), width, inner)?,
            down: self.matrix(name("ffn_down"), inner, width)?,
        })
    }

    /// Names a tensor that nothing asked for.
    fn stranger(&self, layers: usize) -> InvalidGguf {
        const ONCE: [&str; 4] = [
            "token_embd.weight",
            "output.weight",
            "output_norm.weight",
            "rope_freqs.weight",
        ];
        const EACH: [&str; TENSORS] = [
            "attn_norm",
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_output",
            "ffn_norm",
            "ffn_gate",
            "ffn_up",
            "ffn_down",
        ];
        let known = |name: &str| {
            let part = || {
                let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
                let known = EACH.contains(&part.strip_suffix(".weight")?);
                Some(known && layer.parse::<usize>().is_ok_and(|layer| layer < layers))
            };
            ONCE.contains(&name) || part().unwrap_or(false)
        };
        let names = self.file.tensors().iter().map(|tensor| tensor.name);
        let name = names.into_iter().find(|name| !known(name));
        tensor(
            name.unwrap_or_default(),
            "it is no part of the network that the file describes",
        )
    }
}

fn matrix<'a>(found: &Tensor<'a>, columns: usize, rows: usize) -> Result<Matrix<'a>, InvalidGguf> {
    let expected = [columns as u64, rows as u64, 1, 1];
    if found.shape != expected {
        let reason = format!("its shape is {:?}, not {expected:?}", found.shape);
        return Err(tensor(found.name, reason));
    }
    Ok(Matrix {
        kind: found.kind,
        rows,
        columns,
        bytes: found.bytes,
    })
}
