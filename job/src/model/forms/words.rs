//! What the words of other systems mean.

use super::super::{
    Attention, Bare, BatchNorm, Concat, Conv, Dense, Dropout, Elu, Embedding, Encoder, FeedForward,
    Gelu, GroupNorm, LayerNorm, LeakyRelu, Mean, Op, Pair, Pool, Position, Positions, Recurrent,
    Reshape, Softmax, Softplus, Steps, Transpose,
};
use super::{InvalidDefinition, Parameters, part};
use crate::spec::Loss;

/// What a part is.
pub(super) enum Meaning {
    /// The model's input.
    Input,
    /// A mark at the model's end.
    Output,
    /// What it is trained with.
    Loss(Loss),
    /// A layer.
    Op(Op),
}

/// A word in small letters, without what stands between them.
pub(super) fn plain(word: &str) -> String {
    word.chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .take(64)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// What the type of a part means.
pub(super) fn meaning(
    label: &str,
    word: &str,
    parameters: &Parameters,
) -> Result<Meaning, InvalidDefinition> {
    let name = plain(word);
    match name.as_str() {
        "input" | "inputlayer" | "datasetinput" | "datainput" => return Ok(Meaning::Input),
        "output" | "outputlayer" | "linearactivation" | "identity" => return Ok(Meaning::Output),
        "activation" => {
            let word = parameters
                .text(&["activation", "function"])
                .map_err(part(label))?;
            let op = activation(label, word.unwrap_or_default())?;
            return Ok(op.map_or(Meaning::Output, Meaning::Op));
        }
        _ => {}
    }
    if let Some(loss) = known_loss(&name) {
        return Ok(Meaning::Loss(loss));
    }
    layer(&name, parameters)
        .or_else(|| bent(&name, parameters))
        .ok_or_else(|| unknown(format!("the type of {label},"), word))?
        .map(Meaning::Op)
        .map_err(part(label))
}

fn unknown(what: String, word: &str) -> InvalidDefinition {
    InvalidDefinition::UnknownWord {
        what,
        word: word.chars().take(64).collect(),
    }
}

/// The activation of a word; `None` for that which does nothing.
pub(super) fn activation(label: &str, word: &str) -> Result<Option<Op>, InvalidDefinition> {
    let name = plain(word);
    if matches!(name.as_str(), "" | "linear" | "none" | "identity") {
        return Ok(None);
    }
    bent(&name, &Parameters::default())
        .ok_or_else(|| unknown(format!("the activation of {label},"), word))?
        .map(Some)
        .map_err(part(label))
}

/// The loss of a word.
pub(super) fn loss(word: &str) -> Result<Loss, InvalidDefinition> {
    known_loss(&plain(word)).ok_or_else(|| unknown("the loss".to_owned(), word))
}

fn known_loss(name: &str) -> Option<Loss> {
    Some(match name {
        "crossentropy"
        | "crossentropyloss"
        | "categoricalcrossentropy"
        | "sparsecategoricalcrossentropy" => Loss::CrossEntropy {
            label_smoothing: 0.0,
            class_weights: Vec::new(),
        },
        "bce" | "bceloss" | "bcewithlogits" | "bcewithlogitsloss" | "binarycrossentropy" => {
            Loss::Bce
        }
        "mse" | "mseloss" | "meansquarederror" => Loss::Mse,
        "mae" | "maeloss" | "l1" | "l1loss" | "meanabsoluteerror" => Loss::Mae,
        "huber" | "huberloss" => Loss::Huber { delta: 1.0 },
        _ => return None,
    })
}

/// Whether a loss does itself what this operation does at the end of a model.
pub(super) fn is_in_the_loss(op: &Op, loss: Option<&Loss>) -> bool {
    match op {
        Op::Softmax(_) | Op::LogSoftmax(_) => {
            matches!(loss, None | Some(Loss::CrossEntropy { .. }))
        }
        Op::Sigmoid(_) => loss == Some(&Loss::Bce),
        _ => false,
    }
}

/// The shape of a sample, where the whole definition says it.
pub(super) fn input_shape(fields: &Parameters) -> Result<Option<Vec<usize>>, String> {
    fields.wholes(&["input_shape", "input", "input_size"])
}

/// The shape of a sample, where a part that reads the input says it.
pub(super) fn sample_of(
    meaning: &Meaning,
    parameters: &Parameters,
) -> Result<Option<Vec<usize>>, String> {
    if let Some(shape) = parameters.wholes(&["input_shape"])? {
        return Ok(Some(shape));
    }
    match meaning {
        Meaning::Input => parameters.wholes(&["shape"]),
        Meaning::Op(Op::Dense(_)) => {
            let features = parameters.whole(&["in_features", "input_size", "input_dim"])?;
            Ok(features.map(|features| vec![features]))
        }
        _ => Ok(None),
    }
}

/// The activation of a plain name.
fn bent(name: &str, p: &Parameters) -> Option<Result<Op, String>> {
    Some(Ok(match name {
        "relu" => Op::relu(),
        "leakyrelu" => {
            return Some(
                p.number(&["negative_slope", "alpha"])
                    .map(|slope| match slope {
                        None => Op::LeakyRelu(LeakyRelu::default()),
                        Some(negative_slope) => Op::LeakyRelu(LeakyRelu { negative_slope }),
                    }),
            );
        }
        "elu" => {
            return Some(p.number(&["alpha"]).map(|alpha| {
                Op::Elu(Elu {
                    alpha: alpha.unwrap_or(1.0),
                })
            }));
        }
        "gelu" => Op::Gelu(Gelu::default()),
        "silu" | "swish" => Op::Silu(Bare {}),
        "mish" => Op::Mish(Bare {}),
        "tanh" => Op::Tanh(Bare {}),
        "sigmoid" => Op::Sigmoid(Bare {}),
        "softmax" => Op::Softmax(Softmax::default()),
        "logsoftmax" => Op::LogSoftmax(Softmax::default()),
        "softplus" => Op::Softplus(Softplus::default()),
        _ => return None,
    }))
}

/// The layer of a plain name; `None` where it is not known.
fn layer(name: &str, p: &Parameters) -> Option<Result<Op, String>> {
    Some(match name {
        "dense" | "linear" | "fc" | "fullyconnected" => dense(p),
        "conv1d" | "convolution1d" => conv1d(p),
        "conv2d" | "convolution2d" | "conv" => conv2d(p),
        "maxpool1d" | "maxpooling1d" => pool1d(p).map(Op::MaxPool1d),
        "maxpool2d" | "maxpooling2d" | "maxpool" | "maxpooling" => pool2d(p).map(Op::MaxPool2d),
        "avgpool1d" | "averagepooling1d" => pool1d(p).map(Op::AvgPool1d),
        "avgpool2d" | "averagepooling2d" | "avgpool" => pool2d(p).map(Op::AvgPool2d),
        "globalavgpool"
        | "globalavgpool2d"
        | "globalaveragepooling"
        | "globalaveragepooling1d"
        | "globalaveragepooling2d" => Ok(Op::GlobalAvgPool(Bare {})),
        "globalmaxpool" | "globalmaxpool2d" | "globalmaxpooling" | "globalmaxpooling1d"
        | "globalmaxpooling2d" => Ok(Op::GlobalMaxPool(Bare {})),
        "batchnorm" | "batchnorm1d" | "batchnorm2d" | "batchnormalization" => batch_norm(p),
        "layernorm" | "layernormalization" => p.number(&["eps", "epsilon"]).map(|epsilon| {
            Op::LayerNorm(epsilon.map_or_else(LayerNorm::default, |epsilon| LayerNorm { epsilon }))
        }),
        "groupnorm" | "groupnormalization" => group_norm(p),
        "dropout" => dropout(p),
        "embedding" => embedding(p),
        "lstm" => recurrent(p).map(Op::Lstm),
        "gru" => recurrent(p).map(Op::Gru),
        "attention" | "multiheadattention" | "selfattention" => attention(p),
        "transformerencoder" | "transformerencoderlayer" | "transformerblock" => encoder(p),
        "positionalencoding" => Ok(Op::Position(Position {
            kind: Positions::Sinusoidal,
        })),
        "positionalembedding" => Ok(Op::Position(Position::default())),
        "flatten" => Ok(Op::flatten()),
        "reshape" => reshape(p),
        "permute" | "transpose" => axes(p),
        "concat" | "concatenate" => Ok(Op::Concat(Concat::default())),
        "add" | "residual" | "residualadd" => Ok(Op::Add(Bare {})),
        "multiply" | "mul" => Ok(Op::Multiply(Bare {})),
        "mean" => p.whole(&["axis"]).map(|axis| {
            Op::Mean(Mean {
                axis: axis.unwrap_or(0),
            })
        }),
        _ => return None,
    })
}

const UNITS: [&str; 6] = [
    "units",
    "out_features",
    "output_size",
    "neurons",
    "size",
    "hidden_size",
];
const BIAS: [&str; 2] = ["use_bias", "bias"];
const CHANNELS: [&str; 3] = ["filters", "channels", "out_channels"];
const KERNEL: [&str; 3] = ["kernel_size", "kernel", "pool_size"];
const STRIDE: [&str; 2] = ["stride", "strides"];
const EPSILON: [&str; 2] = ["eps", "epsilon"];
const HEADS: [&str; 3] = ["num_heads", "heads", "nhead"];
const RATE: [&str; 4] = ["rate", "probability", "p", "dropout"];

fn dense(p: &Parameters) -> Result<Op, String> {
    Ok(Op::Dense(Dense {
        units: p.needed(&UNITS)?,
        bias: p.truth(&BIAS)?.unwrap_or(true),
    }))
}

fn conv1d(p: &Parameters) -> Result<Op, String> {
    let kernel = p.needed(&KERNEL)?;
    let mut conv = Conv::new(p.needed(&CHANNELS)?, kernel);
    conv.stride = p.whole(&STRIDE)?.unwrap_or(1);
    conv.dilation = p.whole(&["dilation", "dilation_rate"])?.unwrap_or(1);
    conv.groups = p.whole(&["groups"])?.unwrap_or(1);
    conv.bias = p.truth(&BIAS)?.unwrap_or(true);
    conv.padding = match same(p)? {
        None => p.whole(&["padding"])?.unwrap_or(0),
        Some(false) => 0,
        Some(true) => half(kernel, conv.stride, conv.dilation)?,
    };
    Ok(Op::Conv1d(conv))
}

fn conv2d(p: &Parameters) -> Result<Op, String> {
    let kernel = pair(p, &KERNEL)?.ok_or("`kernel_size` is missing")?;
    let mut conv = Conv::new(p.needed(&CHANNELS)?, kernel);
    conv.stride = pair(p, &STRIDE)?.unwrap_or(1usize.into());
    conv.dilation = pair(p, &["dilation", "dilation_rate"])?.unwrap_or(1usize.into());
    conv.groups = p.whole(&["groups"])?.unwrap_or(1);
    conv.bias = p.truth(&BIAS)?.unwrap_or(true);
    conv.padding = match same(p)? {
        None => pair(p, &["padding"])?.unwrap_or(0usize.into()),
        Some(false) => 0usize.into(),
        Some(true) => Pair {
            height: half(kernel.height, conv.stride.height, conv.dilation.height)?,
            width: half(kernel.width, conv.stride.width, conv.dilation.width)?,
        },
    };
    Ok(Op::Conv2d(conv))
}

/// Whether the padding is said by a word: "same" or "valid".
fn same(p: &Parameters) -> Result<Option<bool>, String> {
    let Some((_, serde_json::Value::String(word))) = p.value(&["padding"]) else {
        return Ok(None);
    };
    match plain(word).as_str() {
        "same" => Ok(Some(true)),
        "valid" => Ok(Some(false)),
        number if number.bytes().all(|c| c.is_ascii_digit() || c == b'x') => Ok(None),
        _ => Err("`padding` should be a number, \"same\" or \"valid\"".to_owned()),
    }
}

/// The padding that keeps a length.
fn half(kernel: usize, stride: usize, dilation: usize) -> Result<usize, String> {
    let span = kernel
        .checked_sub(1)
        .and_then(|span| span.checked_mul(dilation))
        .ok_or("`kernel_size` must be at least 1")?;
    if stride != 1 || !span.is_multiple_of(2) {
        return Err(
            "`padding` \"same\" needs an odd kernel and a stride of 1: give it as a number"
                .to_owned(),
        );
    }
    Ok(span / 2)
}

fn pair(p: &Parameters, names: &[&str]) -> Result<Option<Pair>, String> {
    match p.wholes(names)?.as_deref() {
        None => Ok(None),
        Some([side]) => Ok(Some((*side).into())),
        Some([height, width]) => Ok(Some(Pair {
            height: *height,
            width: *width,
        })),
        Some(_) => Err(format!("`{}` should be one number or two", names[0])),
    }
}

fn pool1d(p: &Parameters) -> Result<Pool<usize>, String> {
    Ok(Pool {
        kernel: p.whole(&KERNEL)?.unwrap_or(2),
        stride: p.whole(&STRIDE)?.unwrap_or(0),
        padding: match same(p)? {
            None => p.whole(&["padding"])?.unwrap_or(0),
            Some(_) => 0,
        },
    })
}

fn pool2d(p: &Parameters) -> Result<Pool<Pair>, String> {
    Ok(Pool {
        kernel: pair(p, &KERNEL)?.unwrap_or(2usize.into()),
        stride: pair(p, &STRIDE)?.unwrap_or(0usize.into()),
        padding: match same(p)? {
            None => pair(p, &["padding"])?.unwrap_or(0usize.into()),
            Some(_) => 0usize.into(),
        },
    })
}

fn batch_norm(p: &Parameters) -> Result<Op, String> {
    let usual = BatchNorm::default();
    Ok(Op::BatchNorm(BatchNorm {
        epsilon: p.number(&EPSILON)?.unwrap_or(usual.epsilon),
        momentum: p.number(&["momentum"])?.unwrap_or(usual.momentum),
    }))
}

fn group_norm(p: &Parameters) -> Result<Op, String> {
    Ok(Op::GroupNorm(GroupNorm {
        groups: p.needed(&["num_groups", "groups"])?,
        epsilon: p.number(&EPSILON)?.unwrap_or(LayerNorm::default().epsilon),
    }))
}

fn dropout(p: &Parameters) -> Result<Op, String> {
    Ok(Op::Dropout(Dropout {
        probability: p.number(&RATE)?.unwrap_or(0.5),
    }))
}

fn embedding(p: &Parameters) -> Result<Op, String> {
    Ok(Op::Embedding(Embedding {
        entries: p.needed(&["num_embeddings", "entries", "vocab_size", "input_dim"])?,
        features: p.needed(&["embedding_dim", "features", "output_dim"])?,
    }))
}

fn recurrent(p: &Parameters) -> Result<Recurrent, String> {
    let is_every = p.truth(&["return_sequences"])?.unwrap_or(false);
    if p.truth(&["bidirectional"])? == Some(true) {
        return Err("`bidirectional` is not known: only one direction is".to_owned());
    }
    Ok(Recurrent {
        units: p.needed(&["hidden_size", "units"])?,
        layers: p.whole(&["num_layers", "layers"])?.unwrap_or(1),
        bias: p.truth(&BIAS)?.unwrap_or(true),
        output: if is_every { Steps::Every } else { Steps::Last },
    })
}

fn attention(p: &Parameters) -> Result<Op, String> {
    Ok(Op::Attention(Attention {
        heads: p.needed(&HEADS)?,
        causal: p.truth(&["causal", "is_causal"])?.unwrap_or(false),
        bias: p.truth(&BIAS)?.unwrap_or(true),
        dropout: p.number(&["dropout"])?.unwrap_or(0.0),
    }))
}

fn encoder(p: &Parameters) -> Result<Op, String> {
    let units = p.whole(&["dim_feedforward", "ff_dim", "units"])?;
    let mut encoder = Encoder::new(p.needed(&HEADS)?, units.unwrap_or(2048));
    encoder.activation = match p.text(&["activation"])?.map(plain).as_deref() {
        None | Some("relu") => FeedForward::Relu,
        Some("gelu") => FeedForward::Gelu,
        Some(other) => return Err(format!("`activation` {other} should be relu or gelu")),
    };
    encoder.norm_first = p.truth(&["norm_first"])?.unwrap_or(false);
    encoder.dropout = p.number(&["dropout", "rate"])?.unwrap_or(encoder.dropout);
    Ok(Op::TransformerEncoder(encoder))
}

fn reshape(p: &Parameters) -> Result<Op, String> {
    let shape = p
        .wholes(&["target_shape", "shape"])?
        .ok_or("`shape` is missing")?;
    let shape = shape
        .into_iter()
        .map(|axis| i64::try_from(axis).unwrap_or(i64::MAX))
        .collect();
    Ok(Op::Reshape(Reshape { shape }))
}

fn axes(p: &Parameters) -> Result<Op, String> {
    let axes = p.wholes(&["dims", "axes"])?.ok_or("`axes` is missing")?;
    Ok(Op::Transpose(Transpose { axes }))
}
