//! What moves values, looks them up, or joins layers.

use burn::tensor::Tensor;
use embermesh_job::model::Embedding;

use super::Stage;
use super::flow::Flow;
use super::pass::Pass;

/// Joins layers of one rank, two at a time.
pub(super) fn join(
    flows: Vec<Flow>,
    rows: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<2>,
    lines: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>,
    maps: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
) -> Flow {
    flows
        .into_iter()
        .reduce(|one, other| match one {
            Flow::Rows(one) => Flow::Rows(rows(one, other.rows())),
            Flow::Lines(one) => Flow::Lines(lines(one, other.lines())),
            Flow::Maps(one) => Flow::Maps(maps(one, other.maps())),
        })
        .expect("a layer reads something")
}

/// One after another along an axis of a sample.
pub(super) fn concat(flows: Vec<Flow>, axis: usize) -> Flow {
    let axis = axis + 1;
    match flows.first() {
        Some(Flow::Lines(_)) => {
            let parts = flows.into_iter().map(Flow::lines).collect();
            Flow::Lines(Tensor::cat(parts, axis))
        }
        Some(Flow::Maps(_)) => {
            let parts = flows.into_iter().map(Flow::maps).collect();
            Flow::Maps(Tensor::cat(parts, axis))
        }
        _ => {
            let parts = flows.into_iter().map(Flow::rows).collect();
            Flow::Rows(Tensor::cat(parts, axis))
        }
    }
}

/// The axes of a sample in another order; the batch stays first.
pub(super) fn transpose(flow: Flow, axes: &[usize]) -> Flow {
    match (flow, axes) {
        (Flow::Lines(lines), &[a, b]) => Flow::Lines(lines.permute([0, a + 1, b + 1])),
        (Flow::Maps(maps), &[a, b, c]) => Flow::Maps(maps.permute([0, a + 1, b + 1, c + 1])),
        (flow, _) => flow,
    }
}

/// A learnt row for each id. What is no id is the nearest: the device must not
/// read beside the table.
pub(super) fn embedding(pass: &Pass<'_>, stage: &Stage, table: &Embedding, flow: Flow) -> Flow {
    let samples = flow.samples();
    let rows = flow.rows().inner();
    let [_, length] = rows.dims();
    let last = (table.entries - 1) as f32;
    let ids = rows.clamp(0.0, last).reshape([samples * length]).int();
    let found = pass.matrix(stage, 0).select(0, ids);
    Flow::of(found, samples, &stage.output)
}
