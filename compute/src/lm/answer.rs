//! One request under way: its tokens, and the text that has come of them.

use embermesh_job::event::{EventKind, FinishReason, Generated, MAX_PIECE};
use serde::Serialize;

use super::forward::Row;
use super::language::Words;
use super::prepare::Prompt;
use super::sample::{NotFinite, Sampler};
use super::tokens::Stream;

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Answer {
    number: u32,
    /// Prompt and answer.
    tokens: Vec<u32>,
    prompt: usize,
    /// Tokens that the network has read.
    read: usize,
    room: usize,
    sampler: Sampler,
    stream: Stream,
    /// The text so far.
    text: String,
    /// Bytes of it that have been told.
    told: usize,
    finish: Option<FinishReason>,
}

/// A line of the result.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// Which request, from 0.
    pub(crate) request: u32,
    text: String,
    finish: &'static str,
    prompt_tokens: usize,
    pub(crate) tokens: usize,
}

impl Answer {
    pub(crate) fn new(prompt: Prompt<'_>) -> Self {
        Self {
            number: prompt.number,
            sampler: Sampler::new(prompt.request, &prompt.tokens),
            stream: Stream::new(&prompt.request.stop),
            prompt: prompt.tokens.len(),
            tokens: prompt.tokens,
            read: 0,
            room: prompt.room,
            text: String::new(),
            told: 0,
            finish: None,
        }
    }

    /// Which request it is.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Tokens made so far.
    pub(crate) fn tokens(&self) -> u64 {
        self.made() as u64
    }

    /// Whether its text waits for one token only, and not for a prompt to be read.
    pub(crate) fn is_speaking(&self) -> bool {
        self.read + 1 == self.tokens.len() && self.read > 0
    }

    /// Tokens made so far.
    fn made(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Adds the tokens that the network has not read, up to `most` rows in all.
    pub(crate) fn rows(&mut self, cache: usize, most: usize, rows: &mut Vec<Row>) {
        let unread = self.read..self.tokens.len();
        for position in unread.take(most.saturating_sub(rows.len())) {
            self.read += 1;
            rows.push(Row {
                cache,
                position,
                token: self.tokens[position],
                last: self.read == self.tokens.len(),
            });
        }
    }

    /// Goes on by a token, from what the network says of each.
    pub(crate) fn go_on(&mut self, logits: &[f32], words: &Words<'_>) -> Result<(), NotFinite> {
        let made = self.made();
        let token = self.sampler.next(logits, made as u32)?;
        if words.is_end(token) {
            return self.end(FinishReason::Stop);
        }
        self.tokens.push(token);
        let mut bytes = Vec::new();
        words.bytes(token, &mut bytes);
        if self.stream.push(&bytes, &mut self.text).is_err() {
            return self.end(FinishReason::Stop);
        }
        if self.tokens.len() >= self.room {
            return self.end(FinishReason::Length);
        }
        Ok(())
    }

    /// Ends it where it is, because that was asked.
    pub(crate) fn stop(&mut self) {
        self.stream.finish(&mut self.text);
        self.finish = Some(FinishReason::Stopped);
    }

    fn end(&mut self, reason: FinishReason) -> Result<(), NotFinite> {
        self.stream.finish(&mut self.text);
        self.finish = Some(reason);
        Ok(())
    }

    /// What is to be said after a token, `every` tokens and at the end.
    pub(crate) fn told(&mut self, every: u32, speed: f64) -> Vec<EventKind> {
        let due = (self.made() as u64).is_multiple_of(every.into());
        if !due && self.finish.is_none() {
            return Vec::new();
        }
        let news = self.text[self.told..].to_owned();
        self.told = self.text.len();
        let mut pieces = in_pieces(&news);
        if pieces.is_empty() && self.finish.is_some() {
            pieces.push("");
        }
        let last = pieces.len().saturating_sub(1);
        let event = |(at, text): (usize, &str)| {
            EventKind::Generated(Generated {
                request: self.number,
                text: text.to_owned(),
                tokens: self.made() as u32,
                prompt_tokens: self.prompt as u32,
                tokens_per_second: speed,
                finish: self.finish.filter(|_| at == last),
            })
        };
        pieces.into_iter().enumerate().map(event).collect()
    }

    /// The line of a finished request.
    pub(crate) fn line(self) -> Line {
        Line {
            request: self.number,
            finish: self.finish.unwrap_or(FinishReason::Length).word(),
            prompt_tokens: self.prompt,
            tokens: self.made(),
            text: self.text,
        }
    }
}

/// Pieces that an event can hold, of whole characters.
fn in_pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(MAX_PIECE));
        pieces.push(piece);
        text = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_told_in_pieces_of_whole_characters() {
        let text = format!("a{}", "é".repeat(MAX_PIECE));
        let pieces = in_pieces(&text);
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.len() <= MAX_PIECE));
        assert_eq!(pieces.concat(), text);
        assert!(in_pieces("").is_empty());
    }
}
