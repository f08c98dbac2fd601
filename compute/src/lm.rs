//! Language models: the Llama family from a GGUF file or from a folder of
//! safetensors, on the processor.
//!
//! The weights stay as they are in the file, quantised, and are unpacked a few
//! rows at a time inside the product that needs them. Whatever a file says is
//! checked before anything of that size is allocated: what is built from it
//! takes at most [`MAX_GROWTH`] times its bytes, and caches and buffers are
//! counted against the job's ceiling first.
//!
//! The text is a function of the spec and the file: each number is computed in
//! one order, whatever is computed beside it and on however many threads. So a
//! resumed attempt begins again and says the same, and there are no
//! checkpoints.
//!
//! | module | what it is |
//! |---|---|
//! | `language` | a model from the files that a job names |
//! | `gguf` | a GGUF file: metadata and where the tensors are |
//! | `llama` | a folder: its config, and where the tensors are |
//! | `quant`, `half` | blocks of weights, unpacked |
//! | `product`, `vectors` | matrices times vectors, on all threads |
//! | `model`, `forward`, `cache`, `rope`, `attention` | the network |
//! | `tokens` | text to tokens and back |
//! | `chat` | messages to text, by the file's template |
//! | `sample` | the next token |
//! | `run`, `answer`, `prepare` | the requests of a job, side by side |
//! | `perplexity` | how well a model foresees texts |
//! | `resident` | the asks of a deployment, side by side |

mod answer;
mod attention;
mod cache;
mod chat;
mod forward;
mod gguf;
pub(crate) mod half;
mod language;
mod llama;
mod model;
mod perplexity;
mod prepare;
mod product;
mod quant;
mod resident;
mod rope;
mod run;
mod sample;
mod tokens;
pub(crate) mod vectors;

pub use gguf::InvalidGguf;
pub(crate) use perplexity::run as perplexity;
pub(crate) use resident::run as serve;
pub(crate) use run::run;
pub(crate) use tokens::bytes as letters;

/// What is built of a file's header and vocabulary takes at most this many
/// times the file's bytes.
pub const MAX_GROWTH: u64 = 8;

/// Reads all of a file but the weights, and says what it holds: for whoever
/// wants to know before a job is made of it.
///
/// # Errors
/// [`InvalidGguf`] with what is wrong.
pub fn inspect(bytes: &[u8]) -> Result<Summary, InvalidGguf> {
    let file = gguf::Gguf::parse(bytes)?;
    let model = model::Model::read(&file)?;
    let tokens = tokens::Tokenizer::read(&file, model.shape.vocabulary)?;
    Ok(Summary {
        name: file.text("general.name")?.unwrap_or_default().to_owned(),
        parameters: model.parameters,
        layers: model.layers.len() as u64,
        context: model.shape.context as u64,
        vocabulary: tokens.len() as u64,
        has_chat_template: file.text(chat::TEMPLATE)?.is_some(),
    })
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What its maker calls it; may be empty.
    pub name: String,
    /// Numbers in all of its tensors.
    pub parameters: u64,
    /// Transformer layers.
    pub layers: u64,
    /// Tokens that it was made to read.
    pub context: u64,
    /// Tokens that it knows.
    pub vocabulary: u64,
    /// Whether it can be given messages.
    pub has_chat_template: bool,
}

#[cfg(test)]
mod folder_tests;

#[cfg(test)]
mod tests;

#[cfg(test)]
#[path = "../tests/support/tiny.rs"]
mod tiny;
