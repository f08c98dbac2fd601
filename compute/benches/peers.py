"""The peer of peers.rs: the same training in PyTorch.

peers.py NETWORK BATCH STEPS THREADS prints one line of JSON.
"""

import json
import resource
import sys
import time

import torch
from torch import nn

network, batch, steps, threads = sys.argv[1], *map(int, sys.argv[2:5])
torch.set_num_threads(threads)
torch.manual_seed(0)
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
}
model = NETWORKS[network]()
images = torch.randint(0, 256, (batch * steps, 1, 28, 28), dtype=torch.uint8)
labels = torch.randint(0, 10, (batch * steps,))
order = torch.randperm(batch * steps)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_of = nn.CrossEntropyLoss()
seen = 0.0
began = time.perf_counter()
for step in range(steps):
    picked = order[step * batch : (step + 1) * batch]
    x = images[picked].float().div_(255.0)
    optimizer.zero_grad()
    logits = model(x)
    loss = loss_of(logits, labels[picked])
    loss.backward()
    optimizer.step()
    seen += loss.item()
    seen += (logits.argmax(1) == labels[picked]).sum().item()
took = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
print(json.dumps({"steps_per_second": steps / took, "peak_mib": peak}))
