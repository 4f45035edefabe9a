"""What each block type costs as the context grows: training, and a token.

Usage: python scripts/benchmark_blocks.py [--lengths 256 2048 16384]

Models of two blocks, 128 wide, random weights. A step of training reads
16,384 tokens, as so many rows as fit. A step of decoding adds a token to one
row that has almost filled its context. The block types take turns; medians of
the rounds. Attention is left out where its scores alone would take a gigabyte
a row.
"""

import argparse
import json
import os
import time
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keras_llm import ScratchBackbone, ScratchCausalLM
from keras_llm.compilation import compile_function
from keras_llm.layers import BLOCK_TYPES

TOKENS = 16_384
LONGEST = {"attention": 8_192}
VOCABULARY = 256


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    lengths = [256, 2048, 16384]
    options.add_argument("--lengths", type=int, nargs="+", default=lengths)
    options.add_argument("--blocks", nargs="+", default=BLOCK_TYPES)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", action="store_true")
    values = options.parse_args()
    found = {}
    for length in values.lengths:
        kinds = [
            kind
            for kind in values.blocks
            if length <= LONGEST.get(kind, length)
        ]
        found[length] = measure(kinds, length, values.rounds)
        if not values.json:
            show(length, found[length])
    if values.json:
        print(json.dumps(found, indent=1))


def show(length: int, found: dict[str, tuple[float, float]]) -> None:
    print(f"context {length:,}")
    for kind, (speed, milliseconds) in found.items():
        print(
            f"  {kind:<12} {speed:>8,.0f} tokens a second of training, "
            f"{milliseconds:6.2f} ms a token of decoding"
        )


def measure(
    kinds: list[str], length: int, rounds: int
) -> dict[str, tuple[float, float]]:
    """Tokens a second of training, and milliseconds a decoded token."""
    steps = {}
    for kind in kinds:
        steps[kind, "train"], steps[kind, "decode"] = steps_of(kind, length)
    seconds = in_turns(steps, rounds)
    return {
        kind: (TOKENS / seconds[kind, "train"], 1000 * seconds[kind, "decode"])
        for kind in kinds
    }


def in_turns(steps: dict, rounds: int) -> dict:
    """Median seconds of each step, by its key."""
    times = {key: [] for key in steps}
    for each in range(rounds + 1):
        for key, step in steps.items():
            begin = time.perf_counter()
            step()
            if each:  # the first compiles
                times[key].append(time.perf_counter() - begin)
    return {key: median(seconds) for key, seconds in times.items()}


def make_model(kind: str, length: int, num_layers: int = 2) -> ScratchCausalLM:
    """A model that can be trained; two blocks, 128 wide, unless told."""
    keras.utils.set_random_seed(0)
    backbone = ScratchBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=num_layers,
        num_heads=2,
        hidden_dim=128,
        block_types=kind,
        max_sequence_length=length,
        position_embedding="none",
    )
    model = ScratchCausalLM(backbone)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, jit_compile=False)
    return model


def train_step(model: ScratchCausalLM, rows: int, length: int):
    """A function that takes a step of training."""
    draw = np.random.default_rng(0)
    ids = draw.integers(0, VOCABULARY, (rows, length + 1)).astype("int32")
    given = {
        "token_ids": ids[:, :-1],
        "padding_mask": np.ones((rows, length), "int32"),
    }
    return lambda: model.train_on_batch(given, ids[:, 1:])


def steps_of(kind: str, length: int):
    """Functions that take a step of training, and of decoding."""
    model = make_model(kind, length)

    def decode(token_ids, cache, index):
        logits, _, cache = model.call_with_cache(token_ids, cache, index)
        return logits, cache

    decode = compile_function(decode, model)
    state = {"cache": model.initial_cache(1, length)}
    tensors = [
        keras.ops.convert_to_tensor(np.array(each, "int32"))
        for each in ([[1]], [length - 1])
    ]

    def one_token():
        logits, state["cache"] = decode(tensors[0], state["cache"], tensors[1])
        keras.ops.convert_to_numpy(logits)

    rows = max(1, TOKENS // length)
    return train_step(model, rows, length), one_token


if __name__ == "__main__":
    main()
