#!/usr/bin/env python3
"""Makes the numbers that the tests of language models compare with.

    python3 -m venv v && v/bin/pip install gguf numpy tokenizers sentencepiece jinja2
    v/bin/python scripts/lm-golden.py "$(scripts/models)" compute/tests/golden/lm

They come from others' code: blocks of weights from the `gguf` package, tokens
from `tokenizers` and `sentencepiece`, chats from `jinja2`; the network is the
few lines of numpy in single precision below.
"""

import io
import json
import sys

import gguf
import jinja2
import numpy as np
import sentencepiece
import tokenizers
from gguf import GGMLQuantizationType as Type
from tokenizers import decoders, models, pre_tokenizers

TEXTS = [
    "Hello, world!",
    "The capital of France is",
    "It's  12345 apples,\n\n  don't   they'll?\t \n x",
    "def f(x):\n    return x ** 2  # größer €5 日本語 🙂🙃",
    "  leading and trailing  ",
    "<|im_start|>user\nHi<|im_end|>\n",
    "MiXeD CASE naïve co-operate... «quoted» №42 ½ ١٢",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "a\u00a0b\u2003c\r\nd",
]
PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was a little",
    "def fibonacci(n):\n    if n",
    "The three primary colours are red, yellow and",
]
QUESTION = "What is the capital of France?"
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": QUESTION},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "And of Italy?"},
]


def quants():
    """One block of each kind, of bytes drawn at random but with sane scales."""
    random = np.random.default_rng(7)
    out = {}
    for name, halves in {
        "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
        "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
        "F16": [0], "BF16": [0],
    }.items():
        kind = getattr(Type, name)
        _, size = gguf.GGML_QUANT_SIZES[kind]
        block = random.integers(0, 256, size=size, dtype=np.uint8)
        for at in halves:
            value = np.float16(random.uniform(-0.1, 0.1))
            if name == "BF16":
                block[at : at + 2] = np.array([value], np.float32).view(np.uint8)[2:]
            else:
                block[at : at + 2] = value.reshape(1).view(np.uint8)
        if name == "F16":
            values = block.view(np.float16).astype(np.float32)
        else:
            values = gguf.quants.dequantize(block.reshape(1, -1), kind).reshape(-1)
        out[str(int(kind))] = {
            "name": name,
            "bytes": bytes(block).hex(),
            "values": [float(value) for value in values],
        }
    return out


class Net:
    """Llama in single precision, without a cache."""

    def __init__(self, reader):
        self.meta = {k: f.contents() for k, f in reader.fields.items()}
        self.weights = {
            t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
            for t in reader.tensors
        }

    def norm(self, x, name):
        scale = 1 / np.sqrt((x**2).mean(-1, keepdims=True) + self.meta["llama.attention.layer_norm_rms_epsilon"])
        return x * scale * self.weights[name]

    def turn(self, x):
        tokens, _, width = x.shape
        rate = self.meta["llama.rope.freq_base"] ** (-np.arange(0, width, 2) / width)
        angle = np.arange(tokens)[:, None, None] * rate
        sin, cos = np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32)
        a, b = x[..., 0::2], x[..., 1::2]
        out = np.empty_like(x)
        out[..., 0::2], out[..., 1::2] = a * cos - b * sin, a * sin + b * cos
        return out

    def logits(self, tokens):
        m, w = self.meta, self.weights
        heads, keys = m["llama.attention.head_count"], m["llama.attention.head_count_kv"]
        x = w["token_embd.weight"][tokens]
        count, width = x.shape
        hidden = np.triu(np.full((count, count), -np.inf, np.float32), 1)
        for i in range(m["llama.block_count"]):
            h = self.norm(x, f"blk.{i}.attn_norm.weight")
            q, k, v = (
                (h @ w[f"blk.{i}.attn_{p}.weight"].T).reshape(count, n, width // heads)
                for p, n in (("q", heads), ("k", keys), ("v", keys))
            )
            q, k = self.turn(q), np.repeat(self.turn(k), heads // keys, 1)
            v = np.repeat(v, heads // keys, 1)
            score = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(np.float32(width // heads)) + hidden
            share = np.exp(score - score.max(-1, keepdims=True))
            share /= share.sum(-1, keepdims=True)
            mixed = np.einsum("hqk,khd->qhd", share, v).reshape(count, width)
            x = x + mixed @ w[f"blk.{i}.attn_output.weight"].T
            h = self.norm(x, f"blk.{i}.ffn_norm.weight")
            gate = h @ w[f"blk.{i}.ffn_gate.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w[f"blk.{i}.ffn_up.weight"].T)) @ w[f"blk.{i}.ffn_down.weight"].T
        last = self.norm(x[-1], "output_norm.weight")
        return w.get("output.weight", w["token_embd.weight"]) @ last


def bpe(meta):
    tokens = meta["tokenizer.ggml.tokens"]
    merges = [tuple(m.split(" ", 1)) for m in meta["tokenizer.ggml.merges"]]
    bpe = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    bpe.decoder = decoders.ByteLevel()
    kinds = meta["tokenizer.ggml.token_type"]
    bpe.add_special_tokens([
        tokenizers.AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds) if k == 3
    ])
    return bpe


def chat(meta):
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return env.from_string(meta["tokenizer.chat_template"]).render(messages=CHAT, add_generation_prompt=True)


def smol(path):
    net = Net(gguf.GGUFReader(path))
    tokenizer = bpe(net.meta)
    prompts = []
    for text in PROMPTS:
        tokens = tokenizer.encode(text).ids
        logits = net.logits(tokens)
        goes_on = []
        for _ in range(8):
            goes_on.append(int(net.logits(tokens + goes_on).argmax()))
        prompts.append({
            "text": text,
            "tokens": tokens,
            "best": [[int(t), float(logits[t])] for t in np.argsort(-logits)[:5]],
            "every_1024th": [float(v) for v in logits[::1024]],
            "goes_on": goes_on,
        })
    encoded = [{"text": t, "tokens": tokenizer.encode(t).ids} for t in TEXTS]
    return {"encoded": encoded, "prompts": prompts, "messages": CHAT, "chat": chat(net.meta)}


def spm():
    """A small vocabulary of SentencePiece, and what it makes of the texts."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS[:5] + PROMPTS + [QUESTION] * 4), model_writer=model,
        vocab_size=360, model_type="bpe", byte_fallback=True, character_coverage=0.98,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        minloglevel=2,
    )
    it = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    kind = lambda i: 2 if it.is_unknown(i) else 3 if it.is_control(i) else 6 if it.is_byte(i) else 1
    ids = range(it.vocab_size())
    texts = TEXTS[:5] + TEXTS[6:]
    return {
        "tokens": [it.id_to_piece(i) for i in ids],
        "scores": [it.get_score(i) for i in ids],
        "types": [kind(i) for i in ids],
        "encoded": [{"text": t, "tokens": it.encode(t)} for t in texts],
    }


def main():
    model, folder = sys.argv[1:]
    for name, make in {"quants": quants, "spm": spm, "smollm2": lambda: smol(model)}.items():
        print(name, file=sys.stderr)
        value = make()
        with open(f"{folder}/{name}.json", "w") as to:
            json.dump(value, to, ensure_ascii=False, separators=(",", ":"))
            to.write("\n")


main()
