//! What finds numbers by their places. Places are checked first: a device reads
//! wherever it is told to.

use burn::tensor::{Device, Tensor};
use embermesh_job::program::Op;

use super::arrange::places_on;
use super::{Operand, flat, on, these};

pub(super) fn apply(
    op: &Op,
    operands: Vec<Operand<'_>>,
    device: &Device,
) -> Result<Tensor<1>, String> {
    match op {
        Op::OneHot(hot) => {
            let [x] = these(operands)?;
            let depth = hot.depth;
            let places = x.x.without_autodiff();
            let count = places.dims()[0];
            // From the end, where they are below zero.
            let below = places.clone().lower_scalar(0.0).float();
            let places: Tensor<2> = places
                .add(below.mul_scalar(depth as f32))
                .reshape([count, 1]);
            let all: Tensor<2> =
                on(device, (0..depth).map(|at| at as f32).collect()).reshape([1, depth]);
            let all = all.expand::<2, _>([count, depth]);
            Ok(flat(
                all.equal(places.expand::<2, _>([count, depth])).float(),
            ))
        }
        Op::GatherElements(along) => {
            let [x, places] = these(operands)?;
            let length = x.around(along.axis)[1];
            let parts = places.around(along.axis);
            let places = checked(places, length)?;
            let places = places_on(device, places.into_iter()).reshape(parts);
            Ok(flat(x.along(along.axis).gather(1, places)))
        }
        Op::Gather(along) => {
            let [x, places] = these(operands)?;
            let length = x.around(along.axis)[1];
            let places = checked(places, length)?;
            let places = places_on(device, places.into_iter());
            Ok(flat(x.along(along.axis).select(1, places)))
        }
        op => Err(format!("{} cannot be done", op.word())),
    }
}

/// Places along an axis of a length; those below zero count from its end.
fn checked(places: Operand<'_>, length: usize) -> Result<Vec<i64>, String> {
    let values = places
        .x
        .without_autodiff()
        .try_into_vec_as::<f32>()
        .map_err(|error| format!("places cannot be read: {error}"))?;
    let length = length as i64;
    values
        .into_iter()
        .map(|value| {
            let place = value as i64;
            let whole = place as f32 == value;
            match (whole, place) {
                (true, 0..) if place < length => Ok(place),
                (true, ..0) if place >= -length => Ok(place + length),
                _ => Err(format!(
                    "place {value} is not within an axis of {length}: 0 to below {length}, or from the end with a minus"
                )),
            }
        })
        .collect()
}
