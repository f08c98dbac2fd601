#!/usr/bin/env python3
"""Makes the numbers that the tests of models in folders compare with.

    python3 -m venv v && v/bin/pip install gguf numpy tokenizers jinja2
    scripts/models && scripts/models minilm
    v/bin/python scripts/hub-golden.py ~/.cache/embermesh/models compute/tests/golden/hub

The networks are the lines of numpy below, in double precision; the weights are
read by a few more, straight from the bytes of the files; tokens come from the
Python package `tokenizers`, chats from `jinja2`. Two tiny folders with weights
drawn at random are written beside what they should give.
"""

import json
import math
import os
import sys

import gguf
import jinja2
import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "Über größe Straßen, 日本語 and naïve co-operation: 3.14 % (№42)!",
    "",
    "The old lighthouse keeper wrote down what he saw, night after night. " * 40,
]
STORY = (
    "Once upon a time, there was a little girl who lived in a village near the forest. "
    "Whenever she went out, the little girl wore a red riding cloak, so everyone in the "
    "village called her Little Red Riding Hood. One morning, she asked her mother if she "
    "could go to visit her grandmother, as it had been a while since they had seen each other."
)
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


def read(path):
    """The tensors of a safetensors file, by its format's own description."""
    with open(path, "rb") as file:
        data = file.read()
    end = 8 + int.from_bytes(data[:8], "little")
    out = {}
    for name, at in json.loads(data[8:end]).items():
        if name == "__metadata__":
            continue
        begin, stop = at["data_offsets"]
        raw = np.frombuffer(data[end + begin : end + stop], np.uint8)
        if at["dtype"] == "BF16":
            wide = np.zeros(len(raw) // 2, np.uint32)
            wide |= raw.view(np.uint16).astype(np.uint32) << 16
            values = wide.view(np.float32)
        else:
            values = raw.view({"F32": np.float32, "F16": np.float16, "I64": np.int64}[at["dtype"]])
        out[name] = values.reshape(at["shape"]).astype(np.float64)
    return out


def write(path, tensors, dtype):
    header, data = {}, b""
    for name, values in tensors.items():
        if dtype == "BF16":
            raw = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
        else:
            raw = values.astype(np.float16).tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head + data)


def save(path, value, indent=None):
    with open(path, "w") as to:
        json.dump(value, to, ensure_ascii=False, indent=indent, separators=None if indent else (",", ":"))
        to.write("\n")


