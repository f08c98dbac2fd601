"""Makes the golden values beside this file: what pandas, scikit-learn, Pillow and
tokenizers make of small data.

    python -m venv /tmp/golden
    /tmp/golden/bin/pip install numpy pandas scikit-learn pillow tokenizers
    /tmp/golden/bin/python compute/tests/golden/prepare/make.py

A case holds a file as text or the pictures of an archive, the steps as a job file
has them, and for each column the values that are to come out, row-major; what is
missing is null. Only what is linear between pixels may differ, by one grey level
of 255.
"""

import io
import json
import math
import pathlib
import tarfile

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import LabelEncoder, MinMaxScaler, OneHotEncoder, StandardScaler
from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).parent
DATA = HERE.parents[3] / "data"


def plain(values):
    flat = np.asarray(values, dtype=object).reshape(-1)
    return [
        None if value is None or isinstance(value, float) and math.isnan(value)
        else value if isinstance(value, str)
        else float(f"{float(value):.12g}")
        for value in flat
    ]


def write(name, **case):
    case["expected"] = {column: plain(values) for column, values in case["expected"].items()}
    (HERE / f"{name}.json").write_text(json.dumps(case) + "\n")


def table():
    draw = np.random.default_rng(11)
    rows = 60
    frame = pd.DataFrame(
        {
            "id": np.arange(rows),
            "age": np.round(draw.normal(40, 12, rows), 3),
            "income": np.round(draw.lognormal(10, 1, rows), 2),
            "same": np.full(rows, 0.1),
            "count": draw.integers(0, 5, rows),
            "city": draw.choice(["Oslo", "Bern", "Łódź", "new york", "Zug"], rows),
            "grade": draw.choice([3, 1, 10, 2], rows),
        }
    )
    frame.loc[draw.choice(rows, 9, replace=False), "age"] = np.nan
    frame.loc[draw.choice(rows, 7, replace=False), "city"] = None
    return frame


def tabular():
    frame = table()
    text = frame.to_csv(index=False)
    numbers = ["age", "income", "same", "count"]
    scaled = StandardScaler().fit_transform(frame[numbers])
    write("standardise", csv=text,
          steps=[{"standardise": {"columns": numbers}}, {"select": {"columns": ["id", *numbers]}}],
          expected={"id": frame["id"], **{n: scaled[:, i] for i, n in enumerate(numbers)}})
    scaled = MinMaxScaler().fit_transform(frame[numbers])
    write("min_max", csv=text,
          steps=[{"min_max": {"columns": numbers}}, {"select": {"columns": numbers}}],
          expected={n: scaled[:, i] for i, n in enumerate(numbers)})
    whole = frame.dropna(subset=["city"])
    write("encode", csv=text,
          steps=[{"filter": {"not": {"missing": {"column": "city"}}}},
                 {"select": {"columns": ["id", "city", "grade"]}},
                 {"label_encode": {"column": "grade"}},
                 {"one_hot": {"columns": ["city"]}}],
          expected={"id": whole["id"],
                    "grade": LabelEncoder().fit_transform(whole["grade"]),
                    "city": OneHotEncoder(sparse_output=False).fit_transform(whole[["city"]])})
    write("label_texts", csv=text,
          steps=[{"select": {"columns": ["city"]}},
                 {"filter": {"not": {"missing": {"column": "city"}}}},
                 {"label_encode": {"column": "city"}}],
          expected={"city": LabelEncoder().fit_transform(whole["city"])})
    for strategy, word in [("mean", "mean"), ("median", "median"), ("most_frequent", "most_frequent")]:
        filled = SimpleImputer(strategy=strategy).fit_transform(frame[["age", "grade"]])
        write(f"fill_{word}", csv=text,
              steps=[{"fill": {"columns": ["age", "grade"], "with": word}},
                     {"select": {"columns": ["age", "grade"]}}],
              expected={"age": filled[:, 0], "grade": filled[:, 1]})
    city = frame["city"].fillna(frame["city"].mode()[0])
    write("fill_texts", csv=text,
          steps=[{"fill": {"columns": ["city"], "with": "most_frequent"}},
                 {"fill": {"columns": ["age"], "with": {"number": -1}}},
                 {"select": {"columns": ["city", "age"]}}],
          expected={"city": city, "age": frame["age"].fillna(-1)})
    filters = {
        "less": ({"compare": {"column": "age", "is": "less", "value": 40}}, frame.age < 40),
        "at_most": ({"compare": {"column": "grade", "is": "at_most", "value": 2}}, frame.grade <= 2),
        "not_equal": ({"all": [{"compare": {"column": "count", "is": "not_equal", "value": 3}},
                               {"compare": {"column": "age", "is": "at_least", "value": 30}}]},
                      (frame["count"] != 3) & (frame.age >= 30)),
        "texts": ({"any": [{"one_of": {"column": "city", "values": ["Oslo", "Łódź"]}},
                           {"compare": {"column": "city", "is": "more", "value": "a"}}]},
                  frame.city.isin(["Oslo", "Łódź"]) | (frame.city.fillna("") > "a")),
        "numbers": ({"all": [{"one_of": {"column": "grade", "values": [10, 3]}},
                             {"not": {"missing": {"column": "age"}}}]},
                    frame.grade.isin([10, 3]) & frame.age.notna()),
        "missing": ({"any": [{"missing": {"column": "age"}}, {"missing": {"column": "city"}}]},
                    frame.age.isna() | frame.city.isna()),
    }
    for name, (condition, mask) in filters.items():
        kept = frame[mask]
        write(f"filter_{name}", csv=text,
              steps=[{"filter": condition}, {"rename": {"from": "id", "to": "row"}},
                     {"drop": {"columns": ["income", "same", "count", "grade"]}}],
              expected={"row": kept.id, "age": kept.age, "city": kept.city.where(kept.city.notna(), None)})


