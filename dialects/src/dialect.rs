//! Which systems there are, and the forms of their wires.

use serde::{Deserialize, Serialize};

/// A foreign system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// CyxWiz.
    CyxWiz,
    /// TitanCompute.
    TitanCompute,
    /// ZisK distributed.
    Zisk,
    /// DIM.
    Dim,
    /// HiveMind.
    HiveMind,
}

impl Dialect {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::CyxWiz,
        Self::TitanCompute,
        Self::Zisk,
        Self::Dim,
        Self::HiveMind,
    ];

    /// The word for it in configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CyxWiz => "cyxwiz",
            Self::TitanCompute => "titancompute",
            Self::Zisk => "zisk",
            Self::Dim => "dim",
            Self::HiveMind => "hivemind",
        }
    }
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The form of a wire, where the one that is documented and the one that shipped
/// differ on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As the system's documentation has it.
    #[default]
    Documented,
    /// As the system shipped.
    Shipped,
}
