#!/usr/bin/env python3
"""Makes topics.csv and topics-tokenizer.json: short texts about two topics, put
together of words by a fixed seed, and a tokenizer that was trained on them.

    python -m venv /tmp/topics && /tmp/topics/bin/pip install tokenizers==0.23.3
    /tmp/topics/bin/python data/make_topics.py
"""

import csv
import pathlib
import random

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

FOLDER = pathlib.Path(__file__).parent
TOPICS = {
    "cooking": (
        ["the soup", "this bread", "a warm stew", "the dough", "her sauce", "the roast"],
        ["needs salt", "simmers slowly", "smells of garlic", "rises overnight", "tastes of butter"],
        ["before dinner", "in the old pan", "with fresh herbs", "on a low flame", "for the guests"],
    ),
    "weather": (
        ["the storm", "this wind", "a cold front", "the rain", "her umbrella", "the fog"],
        ["blows inland", "clears slowly", "brings snow", "rises overnight", "turns to hail"],
        ["before dawn", "over the old harbour", "with strong gusts", "on the coast", "for the week"],
    ),
}


def main():
    draw = random.Random(7)
    rows = []
    for _ in range(120):
        topic = draw.choice(sorted(TOPICS))
        rows.append([" ".join(draw.choice(part) for part in TOPICS[topic]), topic])
    with open(FOLDER / "topics.csv", "w", newline="") as to:
        csv.writer(to, lineterminator="\n").writerows([["text", "topic"], *rows])
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator((text for text, _ in rows), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    tokenizer.save(str(FOLDER / "topics-tokenizer.json"), pretty=False)


main()