def softmax(x):
    shares = np.exp(x - x.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


class Bert:
    def __init__(self, folder):
        with open(f"{folder}/config.json") as file:
            self.config = json.load(file)
        self.w = read(f"{folder}/model.safetensors")

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + self.config["layer_norm_eps"])
        return x * self.w[name + ".weight"] + self.w[name + ".bias"]

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def tokens(self, ids):
        """A vector for each token of one text: there is nothing to mask."""
        heads = self.config["num_attention_heads"]
        x = self.w["embeddings.word_embeddings.weight"][ids]
        x = x + self.w["embeddings.position_embeddings.weight"][: len(ids)]
        x = self.norm(x + self.w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for i in range(self.config["num_hidden_layers"]):
            at = f"encoder.layer.{i}."
            q, k, v = (
                self.linear(x, f"{at}attention.self.{p}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
                for p in ("query", "key", "value")
            )
            mixed = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])) @ v
            mixed = mixed.transpose(1, 0, 2).reshape(len(ids), -1)
            x = self.norm(x + self.linear(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
            h = self.linear(x, at + "intermediate.dense")
            h = h * 0.5 * (1 + np.vectorize(math.erf)(h / np.sqrt(2)))
            x = self.norm(x + self.linear(h, at + "output.dense"), at + "output.LayerNorm")
        return x

    def vector(self, ids, pooling="mean", normalise=True):
        x = self.tokens(ids)
        x = {"mean": x.mean(0), "cls": x[0], "max": x.max(0)}[pooling]
        return x / np.linalg.norm(x) if normalise else x


def embeddings(folder, most):
    tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    bert = Bert(folder)
    out = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        out.append({"text": text, "tokens": ids, "vector": [round(float(v), 8) for v in bert.vector(ids)]})
    return out, bert


class Llama:
    """With the names and the halves of the `transformers` library."""

    def __init__(self, config, weights):
        self.config, self.w = config, weights

    def rates(self, width):
        scaling = self.config.get("rope_scaling") or {}
        rates = self.config["rope_theta"] ** (-np.arange(0, width, 2) / width)
        if scaling.get("type") == "linear":
            return rates / scaling["factor"]
        if scaling.get("rope_type") == "llama3":
            low, high, context = (scaling[k] for k in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings"))
            waves = 2 * np.pi / rates
            smooth = (context / waves - low) / (high - low)
            mixed = (1 - smooth) * rates / scaling["factor"] + smooth * rates
            slow = np.where(waves > context / low, rates / scaling["factor"], mixed)
            return np.where(waves < context / high, rates, slow)
        return rates

    def norm(self, x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + self.config["rms_norm_eps"]) * self.w[name + ".weight"]

    def turn(self, x):
        tokens, _, width = x.shape
        angle = np.arange(tokens)[:, None, None] * np.concatenate([self.rates(width)] * 2)
        half = np.concatenate([-x[..., width // 2 :], x[..., : width // 2]], -1)
        return x * np.cos(angle) + half * np.sin(angle)

    def logits(self, ids):
        """What follows each token."""
        c, w = self.config, self.w
        heads, keys = c["num_attention_heads"], c["num_key_value_heads"]
        x = w["model.embed_tokens.weight"][ids]
        count = len(ids)
        hidden = np.triu(np.full((count, count), -np.inf), 1)
        for i in range(c["num_hidden_layers"]):
            at = f"model.layers.{i}."
            h = self.norm(x, at + "input_layernorm")
            q, k, v = (
                (h @ w[f"{at}self_attn.{p}_proj.weight"].T).reshape(count, n, -1)
                for p, n in (("q", heads), ("k", keys), ("v", keys))
            )
            q, k, v = self.turn(q), np.repeat(self.turn(k), heads // keys, 1), np.repeat(v, heads // keys, 1)
            share = softmax(np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1]) + hidden)
            mixed = np.einsum("hqk,khd->qhd", share, v).reshape(count, -1)
            x = x + mixed @ w[at + "self_attn.o_proj.weight"].T
            h = self.norm(x, at + "post_attention_layernorm")
            gate = h @ w[at + "mlp.gate_proj.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w[at + "mlp.up_proj.weight"].T)) @ w[at + "mlp.down_proj.weight"].T
        x = self.norm(x, "model.norm")
        out = "model.embed_tokens" if c["tie_word_embeddings"] else "lm_head"
        return x @ w[out + ".weight"].T


def perplexity(net, texts, window, stride):
    """As in the guide of the `transformers` library, by tokens."""
    loss, count = 0.0, 0
    for ids in texts:
        counted = 0
        for begin in range(0, len(ids), stride):
            end = min(begin + window, len(ids))
            logits = net.logits(ids[begin:end])
            for at in range(max(counted, begin + 1), end):
                row = logits[at - 1 - begin]
                loss -= row[ids[at]] - row.max() - np.log(np.exp(row - row.max()).sum())
                count += 1
            counted = end
            if end == len(ids):
                break
    return {"window": window, "stride": stride, "tokens": count, "cross_entropy": loss / count}


def gguf_llama(path):
    """The network of a GGUF file, its rows in the order of the other library."""
    reader = gguf.GGUFReader(path)
    meta = {k: f.contents() for k, f in reader.fields.items()}
    heads, keys = meta["llama.attention.head_count"], meta["llama.attention.head_count_kv"]
    names = {
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }
    weights = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        parts = tensor.name.split(".")
        if parts[0] == "blk":
            if parts[2] in ("attn_q", "attn_k"):
                n = heads if parts[2] == "attn_q" else keys
                values = values.reshape(n, -1, 2, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
            name = f"model.layers.{parts[1]}.{names[parts[2]]}.weight"
        else:
            name = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}[parts[0]] + ".weight"
        weights[name] = values
    config = {
        "num_attention_heads": heads, "num_key_value_heads": keys,
        "num_hidden_layers": meta["llama.block_count"], "rope_theta": meta["llama.rope.freq_base"],
        "rms_norm_eps": meta["llama.attention.layer_norm_rms_epsilon"], "tie_word_embeddings": True,
    }
    return Llama(config, weights), meta


def smollm(path):
    net, meta = gguf_llama(path)
    merges = [tuple(m.split(" ", 1)) for m in meta["tokenizer.ggml.merges"]]
    bpe = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(meta["tokenizer.ggml.tokens"])}, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    ids = bpe.encode(STORY).ids
    runs = [perplexity(net, [ids], *sizes) for sizes in ((32, 16), (1024, 512))]
    return {"text": STORY, "runs": runs}


def tiny_bert(folder):
    os.makedirs(f"{folder}/1_Pooling", exist_ok=True)
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=160, special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    tokenizer.save(f"{folder}/tokenizer.json")
    width, inner, layers, vocab, context = 32, 48, 2, tokenizer.get_vocab_size(), 40
    save(f"{folder}/config.json", {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": 4, "vocab_size": vocab, "max_position_embeddings": context,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "position_embedding_type": "absolute",
    }, 2)
    save(f"{folder}/modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ], 2)
    save(f"{folder}/1_Pooling/config.json", {
        "word_embedding_dimension": width, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False,
    }, 2)
    save(f"{folder}/sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False}, 2)
    random = np.random.default_rng(11)
    draw = lambda *shape: random.normal(0, 0.3, shape)
    tensors = {
        "embeddings.word_embeddings.weight": draw(vocab, width),
        "embeddings.position_embeddings.weight": draw(context, width),
        "embeddings.token_type_embeddings.weight": draw(2, width),
        "embeddings.LayerNorm.weight": 1 + draw(width), "embeddings.LayerNorm.bias": draw(width),
    }
    for i in range(layers):
        at = f"encoder.layer.{i}."
        for name, (out, into) in {
            "attention.self.query": (width, width), "attention.self.key": (width, width),
            "attention.self.value": (width, width), "attention.output.dense": (width, width),
            "intermediate.dense": (inner, width), "output.dense": (width, inner),
        }.items():
            tensors[f"{at}{name}.weight"], tensors[f"{at}{name}.bias"] = draw(out, into), draw(out)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            tensors[f"{at}{name}.weight"], tensors[f"{at}{name}.bias"] = 1 + draw(width), draw(width)
    tensors["pooler.dense.weight"], tensors["pooler.dense.bias"] = draw(width, width), draw(width)
    write(f"{folder}/model.safetensors", tensors, "F16")
    texts, bert = embeddings(folder, 32)
    other = {p: [round(float(v), 8) for v in bert.vector(texts[0]["tokens"], p, False)] for p in ("cls", "max")}
    return {"texts": texts, "not_normalised": other}


def tiny_llama(folder):
    os.makedirs(folder, exist_ok=True)
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXTS + [STORY], trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<unk>", "<s>", "<end>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    ))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    tokenizer.save(f"{folder}/tokenizer.json")
    width, inner, layers, heads, keys, head, vocab = 32, 48, 2, 4, 2, 12, 328
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": keys, "head_dim": head,
        "vocab_size": vocab, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "rope_scaling": None, "tie_word_embeddings": False, "hidden_act": "silu", "attention_bias": False,
        "bos_token_id": 1, "eos_token_id": 2,
    }
    save(f"{folder}/config.json", config, 2)
    save(f"{folder}/generation_config.json", {"bos_token_id": 1, "eos_token_id": [2, 0]}, 2)
    save(f"{folder}/tokenizer_config.json", {
        "bos_token": "<s>", "eos_token": {"content": "<end>", "special": True}, "chat_template": TEMPLATE,
    }, 2)
    random = np.random.default_rng(12)
    draw = lambda *shape: random.normal(0, 0.3, shape)
    tensors = {"model.embed_tokens.weight": draw(vocab, width), "lm_head.weight": draw(vocab, width), "model.norm.weight": 1 + draw(width)}
    for i in range(layers):
        at = f"model.layers.{i}."
        for name, shape in {
            "input_layernorm": (width,), "self_attn.q_proj": (heads * head, width), "self_attn.k_proj": (keys * head, width),
            "self_attn.v_proj": (keys * head, width), "self_attn.o_proj": (width, heads * head),
            "post_attention_layernorm": (width,), "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }.items():
            tensors[f"{at}{name}.weight"] = draw(*shape) + (1 if "norm" in name else 0)
    write(f"{folder}/model.safetensors", tensors, "BF16")
    weights = read(f"{folder}/model.safetensors")
    ids = tokenizer.encode("Once upon a time, naïve 日本").ids
    variants = []
    for change in (
        {},
        {"tie_word_embeddings": True},
        {"rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_theta": 500.0, "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}},
    ):
        logits = Llama({**config, **change}, weights).logits(ids)[-1]
        variants.append({"change": change, "logits": [round(float(v), 6) for v in logits]})
    texts = [tokenizer.encode(text).ids for text in (STORY, TEXTS[0])]
    net = Llama(config, weights)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    chat = environment.from_string(TEMPLATE).render(messages=CHAT, bos_token="<s>", eos_token="<end>")
    return {
        "text": "Once upon a time, naïve 日本", "tokens": ids, "variants": variants,
        "perplexity": {"texts": [STORY, TEXTS[0]], "runs": [perplexity(net, texts, *s) for s in ((16, 8), (16, 16), (256, 128))]},
        "chat": {"text": chat, "tokens": tokenizer.encode(chat, add_special_tokens=False).ids},
    }


def main():
    cache, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    for name, make in {
        "tiny-bert.expected": lambda: tiny_bert(f"{folder}/tiny-bert"),
        "tiny-llama.expected": lambda: tiny_llama(f"{folder}/tiny-llama"),
        "minilm": lambda: embeddings(f"{cache}/all-MiniLM-L6-v2", 256)[0],
        "smollm2-perplexity": lambda: smollm(f"{cache}/SmolLM2-135M-Instruct.Q4_1.gguf"),
    }.items():
        print(name, file=sys.stderr)
        save(f"{folder}/{name}.json", make())


main()
