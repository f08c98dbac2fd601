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
    let Language { model, words, .. } = language;
    let mut prompts = Vec::with_capacity(generate.requests.len());
    for (number, request) in (0..).zip(&generate.requests) {
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
        let context = model.shape.context;
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
        prompts.push(Prompt {
            number,
            request,
            tokens,
            room,
            bytes: Cache::bytes(model.layers.len(), model.shape.keys(), room),
        });
    }
    Ok(prompts)
}

/// Bytes that the job may take for caches, once the files, what is built of
/// them, and the buffers have theirs: enough for the largest request.
pub(crate) fn budget(
    ceiling: u64,
    language: &Language<'_>,
    prompts: &[Prompt<'_>],
) -> Result<u64, WorkFailed> {
    let fixed = language
        .held
        .saturating_add(Buffers::bytes(&language.model));
    let largest = prompts.iter().map(|prompt| prompt.bytes).max();
    let needed = fixed.saturating_add(largest.unwrap_or(0));
    if needed > ceiling {
        return Err(WorkFailed::Context { needed, ceiling });
    }
    Ok(ceiling - fixed)
}
