"""The mean of each measure of the iris flowers, class by class.

Reads the table that its first argument names, prints a line a class, and leaves
means.json and a small table a class in the folder that it begins in.
"""

import csv
import json
import pathlib
import sys
from collections import defaultdict

measures = defaultdict(lambda: defaultdict(list))
with open(sys.argv[1], newline="") as table:
    for row in csv.DictReader(table):
        kind = row.pop("species")
        for name, value in row.items():
            measures[kind][name].append(float(value))

means = {
    kind: {name: round(sum(values) / len(values), 3) for name, values in columns.items()}
    for kind, columns in sorted(measures.items())
}
folder = pathlib.Path("classes")
folder.mkdir()
for kind, columns in means.items():
    print(kind, *(f"{name}={mean}" for name, mean in columns.items()))
    lines = (f"{name},{mean}\n" for name, mean in columns.items())
    (folder / f"{kind}.csv").write_text("".join(lines))
print(f"{len(means)} classes", file=sys.stderr)
pathlib.Path("means.json").write_text(json.dumps(means, indent=1) + "\n")
