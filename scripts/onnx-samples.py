#!/usr/bin/env python3
"""Makes the small ONNX files of data/ and the golden numbers beside them.

    python3 -m venv /tmp/onnx && /tmp/onnx/bin/pip install onnx==1.23.2 onnxruntime==1.32.0
    /tmp/onnx/bin/python scripts/onnx-samples.py [FOLDER]

digits-lenet.onnx is a convolutional net over digits of 8x8 pixels as an exporter of
PyTorch writes one, with a batch of any size and a shape that is computed of it. Its
filters are drawn and its last layer is fitted to every second row of digits.csv.
encoder.onnx is one block of a transformer over six ids with a mask, two inputs, and
attention as MatMul, Softmax and Transpose. What each gives, by onnxruntime, is in the
.json file of its name. With the folder that scripts/onnx-models fills, what Silero VAD
and Magika give is written beside the tests.
"""

import csv
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

DATA = pathlib.Path(__file__).parent.parent / "data"
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], name=output, **attributes)


def tensors(named):
    return [numpy_helper.from_array(value, name) for name, value in named.items()]


def save(name, nodes, inputs, outputs, weights, given):
    graph = helper.make_graph(nodes, name, inputs, outputs, tensors(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, DATA / f"{name}.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    made = session.run(None, given)
    golden = {
        "inputs": {key: value.ravel().tolist() for key, value in given.items()},
        "outputs": [np.round(value, 6).ravel().tolist() for value in made],
    }
    (DATA / f"{name}.json").write_text(json.dumps(golden) + "\n")
    return session


def lenet():
    rng = np.random.default_rng(7)
    draw = lambda *shape: rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
    weights = {
        "conv1.weight": draw(12, 1, 3, 3),
        "conv1.bias": np.zeros(12, np.float32),
        "conv2.weight": draw(48, 12, 3, 3),
        "conv2.bias": np.zeros(48, np.float32),
        "first": np.array(0, np.int64),
        "rest": np.array([-1], np.int64),
        "axis": np.array([0], np.int64),
    }
    features = [
        node("Conv", ["pixels", "conv1.weight", "conv1.bias"], "conv1", kernel_shape=[3, 3], pads=[1] * 4),
        node("Relu", ["conv1"], "relu1"),
        node("MaxPool", ["relu1"], "pool1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["pool1", "conv2.weight", "conv2.bias"], "conv2", kernel_shape=[3, 3], pads=[1] * 4),
        node("Relu", ["conv2"], "relu2"),
        node("MaxPool", ["relu2"], "pool2", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", ["pool2"], "shape"),
        node("Gather", ["shape", "first"], "batch_size", axis=0),
        node("Unsqueeze", ["batch_size", "axis"], "batch_list"),
        node("Concat", ["batch_list", "rest"], "row_shape", axis=0),
        node("Reshape", ["pool2", "row_shape"], "row"),
    ]
    pixels = [helper.make_tensor_value_info("pixels", FLOAT, ["batch", 1, 8, 8])]
    rows = np.array(list(csv.reader(open(DATA / "digits.csv"))), dtype=np.float32)
    images, digits = rows[:, :64].reshape(-1, 1, 8, 8) / 16, rows[:, 64].astype(int)
    out = helper.make_tensor_value_info("row", FLOAT, ["batch", 192])
    graph = helper.make_graph(features, "features", pixels, [out], tensors(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    seen = session.run(None, {"pixels": images})[0].astype(np.float64)
    weight, bias = fit(seen[::2], digits[::2])
    weights["fc.weight"], weights["fc.bias"] = weight.astype(np.float32), bias.astype(np.float32)
    nodes = features + [node("Gemm", ["row", "fc.weight", "fc.bias"], "logits", transB=1)]
    logits = [helper.make_tensor_value_info("logits", FLOAT, ["batch", 10])]
    session = save("digits-lenet", nodes, pixels, logits, weights, {"pixels": images[:3]})
    made = session.run(None, {"pixels": images})[0].argmax(1)
    print("of the rows that were not fitted", (made[1::2] == digits[1::2]).mean(), "of all", (made == digits).mean())


def fit(x, classes):
    """Softmax regression by gradient descent."""
    weight, bias = np.zeros((10, x.shape[1])), np.zeros(10)
    wanted = np.eye(10)[classes]
    for _ in range(3000):
        powers = np.exp((z := x @ weight.T + bias) - z.max(1, keepdims=True))
        wrong = powers / powers.sum(1, keepdims=True) - wanted
        weight -= 0.2 * (wrong.T @ x / len(x) + 1e-4 * weight)
        bias -= 0.2 * wrong.mean(0)
    return weight, bias


def encoder():
    rng = np.random.default_rng(11)
    draw = lambda *shape: rng.normal(0, 0.3, shape).astype(np.float32)
    d, heads, entries, steps, inner, classes = 16, 2, 40, 6, 32, 3
    ints = lambda *values: np.array(values, np.int64)
    weights = {
        "tokens": draw(entries, d),
        "positions": draw(1, steps, d),
        **{f"{name}.weight": draw(d, d) for name in ["query", "key", "value", "out"]},
        **{f"{name}.bias": draw(d) for name in ["query", "key", "value", "out", "norm1", "norm2"]},
        "norm1.weight": 1 + draw(d),
        "norm2.weight": 1 + draw(d),
        "up.weight": draw(d, inner),
        "up.bias": draw(inner),
        "down.weight": draw(inner, d),
        "down.bias": draw(d),
        "class.weight": draw(classes, d),
        "class.bias": draw(classes),
        "zero": np.array(0, np.int64),
        "axis0": ints(0),
        "mask_axes": ints(1, 2),
        "split": ints(steps, heads, d // heads),
        "whole": ints(steps, d),
        "scale": np.array((d / heads) ** -0.5, np.float32),
        "one": np.array(1, np.float32),
        "least": np.array(-1e4, np.float32),
        "half": np.array(0.5, np.float32),
        "root": np.array(2**0.5, np.float32),
    }
    nodes = [
        node("Gather", ["tokens", "ids"], "embedded", axis=0),
        node("Add", ["embedded", "positions"], "x"),
        node("Shape", ["ids"], "ids_shape"),
        node("Gather", ["ids_shape", "zero"], "batch_size", axis=0),
        node("Unsqueeze", ["batch_size", "axis0"], "batch_list"),
        node("Concat", ["batch_list", "split"], "heads_shape", axis=0),
        node("Concat", ["batch_list", "whole"], "whole_shape", axis=0),
        node("Cast", ["mask"], "mask_float", to=FLOAT),
        node("Sub", ["one", "mask_float"], "hidden"),
        node("Mul", ["hidden", "least"], "hidden_least"),
        node("Unsqueeze", ["hidden_least", "mask_axes"], "bias"),
    ]
    for name, order in [("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])]:
        nodes += [
            node("MatMul", ["x", f"{name}.weight"], f"{name}_product"),
            node("Add", [f"{name}_product", f"{name}.bias"], f"{name}_row"),
            node("Reshape", [f"{name}_row", "heads_shape"], f"{name}_split"),
            node("Transpose", [f"{name}_split"], name, perm=order),
        ]
    nodes += [
        node("MatMul", ["query", "key"], "scores"),
        node("Mul", ["scores", "scale"], "scaled"),
        node("Add", ["scaled", "bias"], "masked"),
        node("Softmax", ["masked"], "looks", axis=-1),
        node("MatMul", ["looks", "value"], "mixed"),
        node("Transpose", ["mixed"], "together", perm=[0, 2, 1, 3]),
        node("Reshape", ["together", "whole_shape"], "joined"),
        node("MatMul", ["joined", "out.weight"], "out_product"),
        node("Add", ["out_product", "out.bias"], "attended"),
        node("Add", ["x", "attended"], "residual1"),
        node("LayerNormalization", ["residual1", "norm1.weight", "norm1.bias"], "normed1", axis=-1),
        node("MatMul", ["normed1", "up.weight"], "up_product"),
        node("Add", ["up_product", "up.bias"], "up"),
        # GELU as exporters before opset 20 write it.
        node("Div", ["up", "root"], "up_root"),
        node("Erf", ["up_root"], "erf"),
        node("Add", ["erf", "one"], "erf_one"),
        node("Mul", ["up", "erf_one"], "up_erf"),
        node("Mul", ["up_erf", "half"], "gelu"),
        node("MatMul", ["gelu", "down.weight"], "down_product"),
        node("Add", ["down_product", "down.bias"], "down"),
        node("Add", ["normed1", "down"], "residual2"),
        node("LayerNormalization", ["residual2", "norm2.weight", "norm2.bias"], "normed2", axis=-1),
        node("ReduceMean", ["normed2"], "mean", axes=[1], keepdims=0),
        node("Gemm", ["mean", "class.weight", "class.bias"], "logits", transB=1),
    ]
    inputs = [helper.make_tensor_value_info(name, INT, ["batch", steps]) for name in ["ids", "mask"]]
    outputs = [helper.make_tensor_value_info("logits", FLOAT, ["batch", classes])]
    given = {
        "ids": rng.integers(0, entries, (3, steps)),
        "mask": np.array([[1] * 6, [1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]]),
    }
    save("encoder", nodes, inputs, outputs, weights, given)


def real(folder):
    """Inputs are formulas, which the tests know too."""
    session = lambda name: onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
    at = np.arange(2048)
    kinds = session("magika.onnx").run(None, {"bytes": np.stack([(at * 37 + 11) % 257, at * at % 256]).astype(np.int32)})
    at = np.arange(576)
    sound = np.stack([0.5 * np.sin(at * 0.05), 0.3 * np.sin(at * 0.02) * np.sin(at * 0.31)])
    given = {
        "input": sound.astype(np.float32),
        "state": np.zeros((2, 2, 128), np.float32),
        "sr": np.array(16000),
    }
    voice = session("silero-vad.onnx").run(None, given)
    rounded = lambda value: np.round(value.astype(float), 7).ravel().tolist()
    golden = {"magika": rounded(kinds[0]), "silero": rounded(voice[0]), "state": rounded(voice[1])[:64]}
    tests = DATA.parent / "compute/src/onnx/tests"
    (tests / "golden.json").write_text(json.dumps(golden) + "\n")


lenet()
encoder()
if len(sys.argv) > 1:
    real(pathlib.Path(sys.argv[1]))
