"""Decoding inside a SavedModel, beside `generate` of KerasHub and of PyTorch.

Usage: python scripts/benchmark_export.py [--rounds 15] [--json]

All have the same weights: a `mini` of the recipe, random, in float32, whose
logits are compared first. Each continues the same prompts greedily by 64
tokens. `generate` of Hugging Face runs in eager PyTorch. Contenders take turns,
because a machine's speed drifts; of each the median counts.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_hub
import numpy as np
import tensorflow as tf
import torch
import transformers
from rich.console import Console
from rich.table import Table

from keras_llm import workflow
from keras_llm.export import to_saved_model
from keras_llm.export.huggingface import to_hugging_face
from keras_llm.export.parts import parts_of
from keras_llm.export.server_files import MAX_TEXT_TOKENS
from keras_llm.export.text_graph import TextGraph
from keras_llm.models import ScratchCausalLM, build_model
from keras_llm.recipes import load_recipe
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers import ScratchTokenizer

ROWS, NEW = 16, 64
GREEDY = GenerationSettings(sampler="greedy", max_new_tokens=NEW)
PROMPT = "The people of the city came to the market, and"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--json", action="store_true")
    values = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), values.rounds)
    if values.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)


def measure(folder: Path, rounds: int) -> dict:
    """Milliseconds of each contender, differences of logits, and sizes."""
    model = mini(folder)
    gpt2, stock = gpt2_of(model, folder / "gpt2")
    ids = prompt_ids(model)
    differences = logit_differences(model, gpt2, stock, ids)
    # First, for a new seed ends TensorFlow Text's tokenizers that are open.
    int8 = in_int8(model.preprocessor.tokenizer, folder / "int8")
    contenders = saved_model(model, folder / "float32") | int8
    contenders |= keras_generate("model.generate", model, ids)
    contenders |= keras_generate("KerasHub GPT-2", stock, ids)
    contenders |= hugging_face(gpt2, ids)
    for ask in contenders.values():
        ask()  # traces, compiles, allocates
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, ask in contenders.items():
            begin = time.perf_counter()
            ask()
            times[name].append(1e3 * (time.perf_counter() - begin))
    scoring = score_seconds(folder / "float32" / "1")
    sizes = {
        name: sum(
            file.stat().st_size
            for file in (folder / name).rglob("*")
            if file.is_file()
        )
        / 1e6
        for name in ("float32", "int8")
    }
    return {
        "logit_difference": differences,
        "megabytes": sizes,
        "score_seconds": scoring,
        "milliseconds": {name: median(each) for name, each in times.items()},
    }


def mini(folder: Path) -> ScratchCausalLM:
    """The recipe's model and tokenizer; weights as they are initialised."""
    recipe, console = load_recipe("mini"), Console(quiet=True)
    workflow.prepare_corpus(
        ["tinyshakespeare"], folder / "corpus", recipe, console
    )
    workflow.make_tokenizer(
        folder / "corpus", folder / "tokenizer", recipe, console
    )
    tokenizer = ScratchTokenizer.from_file(folder / "tokenizer")
    model = build_model(recipe.model, tokenizer)
    model.compile(sampler="greedy", jit_compile=False)
    return model


def prompt_ids(model: ScratchCausalLM) -> np.ndarray:
    """int32 `(length,)`: the start token, and the prompt."""
    tokenizer = model.preprocessor.tokenizer
    ids = np.array(tokenizer(PROMPT))
    return np.concatenate([[tokenizer.start_token_id], ids]).astype("int32")


def gpt2_of(model: ScratchCausalLM, folder: Path):
    """The same weights as a GPT-2 of transformers and as one of KerasHub."""
    to_hugging_face(model, folder)
    gpt2 = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    # KerasHub reads Hugging Face's folders; token ids need no tokenizer.
    stock = keras_hub.models.GPT2CausalLM(
        keras_hub.models.GPT2Backbone.from_preset(str(folder))
    )
    stock.compile(sampler="greedy", jit_compile=False)
    return gpt2, stock


def logit_differences(model, gpt2, stock, ids: np.ndarray) -> dict[str, float]:
    """Largest difference of logits from ours, as a part of the largest."""
    ones = np.ones_like(ids)[None]
    inputs = {"token_ids": ids[None], "padding_mask": ones}
    ours = np.array(model(inputs))
    with torch.inference_mode():
        theirs = gpt2(torch.tensor(ids[None], dtype=torch.long)).logits.numpy()
    found = {"Hugging Face": theirs, "KerasHub": stock(inputs)}
    return {
        name: float(np.abs(np.array(x) - ours).max() / np.abs(ours).max())
        for name, x in found.items()
    }


class NoModel:
    """A `GraphDecoder` that answers the same at once: the rest takes time."""

    def __init__(self, decoder, answer: list[int]):
        self.max_length = decoder.max_length
        self.vocabulary_size = decoder.vocabulary_size
        self.variables = []
        self.answer = tf.constant(answer, tf.int32)

    def generate(self, prompts, sampling, max_new_tokens, stopped):
        rows = prompts.nrows(tf.int32)
        answers = tf.tile(self.answer[None], [rows, 1])
        return tf.RaggedTensor.from_tensor(answers)

    def log_likelihoods(self, token_ids, lengths):
        return tf.zeros_like(token_ids[:, 1:], tf.float32)


