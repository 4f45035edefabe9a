"""How time grows: with context, batch, depth and corpus; an exponent each.

Usage: python scripts/benchmark_growth.py [--rounds 3] [--json]

Twice as much takes 2 ** exponent times as long: 1 is linear, 2 quadratic. What
is timed is a step of training of a model of `benchmark_blocks.py`, and for the
corpus cleaning and encoding of copies of WikiText-2, on one core. Sizes take
turns; the line is fitted to the medians of the larger half of them, where what
a step or a command takes for itself counts least.
"""

import argparse
import json
import os
import tempfile
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from benchmark_blocks import in_turns, make_model, train_step
from rich.console import Console
from text_tokens import make_tokens

from keras_llm import workflow
from keras_llm.corpus.sources.catalogue import local_files
from keras_llm.layers import BLOCK_TYPES
from keras_llm.recipes import Recipe, load_recipe
from keras_llm.recipes.corpus_settings import ExecutionSettings

CONTEXTS = (64, 128, 256, 512, 1024, 2048, 4096)
ROWS = (1, 2, 4, 8, 16, 32, 64)
DEPTHS = (1, 2, 4, 8, 16)
COPIES = (1, 2, 4, 8)
ONE_CORE = ExecutionSettings(workers=1)
LENGTH = 128
QUIET = Console(quiet=True)
TEXT = "wikitext2"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--blocks", nargs="+", default=BLOCK_TYPES)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", action="store_true")
    values = options.parse_args()
    found = {}
    for kind in values.blocks:
        steps = {
            length: train_step(make_model(kind, length), 1, length)
            for length in CONTEXTS
        }
        found[f"context, {kind}"] = in_turns(steps, values.rounds)
    model = make_model("attention", LENGTH)
    steps = {rows: train_step(model, rows, LENGTH) for rows in ROWS}
    found["batch"] = in_turns(steps, values.rounds)
    steps = {
        depth: train_step(make_model("attention", LENGTH, depth), 8, LENGTH)
        for depth in DEPTHS
    }
    found["depth"] = in_turns(steps, values.rounds)
    with tempfile.TemporaryDirectory() as folder:
        steps = corpora(Path(folder))
        found["corpus"] = in_turns(steps, values.rounds)
    exponents = {name: exponent(times) for name, times in found.items()}
    if values.json:
        print(json.dumps({"exponents": exponents, "seconds": found}, indent=1))
        return
    for name, value in exponents.items():
        print(f"{name:<22} {value:.2f}")


def corpora(folder: Path) -> dict:
    """Functions that clean so many copies of the text and encode them."""
    text = local_files(TEXT)[0][0].read_text(encoding="utf-8")
    recipe = load_recipe("mini")
    tokenizer, steps = folder / "tokenizer", {}
    for copies in COPIES:
        source = folder / f"{copies}"
        source.mkdir()
        for number in range(copies):
            copy = f"Copy {number}\n{text}"
            (source / f"{number}.txt").write_text(copy, encoding="utf-8")
        steps[copies] = partial(clean_and_encode, source, tokenizer, recipe)
    make_tokens(TEXT, folder, recipe)
    return steps


def clean_and_encode(source: Path, tokenizer: Path, recipe: Recipe) -> None:
    """Two stages of a run, on one core."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, tokens = Path(folder, "corpus"), Path(folder, "tokens")
        sources = [str(source)]
        workflow.prepare_corpus(sources, corpus, recipe, QUIET, ONE_CORE)
        workflow.encode_corpus(corpus, tokenizer, tokens, QUIET, ONE_CORE)


def exponent(times: dict[int, float]) -> float:
    """The slope of the upper half, both axes in logarithms."""
    sizes, seconds = (np.log(each) for each in zip(*times.items(), strict=True))
    half = len(sizes) // 2
    return float(np.polyfit(sizes[half:], seconds[half:], 1)[0])


if __name__ == "__main__":
    main()
