//! `tokenizer.json`, through the library that such files are written by.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;
use tokenizers::{Tokenizer, TruncationParams};

use super::decode::Writing;
use super::limits::{self, Cost};
use super::{Folder, InvalidFolder};
use crate::dataset::room::Room;
use crate::failure::WorkFailed;

/// The file.
pub(crate) const FILE: &str = "tokenizer.json";

/// The largest file, in bytes.
const MAX_FILE: usize = 64 << 20;
/// What is built of a file takes at most this many times its bytes.
pub(crate) const MAX_GROWTH: u64 = 48;
/// Bytes that a compiled pattern may take.
const PATTERN: u64 = 10 << 20;
/// Bytes that each byte of a normalised text takes while it is cut.
const WHILE_CUT: u64 = 192;

/// A tokenizer, and what its texts cost.
pub(crate) struct HubTokenizer {
    tokenizer: Tokenizer,
    growth: u64,
    /// Tokens that the network knows.
    count: usize,
    own_length: Option<u64>,
    /// How its tokens are written, or why that is not known.
    writing: Result<Writing, String>,
}

/// A text in tokens.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) tokens: Vec<u32>,
    /// Whether it was longer.
    pub(crate) shortened: bool,
}

impl HubTokenizer {
    /// Reads the tokenizer of a network that knows `count` tokens, once there is
    /// room for it.
    pub(crate) fn read(folder: &Folder, count: usize, room: &mut Room) -> Result<Self, WorkFailed> {
        let bytes = folder.required(FILE)?;
        let wrong = |reason: String| InvalidFolder::new(FILE, reason);
        if bytes.len() > MAX_FILE {
            let reason = format!("it has {} bytes, of {MAX_FILE} allowed", bytes.len());
            return Err(wrong(reason).into());
        }
        room.take(bytes.len() as u64 * MAX_GROWTH, FILE)?;
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        let Cost { growth, patterns } = limits::check(&value).map_err(wrong)?;
        room.take(patterns * PATTERN, FILE)?;
        let own_length = value["truncation"]["max_length"].as_u64();
        let writing = Writing::of(&value["decoder"]);
        drop(value);
        let mut tokenizer =
            guarded(|| Tokenizer::from_bytes(bytes).map_err(|error| error.to_string()))
                .map_err(wrong)?;
        tokenizer.with_padding(None);
        let free = tokenizer.with_truncation(None).map(drop);
        free.map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            tokenizer,
            growth,
            count,
            own_length,
            writing,
        })
    }

    /// The length to which its own file cuts texts, where it says one.
    pub(crate) fn own_length(&self) -> Option<u64> {
        self.own_length
    }

    /// Cuts texts to so many tokens from now on.
    pub(crate) fn shorten(&mut self, most: usize) -> Result<(), InvalidFolder> {
        let params = TruncationParams {
            max_length: most,
            ..TruncationParams::default()
        };
        let tokenizer = &mut self.tokenizer;
        let set = || {
            let set = tokenizer.with_truncation(Some(params)).map(drop);
            set.map_err(|error| error.to_string())
        };
        guarded(set).map_err(|reason| InvalidFolder::new(FILE, reason))
    }

    /// The tokens of a text, with those that begin and end it or without.
    /// `left` bytes may be taken meanwhile.
    pub(crate) fn encode(
        &self,
        text: &str,
        special: bool,
        left: u64,
    ) -> Result<Cut, InvalidFolder> {
        let wrong = |reason: String| InvalidFolder::new(FILE, reason);
        let needed = (text.len() as u64)
            .saturating_mul(self.growth)
            .saturating_mul(WHILE_CUT);
        if needed > left {
            return Err(wrong(format!(
                "a text of {} bytes may take {needed} bytes while it is cut, and {left} are left: raise limits.memory",
                text.len()
            )));
        }
        let encode = || {
            let encoded = self.tokenizer.encode_fast(text, special);
            encoded.map_err(|error| error.to_string())
        };
        let encoded = guarded(encode).map_err(wrong)?;
        let tokens = encoded.get_ids().to_vec();
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.count) {
            let reason = format!(
                "it gives token {token}, and the network knows {}",
                self.count
            );
            return Err(wrong(reason));
        }
        Ok(Cut {
            tokens,
            shortened: !encoded.get_overflowing().is_empty(),
        })
    }

    /// Whether its tokens can be written out again.
    pub(crate) fn can_write(&self) -> Result<(), InvalidFolder> {
        match &self.writing {
            Ok(_) => Ok(()),
            Err(reason) => Err(InvalidFolder::new(FILE, reason)),
        }
    }

    /// Adds the bytes of a token's text; none of a special token.
    pub(crate) fn bytes(&self, token: u32, to: &mut Vec<u8>) {
        let added = self.tokenizer.get_added_vocabulary();
        match added.simple_id_to_token(token) {
            Some(name) if added.is_special_token(&name) => {}
            Some(name) => to.extend_from_slice(name.as_bytes()),
            None => {
                if let (Some(text), Ok(writing)) =
                    (self.tokenizer.id_to_token(token), &self.writing)
                {
                    writing.bytes(&text, to);
                }
            }
        }
    }

    /// The token of a name.
    pub(crate) fn token(&self, name: &str) -> Option<u32> {
        self.tokenizer.token_to_id(name)
    }
}

/// A panic of the library is a fault of the file.
fn guarded<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err("it cannot be used: the library gave up on it".to_owned()))
}
