//! One pass through the network, for any number of tokens of any requests.

use rayon::prelude::*;

use super::attention::attend;
use super::cache::Cache;
use super::model::{Layer, Model};
use super::product::{Matrix, multiply};
use crate::failure::WorkFailed;

/// The most tokens that go through the network together.
pub(crate) const MAX_ROWS: usize = 64;

/// Gates that a thread opens at a time.
const GATES: usize = 4096;

/// A token on its way through the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Whose it is.
    pub(crate) cache: usize,
    /// Its place in the text, from 0.
    pub(crate) position: usize,
    pub(crate) token: u32,
    /// Whether what follows it is asked for.
    pub(crate) last: bool,
}

/// What a pass works with, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    state: Vec<f32>,
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    mixed: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    change: Vec<f32>,
    logits: Vec<f32>,
}

impl Buffers {
    /// Bytes that they grow to, with as many for what is turned around in a
    /// product.
    pub(crate) fn bytes(model: &Model<'_>) -> u64 {
        let shape = &model.shape;
        let each = 3 * shape.width + 2 * shape.queries() + 2 * shape.keys() + 2 * shape.inner;
        let numbers = each.saturating_add(shape.vocabulary) as u64;
        numbers.saturating_mul((2 * MAX_ROWS * size_of::<f32>()) as u64)
    }
}

impl Model<'_> {
    /// Takes tokens through the network and gives, for each that is the last of
    /// its request, what follows: a number for every token there is. `between`
    /// is called before each layer and may end it.
    pub(crate) fn forward<'b>(
        &self,
        rows: &[Row],
        caches: &mut [Cache],
        buffers: &'b mut Buffers,
        between: &mut dyn FnMut() -> Result<(), WorkFailed>,
    ) -> Result<&'b [f32], WorkFailed> {
        let width = self.shape.width;
        buffers.state.resize(rows.len() * width, 0.0);
        for (row, state) in rows.iter().zip(buffers.state.chunks_exact_mut(width)) {
            self.embedding.row(row.token as usize, state);
        }
        for (number, layer) in self.layers.iter().enumerate() {
            between()?;
            self.attention(number, layer, rows, caches, buffers);
            self.feed_forward(layer, buffers);
        }
        between()?;
        let lasts = rows.iter().map(|row| row.last);
        let states = buffers.state.chunks_exact(width);
        buffers.normed.clear();
        for (state, last) in states.zip(lasts) {
            if last {
                norm(state, &self.norm, self.shape.epsilon, &mut buffers.normed);
            }
        }
        buffers.logits.clear();
        if !buffers.normed.is_empty() {
            multiply(&[self.output], &buffers.normed, &mut [&mut buffers.logits]);
        }
        Ok(&buffers.logits)
    }

    fn attention(
        &self,
        number: usize,
        layer: &Layer<'_>,
        rows: &[Row],
        caches: &mut [Cache],
        buffers: &mut Buffers,
    ) {
        let (queries, keys) = (self.shape.queries(), self.shape.keys());
        let head = self.shape.heads.width;
        self.norms(&layer.attention_norm, buffers);
        multiply(
            &[layer.query, layer.key, layer.value],
            &buffers.normed,
            &mut [&mut buffers.query, &mut buffers.key, &mut buffers.value],
        );
        for (at, row) in rows.iter().enumerate() {
            let query = &mut buffers.query[at * queries..][..queries];
            self.rope.turn(query, head, row.position);
            let key = &mut buffers.key[at * keys..][..keys];
            self.rope.turn(key, head, row.position);
            let value = &buffers.value[at * keys..][..keys];
            caches[row.cache].put(number, row.position, key, value);
        }
        attend(
            self.shape.heads,
            number,
            rows,
            caches,
            &buffers.query,
            &mut buffers.mixed,
        );
        add_product(
            layer.mixed,
            &buffers.mixed,
            &mut buffers.change,
            &mut buffers.state,
        );
    }

    fn feed_forward(&self, layer: &Layer<'_>, buffers: &mut Buffers) {
        self.norms(&layer.inner_norm, buffers);
        multiply(
            &[layer.gate, layer.up],
            &buffers.normed,
            &mut [&mut buffers.gate, &mut buffers.up],
        );
        let gates = buffers.gate.par_chunks_mut(GATES);
        gates
            .zip(buffers.up.par_chunks(GATES))
            .for_each(|(gates, ups)| {
                for (gate, up) in gates.iter_mut().zip(ups) {
                    *gate = *gate / (1.0 + (-*gate).exp()) * up;
                }
            });
        add_product(
            layer.down,
            &buffers.gate,
            &mut buffers.change,
            &mut buffers.state,
        );
    }

    fn norms(&self, weights: &[f32], buffers: &mut Buffers) {
        buffers.normed.clear();
        for state in buffers.state.chunks_exact(self.shape.width) {
            norm(state, weights, self.shape.epsilon, &mut buffers.normed);
        }
    }
}

/// Adds a product to what it changes.
fn add_product(matrix: Matrix<'_>, vectors: &[f32], change: &mut Vec<f32>, state: &mut [f32]) {
    multiply(&[matrix], vectors, &mut [change]);
    for (state, change) in state.iter_mut().zip(change) {
        *state += *change;
    }
}

/// The state at a length of one, times weights (Zhang and Sennrich, 2019).
fn norm(state: &[f32], weights: &[f32], epsilon: f32, to: &mut Vec<f32>) {
    let squares: f64 = state.iter().map(|value| f64::from(*value).powi(2)).sum();
    let mean = squares / state.len() as f64 + f64::from(epsilon);
    let scale = (1.0 / mean.sqrt()) as f32;
    to.extend(
        state
            .iter()
            .zip(weights)
            .map(|(value, weight)| value * scale * weight),
    );
}
