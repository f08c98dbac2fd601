#!/usr/bin/env python3
"""Makes the files beside it with the libraries that people write them with.

    pip install numpy==2.4.6 pyarrow==26.0.1
    python3 compute/tests/data/make.py
"""

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = pathlib.Path(__file__).parent

table = pa.table(
    {
        "length": pa.array([1.5, None, 3.5, 4.5, 5.5], pa.float64()),
        "count": pa.array([1, 2, 3, 4, 5], pa.int32()),
        "tall": pa.array([True, False, True, False, True]),
        "pixels": pa.array([[0, 1], [2, 3], [4, 5], [6, None], [8, 9]], pa.list_(pa.float32())),
        "kind": pa.array(["cat", "dog", "cat", "dog", "cat"]),
        "price": pa.array([1, 2, 3, 4, 5], pa.int64()),
        "nested": pa.array([[[1]], [[2]], [[3]], [[4]], [[5]]], pa.list_(pa.list_(pa.int8()))),
    }
)
pq.write_table(table, FOLDER / "table.parquet", row_group_size=3)

values = np.arange(12, dtype=np.float64).reshape(4, 3)
np.savez_compressed(
    FOLDER / "arrays.npz",
    f4=np.asfortranarray(values.astype("<f4")),
    f8=values,
    i1=values.astype("i1"),
    i2=values.astype(">i2"),
    i4=values.astype("<i4"),
    i8=values.astype("<i8"),
    u1=values.astype("u1"),
    u2=values.astype("<u2"),
    u4=values.astype(">u4"),
    u8=values.astype("<u8"),
    maps=np.arange(16, dtype="u1").reshape(4, 1, 2, 2),
    classes=np.array([0, 1, 2, 1]),
    text=np.array(["a", "b", "c", "d"]),
)
