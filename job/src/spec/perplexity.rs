//! Perplexity: how well a language model foresees texts.

use embermesh_crypto::statement::DeviceKind;
use serde::{Deserialize, Serialize};

use super::{
    Input, InvalidSpec, LanguageModel, Limits, Requirements, Texts,
    invalid::{field, within},
};

/// The longest window, in tokens.
const MAX_WINDOW: u64 = 65_536;
/// The window, where neither spec nor model says a shorter one.
pub const USUAL_WINDOW: u32 = 1024;

/// The exponential of the mean negative log-likelihood of each token after
/// those before it, over all texts. A text that is longer than the window is
/// read in windows that overlap, and each of its tokens counts once, in the
/// first window that has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Perplexity<I = Input> {
    /// The model with its tokenizer.
    pub model: LanguageModel<I>,
    /// What it is judged by. Nothing of one text is foreseen from another.
    pub texts: Texts<I>,
    /// Tokens that are read together; without it, [`USUAL_WINDOW`] or what the
    /// model was made to read, whichever is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Tokens from the beginning of one window to the next; without it, half a
    /// window. As many as the window has means that none overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<u32>,
}

impl<I> Perplexity<I> {
    pub(super) fn input_refs(&self) -> Vec<&I> {
        let mut inputs = self.model.input_refs();
        inputs.extend(self.texts.input_refs());
        inputs
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Perplexity<J>, E> {
        Ok(Perplexity {
            model: self.model.try_map(name)?,
            texts: self.texts.try_map(name)?,
            window: self.window,
            stride: self.stride,
        })
    }
}

impl Perplexity {
    pub(super) fn validate(
        &self,
        requires: &Requirements,
        limits: &Limits,
    ) -> Result<(), InvalidSpec> {
        if requires
            .device
            .is_some_and(|device| device != DeviceKind::Cpu)
        {
            let reason = "language models run on the processor: say \"cpu\", or nothing";
            return Err(field("requires.device", reason));
        }
        self.model.validate(limits)?;
        self.texts.validate()?;
        if let Some(window) = self.window {
            within("window", window.into(), 2, MAX_WINDOW)?;
        }
        if let Some(stride) = self.stride {
            let window = self.window.map_or(MAX_WINDOW, u64::from);
            within("stride", stride.into(), 1, window)?;
        }
        Ok(())
    }
}
