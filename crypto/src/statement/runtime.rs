//! Runtimes for programs of clients: what a node's owner may allow beside the
//! work that the node's own program does.

use minicbor::{Decode, Decoder, Encode, Encoder, encode::Write};
use serde::{Deserialize, Serialize};

/// What runs a client's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// A WebAssembly module for WASI preview 1.
    Wasm,
    /// A Python program.
    Python,
}

impl Runtime {
    /// Every runtime.
    pub const ALL: [Self; 2] = [Self::Wasm, Self::Python];

    /// The word for it in files, flags and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Python => "python",
        }
    }

    const fn bit(self) -> u32 {
        match self {
            Self::Wasm => 1,
            Self::Python => 2,
        }
    }
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of runtimes, a bit each. An empty one takes no room in a statement;
/// bits that this version does not know are kept and mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runtimes(u32);

impl Runtimes {
    /// Whether a runtime is in it.
    #[must_use]
    pub const fn has(self, runtime: Runtime) -> bool {
        self.0 & runtime.bit() != 0
    }

    /// The known runtimes in it.
    pub fn iter(self) -> impl Iterator<Item = Runtime> {
        Runtime::ALL
            .into_iter()
            .filter(move |runtime| self.has(*runtime))
    }
}

impl FromIterator<Runtime> for Runtimes {
    fn from_iter<I: IntoIterator<Item = Runtime>>(runtimes: I) -> Self {
        Self(
            runtimes
                .into_iter()
                .fold(0, |bits, runtime| bits | runtime.bit()),
        )
    }
}

impl<C> Encode<C> for Runtimes {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u32(self.0)?.ok()
    }

    fn is_nil(&self) -> bool {
        self.0 == 0
    }
}

impl<'b, C> Decode<'b, C> for Runtimes {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.u32().map(Self)
    }

    fn nil() -> Option<Self> {
        Some(Self::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_says_what_is_in_it() {
        let none = Runtimes::default();
        assert_eq!(none.iter().count(), 0);
        let python = Runtimes::from_iter([Runtime::Python]);
        assert!(python.has(Runtime::Python) && !python.has(Runtime::Wasm));
        assert_eq!(Runtimes::from_iter(Runtime::ALL).iter().count(), 2);
        let later = Runtimes(0b1101);
        assert_eq!(later.iter().collect::<Vec<_>>(), [Runtime::Wasm]);
    }
}
