//! Attention of tokens over what their requests have read.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::cache::Cache;
use super::forward::Row;
use super::product::dots;
use super::vectors::widest;

/// Heads and their widths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Heads that ask.
    pub(crate) queries: usize,
    /// Heads that are asked; each serves as many of the others.
    pub(crate) keys: usize,
    /// Numbers of a head.
    pub(crate) width: usize,
}

/// What each row finds in a layer of its request's cache, head by head.
pub(crate) fn attend(
    heads: Heads,
    layer: usize,
    rows: &[Row],
    caches: &[Cache],
    queries: &[f32],
    output: &mut Vec<f32>,
) {
    output.clear();
    output.resize(queries.len(), 0.0);
    let each = output
        .par_chunks_mut(heads.width)
        .zip(queries.par_chunks(heads.width))
        .enumerate();
    each.for_each_init(Vec::new, |shares, (at, (output, query))| {
        let row = &rows[at / heads.queries];
        let (keys, values) = caches[row.cache].upto(layer, row.position + 1);
        let group = heads.queries / heads.keys;
        widest(OneHead {
            query,
            keys,
            values,
            stride: heads.keys * heads.width,
            offset: at % heads.queries / group * heads.width,
            shares,
            output,
        });
    });
}

/// One head of one token.
struct OneHead<'a> {
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    /// Numbers of one token in the cache, and where this head's begin.
    stride: usize,
    offset: usize,
    /// Reused between heads.
    shares: &'a mut Vec<f32>,
    output: &'a mut [f32],
}

impl WithSimd for OneHead<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.query.len();
        let part = self.offset..self.offset + width;
        let scale = 1.0 / (width as f32).sqrt();
        self.shares.clear();
        let mut most = f32::NEG_INFINITY;
        for key in self.keys.chunks_exact(self.stride) {
            let [[score]] = dots(simd, [self.query], [&key[part.clone()]]);
            let score = score * scale;
            most = most.max(score);
            self.shares.push(score);
        }
        let mut total = 0.0;
        for share in self.shares.iter_mut() {
            *share = (*share - most).exp();
            total += *share;
        }
        self.output.fill(0.0);
        let values = self.values.chunks_exact(self.stride);
        for (value, share) in values.zip(self.shares.iter()) {
            let share = share / total;
            for (to, value) in self.output.iter_mut().zip(&value[part.clone()]) {
                *to += share * value;
            }
        }
    }
}
