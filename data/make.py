#!/usr/bin/env python3
"""Makes iris.csv, diabetes.csv and wine.npz of scikit-learn's own files.

    pip download scikit-learn==1.9.1 --no-deps
    python3 data/make.py scikit_learn-1.9.1-*.whl

Only names are added: the first line of each CSV file, and the species of iris
as words. The archive is what `numpy.savez_compressed` would make, written with
the standard library so that nothing need be installed.
"""

import gzip
import io
import pathlib
import struct
import sys
import zipfile

FOLDER = pathlib.Path(__file__).parent
SPECIES = ["setosa", "versicolor", "virginica"]
IRIS = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
DIABETES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "progression"]


def rows(text, separator):
    return [line.split(separator) for line in text.split("\n") if line.strip()]


def write_csv(name, header, lines):
    text = "\n".join(",".join(line) for line in [header, *lines]) + "\n"
    (FOLDER / name).write_text(text)


def npy(descr, shape, elements):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + elements


def write_npz(name, arrays):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as files:
        for array, content in arrays.items():
            # The same bytes each time: no clock in them.
            files.writestr(zipfile.ZipInfo(f"{array}.npy"), content, zipfile.ZIP_DEFLATED)
    (FOLDER / name).write_bytes(archive.getvalue())


def main(wheel):
    files = zipfile.ZipFile(wheel)

    def read(name):
        content = files.read(f"sklearn/datasets/data/{name}")
        return (gzip.decompress(content) if name.endswith(".gz") else content).decode()

    iris = rows(read("iris.csv"), ",")[1:]
    write_csv("iris.csv", IRIS, [[*row[:4], SPECIES[int(row[4])]] for row in iris])

    samples = rows(read("diabetes_data_raw.csv.gz"), None)
    targets = rows(read("diabetes_target.csv.gz"), None)
    lines = [[*row, str(int(float(target[0])))] for row, target in zip(samples, targets)]
    write_csv("diabetes.csv", DIABETES, lines)

    wine = rows(read("wine_data.csv"), ",")[1:]
    numbers = [float(cell) for row in wine for cell in row[:13]]
    kinds = [int(row[13]) for row in wine]
    arrays = {
        "x": npy("<f8", (len(wine), 13), struct.pack(f"<{len(numbers)}d", *numbers)),
        "y": npy("<i8", (len(wine),), struct.pack(f"<{len(kinds)}q", *kinds)),
    }
    write_npz("wine.npz", arrays)


if __name__ == "__main__":
    main(sys.argv[1])
