//! Networks of dense layers that are said by their sizes alone.

use super::super::{Layer, Model, Op};
use super::{Definition, InvalidDefinition, MAX_PARTS, Parameters, part, words};

const HERE: &str = "the definition";

pub(super) fn read(
    fields: &Parameters,
    given: Option<&[usize]>,
) -> Result<Definition, InvalidDefinition> {
    let word = fields
        .text(&["architecture", "type"])
        .map_err(part(HERE))?
        .unwrap_or("mlp");
    if !matches!(
        words::plain(word).as_str(),
        "mlp" | "multilayerperceptron" | "feedforward" | "dense"
    ) {
        return Err(InvalidDefinition::UnknownWord {
            what: "the architecture".to_owned(),
            word: word.chars().take(64).collect(),
        });
    }
    let sizes = sizes(fields).map_err(part(HERE))?;
    if !(2..=MAX_PARTS / 2).contains(&sizes.len()) {
        return Err(InvalidDefinition::Size(sizes.len().saturating_sub(1)));
    }
    let between = activation(fields, "activation")?.unwrap_or(Some(Op::relu()));
    let after = activation(fields, "output_activation")?.flatten();
    let loss = fields
        .text(&["loss", "loss_function"])
        .map_err(part(HERE))?
        .map(words::loss)
        .transpose()?;

    let mut layers = Vec::with_capacity(2 * sizes.len());
    let input = input(sizes[0], given)?;
    if input.len() > 1 {
        layers.push(Layer::new(Op::flatten()));
    }
    for (index, units) in sizes.iter().enumerate().skip(1) {
        layers.push(Layer::new(Op::dense(*units)));
        if index + 1 < sizes.len() {
            layers.extend(between.clone().map(Layer::new));
        }
    }
    layers.extend(
        after
            .filter(|op| !words::is_in_the_loss(op, loss.as_ref()))
            .map(Layer::new),
    );
    Ok(Definition {
        model: Model { input, layers },
        loss,
    })
}

/// From what goes in to what comes out.
fn sizes(fields: &Parameters) -> Result<Vec<usize>, String> {
    if let Some(sizes) = fields.wholes(&["layers", "layer_sizes"])? {
        return Ok(sizes);
    }
    let mut sizes = vec![fields.needed(&["input_size", "input_dim", "in_features"])?];
    sizes.extend(
        fields
            .wholes(&["hidden_layers", "hidden_sizes"])?
            .unwrap_or_default(),
    );
    sizes.push(fields.needed(&["output_size", "output_dim", "num_classes", "out_features"])?);
    Ok(sizes)
}

/// The shape of a sample: a row, or the shape beside the definition that has
/// as many values.
fn input(size: usize, given: Option<&[usize]>) -> Result<Vec<usize>, InvalidDefinition> {
    let Some(given) = given else {
        return Ok(vec![size]);
    };
    let values = given
        .iter()
        .try_fold(1usize, |product, axis| product.checked_mul(*axis));
    if values != Some(size) {
        return Err(InvalidDefinition::OtherInput {
            said: vec![size],
            given: given.to_vec(),
        });
    }
    Ok(given.to_vec())
}

/// Absent, or what it is; `linear` is none.
fn activation(fields: &Parameters, field: &str) -> Result<Option<Option<Op>>, InvalidDefinition> {
    fields
        .text(&[field])
        .map_err(part(HERE))?
        .map(|word| words::activation(HERE, word))
        .transpose()
}
