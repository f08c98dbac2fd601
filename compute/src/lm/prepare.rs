//! From a job's requests to prompts of tokens, and what there is memory for:
//! all that can be refused before anything is computed.

use embermesh_job::spec::{Generate, Request};

use super::MAX_GROWTH;
use super::cache::Cache;
use super::chat;
use super::forward::Buffers;
use super::gguf::Gguf;
use super::model::Model;
use super::tokens::Tokenizer;
use crate::failure::WorkFailed;

/// A request in tokens.
#[derive(Debug)]
pub(crate) struct Prompt<'r> {
    /// Its number in the job, from 0.
    pub(crate) number: u32,
    pub(crate) request: &'r Request,
    pub(crate) tokens: Vec<u32>,
    /// Tokens that the prompt and what follows may have together.
    pub(crate) room: usize,
    /// Bytes of its cache.
    pub(crate) bytes: u64,
}

/// The prompts of all requests, in their order.
pub(crate) fn prompts<'r>(
    generate: &'r Generate,
    file: &Gguf<'_>,
    model: &Model<'_>,
    tokenizer: &Tokenizer<'_>,
) -> Result<Vec<Prompt<'r>>, WorkFailed> {
    let template = file.text(chat::TEMPLATE)?;
    let context = model.shape.context;
    let prompt = |(number, request)| {
        prompt(number, request, template, context, model, tokenizer)
            .map_err(|reason| WorkFailed::Request { number, reason })
    };
    (0..).zip(&generate.requests).map(prompt).collect()
}

/// The prompt of one request, for a text of `context` tokens at most; or why it
/// cannot be answered.
pub(crate) fn prompt<'r>(
    number: u32,
    request: &'r Request,
    template: Option<&str>,
    context: usize,
    model: &Model<'_>,
    tokenizer: &Tokenizer<'_>,
) -> Result<Prompt<'r>, String> {
    let rendered = match (&request.prompt, template) {
        (Some(_), _) => None,
        (None, None) => {
            let reason = "the model's file has no chat template: give a `prompt`";
            return Err(reason.to_owned());
        }
        (None, Some(template)) => {
            let text = chat::render(template, &request.messages, tokenizer.names());
            Some(text.map_err(|error| format!("the chat template failed: {error}"))?)
        }
    };
    let text = rendered
        .or_else(|| request.prompt.clone())
        .unwrap_or_default();
    let tokens = tokenizer.encode(&text);
    if tokens.is_empty() || tokens.len() >= context {
        return Err(format!(
            "its prompt has {} tokens, and the model reads 1 to {}",
            tokens.len(),
            context - 1
        ));
    }
    let room = tokens.len().saturating_add(request.max_tokens as usize);
    let room = room.min(context);
    Ok(Prompt {
        number,
        request,
        tokens,
        room,
        bytes: Cache::bytes(model.layers.len(), model.shape.keys(), room),
    })
}

/// Bytes that the job may take for caches, once the file, what is built of it,
/// and the buffers have theirs: enough for the cache of the largest request.
pub(crate) fn budget(
    ceiling: u64,
    file: &Gguf<'_>,
    size: u64,
    model: &Model<'_>,
    largest: u64,
) -> Result<u64, WorkFailed> {
    let weights: u64 = file.tensors().iter().map(|at| at.bytes.len() as u64).sum();
    let header = size.saturating_sub(weights);
    let fixed = size
        .saturating_add(header.saturating_mul(MAX_GROWTH))
        .saturating_add(Buffers::bytes(model));
    let needed = fixed.saturating_add(largest);
    if needed > ceiling {
        return Err(WorkFailed::Context { needed, ceiling });
    }
    Ok(ceiling - fixed)
}
