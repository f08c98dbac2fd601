//! Texts of a language model, as they come. One is shown at a time, from its
//! first token to its last; what the others say meanwhile waits for its turn.

use std::collections::BTreeMap;

use embermesh_job::event::{FinishReason, Generated};

/// The most bytes that wait for their turn; a text that is longer is in the
/// job's artifact.
const MAX_WAITING: usize = 16 << 20;

/// What is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Text of the model.
    Text(String),
    /// A word about it.
    Remark(String),
}

/// The texts of a job.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The one whose turn it is.
    current: u32,
    waiting: BTreeMap<u32, Vec<Generated>>,
    waiting_bytes: usize,
}

impl Answers {
    /// Takes a piece, and says what there is to show.
    pub(crate) fn take(&mut self, piece: &Generated) -> Vec<Shown> {
        if piece.request != self.current {
            self.keep(piece);
            return Vec::new();
        }
        let mut shown = show(piece);
        let mut ended = piece.finish.is_some();
        while ended {
            self.current += 1;
            let next = self.waiting.remove(&self.current).unwrap_or_default();
            ended = next.last().is_some_and(|piece| piece.finish.is_some());
            for piece in next {
                self.waiting_bytes -= piece.text.len();
                shown.extend(show(&piece));
            }
        }
        shown
    }

    /// What still waits when nothing more will come: of a stream that was heard
    /// from the middle on, or that broke off.
    pub(crate) fn rest(&mut self) -> Vec<Shown> {
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        waiting.values().flatten().flat_map(show).collect()
    }

    fn keep(&mut self, piece: &Generated) {
        let mut piece = piece.clone();
        if self.waiting_bytes + piece.text.len() > MAX_WAITING {
            piece.text = String::new();
        }
        self.waiting_bytes += piece.text.len();
        self.waiting.entry(piece.request).or_default().push(piece);
    }
}

fn show(piece: &Generated) -> Vec<Shown> {
    let mut text = printable(&piece.text);
    let Some(finish) = piece.finish else {
        return vec![Shown::Text(text)];
    };
    text.push('\n');
    vec![Shown::Text(text), Shown::Remark(ended(piece, finish))]
}

/// What a model or a program makes is shown to a person's terminal, which must not
/// obey it.
pub(crate) fn printable(text: &str) -> String {
    let safe = |letter: char| match letter {
        '\n' | '\t' => letter,
        letter if letter.is_control() => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(safe).collect()
}

fn ended(piece: &Generated, finish: FinishReason) -> String {
    format!(
        "request {}: {} tokens after {} of prompt, {:.1} tokens/s ({})",
        piece.request,
        piece.tokens,
        piece.prompt_tokens,
        piece.tokens_per_second,
        finish.word()
    )
}

/// A piece as a line of its own.
pub(crate) fn line(piece: &Generated) -> String {
    match piece.finish {
        Some(finish) => ended(piece, finish),
        None => format!("request {}: {}", piece.request, printable(&piece.text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(request: u32, text: &str, ends: bool) -> Generated {
        Generated {
            request,
            text: text.to_owned(),
            tokens: 2,
            prompt_tokens: 5,
            tokens_per_second: 80.25,
            finish: ends.then_some(FinishReason::Stop),
        }
    }

    fn text(shown: Vec<Shown>) -> String {
        let texts = shown.into_iter().filter_map(|shown| match shown {
            Shown::Text(text) => Some(text),
            Shown::Remark(_) => None,
        });
        texts.collect()
    }

    #[test]
    fn texts_come_one_after_another() {
        let mut answers = Answers::default();
        assert_eq!(text(answers.take(&piece(0, "a", false))), "a");
        assert_eq!(text(answers.take(&piece(1, "x", false))), "");
        assert_eq!(text(answers.take(&piece(2, "z", true))), "");
        assert_eq!(text(answers.take(&piece(0, "b", true))), "b\nx");
        assert_eq!(text(answers.take(&piece(1, "y", true))), "y\nz\n");
    }

    #[test]
    fn what_waited_in_vain_is_shown_at_the_end() {
        let mut answers = Answers::default();
        answers.take(&piece(2, "z", true));
        answers.take(&piece(1, "x", false));
        assert_eq!(text(answers.rest()), "xz\n");
        assert!(answers.rest().is_empty());
    }

    #[test]
    fn the_end_is_remarked_and_control_characters_are_not_sent() {
        let shown = Answers::default().take(&piece(0, "\u{1b}[2Jé\n", true));
        assert_eq!(
            shown,
            [
                Shown::Text("\u{fffd}[2Jé\n\n".to_owned()),
                Shown::Remark(
                    "request 0: 2 tokens after 5 of prompt, 80.2 tokens/s (stop)".to_owned()
                ),
            ]
        );
    }
}
