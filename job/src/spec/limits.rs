//! Which nodes will do, and what a job may use there.

use embermesh_crypto::{PeerId, statement::DeviceKind, token::Ceilings};
use serde::{Deserialize, Serialize};

use super::{
    InvalidSpec, MAX_NAME, MAX_NAMED_NODES, Origin,
    invalid::{field, within},
};
use crate::units::{Bytes, MAX_EXACT, MicroUnits, Millis};

/// Which nodes will do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requirements {
    /// The backend; any without one.
    pub device: Option<DeviceKind>,
    /// Memory of the device, at least.
    pub min_memory: Bytes,
    /// The region; any without one.
    pub region: Option<String>,
    /// What an hour may cost at most.
    pub max_price: Option<MicroUnits>,
    /// Only these nodes, if any are named.
    pub nodes: Vec<PeerId>,
    /// Not these nodes.
    pub avoid: Vec<PeerId>,
    /// Where inputs lie that nobody sends: a node must be allowed to look there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
}

/// What a job may use; a token carries them as ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory of the worker.
    pub memory: Bytes,
    /// Time on the device, over one attempt.
    pub wall: Millis,
    /// Processor time of the worker, all its threads together, over one attempt;
    /// without it, what `wall` allows on the node's cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Millis>,
    /// Artifacts and checkpoints.
    pub output: Bytes,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Bytes(2 << 30),
            wall: Millis(3_600_000),
            cpu: None,
            output: Bytes(1 << 30),
        }
    }
}

impl Limits {
    /// The same as the ceilings of a token.
    #[must_use]
    pub fn ceilings(&self) -> Ceilings {
        Ceilings {
            memory_bytes: self.memory.0,
            wall_ms: self.wall.0,
            output_bytes: self.output.0,
        }
    }
}

impl Requirements {
    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        if self.nodes.len() > MAX_NAMED_NODES || self.avoid.len() > MAX_NAMED_NODES {
            return Err(field(
                "requires",
                format!("name at most {MAX_NAMED_NODES} nodes"),
            ));
        }
        if self
            .region
            .as_ref()
            .is_some_and(|region| region.len() > MAX_NAME)
        {
            return Err(field("requires.region", "the name is too long"));
        }
        within("requires.min_memory", self.min_memory.0, 0, MAX_EXACT)
    }
}

impl Limits {
    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        within("limits.memory", self.memory.0, 1 << 20, MAX_EXACT)?;
        within("limits.wall", self.wall.0, 100, MAX_EXACT)?;
        if let Some(cpu) = self.cpu {
            within("limits.cpu", cpu.0, 100, MAX_EXACT)?;
        }
        within("limits.output", self.output.0, 1, MAX_EXACT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_optional_and_old_specs_keep_their_digest() {
        let old = r#"{"memory":"2GiB","wall":"1h","output":"1GiB"}"#;
        let limits: Limits = serde_json::from_str(old).unwrap();
        assert_eq!(limits, Limits::default());
        let canonical = serde_json::to_string(&limits).unwrap();
        assert!(!canonical.contains("cpu"), "{canonical}");
        let limits: Limits = serde_json::from_str(r#"{"cpu":"90s"}"#).unwrap();
        assert_eq!(limits.cpu, Some(Millis(90_000)));
        limits.validate().unwrap();
        let none = Limits {
            cpu: Some(Millis(0)),
            ..limits
        };
        let refused = none.validate().unwrap_err().to_string();
        assert!(refused.contains("limits.cpu"), "{refused}");
    }
}
