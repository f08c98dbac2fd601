//! From the parts of a foreign form, in whatever order and whoever reads whom,
//! to the layers of a model.

use super::super::{INPUT, Layer, MAX_INPUTS, Model, Op, Source};
use super::words::{self, Meaning};
use super::{Definition, InvalidDefinition, MAX_PARTS, Parameters, part};
use crate::spec::Loss;

/// A part of a foreign form.
pub(super) struct Part {
    /// What to call it in messages: "layer 2".
    pub(super) label: String,
    /// Its own name, if it has one.
    pub(super) name: Option<String>,
    /// The word of its type.
    pub(super) word: String,
    pub(super) parameters: Parameters,
    /// Which parts it reads; empty means the model's input.
    pub(super) reads: Vec<usize>,
}

/// A layer in the making.
struct Made {
    name: Option<String>,
    reads: Vec<Source>,
    op: Op,
}

/// What is known once some parts are converted.
struct Assembly<'a> {
    /// The shape of a sample, once a part says it.
    input: Option<Vec<usize>>,
    /// The same as it is said beside the definition.
    given: Option<&'a [usize]>,
    layers: Vec<Made>,
    loss: Option<Loss>,
}

/// Converts parts into a model for samples of a shape that they say, or else of
/// the shape `given`. `loss` is what is said of it beside the parts.
pub(super) fn assemble(
    parts: &[Part],
    said: Option<Vec<usize>>,
    given: Option<&[usize]>,
    loss: Option<Loss>,
) -> Result<Definition, InvalidDefinition> {
    if !(1..=MAX_PARTS).contains(&parts.len()) {
        return Err(InvalidDefinition::Size(parts.len()));
    }
    let mut assembly = Assembly {
        input: said,
        given,
        layers: Vec::new(),
        loss,
    };
    let mut gives: Vec<Option<Source>> = vec![None; parts.len()];
    for index in in_order(parts)? {
        let part = &parts[index];
        let reads: Vec<Source> = part
            .reads
            .iter()
            .take(MAX_INPUTS + 1)
            .filter_map(|read| gives[*read])
            .collect();
        gives[index] = Some(assembly.add(part, reads)?);
    }
    assembly.finish()
}

/// The parts, each after those that it reads, otherwise as they stand.
fn in_order(parts: &[Part]) -> Result<Vec<usize>, InvalidDefinition> {
    let mut order = Vec::with_capacity(parts.len());
    let mut is_placed = vec![false; parts.len()];
    while order.len() < parts.len() {
        let next = (0..parts.len()).find(|index| {
            !is_placed[*index] && parts[*index].reads.iter().all(|read| is_placed[*read])
        });
        let Some(next) = next else {
            let stuck = is_placed
                .iter()
                .position(|is_placed| !is_placed)
                .unwrap_or(0);
            return Err(part(&parts[stuck].label)(
                "is part of a cycle, or reads one: take out the link that leads back".to_owned(),
            ));
        };
        is_placed[next] = true;
        order.push(next);
    }
    Ok(order)
}

impl Assembly<'_> {
    /// Adds a part. Gives where its result is to be read.
    fn add(&mut self, from: &Part, reads: Vec<Source>) -> Result<Source, InvalidDefinition> {
        let wrong = part(&from.label);
        let parameters = &from.parameters;
        let passed = reads.first().copied().unwrap_or(Source::Input);
        let meaning = words::meaning(&from.label, &from.word, parameters)?;
        if self.input.is_none() && passed == Source::Input {
            self.input = words::sample_of(&meaning, parameters).map_err(&wrong)?;
        }
        let op = match meaning {
            Meaning::Input => return Ok(Source::Input),
            Meaning::Output => return Ok(passed),
            Meaning::Loss(loss) => {
                self.loss = Some(loss);
                return Ok(passed);
            }
            Meaning::Op(op) => op,
        };
        let shape = self.input.as_deref().or(self.given);
        let is_image = shape.is_some_and(|shape| shape.len() == 3);
        let mut reads = if reads.is_empty() {
            vec![Source::Input]
        } else {
            reads
        };
        if matches!(op, Op::Dense(_)) && is_image && reads == [Source::Input] {
            // Elsewhere the features of a dense layer are all of the sample.
            reads = vec![self.push(None, reads, Op::flatten())];
        }
        let is_bent = matches!(op, Op::Dense(_) | Op::Conv1d(_) | Op::Conv2d(_));
        let given = self.push(from.name.clone(), reads, op);
        let word = parameters.text(&["activation"]).map_err(&wrong)?;
        let activation = match word.filter(|_| is_bent) {
            None => None,
            Some(word) => words::activation(&from.label, word)?,
        };
        Ok(match activation {
            None => given,
            Some(op) => self.push(None, vec![given], op),
        })
    }

    fn push(&mut self, name: Option<String>, reads: Vec<Source>, op: Op) -> Source {
        let name = name.and_then(|name| self.free(&name));
        self.layers.push(Made { name, reads, op });
        Source::Layer(self.layers.len() - 1)
    }

    /// A foreign name as one of ours, unless it is taken.
    fn free(&self, name: &str) -> Option<String> {
        let plain: String = name
            .chars()
            .take(48)
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let is_taken = plain.is_empty()
            || plain == INPUT
            || self
                .layers
                .iter()
                .any(|layer| layer.name.as_ref() == Some(&plain));
        (!is_taken).then_some(plain)
    }

    fn finish(mut self) -> Result<Definition, InvalidDefinition> {
        let input = match (self.input.take(), self.given) {
            (Some(said), Some(given)) if said != given => {
                return Err(InvalidDefinition::OtherInput {
                    said,
                    given: given.to_vec(),
                });
            }
            (Some(said), _) => said,
            (None, Some(given)) => given.to_vec(),
            (None, None) => return Err(InvalidDefinition::NoInput),
        };
        self.leave_logits();
        let mut model = Model {
            input,
            layers: self
                .layers
                .iter()
                .map(|made| Layer {
                    name: made.name.clone(),
                    from: Vec::new(),
                    op: made.op.clone(),
                })
                .collect(),
        };
        let names = model.names();
        for (index, made) in self.layers.iter().enumerate() {
            let before = match index.checked_sub(1) {
                None => Source::Input,
                Some(before) => Source::Layer(before),
            };
            if made.reads != [before] {
                model.layers[index].from = made
                    .reads
                    .iter()
                    .map(|source| match source {
                        Source::Input => INPUT.to_owned(),
                        Source::Layer(earlier) => names[*earlier].clone(),
                    })
                    .collect();
            }
        }
        Ok(Definition {
            model,
            loss: self.loss,
        })
    }

    /// Leaves out what makes probabilities of logits at the end, where the loss
    /// does so itself.
    fn leave_logits(&mut self) {
        let [.., before, last] = &self.layers[..] else {
            return;
        };
        let makes_them = words::is_in_the_loss(&last.op, self.loss.as_ref());
        let follows = last.reads == [Source::Layer(self.layers.len() - 2)];
        if makes_them && follows && matches!(before.op, Op::Dense(_)) {
            self.layers.pop();
        }
    }
}
