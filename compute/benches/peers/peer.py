"""The peers of this benchmark: the same work in PyTorch and in ONNX Runtime.

peer.py torch|onnxruntime train:NETWORK|infer:NETWORK|matmul:SIDE THREADS prints one
line of JSON.
"""

import io
import json
import resource
import sys
import time
import warnings

import torch
from torch import nn

peer, what, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
kind, name = what.split(":")
torch.set_num_threads(threads)
torch.manual_seed(0)
INFERRED = 2000
PRODUCTS = 40


class Gpt(nn.Module):
    """A decoder that tells the next of 256 symbols."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(256, 128)
        self.places = nn.Parameter(torch.randn(64, 128) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                128, 4, 512, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(4)
        )
        self.norm = nn.LayerNorm(128)
        self.head = nn.Linear(128, 256)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(64))

    def forward(self, x):
        x = self.table(x) + self.places
        for block in self.blocks:
            x = block(x, src_mask=self.mask, is_causal=True)
        return self.head(self.norm(x)[:, -1])


NETWORKS = {
    "mlp": lambda: nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 512),
        nn.ReLU(),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    ),
    "lenet": lambda: nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    ),
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 144, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    ),
    "gpt": Gpt,
}
# The batch, the steps of a turn, and the classes.
TRAINED = {
    "mlp": (128, 600, 10),
    "lenet": (64, 300, 10),
    "cnn": (64, 60, 10),
    "gpt": (32, 40, 256),
}


def measured(steps, run):
    cpu, began = time.process_time(), time.perf_counter()
    run()
    took, used = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    print(
        json.dumps(
            {
                "steps_per_second": steps / took,
                "cpu_ms_per_step": used * 1e3 / steps,
                "peak_mib": peak,
            }
        )
    )


def train():
    batch, steps, classes = TRAINED[name]
    model = NETWORKS[name]()
    shape = (64,) if name == "gpt" else (1, 28, 28)
    samples = torch.randint(0, 256, (batch * steps, *shape), dtype=torch.uint8)
    labels = torch.randint(0, classes, (batch * steps,))
    order = torch.randperm(batch * steps)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()

    def run():
        seen = 0.0
        for step in range(steps):
            picked = order[step * batch : (step + 1) * batch]
            x = samples[picked]
            x = x.long() if name == "gpt" else x.float().div_(255.0)
            optimizer.zero_grad()
            logits = model(x)
            loss = loss_of(logits, labels[picked])
            loss.backward()
            optimizer.step()
            seen += loss.item()
            seen += (logits.argmax(1) == labels[picked]).sum().item()

    measured(steps, run)


def infer():
    model = NETWORKS[name]().eval()
    samples = torch.randint(0, 256, (INFERRED, 1, 1, 28, 28), dtype=torch.uint8)
    if peer == "torch":

        def run():
            with torch.inference_mode():
                for sample in samples:
                    model(sample.float().div_(255.0)).tolist()

        return measured(INFERRED, run)
    import onnxruntime

    bytes_ = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, samples[0].float(), bytes_, input_names=["x"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        bytes_.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    arrays = samples.numpy()

    def run():
        for sample in arrays:
            session.run(None, {"x": sample.astype("float32") / 255.0})[0].tolist()

    measured(INFERRED, run)


def matmul():
    side = int(name)
    left, right = torch.full((side, side), 0.5), torch.full((side, side), 0.25)
    assert (left @ right == side * 0.125).all()

    def run():
        for _ in range(PRODUCTS):
            left @ right

    measured(PRODUCTS, run)


{"train": train, "infer": infer, "matmul": matmul}[kind]()
