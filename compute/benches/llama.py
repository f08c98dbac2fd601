"""The peer of generate.rs: the same requests in llama.cpp.

llama.py MODEL THREADS TOKENS reads a prompt and prints one line of JSON. It needs
the package `xllamacpp`, which brings llama.cpp with it.
"""

import json
import resource
import sys

import xllamacpp

model, threads, tokens = sys.argv[1], *map(int, sys.argv[2:4])
params = xllamacpp.CommonParams()
params.model.path = model
params.n_ctx = 2048
params.n_parallel = 1
params.n_gpu_layers = 0
params.cpuparams.n_threads = threads
params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)
said = server.handle_completions({
    "prompt": sys.stdin.read(), "n_predict": tokens, "temperature": 0.0,
    "cache_prompt": False, "ignore_eos": True,
})
said = json.loads(said) if isinstance(said, str) else said
print(json.dumps({
    "prompt": said["timings"]["prompt_per_second"],
    "tokens": said["timings"]["predicted_per_second"],
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
