//! What a script writes, made into pieces of text, and its last lines.
//!
//! Bytes that are no UTF-8 become U+FFFD; a character whose bytes come one after
//! another is waited for.

use embermesh_job::event::{EventKind, LogStream, MAX_PIECE};

/// Bytes that wait for more before they become a piece by their number alone.
const FULL: usize = MAX_PIECE;

/// Bytes of the last lines that are kept.
const MAX_TAIL: usize = 2048;
/// Lines of them that are shown.
const TAIL_LINES: usize = 12;

/// One stream of a script.
pub(crate) struct Text {
    stream: LogStream,
    /// What has come and was not said yet.
    waiting: Vec<u8>,
    tail: String,
}

impl Text {
    pub(crate) fn new(stream: LogStream) -> Self {
        Self {
            stream,
            waiting: Vec::new(),
            tail: String::new(),
        }
    }

    /// Takes bytes, and gives the pieces that are full.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<EventKind> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < FULL {
            return Vec::new();
        }
        self.pieces(false)
    }

    /// Gives what waits. `over` when nothing follows: then an unfinished character
    /// is none.
    pub(crate) fn flush(&mut self, over: bool) -> Vec<EventKind> {
        self.pieces(over)
    }

    fn pieces(&mut self, over: bool) -> Vec<EventKind> {
        let whole = if over {
            self.waiting.len()
        } else {
            self.waiting.len() - unfinished(&self.waiting)
        };
        let text = String::from_utf8_lossy(&self.waiting[..whole]).into_owned();
        self.waiting.drain(..whole);
        self.remember(&text);
        let mut rest = text.as_str();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(end_of_piece(rest));
            pieces.push(EventKind::Logged {
                stream: self.stream,
                text: piece.to_owned(),
            });
            rest = after;
        }
        pieces
    }

    fn remember(&mut self, text: &str) {
        self.tail.push_str(text);
        if self.tail.len() > MAX_TAIL {
            let from = self.tail.ceil_char_boundary(self.tail.len() - MAX_TAIL);
            self.tail.drain(..from);
        }
    }

    /// The last lines, without what a terminal would obey.
    pub(crate) fn last_lines(&self) -> String {
        let lines: Vec<&str> = self.tail.trim_end().lines().collect();
        let shown = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        let printable = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        shown.chars().map(printable).collect()
    }
}

/// Where the next piece ends: behind a line, if one ends in its second half.
fn end_of_piece(text: &str) -> usize {
    if text.len() <= MAX_PIECE {
        return text.len();
    }
    let end = text.floor_char_boundary(MAX_PIECE);
    match text[..end].rfind('\n') {
        Some(at) if at >= end / 2 => at + 1,
        _ => end,
    }
}

/// How many bytes at the end begin a character that is not whole.
fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes.len().min(3);
    for back in 1..=last {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            // Goes on with one that began before.
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: Vec<EventKind>) -> Vec<String> {
        let text = |kind| match kind {
            EventKind::Logged { text, .. } => text,
            other => panic!("{other:?}"),
        };
        pieces.into_iter().map(text).collect()
    }

    #[test]
    fn a_character_in_two_parts_is_one() {
        for word in ["é", "€", "🦀"] {
            for cut in 1..word.len() {
                let mut text = Text::new(LogStream::Stdout);
                assert!(text.take(&word.as_bytes()[..cut]).is_empty());
                assert!(text.flush(false).is_empty());
                text.take(&word.as_bytes()[cut..]);
                assert_eq!(texts(text.flush(false)), [word]);
            }
        }
        let mut text = Text::new(LogStream::Stdout);
        text.take(&[b'a', 0xe2, 0x82]);
        assert_eq!(texts(text.flush(true)), ["a\u{fffd}"]);
    }

    #[test]
    fn what_is_no_text_is_replaced_and_no_piece_is_too_long() {
        let mut text = Text::new(LogStream::Stderr);
        let mut said = texts(text.take(&vec![0xff; 10_000]));
        said.extend(texts(text.flush(true)));
        assert!(said.iter().all(|piece| piece.len() <= MAX_PIECE));
        assert_eq!(said.concat(), "\u{fffd}".repeat(10_000));
        let mut text = Text::new(LogStream::Stdout);
        let line = format!("{}\n", "x".repeat(99));
        let said = texts(text.take(line.repeat(100).as_bytes()));
        assert!(
            said.iter().all(|piece| piece.ends_with('\n')),
            "cut at lines"
        );
        assert_eq!(said.concat(), line.repeat(100));
    }

    #[test]
    fn the_last_lines_are_short_and_obey_nothing() {
        let mut text = Text::new(LogStream::Stderr);
        for number in 0..1000 {
            text.take(format!("line {number}\x1b[2J\n").as_bytes());
        }
        text.flush(true);
        let last = text.last_lines();
        assert!(last.ends_with("line 999 [2J") && last.len() <= MAX_TAIL);
        assert_eq!(last.lines().count(), TAIL_LINES);
    }
}
