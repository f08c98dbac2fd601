//! A folder of images, a folder a class, in one archive.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Target, named, none, normalise::Normalise};
use crate::{
    model::Model,
    spec::{Input, InvalidSpec, invalid::field},
};

/// The largest side that images are resized to.
const MAX_SIDE: usize = 4096;

/// PNG and JPEG files in a tar (also gzip-compressed) or a zip. The last folder
/// of a file's path is its class. Each is resized to the model's input: one
/// channel is grey, three are red, green and blue, and 0 to 255 becomes 0 to 1
/// unless `normalise` says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Images<I = Input> {
    /// The archive.
    pub archive: I,
    /// Images that are always kept out of training.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub holdout: Option<I>,
    /// The folders, in the order of the classes; without any, folders say
    /// nothing and the images can only be predicted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// How the numbers are scaled; pixels are 0 to 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
}

impl<I> Images<I> {
    pub(super) fn target(&self) -> Target {
        match u32::try_from(self.classes.len()) {
            Ok(0) => Target::Nothing,
            count => Target::Classes(count.unwrap_or(u32::MAX)),
        }
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Images<J>, E> {
        Ok(Images {
            archive: name(self.archive)?,
            holdout: self.holdout.map(&mut *name).transpose()?,
            classes: self.classes,
            normalise: self.normalise,
        })
    }

    pub(super) fn validate(&self, model: &Model) -> Result<Target, InvalidSpec> {
        let mut seen = BTreeSet::new();
        for class in &self.classes {
            named("data.images.classes", class)?;
            if class.contains(['/', '\\']) || !seen.insert(class) {
                return Err(field(
                    "data.images.classes",
                    format!("\"{class}\" is not the name of one folder, named once"),
                ));
            }
        }
        let sides = 1..=MAX_SIDE;
        match model.input[..] {
            [1 | 3, height, width] if sides.contains(&height) && sides.contains(&width) => {
                self.target().validate()
            }
            _ => Err(field(
                "data.images",
                format!(
                    "images are resized to the model's input, and {:?} is not [1 or 3, height, width] with sides of 1 to {MAX_SIDE}",
                    model.input
                ),
            )),
        }
    }
}
