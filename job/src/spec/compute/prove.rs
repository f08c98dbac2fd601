//! A computation that is to be proven: how many of its steps are opened, and what the
//! proof takes.

use serde::{Deserialize, Serialize};

use super::{super::Limits, MAX_OPERATIONS, Part};
use crate::{
    program::{Op, Program},
    proof,
    spec::{
        Input, InvalidSpec, MAX_SPEC_LEN, Requirements,
        invalid::{field, within},
    },
    units::Bytes,
};
use embermesh_crypto::statement::DeviceKind;

/// How often every tensor of a computation is there while it is proven: on the device, as
/// numbers, in its trace, in the proof.
const COPIES: u64 = 4;
/// Bytes of a number.
const NUMBER: u64 = 4;

/// Asks for a proof of an execution: [`crate::proof`] says what that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prove<I = Input> {
    /// How many steps are opened, drawn by lot; all, if there are not as many. Of a gang
    /// each opens as many.
    pub opened: u32,
    /// What of the proof of a gang it does; all of it, alone, without one.
    #[serde(default = "alone", skip_serializing_if = "Option::is_none")]
    pub part: Option<Part<I>>,
}

fn alone<I>() -> Option<Part<I>> {
    None
}

impl<I> Prove<I> {
    /// The whole proof, of one who executes alone.
    #[must_use]
    pub const fn alone(opened: u32) -> Self {
        Self { opened, part: None }
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Prove<J>, E> {
        Ok(Prove {
            opened: self.opened,
            part: self.part.map(|part| part.try_map(name)).transpose()?,
        })
    }
}

impl<I> Prove<I> {
    /// Whether the program can be proven within these limits.
    pub(super) fn validate(
        &self,
        program: &Program,
        requires: &Requirements,
        limits: &Limits,
    ) -> Result<(), InvalidSpec> {
        if let Some(part) = &self.part {
            part.validate()?;
        }
        within("prove.opened", self.opened.into(), 1, MAX_OPERATIONS as u64)?;
        let unprovable = |step: &&crate::program::Step| matches!(step.op, Op::Gradient(_));
        if let Some(step) = program.steps.iter().find(unprovable) {
            return Err(field(
                "prove",
                format!(
                    "{} {:?} cannot be proven: it rests on the whole of a computation, and a proof opens single steps",
                    step.op.word(),
                    step.name
                ),
            ));
        }
        if requires
            .device
            .is_some_and(|device| device != DeviceKind::Cpu)
        {
            let reason = "what is proven runs on the processor, which every verifier has: say \"cpu\", or nothing";
            return Err(field("requires.device", reason));
        }
        let most = self.most_bytes(program);
        if most > proof::MAX_PROOF as u64 {
            return Err(field(
                "prove.opened",
                format!(
                    "a proof could have {}, of {} allowed: open fewer steps",
                    Bytes(most),
                    Bytes(proof::MAX_PROOF as u64)
                ),
            ));
        }
        if most > limits.output.0 {
            return Err(field(
                "limits.output",
                format!(
                    "a proof could have {}, and the limit is {}",
                    Bytes(most),
                    limits.output
                ),
            ));
        }
        Ok(())
    }

    /// The largest proof that there can be, in bytes, whichever steps are drawn.
    #[must_use]
    pub fn most_bytes(&self, program: &Program) -> u64 {
        let members = self.part.as_ref().map_or(1, Part::members);
        // Each is told what all of a gang have committed to.
        let gang = match self.part {
            None => 1,
            Some(_) => u32::try_from(proof::MAX_GANG).unwrap_or(u32::MAX),
        };
        proof::most_bytes(program, self.opened, gang)
            .saturating_mul(members.into())
            .saturating_add(MAX_SPEC_LEN as u64)
    }

    /// An upper estimate of the memory of an execution that is proven, in bytes.
    #[must_use]
    pub fn peak_bytes(&self, program: &Program) -> u64 {
        let tensors = program.types.iter().map(crate::program::TensorType::len);
        let all = tensors.fold(0, u64::saturating_add).saturating_mul(NUMBER);
        let proof = self.most_bytes(program).saturating_mul(2);
        all.saturating_mul(COPIES)
            .saturating_add(program.cost.live_bytes)
            .saturating_add(proof)
    }
}
