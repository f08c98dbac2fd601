//! Convolutions and poolings. Lines go through what is fast for maps, as maps
//! one pixel high.

use burn::tensor::Tensor;
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use embermesh_job::model::{Conv, Pair, Pool};

use super::Stage;
use super::flow::Flow;
use super::pass::Pass;
use crate::kernels;

pub(super) fn conv1d(pass: &Pass<'_>, stage: &Stage, conv: &Conv<usize>, flow: Flow) -> Flow {
    let flat = Conv {
        channels: conv.channels,
        kernel: along(1, conv.kernel),
        stride: along(1, conv.stride),
        padding: along(0, conv.padding),
        dilation: along(1, conv.dilation),
        groups: conv.groups,
        bias: conv.bias,
    };
    conv2d(pass, stage, &flat, flow).shaped(&stage.output)
}

pub(super) fn conv2d(pass: &Pass<'_>, stage: &Stage, conv: &Conv<Pair>, flow: Flow) -> Flow {
    let maps = flow.maps();
    let [height, width] = conv.kernel.sides();
    let depth = maps.dims()[1] / conv.groups;
    let weight = pass
        .value(stage, 0)
        .reshape([conv.channels, depth, height, width]);
    let bias = if conv.bias {
        pass.value(stage, 1)
    } else {
        pass.zeros([conv.channels])
    };
    let half = pass.half();
    let out = kernels::conv2d(
        half.down(maps),
        half.down(weight),
        half.down(bias),
        ConvOptions::new(
            conv.stride.sides(),
            conv.padding.sides(),
            conv.dilation.sides(),
            conv.groups,
        ),
    );
    Flow::Maps(half.up(out))
}

/// A pooling of lines as one of maps.
pub(super) fn flat(pool: &Pool<usize>) -> Pool<Pair> {
    Pool {
        kernel: along(1, pool.kernel),
        stride: along(usize::from(pool.stride != 0), pool.stride),
        padding: along(0, pool.padding),
    }
}

pub(super) fn max_pool(pool: Pool<Pair>, flow: Flow) -> Flow {
    let options = MaxPoolOptions::new(pool.kernel.sides())
        .with_stride(stride(pool))
        .with_padding(pool.padding.sides());
    Flow::Maps(kernels::max_pool2d(flow.maps(), options))
}

pub(super) fn avg_pool(pool: Pool<Pair>, flow: Flow) -> Flow {
    let options = AvgPoolOptions::new(pool.kernel.sides())
        .with_stride(stride(pool))
        .with_padding(pool.padding.sides());
    Flow::Maps(burn::tensor::module::avg_pool2d(flow.maps(), options))
}

pub(super) fn global_avg_pool(flow: Flow) -> Flow {
    let maps = flow.maps();
    let [samples, channels, height, width] = maps.dims();
    let lines: Tensor<3> = maps.reshape([samples, channels, height * width]);
    Flow::Rows(lines.mean_dim(2).reshape([samples, channels]))
}

pub(super) fn global_max_pool(flow: Flow) -> Flow {
    let maps = flow.maps();
    let [samples, channels, height, width] = maps.dims();
    let options = MaxPoolOptions::new([height, width]);
    Flow::Rows(kernels::max_pool2d(maps, options).reshape([samples, channels]))
}

fn stride(pool: Pool<Pair>) -> [usize; 2] {
    let of = |stride, kernel| if stride == 0 { kernel } else { stride };
    [
        of(pool.stride.height, pool.kernel.height),
        of(pool.stride.width, pool.kernel.width),
    ]
}

fn along(height: usize, width: usize) -> Pair {
    Pair { height, width }
}
