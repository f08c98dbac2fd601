//! Matrices times vectors: the work of a language model.
//!
//! A few rows at a time are unpacked and multiplied with all vectors, so that
//! the weights are read once and stay in the nearest cache. Each sum is taken
//! in one order, whatever else is computed, so that a request comes to the same
//! numbers alone and among others.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::quant::Kind;
use super::vectors::widest;

/// Rows that are unpacked together.
const ROWS: usize = 4;

/// Shares of work for each thread: the last to begin is not long alone.
const SHARES: usize = 4;

/// A matrix in the file: `rows` outputs of `columns` inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    pub(crate) kind: Kind,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) bytes: &'a [u8],
}

impl Matrix<'_> {
    /// One row, unpacked.
    pub(crate) fn row(&self, row: usize, to: &mut [f32]) {
        let len = self.kind.row_bytes(self.columns);
        self.kind.unpack(&self.bytes[row * len..][..len], to);
    }
}

/// Multiplies the same vectors, `columns` numbers each, with some matrices;
/// the results of a vector lie together.
pub(crate) fn multiply(matrices: &[Matrix<'_>], vectors: &[f32], outputs: &mut [&mut Vec<f32>]) {
    let Some(columns) = matrices.first().map(|matrix| matrix.columns) else {
        return;
    };
    let count = vectors.len() / columns;
    let rows: usize = matrices.iter().map(|matrix| matrix.rows).sum();
    let share = rows
        .div_ceil(SHARES * rayon::current_num_threads())
        .next_multiple_of(ROWS);
    for (matrix, output) in matrices.iter().zip(outputs.iter_mut()) {
        output.clear();
        output.resize(matrix.rows * count, 0.0);
    }
    if count == 1 {
        return shares(matrices, vectors, count, share, outputs);
    }
    // By rows while it is computed, by vectors in the end.
    let mut by_rows: Vec<Vec<f32>> = matrices
        .iter()
        .map(|matrix| vec![0.0; matrix.rows * count])
        .collect();
    let mut targets: Vec<&mut Vec<f32>> = by_rows.iter_mut().collect();
    shares(matrices, vectors, count, share, &mut targets);
    for ((matrix, by_rows), output) in matrices.iter().zip(&by_rows).zip(outputs) {
        let turned = output.par_chunks_mut(matrix.rows).enumerate();
        turned.for_each(|(vector, output)| {
            let column = by_rows.iter().skip(vector).step_by(count);
            for (to, value) in output.iter_mut().zip(column) {
                *to = *value;
            }
        });
    }
}

fn shares(
    matrices: &[Matrix<'_>],
    vectors: &[f32],
    count: usize,
    share: usize,
    outputs: &mut [&mut Vec<f32>],
) {
    let mut tasks = Vec::new();
    for (matrix, output) in matrices.iter().zip(outputs) {
        let len = matrix.kind.row_bytes(matrix.columns);
        let bytes = matrix.bytes.chunks(share * len);
        for (bytes, output) in bytes.zip(output.chunks_mut(share * count)) {
            tasks.push(Task {
                kind: matrix.kind,
                columns: matrix.columns,
                bytes,
                vectors,
                output,
            });
        }
    }
    tasks.into_par_iter().for_each(widest);
}

/// Some rows of a matrix, and where the results go: those of a row together.
struct Task<'a> {
    kind: Kind,
    columns: usize,
    bytes: &'a [u8],
    vectors: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let columns = self.columns;
        let count = self.vectors.len() / columns;
        let len = self.kind.row_bytes(columns);
        let mut unpacked = vec![0.0; ROWS * columns];
        let groups = self.bytes.chunks(ROWS * len);
        for (bytes, output) in groups.zip(self.output.chunks_mut(ROWS * count)) {
            self.kind.unpack(bytes, &mut unpacked);
            let mut rows = unpacked.chunks_exact(columns);
            if output.len() == ROWS * count
                && let (Some(a), Some(b), Some(c), Some(d)) =
                    (rows.next(), rows.next(), rows.next(), rows.next())
            {
                many(simd, [a, b, c, d], self.vectors, output);
            } else {
                for (row, output) in unpacked.chunks_exact(columns).zip(output.chunks_mut(count)) {
                    many(simd, [row], self.vectors, output);
                }
            }
        }
    }
}

/// Some rows times all vectors, as many at a time as there are registers for the
/// sums: the order within a sum does not depend on it.
#[inline(always)]
fn many<S: Simd, const R: usize>(simd: S, rows: [&[f32]; R], vectors: &[f32], output: &mut [f32]) {
    let mut done = 0;
    // Processors of so wide vectors have 32 of them.
    if S::F32_LANES >= 16 {
        done = some::<S, R, 4>(simd, rows, vectors, done, output);
    }
    done = some::<S, R, 2>(simd, rows, vectors, done, output);
    some::<S, R, 1>(simd, rows, vectors, done, output);
}

/// The same for `C` vectors at a time, from the one numbered `done`, as long as
/// there are as many; how many are done then.
#[inline(always)]
fn some<S: Simd, const R: usize, const C: usize>(
    simd: S,
    rows: [&[f32]; R],
    vectors: &[f32],
    mut done: usize,
    output: &mut [f32],
) -> usize {
    let columns = rows[0].len();
    let count = vectors.len() / columns;
    while done + C <= count {
        let group: [&[f32]; C] =
            std::array::from_fn(|at| &vectors[(done + at) * columns..][..columns]);
        let sums = dots(simd, rows, group);
        for (row, sums) in sums.iter().enumerate() {
            output[row * count + done..][..C].copy_from_slice(sums);
        }
        done += C;
    }
    done
}

/// Each of some rows times each of some vectors.
#[inline(always)]
pub(crate) fn dots<S: Simd, const R: usize, const C: usize>(
    simd: S,
    rows: [&[f32]; R],
    vectors: [&[f32]; C],
) -> [[f32; C]; R] {
    let len = rows[0].len();
    let rows = rows.map(|row| S::as_simd_f32s(&row[..len]));
    let vectors = vectors.map(|vector| S::as_simd_f32s(&vector[..len]));
    let whole = rows[0].0.len();
    let row_heads = rows.map(|(head, _)| &head[..whole]);
    let vector_heads = vectors.map(|(head, _)| &head[..whole]);
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    for at in 0..whole {
        for (sums, row) in sums.iter_mut().zip(&row_heads) {
            for (sum, vector) in sums.iter_mut().zip(&vector_heads) {
                *sum = simd.mul_add_e_f32s(row[at], vector[at], *sum);
            }
        }
    }
    let mut totals = [[0.0; C]; R];
    for ((totals, sums), (_, row)) in totals.iter_mut().zip(sums).zip(&rows) {
        for ((total, sum), (_, vector)) in totals.iter_mut().zip(sums).zip(&vectors) {
            *total = simd.reduce_sum_f32s(sum);
            for (row, vector) in row.iter().zip(*vector) {
                *total += row * vector;
            }
        }
    }
    totals
}
