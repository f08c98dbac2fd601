//! Bytes of tokens to text, as they come: no character is cut, and nothing is
//! shown that may yet turn out to be a stop string.

/// The text of one request, on its way out.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    stops: Vec<String>,
    /// The beginning of a character whose end has not come.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
    stopped: bool,
}

/// A stop string came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended;

impl Stream {
    pub(crate) fn new(stops: &[String]) -> Self {
        Self {
            stops: stops.to_vec(),
            ..Self::default()
        }
    }

    /// Takes the bytes of a token and adds to `out` what can be shown.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut String) -> Result<(), Ended> {
        if self.stopped {
            return Err(Ended);
        }
        self.partial.extend_from_slice(bytes);
        let whole = whole_characters(&self.partial);
        let text = String::from_utf8_lossy(&self.partial[..whole]);
        self.held.push_str(&text);
        self.partial.drain(..whole);
        self.release(out)
    }

    /// Adds what was held back: the text is at its end.
    pub(crate) fn finish(&mut self, out: &mut String) {
        if self.stopped {
            return;
        }
        let rest = std::mem::take(&mut self.partial);
        self.held.push_str(&String::from_utf8_lossy(&rest));
        if self.release(out).is_ok() {
            out.push_str(&self.held);
        }
        self.held.clear();
    }

    fn release(&mut self, out: &mut String) -> Result<(), Ended> {
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop));
        if let Some(at) = first.min() {
            out.push_str(&self.held[..at]);
            self.held.clear();
            self.stopped = true;
            return Err(Ended);
        }
        let kept = self.stops.iter().map(|stop| overlap(&self.held, stop));
        let shown = self.held.len() - kept.max().unwrap_or(0);
        out.push_str(&self.held[..shown]);
        self.held.drain(..shown);
        Ok(())
    }
}

/// How many of the bytes are whole characters, or can never become one.
fn whole_characters(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match std::str::from_utf8(&bytes[at..]) {
            Ok(_) => return bytes.len(),
            Err(error) => {
                at += error.valid_up_to();
                match error.error_len() {
                    Some(len) => at += len,
                    None => return at,
                }
            }
        }
    }
}

/// Bytes at the end of a text with which a stop string begins.
fn overlap(text: &str, stop: &str) -> usize {
    let most = text.len().min(stop.len() - 1);
    let begins = |len: &usize| {
        let tail = &text.as_bytes()[text.len() - len..];
        stop.as_bytes().starts_with(tail)
    };
    (1..=most).rev().find(begins).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything, piece by piece, in bites of one byte.
    fn pieces(text: &[u8], stops: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stream = Stream::new(&stops);
        let mut pieces = Vec::new();
        for byte in text {
            let mut out = String::new();
            let ended = stream.push(&[*byte], &mut out);
            pieces.push(out);
            if ended.is_err() {
                return (pieces, true);
            }
        }
        let mut out = String::new();
        stream.finish(&mut out);
        pieces.push(out);
        (pieces, false)
    }

    #[test]
    fn no_character_is_cut() {
        let (shown, _) = pieces("aé🙂z".as_bytes(), &[]);
        assert_eq!(shown, ["a", "", "é", "", "", "", "🙂", "z", ""]);
        // What is no UTF-8 is shown as such, at once or at the end.
        assert_eq!(
            pieces(b"a\xff\xe2\x82", &[]).0.concat(),
            "a\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn a_stop_string_ends_the_text_and_is_not_part_of_it() {
        let (shown, stopped) = pieces("one\nUser: two".as_bytes(), &["\nUser:", "zzz"]);
        assert_eq!((shown.concat().as_str(), stopped), ("one", true));
        // Its beginning is shown once it is none.
        let (shown, stopped) = pieces("one\nUs\nUse".as_bytes(), &["\nUser:"]);
        assert_eq!((shown.concat().as_str(), stopped), ("one\nUs\nUse", false));
        assert_eq!(shown[3], "");
        // The one that comes first counts, and characters stay whole.
        let (shown, _) = pieces("aéb".as_bytes(), &["b", "éb"]);
        assert_eq!(shown.concat(), "a");
    }
}
