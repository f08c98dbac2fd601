#!/usr/bin/env python3
"""Makes the golden numbers of every operation of programs, by NumPy alone.

    python3 -m venv /tmp/numpy && /tmp/numpy/bin/pip install numpy==2.4.6
    /tmp/numpy/bin/python scripts/compute-golden.py > compute/src/program/golden.json

Each is written from its definition, with loops where NumPy has no word for it. Gradients
are differences of losses, in 64-bit floats.
"""

import json
import math

import numpy as np

rng = np.random.default_rng(5)
cases = []
draw = lambda *shape: rng.normal(0, 1, shape).round(3)


def tensor(value):
    value = np.asarray(value)
    kind = "bool" if value.dtype == bool else "int" if value.dtype.kind == "i" else "float"
    return {"kind": kind, "shape": list(value.shape), "values": value.astype(float).round(7).ravel().tolist()}


def case(op, reads, gives, **options):
    gives = gives if isinstance(gives, list) else [gives]
    cases.append({"op": {"op": op, **options}, "reads": [tensor(x) for x in reads], "gives": [tensor(y) for y in gives]})


erf = np.vectorize(math.erf)
sigmoid = lambda x: 1 / (1 + np.exp(-x))
x, small, positive = draw(3, 4), np.clip(draw(3, 4), -0.9, 0.9), np.abs(draw(3, 4)) + 0.1
for word, f, of in [
    ("neg", np.negative, x), ("abs", np.abs, x), ("sign", np.sign, x), ("exp", np.exp, x), ("log", np.log, positive),
    ("sqrt", np.sqrt, positive), ("reciprocal", np.reciprocal, positive), ("erf", erf, x), ("floor", np.floor, x),
    ("ceil", np.ceil, x), ("round", np.round, np.array([-1.5, -0.5, 0.5, 1.5, 2.4])), ("sin", np.sin, x),
    ("cos", np.cos, x), ("tan", np.tan, small), ("asin", np.arcsin, small), ("acos", np.arccos, small),
    ("atan", np.arctan, x), ("sinh", np.sinh, x), ("cosh", np.cosh, x), ("tanh", np.tanh, x),
    ("asinh", np.arcsinh, x), ("acosh", np.arccosh, positive + 1), ("atanh", np.arctanh, small),
    ("relu", lambda x: np.maximum(x, 0), x), ("silu", lambda x: x * sigmoid(x), x),
    ("mish", lambda x: x * np.tanh(np.log1p(np.exp(x))), x), ("sigmoid", sigmoid, x),
    ("softplus", lambda x: np.log1p(np.exp(x)), x), ("softsign", lambda x: x / (1 + np.abs(x)), x),
    ("selu", lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)), x),
]:
    case(word, [of], f(of))
case("leaky_relu", [x], np.where(x > 0, x, 0.2 * x), negative_slope=0.2)
case("elu", [x], np.where(x > 0, x, 1.5 * np.expm1(x)), alpha=1.5)
case("celu", [x], np.where(x > 0, x, 2 * np.expm1(x / 2)), alpha=2.0)
case("gelu", [x], x * 0.5 * (1 + erf(x / 2**0.5)))
case("gelu", [x], 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))), approximate=True)
case("hard_sigmoid", [x], np.clip(x / 6 + 0.5, 0, 1))
case("thresholded_relu", [x], np.where(x > 0.5, x, 0), threshold=0.5)
case("clip", [x], np.clip(x, -0.5, 0.7), min=-0.5, max=0.7)
case("is_nan", [x], np.isnan(x))
case("not", [x > 0], ~(x > 0))