def planes(image):
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def nearest(image, height, width):
    """The pixel that the centre of each new one falls on; where it falls between two
    Pillow takes either, and everywhere else it agrees."""
    def places(old, new):
        doubled = [(2 * at + 1) * old for at in range(new)]
        return np.array([place // (2 * new) for place in doubled]), np.array([place % (2 * new) > 0 for place in doubled])
    rows, sure_rows = places(image.height, height)
    columns, sure_columns = places(image.width, width)
    picked = planes(image)[:, rows][:, :, columns]
    pillow = planes(image.resize((width, height), Image.NEAREST))
    sure = np.ix_(range(3), sure_rows.nonzero()[0], sure_columns.nonzero()[0])
    assert (picked[sure] == pillow[sure]).all()
    return picked


def pictures():
    draw = np.random.default_rng(5)
    images = []
    for number, (height, width) in enumerate([(9, 13), (16, 8), (24, 31)]):
        coarse = draw.integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), dtype=np.uint8)
        images.append(Image.fromarray(coarse).resize((width, height), Image.BICUBIC))
    with tarfile.open(HERE / "pictures.tar", "w") as tar:
        for number, image in enumerate(images):
            to = io.BytesIO()
            image.save(to, "PNG")
            entry = tarfile.TarInfo(f"{['cat', 'dog', 'cat'][number]}/{number}.png")
            entry.size = len(to.getvalue())
            tar.addfile(entry, io.BytesIO(to.getvalue()))
    tail = [{"select": {"columns": ["image"]}}]
    for name, (height, width) in {"down": (5, 6), "up": (20, 17)}.items():
        for word, tolerance, resized in [
            ("nearest", 0, [nearest(i, height, width) for i in images]),
            ("bilinear", 1, [planes(i.resize((width, height), Image.BILINEAR)) for i in images]),
        ]:
            write(f"resize_{word}_{name}", pictures=True, tolerance=tolerance,
                  steps=[{"resize": {"column": "image", "height": height, "width": width, "by": word}}, *tail],
                  expected={"image": resized})
    write("grey", pictures=True,
          steps=[{"greyscale": {"column": "image"}},
                 {"crop": {"column": "image", "height": 7, "width": 5}}, *tail],
          expected={"image": [planes(i.convert("L"))[:, (i.height - 7) // 2:, (i.width - 5) // 2:][:, :7, :5]
                              for i in images]})
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    cut = np.stack([planes(i)[:, 1:9, 2:8] for i in images]) / 255
    write("pixels", pictures=True, tolerance=1e-5,
          steps=[{"crop": {"column": "image", "height": 8, "width": 6, "from": {"at": {"top": 1, "left": 2}}}},
                 {"pixels": {"column": "image", "mean": list(mean), "deviation": list(deviation)}}, *tail],
          expected={"image": (cut - mean[:, None, None]) / deviation[:, None, None]})
    channels = np.stack([planes(i)[:, :8, :8] for i in images]).astype(float)
    mean = channels.mean(axis=(0, 2, 3), keepdims=True)
    deviation = channels.std(axis=(0, 2, 3), keepdims=True)
    write("channels", pictures=True, tolerance=1e-5,
          steps=[{"crop": {"column": "image", "height": 8, "width": 8, "from": {"at": {"top": 0, "left": 0}}}},
                 {"standardise": {"columns": ["image"]}}, *tail],
          expected={"image": (channels - mean) / deviation})


def texts():
    tokenizer = Tokenizer.from_file(str(DATA / "topics-tokenizer.json"))
    rows = ["The soup needs salt", "rain", "a cold front blows inland over the old harbour", "Ünknown Wörter!"]
    text = pd.DataFrame({"text": rows}).to_csv(index=False)
    for name, length, side, special in [("short", 6, "right", True), ("long", 32, "right", True),
                                        ("left", 6, "left", True), ("bare", 5, "right", False)]:
        tokenizer.enable_truncation(length, direction=side)
        tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=length, direction=side)
        encoded = [tokenizer.encode(row, add_special_tokens=special) for row in rows]
        write(f"tokens_{name}", csv=text,
              steps=[{"tokenise": {"column": "text", "tokenizer": "TOKENIZER", "max_length": length,
                                   "truncation": side, "padding": side, "special_tokens": special,
                                   "mask": "mask"}}],
              expected={"text": [e.ids for e in encoded], "mask": [e.attention_mask for e in encoded]})


tabular()
pictures()
texts()
