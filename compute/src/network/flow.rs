//! What goes from layer to layer: samples of one, two or three axes.

use burn::tensor::Tensor;

/// The values of a batch. burn's tensors carry their rank in their type.
#[derive(Clone, Debug)]
pub(super) enum Flow {
    /// Samples, features.
    Rows(Tensor<2>),
    /// Samples, steps, features; or samples, channels, length.
    Lines(Tensor<3>),
    /// Samples, channels, height, width.
    Maps(Tensor<4>),
}

/// The same expression over whichever rank a flow has.
macro_rules! each {
    ($flow:expr, $x:ident => $body:expr) => {
        match $flow {
            $crate::network::flow::Flow::Rows($x) => $crate::network::flow::Flow::Rows($body),
            $crate::network::flow::Flow::Lines($x) => $crate::network::flow::Flow::Lines($body),
            $crate::network::flow::Flow::Maps($x) => $crate::network::flow::Flow::Maps($body),
        }
    };
}
pub(super) use each;

impl Flow {
    /// Values as samples of a shape.
    pub(super) fn of<const D: usize>(values: Tensor<D>, samples: usize, shape: &[usize]) -> Self {
        match *shape {
            [steps, features] => Self::Lines(values.reshape([samples, steps, features])),
            [channels, height, width] => {
                Self::Maps(values.reshape([samples, channels, height, width]))
            }
            _ => Self::Rows(values.reshape([samples, shape.iter().product()])),
        }
    }

    /// The same values as samples of another shape.
    pub(super) fn shaped(self, shape: &[usize]) -> Self {
        let samples = self.samples();
        match self {
            Self::Rows(rows) => Self::of(rows, samples, shape),
            Self::Lines(lines) => Self::of(lines, samples, shape),
            Self::Maps(maps) => Self::of(maps, samples, shape),
        }
    }

    /// How many samples there are.
    pub(super) fn samples(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.dims()[0],
            Self::Lines(lines) => lines.dims()[0],
            Self::Maps(maps) => maps.dims()[0],
        }
    }

    /// As rows, flattened when they are not.
    pub(super) fn rows(self) -> Tensor<2> {
        let samples = self.samples();
        match self {
            Self::Rows(rows) => rows,
            Self::Lines(lines) => {
                let [_, steps, features] = lines.dims();
                lines.reshape([samples, steps * features])
            }
            Self::Maps(maps) => {
                let [_, channels, height, width] = maps.dims();
                maps.reshape([samples, channels * height * width])
            }
        }
    }

    /// As sequences or lines. What a checked plan never asks becomes one of
    /// single values.
    pub(super) fn lines(self) -> Tensor<3> {
        match self {
            Self::Lines(lines) => lines,
            other => {
                let rows = other.rows();
                let [samples, features] = rows.dims();
                rows.reshape([samples, features, 1])
            }
        }
    }

    /// As maps. Others become maps of one pixel's width, which lets lines use
    /// what is fast for maps.
    pub(super) fn maps(self) -> Tensor<4> {
        match self {
            Self::Maps(maps) => maps,
            Self::Lines(lines) => {
                let [samples, channels, length] = lines.dims();
                lines.reshape([samples, channels, 1, length])
            }
            Self::Rows(rows) => {
                let [samples, features] = rows.dims();
                rows.reshape([samples, features, 1, 1])
            }
        }
    }
}