a, b, row = draw(2, 3, 4), draw(2, 3, 4), draw(4)
for word, f in [("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("div", np.divide), ("minimum", np.minimum),
                ("maximum", np.maximum), ("remainder", np.mod), ("fmod", np.fmod), ("equal", np.equal),
                ("less", np.less), ("less_equal", np.less_equal), ("greater", np.greater), ("greater_equal", np.greater_equal)]:
    case(word, [a, b], f(a, b))
    case(word, [a, row], f(a, row))
far, wide = draw(2, 1, 4), draw(3, 1)
case("add", [far, wide], far + wide)
case("mul", [np.array(3.0), wide], 3.0 * wide)
case("pow", [positive, x], positive**x)
whole, others = np.array([7, -7, 9, -9]), np.array([2, 2, -4, -4])
case("div", [whole, others], np.trunc(whole / others).astype(int))
case("remainder", [whole, others], np.mod(whole, others))
case("fmod", [whole, others], np.fmod(whole, others))
p, q = x > 0, small > 0
case("and", [p, q], p & q)
case("or", [p, q], p | q)
case("xor", [p, q], p ^ q)
case("where", [p, x, small[0]], np.where(p, x, small[0]))
case("cast", [x * 3], np.trunc(x * 3).astype(int), to="int")
case("cast", [whole], whole.astype(float), to="float")
case("cast", [np.array([0.0, 2.5])], np.array([False, True]), to="bool")

for word, f in [("sum", np.sum), ("mean", np.mean), ("max", np.max), ("min", np.min), ("prod", np.prod)]:
    case(word, [a], f(a, axis=1), axes=[1])
    case(word, [a], f(a, axis=(0, 2), keepdims=True), axes=[2, 0], keep=True)
    case(word, [a], f(a))
case("arg_max", [a], a.argmax(2), axis=2)
case("arg_min", [a], a.argmin(1)[:, None], axis=1, keep=True)

case("matmul", [x, small.T], x @ small.T)
m, n = draw(2, 1, 3, 4), draw(5, 4, 2)
case("matmul", [m, n], m @ n)
case("matmul", [a, row], a @ row)
case("gemm", [x.T, small.T[:, :2], row[:2]], 0.5 * (x @ small.T[:, :2]) + 2 * row[:2], transpose_a=True, alpha=0.5, beta=2.0)


def conv(x, w, bias, stride, padding, dilation, groups):
    x = np.pad(x, [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2])
    n, _, height, width = x.shape
    filters, depth, kh, kw = w.shape
    rows = (height - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    columns = (width - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((n, filters, rows, columns))
    for f in range(filters):
        g = f // (filters // groups) * depth
        for i in range(rows):
            for j in range(columns):
                seen = x[:, g : g + depth, i * stride[0] :: dilation[0], j * stride[1] :: dilation[1]][:, :, :kh, :kw]
                out[:, f, i, j] = (seen * w[f]).sum((1, 2, 3)) + bias[f]
    return out


image, filters, bias = draw(2, 4, 6, 5), draw(6, 2, 3, 2), draw(6)
case("conv", [image, filters, bias], conv(image, filters, bias, (2, 1), (1, 0), (1, 2), 2), stride=[2, 1], padding=[1, 0], dilation=[1, 2], groups=2)
line, kernel = draw(2, 3, 7), draw(4, 3, 3)
case("conv", [line, kernel], conv(line[:, :, None], kernel[:, :, None], np.zeros(4), (1, 1), (0, 1), (1, 1), 1)[:, :, 0], padding=[1])
image, filters, bias = draw(1, 2, 3, 3), draw(2, 3, 3, 3), draw(3)
full = np.zeros((1, 3, 8, 8))
for i in range(3):
    for j in range(3):
        full[:, :, i * 2 : i * 2 + 3, j * 2 : j * 2 + 3] += np.einsum("nc,cfhw->nfhw", image[:, :, i, j], filters)
case("conv_transpose", [image, filters, bias], full[:, :, 1:7, 1:7] + bias[:, None, None], stride=[2, 2], padding=[1, 1], output_padding=[1, 1])

image = draw(2, 2, 5, 6)


def pool(x, k, s, p, f, fill):
    x = np.pad(x, [(0, 0), (0, 0), (p[0],) * 2, (p[1],) * 2], constant_values=fill)
    rows, columns = (x.shape[2] - k[0]) // s[0] + 1, (x.shape[3] - k[1]) // s[1] + 1
    parts = [[f(x[:, :, i * s[0] : i * s[0] + k[0], j * s[1] : j * s[1] + k[1]], axis=(2, 3)) for j in range(columns)] for i in range(rows)]
    return np.array(parts).transpose(2, 3, 0, 1)


case("max_pool", [image], pool(image, (3, 2), (2, 2), (1, 1), np.max, -np.inf), kernel=[3, 2], stride=[2, 2], padding=[1, 1])
case("avg_pool", [image], pool(image, (3, 2), (3, 2), (1, 0), np.mean, 0), kernel=[3, 2], padding=[1, 0])
case("avg_pool", [image], pool(image, (3, 2), (3, 2), (1, 0), np.nanmean, np.nan), kernel=[3, 2], padding=[1, 0], count_padding=False)


def softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


case("softmax", [a], softmax(a, 1), axis=1)
case("log_softmax", [a], np.log(softmax(a, 2)), axis=2)
weight, bias = draw(3, 4), draw(3, 4)
centred = a - a.mean((1, 2), keepdims=True)
case("layer_norm", [a, weight, bias], centred / np.sqrt(a.var((1, 2), keepdims=True) + 1e-5) * weight + bias, axis=1)
scale, shift, mean, variance = draw(3), draw(3), draw(3), np.abs(draw(3)) + 0.5
by = lambda v: v[None, :, None]
case("batch_norm", [a, scale, shift, mean, variance], (a - by(mean)) / np.sqrt(by(variance) + 1e-3) * by(scale) + by(shift), epsilon=1e-3)

case("reshape", [a], a.reshape(4, 6), shape=[4, -1])
case("transpose", [a], a.transpose(2, 0, 1), axes=[2, 0, 1])
deep = draw(2, 3, 1, 4, 5)
case("transpose", [deep], deep.transpose(3, 4, 2, 0, 1), axes=[3, 4, 2, 0, 1])
case("transpose", [deep], deep.transpose(4, 0, 3, 2, 1), axes=[4, 0, 3, 2, 1])
case("slice", [a], a[:, 1:3], axis=1, start=1, length=2)
case("slice", [a], a[:, :, 3::-2], axis=2, start=3, length=2, step=-2)
case("concat", [a, b, a], np.concatenate([a, b, a], 1), axis=1)
case("split", [a], [a[:, :, :1], a[:, :, 1:]], axis=2, sizes=[1, 3])
places = np.array([[2, 0], [-1, 1]])
case("gather", [a, places], a.take(places, 1), axis=1)
places = np.array([[[1, 0, 1, -1]], [[2, 2, 0, 1]]])
case("gather_elements", [a, places], np.take_along_axis(a, places % 3, 1), axis=1)
case("expand", [wide], np.broadcast_to(wide, (2, 3, 4)), shape=[2, 3, 4])
case("pad", [x], np.pad(x, [(1, 0), (0, 2)], constant_values=-1.5), before=[1, 0], after=[0, 2], value=-1.5)
case("pad", [x], np.pad(x, [(2, 1), (1, 2)], mode="reflect"), before=[2, 1], after=[1, 2], mode="reflect")
case("pad", [x], np.pad(x, [(2, 1), (1, 2)], mode="edge"), before=[2, 1], after=[1, 2], mode="edge")
case("cumsum", [a], a.cumsum(1), axis=1)
case("one_hot", [np.array([2, 0, -1])], np.eye(4)[[2, 0, 3]], depth=4)

steps, samples, features, units = 3, 2, 4, 3
sequence = draw(steps, samples, features)
for word, gates in [("rnn", 1), ("gru", 3), ("lstm", 4)]:
    for direction in ["forward", "reverse", "both"]:
        ways = 2 if direction == "both" else 1
        w, r, b = draw(ways, gates * units, features), draw(ways, gates * units, units), draw(ways, 2 * gates * units)
        h0, c0 = draw(ways, samples, units), draw(ways, samples, units)
        after = word == "gru" and direction == "reverse"
        every, hs, cs = np.zeros((steps, ways, samples, units)), [], []
        for d in range(ways):
            h, c = h0[d], c0[d]
            wb, rb = b[d, : gates * units], b[d, gates * units :]
            order = range(steps - 1, -1, -1) if direction == "reverse" or d == 1 else range(steps)
            for t in order:
                g, s = sequence[t] @ w[d].T + wb, h @ r[d].T + rb
                part = lambda v, i: v[:, i * units : (i + 1) * units]
                if word == "rnn":
                    h = np.tanh(g + s)
                elif word == "gru":
                    z, reset = sigmoid(part(g, 0) + part(s, 0)), sigmoid(part(g, 1) + part(s, 1))
                    inner = reset * part(s, 2) if after else (reset * h) @ r[d].T[:, 2 * units :] + part(rb[None], 2)
                    h = (1 - z) * np.tanh(part(g, 2) + inner) + z * h
                else:
                    i, o, f = (sigmoid(part(g + s, k)) for k in range(3))
                    c = f * c + i * np.tanh(part(g + s, 3))
                    h = o * np.tanh(c)
                every[t, d] = h
            hs.append(h)
            cs.append(c)
        options = {} if direction == "forward" else {"direction": direction}
        options |= {"reset_after": True} if after else {}
        more, last = ([c0], [np.array(cs)]) if word == "lstm" else ([], [])
        case(word, [sequence, w, r, b, h0, *more], [every, np.array(hs), *last], **options)

target, chance, classes = draw(3, 4), rng.uniform(0, 1, (3, 4)).round(3), np.array([2, 0, 3])
cross = lambda x: -np.log(softmax(x, 1))[np.arange(3), classes].mean()
case("mse_loss", [x, target], np.mean((x - target) ** 2))
case("l1_loss", [x, target], np.mean(np.abs(x - target)))
far = np.abs(x - target)
case("smooth_l1_loss", [x, target], np.mean(np.where(far < 1, far**2 / 2, far - 0.5)))
case("cross_entropy_loss", [x, classes], cross(x))
case("bce_with_logits_loss", [x, chance], np.mean(np.log1p(np.exp(x)) - x * chance))

grad, moment, second = draw(3, 4), draw(3, 4), np.abs(draw(3, 4))
case("sgd", [x, grad], x - 0.1 * (grad + 0.01 * x), learning_rate=0.1, weight_decay=0.01)
speed = 0.9 * moment + grad
case("sgd", [x, grad, moment], [x - 0.1 * speed, speed], learning_rate=0.1, momentum=0.9)
m, v = 0.8 * moment + 0.2 * grad, 0.99 * second + 0.01 * grad**2
towards = m / (1 - 0.8**3) / (np.sqrt(v / (1 - 0.99**3)) + 1e-8)
case("adam", [x, grad, moment, second], [x * (1 - 0.05 * 0.1) - 0.05 * towards, m, v], learning_rate=0.05, beta1=0.8, beta2=0.99, weight_decay=0.1, step=3)
print(json.dumps(cases, separators=(",", ":")))
