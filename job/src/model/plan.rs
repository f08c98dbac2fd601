//! What a model costs and how its shapes run, before anything is allocated.

use super::{
    InvalidModel, MAX_AXES, MAX_LAYERS, Model, Source, Weight, graph::sources, rules,
    shape::elements,
};

/// Bytes of a number.
const NUMBER: u64 = 4;

/// What a model costs and how its shapes run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One entry a layer.
    pub layers: Vec<LayerPlan>,
    /// All trainable numbers.
    pub parameters: u64,
    /// Numbers that are kept with them and not learnt: running statistics.
    pub state: u64,
    /// Floating-point operations of one forward pass of one sample.
    pub flops_per_sample: u64,
    /// The shape that comes out, without the batch.
    pub output_shape: Vec<usize>,
    /// Bytes of all activations of one sample, as training keeps them.
    pub activation_bytes: u64,
    /// Bytes of the activations of one sample that are there at one time, at
    /// most, when none is kept for gradients.
    pub live_bytes: u64,
}

/// What one layer costs and how its shape runs.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPlan {
    /// The name.
    pub name: String,
    /// What it reads.
    pub sources: Vec<Source>,
    /// The shape of each of these, without the batch.
    pub input_shapes: Vec<Vec<usize>>,
    /// What goes out.
    pub output_shape: Vec<usize>,
    /// Its tensors, in their order.
    pub weights: Vec<Weight>,
    /// Trainable numbers.
    pub parameters: u64,
    /// Numbers that are kept and not learnt.
    pub state: u64,
    /// Floating-point operations a sample.
    pub flops: u64,
    /// Bytes of its output, a sample.
    pub output_bytes: u64,
    /// Bytes that training keeps of it, a sample: its output, and what it
    /// computes on the way.
    pub activation_bytes: u64,
}

impl Plan {
    /// An upper estimate of the memory that training takes, in bytes: weights,
    /// gradients and two moments, and activations with their gradients.
    #[must_use]
    pub fn peak_bytes(&self, batch: usize) -> u64 {
        let weights = self
            .parameters
            .saturating_mul(4)
            .saturating_add(self.state)
            .saturating_mul(NUMBER);
        let activations = self
            .activation_bytes
            .saturating_mul(2)
            .saturating_mul(batch as u64);
        weights.saturating_add(activations)
    }

    /// An upper estimate of the memory that inference takes, in bytes: weights,
    /// and the activations that are there at one time.
    #[must_use]
    pub fn inference_bytes(&self, batch: usize) -> u64 {
        self.weight_bytes()
            .saturating_add(self.live_bytes.saturating_mul(batch as u64))
    }

    /// Bytes of the weights as a file has them, learnt or not.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.parameters
            .saturating_add(self.state)
            .saturating_mul(NUMBER)
    }
}

impl Model {
    /// A model of these layers.
    #[must_use]
    pub fn new(input: impl Into<Vec<usize>>, layers: Vec<super::Layer>) -> Self {
        Self {
            input: input.into(),
            layers,
        }
    }

    /// Checks the graph and every shape, and counts every cost.
    ///
    /// # Errors
    /// [`InvalidModel`] for the first layer that does not fit.
    pub fn plan(&self) -> Result<Plan, InvalidModel> {
        let Some(input_elements) = elements(&self.input).filter(|_| self.has_axes()) else {
            // Whoever reads the message needs no more axes than these.
            let shown = self.input.iter().copied().take(8).collect();
            return Err(InvalidModel::Input(shown));
        };
        if !(1..=MAX_LAYERS).contains(&self.layers.len()) {
            return Err(InvalidModel::LayerCount(self.layers.len()));
        }
        let names = self.names();
        let sources = sources(self, &names)?;
        let mut layers = Vec::<LayerPlan>::with_capacity(self.layers.len());
        for (index, (name, sources)) in names.into_iter().zip(sources).enumerate() {
            let layer = self.layer_plan(index, name, sources, &layers)?;
            layers.push(layer);
        }
        let sum = |of: fn(&LayerPlan) -> u64| layers.iter().map(of).fold(0u64, u64::saturating_add);
        Ok(Plan {
            parameters: sum(|layer| layer.parameters),
            state: sum(|layer| layer.state),
            flops_per_sample: sum(|layer| layer.flops),
            activation_bytes: sum(|layer| layer.activation_bytes),
            live_bytes: live_bytes(&layers, NUMBER * input_elements),
            output_shape: layers
                .last()
                .map_or_else(Vec::new, |layer| layer.output_shape.clone()),
            layers,
        })
    }

    fn has_axes(&self) -> bool {
        (1..=MAX_AXES).contains(&self.input.len())
    }

    fn layer_plan(
        &self,
        index: usize,
        name: String,
        sources: Vec<Source>,
        before: &[LayerPlan],
    ) -> Result<LayerPlan, InvalidModel> {
        let input_shapes: Vec<Vec<usize>> = sources
            .iter()
            .map(|source| match source {
                Source::Input => self.input.clone(),
                Source::Layer(earlier) => before[*earlier].output_shape.clone(),
            })
            .collect();
        let effect = rules::apply(&self.layers[index].op, &input_shapes)
            .map_err(|reason| InvalidModel::layer(index, &name, reason))?;
        let count = |learnt: bool| {
            effect
                .weights
                .iter()
                .filter(|weight| weight.learnt == learnt)
                .map(|weight| elements(&weight.shape).unwrap_or(0))
                .sum()
        };
        let output_bytes = NUMBER * elements(&effect.shape).unwrap_or(0);
        Ok(LayerPlan {
            name,
            sources,
            input_shapes,
            parameters: count(true),
            state: count(false),
            flops: effect.flops,
            output_bytes,
            activation_bytes: output_bytes.saturating_add(effect.kept.saturating_mul(NUMBER)),
            output_shape: effect.shape,
            weights: effect.weights,
        })
    }
}

/// The most that is there at one time: what a layer makes, and every earlier
/// output that it or a later one reads.
fn live_bytes(layers: &[LayerPlan], input_bytes: u64) -> u64 {
    let last_use = |source: Source| {
        layers
            .iter()
            .rposition(|layer| layer.sources.contains(&source))
            .unwrap_or(0)
    };
    let input_until = last_use(Source::Input);
    let until: Vec<usize> = (0..layers.len())
        .map(|index| last_use(Source::Layer(index)))
        .collect();
    (0..layers.len())
        .map(|index| {
            let input = if index <= input_until { input_bytes } else { 0 };
            layers[..index]
                .iter()
                .zip(&until)
                .filter(|(_, until)| **until >= index)
                .map(|(layer, _)| layer.output_bytes)
                .fold(
                    input.saturating_add(layers[index].activation_bytes),
                    u64::saturating_add,
                )
        })
        .max()
        .unwrap_or(0)
}
