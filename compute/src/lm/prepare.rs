//! From a job's requests to prompts of tokens, and what there is memory for:
//! all that can be refused before anything is computed.

use embermesh_job::spec::{Generate, Request};

use super::cache::Cache;
use super::chat;
use super::forward::Buffers;
use super::language::Language;
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
    language: &Language<'_>,
) -> Result<Vec<Prompt<'r>>, WorkFailed> {
    let context = language.model.shape.context;
    (0..)
        .zip(&generate.requests)
        .map(|(number, request)| prompt(number, request, context, language))
        .collect()
}

/// The prompt of one request, for a text of `context` tokens at most.
pub(crate) fn prompt<'r>(
    number: u32,
    request: &'r Request,
    context: usize,
    language: &Language<'_>,
) -> Result<Prompt<'r>, WorkFailed> {
    let Language { model, words, .. } = language;
    let refuse = |reason| WorkFailed::Request { number, reason };
    let tokens = match (&request.prompt, language.template.as_deref()) {
        (Some(text), _) => words.encode(text)?,
        (None, None) => {
            let reason = "the model has no chat template: give a `prompt`";
            return Err(refuse(reason.to_owned()));
        }
        (None, Some(template)) => {
            let text = chat::render(template, &request.messages, words.names());
            let failed = |error| refuse(format!("the chat template failed: {error}"));
            words.encode_chat(&text.map_err(failed)?)?
        }
    };
    if tokens.is_empty() || tokens.len() >= context {
        let reason = format!(
            "its prompt has {} tokens, and the model reads 1 to {}",
            tokens.len(),
            context - 1
        );
        return Err(refuse(reason));
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

/// Bytes that the job may take for caches, once the files, what is built of
/// them, and the buffers have theirs: enough for the cache of the largest request.
pub(crate) fn budget(
    ceiling: u64,
    language: &Language<'_>,
    largest: u64,
) -> Result<u64, WorkFailed> {
    let fixed = language
        .held
        .saturating_add(Buffers::bytes(&language.model));
    let needed = fixed.saturating_add(largest);
    if needed > ceiling {
        return Err(WorkFailed::Context { needed, ceiling });
    }
    Ok(ceiling - fixed)
}