def saved_model(model, path: Path) -> dict[str, Callable]:
    """The exported graph with one row and with many, and without its model."""
    ask = exported(model, path)
    tokenizer, decoder = parts_of(model)
    # Words of the text, and not what a model without training would say.
    words = model.preprocessor.tokenizer(" ".join([PROMPT] * NEW))[:NEW]
    graph = TextGraph(tokenizer, NoModel(decoder, words), GREEDY, 0)
    return {
        "SavedModel, 1 row": lambda: ask(1),
        f"SavedModel, {ROWS} rows": lambda: ask(ROWS),
        "SavedModel without the model, 1 row": lambda: request(
            graph.signatures["generate"], 1
        ),
    }


def in_int8(tokenizer: ScratchTokenizer, path: Path) -> dict[str, Callable]:
    """The same model with matrices of one byte a weight."""
    model = build_model(load_recipe("mini").model, tokenizer)
    model.quantize(
        "int8", filters=lambda layer: isinstance(layer, keras.layers.Dense)
    )
    ask = exported(model, path)
    return {"SavedModel in int8, 1 row": lambda: ask(1)}


def exported(model, path: Path) -> Callable:
    """Asks the SavedModel of a model for the answers to so many prompts."""
    loaded = tf.saved_model.load(str(to_saved_model(model, path, GREEDY)))

    def ask(rows):
        # Through the model, for a signature does not keep it alive.
        return request(loaded.signatures["generate"], rows)

    assert ask(1)["num_tokens"].numpy().tolist() == [NEW]
    return ask


def score_seconds(version: Path) -> float:
    """What signature `score` takes for a batch of the longest texts."""
    loaded = tf.saved_model.load(str(version))
    texts = tf.constant([PROMPT * MAX_TEXT_TOKENS] * ROWS)
    begin = time.perf_counter()
    answers = loaded.signatures["score"](text=texts)
    assert answers["truncated"].numpy().all()
    return time.perf_counter() - begin


def request(function: Callable, rows: int) -> dict[str, tf.Tensor]:
    """What signature `generate` answers to the prompt, so many times."""
    return function(
        prompt=tf.constant([PROMPT] * rows),
        max_new_tokens=tf.fill([rows], NEW),
        temperature=tf.zeros([rows]),
        top_k=tf.zeros([rows], tf.int32),
        top_p=tf.ones([rows]),
        repetition_penalty=tf.ones([rows]),
        seed=tf.zeros([rows], tf.int64),
    )


def keras_generate(name: str, model, ids: np.ndarray) -> dict[str, Callable]:
    """KerasHub's `generate` on token ids, traced and not compiled."""

    def ask(rows):
        padded = np.pad(ids, (0, NEW))[None].repeat(rows, axis=0)
        mask = (np.arange(len(ids) + NEW) < len(ids))[None].repeat(rows, axis=0)
        inputs = {"token_ids": padded, "padding_mask": mask}
        function = model.make_generate_function()
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        return np.array(function(tensors, stop_token_ids=None)["token_ids"])

    return {
        f"{name}, 1 row": lambda: ask(1),
        f"{name}, {ROWS} rows": lambda: ask(ROWS),
    }


def hugging_face(gpt2, ids: np.ndarray) -> dict[str, Callable]:
    """`generate` of transformers in eager PyTorch."""

    def ask(rows):
        batch = torch.tensor(ids[None].repeat(rows, axis=0), dtype=torch.long)
        with torch.inference_mode():
            return gpt2.generate(
                batch,
                attention_mask=torch.ones_like(batch),
                max_new_tokens=NEW,
                min_new_tokens=NEW,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )

    name = "Hugging Face GPT-2"
    return {
        f"{name}, 1 row": lambda: ask(1),
        f"{name}, {ROWS} rows": lambda: ask(ROWS),
    }


def show(figures: dict) -> None:
    times = figures["milliseconds"]
    one = times["SavedModel, 1 row"]
    table = Table("", "ms", "tokens a second", "x first")
    for name, each in times.items():
        tokens = NEW * (ROWS if name.endswith(f"{ROWS} rows") else 1)
        table.add_row(
            name,
            f"{each:.1f}",
            f"{1e3 * tokens / each:,.0f}",
            f"{each / one:.2f}",
        )
    Console().print(table)
    many = ROWS * one / times[f"SavedModel, {ROWS} rows"]
    around = times["SavedModel without the model, 1 row"] / one
    print(
        f"{ROWS} rows: {many:.1f} times the tokens a second of one row\n"
        f"tokenizing, detokenizing and the rest around the model: {around:.1%}"
    )
    sizes = figures["megabytes"]
    print(f"{sizes['float32']:.1f} MB; in int8 {sizes['int8']:.1f} MB")
    print(
        f"{ROWS} texts of {MAX_TEXT_TOKENS:,} tokens are scored in "
        f"{figures['score_seconds']:.1f} s"
    )
    for name, difference in figures["logit_difference"].items():
        print(f"logits of {name} differ by at most {difference:.1e} (relative)")


if __name__ == "__main__":
    main()
