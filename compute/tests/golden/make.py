"""Makes the golden values beside this file: what PyTorch computes, forwards and
backwards, for each operation of a model.

    python -m venv /tmp/golden && /tmp/golden/bin/pip install torch
    /tmp/golden/bin/python compute/tests/golden/make.py

Everything is computed in float64 and written with nine digits. A case holds a
model in the form of job files, the tensors of its layers under the names that
PyTorch has for them, an input, what weighs the outputs into one number, and then
the outputs, the gradients of that number, and the state that training leaves.
"""

import json
import math
import pathlib

import torch
from torch import nn
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
HERE = pathlib.Path(__file__).parent
SAMPLES = 3


def numbers(tensor):
    return [float(f"{value:.9g}") for value in tensor.detach().reshape(-1).tolist()]


def values(generator, shape):
    return torch.randn(shape, generator=generator)


def case(name, shape, layers, run, tensors, mode="train", state=None, x=None, state_after=None, scale=0.5):
    """`run` takes the input and the tensors by name, and gives the output."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    ids = x is not None
    x = x if ids else values(generator, [SAMPLES, *shape])
    weights = {key: values(generator, size) * scale for key, size in tensors.items()}
    for tensor in weights.values():
        tensor.requires_grad_()
    if not ids:
        x.requires_grad_()
    output = run(x, weights)
    cotangent = values(generator, output.shape)
    (output * cotangent).sum().backward()
    gradients = {key: numbers(tensor.grad) for key, tensor in weights.items()}
    if not ids:
        gradients["input"] = numbers(x.grad)
    text = {
        "mode": mode,
        "model": {"input": shape, "layers": layers},
        "tensors": {key: numbers(tensor) for key, tensor in weights.items()},
        "state": {key: numbers(tensor) for key, tensor in (state or {}).items()},
        "input": numbers(x),
        "shape": list(output.shape[1:]),
        "outputs": numbers(output),
        "cotangent": numbers(cotangent),
        "gradients": gradients,
        "state_after": {key: numbers(tensor) for key, tensor in (state_after or (lambda: {}))().items()},
    }
    (HERE / f"{name}.json").write_text(json.dumps(text, separators=(",", ":")) + "\n")


def one(name, shape, layer, run, tensors=None, **more):
    """A model of one layer called `a`."""
    prefixed = {f"a.{key}": size for key, size in (tensors or {}).items()}
    strip = lambda weights: {key[2:]: tensor for key, tensor in weights.items()}
    case(name, shape, [{"name": "a", **layer}], lambda x, w: run(x, strip(w)), prefixed, **more)


def module(name, shape, layer, net, call=None, **more):
    """A model of one layer called `a` that is a module of PyTorch."""
    tensors = {key: list(tensor.shape) for key, tensor in net.named_parameters()}
    call = call or (lambda net, x: net(x))
    one(name, shape, layer, lambda x, w: call(Bound(net, w), x), tensors, **more)


class Bound:
    """A module with other tensors."""

    def __init__(self, net, weights):
        self.net, self.weights = net, weights

    def __call__(self, *args, **kwargs):
        return torch.func.functional_call(self.net, self.weights, args, kwargs)


# Dense layers.
module("dense", [5], {"op": "dense", "units": 4}, nn.Linear(5, 4))
module("dense_no_bias", [5], {"op": "dense", "units": 4, "bias": False}, nn.Linear(5, 4, bias=False))
module("dense_sequence", [3, 5], {"op": "dense", "units": 4}, nn.Linear(5, 4))

# Convolutions.
module("conv1d", [4, 9], {"op": "conv1d", "channels": 6, "kernel": 3}, nn.Conv1d(4, 6, 3))
module(
    "conv1d_options",
    [4, 11],
    {"op": "conv1d", "channels": 6, "kernel": 3, "stride": 2, "padding": 2, "dilation": 2, "groups": 2, "bias": False},
    nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=False),
)
module("conv2d", [2, 6, 5], {"op": "conv2d", "channels": 3, "kernel": 3, "padding": 1}, nn.Conv2d(2, 3, 3, padding=1))
module(
    "conv2d_dilation",
    [2, 8, 7],
    {"op": "conv2d", "channels": 3, "kernel": [3, 2], "stride": [2, 1], "padding": [1, 0], "dilation": [2, 3], "bias": False},
    nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(2, 3), bias=False),
)
module(
    "conv2d_groups",
    [4, 5, 5],
    {"op": "conv2d", "channels": 6, "kernel": 3, "padding": 1, "groups": 2},
    nn.Conv2d(4, 6, 3, padding=1, groups=2),
)
module(
    "conv2d_depthwise",
    [4, 5, 5],
    {"op": "conv2d", "channels": 4, "kernel": 3, "stride": 2, "groups": 4},
    nn.Conv2d(4, 4, 3, stride=2, groups=4),
)

# Poolings.
one("max_pool1d", [2, 9], {"op": "max_pool1d", "kernel": 2}, lambda x, w: F.max_pool1d(x, 2))
one(
    "max_pool1d_padding",
    [2, 9],
    {"op": "max_pool1d", "kernel": 3, "stride": 2, "padding": 1},
    lambda x, w: F.max_pool1d(x, 3, 2, 1),
)
one("max_pool2d", [2, 6, 7], {"op": "max_pool2d", "kernel": 2}, lambda x, w: F.max_pool2d(x, 2))
one(
    "max_pool2d_padding",
    [2, 6, 7],
    {"op": "max_pool2d", "kernel": [3, 2], "stride": 2, "padding": [1, 0]},
    lambda x, w: F.max_pool2d(x, (3, 2), 2, (1, 0)),
)
one("avg_pool1d", [2, 9], {"op": "avg_pool1d", "kernel": 3, "stride": 2, "padding": 1}, lambda x, w: F.avg_pool1d(x, 3, 2, 1))
one("avg_pool2d", [2, 6, 7], {"op": "avg_pool2d", "kernel": 2}, lambda x, w: F.avg_pool2d(x, 2))
one(
    "avg_pool2d_padding",
    [2, 6, 7],
    {"op": "avg_pool2d", "kernel": 3, "stride": [2, 1], "padding": 1},
    lambda x, w: F.avg_pool2d(x, 3, (2, 1), 1),
)
one("global_avg_pool", [3, 4, 5], {"op": "global_avg_pool"}, lambda x, w: F.adaptive_avg_pool2d(x, 1).flatten(1))
one("global_avg_pool_line", [3, 7], {"op": "global_avg_pool"}, lambda x, w: F.adaptive_avg_pool1d(x, 1).flatten(1))
one("global_max_pool", [3, 4, 5], {"op": "global_max_pool"}, lambda x, w: F.adaptive_max_pool2d(x, 1).flatten(1))
one("global_max_pool_line", [3, 7], {"op": "global_max_pool"}, lambda x, w: F.adaptive_max_pool1d(x, 1).flatten(1))


# Norms.
def batch_norm(name, shape, mode, layer=None, momentum=0.1, eps=1e-5):
    generator = torch.Generator().manual_seed(7)
    channels = shape[0]
    state = {
        "a.running_mean": values(generator, [channels]),
        "a.running_var": values(generator, [channels]).abs() + 0.5,
    }
    mean, var = (tensor.clone() for tensor in state.values())

    def run(x, w):
        return F.batch_norm(x, mean, var, w["weight"], w["bias"], mode == "train", momentum, eps)

    after = lambda: {"a.running_mean": mean, "a.running_var": var}
    tensors = {"weight": [channels], "bias": [channels]}
    one(name, shape, {"op": "batch_norm", **(layer or {})}, run, tensors, mode=mode, state=state, state_after=after)


batch_norm("batch_norm", [3, 4, 5], "train")
batch_norm("batch_norm_line", [3, 6], "train")
batch_norm("batch_norm_row", [4], "train", {"momentum": 0.25, "epsilon": 0.001}, 0.25, 0.001)
batch_norm("batch_norm_infer", [3, 4, 5], "infer")
module("layer_norm", [4, 6], {"op": "layer_norm"}, nn.LayerNorm(6))
module("layer_norm_row", [6], {"op": "layer_norm", "epsilon": 0.01}, nn.LayerNorm(6, eps=0.01))
module("group_norm", [6, 3, 4], {"op": "group_norm", "groups": 3}, nn.GroupNorm(3, 6))
module("group_norm_line", [6, 5], {"op": "group_norm", "groups": 2}, nn.GroupNorm(2, 6))
one("dropout_infer", [6], {"op": "dropout", "probability": 0.5}, lambda x, w: x * 1.0, mode="infer")

# Lookups and sequences.
ids = torch.tensor([[0, 3, 6, 3], [1, 1, 5, 2], [6, 0, 4, 4]])
one(
    "embedding",
    [4],
    {"op": "embedding", "entries": 7, "features": 5},
    lambda x, w: F.embedding(x, w["weight"]),
    {"weight": [7, 5]},
    x=ids,
)
last = lambda net, x: net(x)[0][:, -1]
every = lambda net, x: net(x)[0]
module("lstm", [5, 4], {"op": "lstm", "units": 3}, nn.LSTM(4, 3, batch_first=True), every)
module("lstm_last", [5, 4], {"op": "lstm", "units": 3, "output": "last"}, nn.LSTM(4, 3, batch_first=True), last)
module(
    "lstm_stack",
    [5, 4],
    {"op": "lstm", "units": 3, "layers": 2, "bias": False},
    nn.LSTM(4, 3, num_layers=2, bias=False, batch_first=True),
    every,
)
module("gru", [5, 4], {"op": "gru", "units": 3}, nn.GRU(4, 3, batch_first=True), every)
module(
    "gru_stack_last",
    [6, 4],
    {"op": "gru", "units": 3, "layers": 2, "output": "last"},
    nn.GRU(4, 3, num_layers=2, batch_first=True),
    last,
)


def mask(steps):
    return torch.triu(torch.ones(steps, steps, dtype=torch.bool), 1)


heads = lambda **more: nn.MultiheadAttention(6, 2, batch_first=True, **more)
module("attention", [5, 6], {"op": "attention", "heads": 2}, heads(), lambda net, x: net(x, x, x)[0])
module(
    "attention_causal",
    [5, 6],
    {"op": "attention", "heads": 2, "causal": True, "bias": False},
    heads(bias=False),
    lambda net, x: net(x, x, x, attn_mask=mask(5))[0],
)

# Queries from one branch, keys and values from others.
net = heads()
parameters = {f"look.{key}": list(tensor.shape) for key, tensor in net.named_parameters()}
parameters |= {"keys.weight": [6, 6], "keys.bias": [6]}


def cross(x, weights, values=True):
    keys = F.linear(x, weights["keys.weight"], weights["keys.bias"])
    own = {key[5:]: tensor for key, tensor in weights.items() if key.startswith("look.")}
    return Bound(net, own)(x, keys, x if values else keys)[0]


keys = {"op": "dense", "units": 6, "name": "keys"}
look = {"op": "attention", "heads": 2, "name": "look"}
case("attention_cross", [5, 6], [keys, {**look, "from": ["input", "keys", "input"]}], cross, parameters)
case(
    "attention_memory",
    [5, 6],
    [keys, {**look, "from": ["input", "keys"]}],
    lambda x, w: cross(x, w, False),
    parameters,
)


def block(**more):
    return nn.TransformerEncoderLayer(6, 2, dim_feedforward=8, dropout=0.0, batch_first=True, **more)


encoder = {"op": "transformer_encoder", "heads": 2, "units": 8, "dropout": 0.0}
module("transformer_encoder", [5, 6], encoder, block())
module(
    "transformer_encoder_first",
    [5, 6],
    {**encoder, "norm_first": True, "activation": "gelu", "causal": True, "epsilon": 0.001},
    block(norm_first=True, activation="gelu", layer_norm_eps=0.001),
    lambda net, x: net(x, src_mask=mask(5)),
)
one("position", [4, 6], {"op": "position"}, lambda x, w: x + w["weight"], {"weight": [4, 6]})


def waves(steps, features):
    return torch.tensor(
        [
            [
                (math.sin if feature % 2 == 0 else math.cos)(step / 10000 ** (feature // 2 * 2 / features))
                for feature in range(features)
            ]
            for step in range(steps)
        ]
    )


one("position_sinusoidal", [9, 7], {"op": "position", "kind": "sinusoidal"}, lambda x, w: x + waves(9, 7))

# What moves and joins.
one("flatten", [2, 3, 4], {"op": "flatten"}, lambda x, w: x.flatten(1))
one("reshape", [2, 3, 4], {"op": "reshape", "shape": [-1, 6]}, lambda x, w: x.reshape(-1, 4, 6))
one("transpose", [2, 3, 4], {"op": "transpose", "axes": [2, 0, 1]}, lambda x, w: x.permute(0, 3, 1, 2))
one("transpose_line", [2, 3], {"op": "transpose", "axes": [1, 0]}, lambda x, w: x.transpose(1, 2))
one("mean", [4, 6], {"op": "mean", "axis": 0}, lambda x, w: x.mean(1))
one("mean_map", [2, 3, 4], {"op": "mean", "axis": 1}, lambda x, w: x.mean(2))
one("last", [4, 6], {"op": "last"}, lambda x, w: x[:, -1])


def joined(name, shape, op, width, run, more=None):
    layers = [
        {"op": "dense", "units": width, "name": "b"},
        {"op": "tanh", "name": "c", "from": ["input"]},
        {"op": op, "from": ["b", "input", "c"], "name": "a", **(more or {})},
    ]
    dense = lambda x, w: F.linear(x, w["b.weight"], w["b.bias"])
    tensors = {"b.weight": [width, shape[-1]], "b.bias": [width]}
    case(name, shape, layers, lambda x, w: run(dense(x, w), x, x.tanh()), tensors)


joined("add", [4], "add", 4, lambda a, b, c: a + b + c)
joined("add_repeat", [3, 4], "add", 1, lambda a, b, c: a + b + c)
joined("multiply", [3, 4], "multiply", 4, lambda a, b, c: a * b * c)
joined("multiply_repeat", [3, 4], "multiply", 1, lambda a, b, c: a * b * c)
joined("concat", [3, 4], "concat", 4, lambda a, b, c: torch.cat([a, b, c], 1))
joined("concat_features", [3, 4], "concat", 2, lambda a, b, c: torch.cat([a, b, c], 2), {"axis": 1})

# Activations; of large values too, to show that nothing overflows.
ACTIVATIONS = {
    "relu": (F.relu, {}),
    "leaky_relu": (F.leaky_relu, {}),
    "leaky_relu_steep": (lambda x: F.leaky_relu(x, 0.3), {"negative_slope": 0.3}),
    "elu": (F.elu, {}),
    "elu_alpha": (lambda x: F.elu(x, 0.5), {"alpha": 0.5}),
    "gelu": (F.gelu, {}),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), {"approximate": True}),
    "silu": (F.silu, {}),
    "mish": (F.mish, {}),
    "tanh": (torch.tanh, {}),
    "sigmoid": (torch.sigmoid, {}),
    "softplus": (F.softplus, {}),
    "softplus_beta": (lambda x: F.softplus(x, 2.0), {"beta": 2.0}),
    "softmax": (lambda x: F.softmax(x, -1), {}),
    "softmax_axis": (lambda x: F.softmax(x, 1), {"axis": 0}),
    "log_softmax": (lambda x: F.log_softmax(x, -1), {}),
}
WORDS = {"leaky_relu_steep": "leaky_relu", "elu_alpha": "elu", "gelu_tanh": "gelu", "softplus_beta": "softplus", "softmax_axis": "softmax"}
for name, (bend, options) in ACTIVATIONS.items():
    one(name, [4, 5], {"op": WORDS.get(name, name), **options}, lambda x, w: bend(x))
for name in ["elu", "gelu", "silu", "mish", "sigmoid", "softplus", "softmax", "log_softmax", "tanh"]:
    bend, _ = ACTIVATIONS[name]
    large = {"op": "dense", "units": 5, "name": "large"}
    case(
        f"{name}_large",
        [5],
        [large, {"op": name, "name": "a"}],
        lambda x, w: bend(F.linear(x, w["large.weight"], w["large.bias"])),
        {"large.weight": [5, 5], "large.bias": [5]},
        scale=100,
    )

# A residual block as in a ResNet, with batch norms and a projection.
generator = torch.Generator().manual_seed(11)
state = {}
for norm in ["n1", "n2", "np"]:
    state[f"{norm}.running_mean"] = values(generator, [4])
    state[f"{norm}.running_var"] = values(generator, [4]).abs() + 0.5
after = {key: tensor.clone() for key, tensor in state.items()}
conv = lambda name, kernel, **more: {
    "op": "conv2d", "channels": 4, "kernel": kernel, "padding": kernel // 2, "bias": False, "name": name, **more,
}
residual = [
    conv("c1", 3, stride=2),
    {"op": "batch_norm", "name": "n1"},
    {"op": "relu"},
    conv("c2", 3),
    {"op": "batch_norm", "name": "n2"},
    conv("cp", 1, stride=2, **{"from": ["input"]}),
    {"op": "batch_norm", "name": "np"},
    {"op": "add", "from": ["n2", "np"], "name": "sum"},
    {"op": "relu"},
    {"op": "global_avg_pool"},
]


def run_residual(x, w):
    norm = lambda x, name: F.batch_norm(
        x, after[f"{name}.running_mean"], after[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"], True
    )
    y = F.relu(norm(F.conv2d(x, w["c1.weight"], stride=2, padding=1), "n1"))
    y = norm(F.conv2d(y, w["c2.weight"], padding=1), "n2")
    y = F.relu(y + norm(F.conv2d(x, w["cp.weight"], stride=2), "np"))
    return y.mean([2, 3])


case(
    "residual_block",
    [3, 8, 8],
    residual,
    run_residual,
    {
        "c1.weight": [4, 3, 3, 3], "n1.weight": [4], "n1.bias": [4], "c2.weight": [4, 4, 3, 3],
        "n2.weight": [4], "n2.bias": [4], "cp.weight": [4, 3, 1, 1], "np.weight": [4], "np.bias": [4],
    },
    state=state,
    state_after=lambda: after,
)
