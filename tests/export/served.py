"""Requests to a SavedModel's signatures, with what they leave out filled in."""

import functools
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import tensorflow as tf
from testing import tiny_model

from keras_llm.export import to_saved_model
from keras_llm.generation import TextGenerator
from keras_llm.recipes.settings import GenerationSettings, to_dict

CONTEXT = 32  # tokens of `mixed_model`

# An export takes seconds, and there are many: tests of every block type but
# the one that has both kinds of cache are slow.
BLOCK_TYPES_BY_SPEED = (
    ["gru", "attention"],
    *(
        pytest.param(block_type, marks=pytest.mark.slow)
        for block_type in (
            *("attention", "gru", "lstm", "rnn"),
            ["min_gru", "gated_delta", "mlstm"],
        )
    ),
)
every_block_type = pytest.mark.parametrize(
    "block_types", BLOCK_TYPES_BY_SPEED, ids=str
)

DTYPES = {
    "prompt": tf.string,
    "text": tf.string,
    "turns": tf.string,
    "max_new_tokens": tf.int32,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "repetition_penalty": tf.float32,
    "seed": tf.int64,
}
DEFAULTS = {
    "max_new_tokens": 16,
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "seed": 0,
}


def generate_inputs(prompts, **settings):
    """Every input of `generate`, as lists of a value for each prompt.

    A setting is of all rows, or a list of each row's.
    """
    return {"prompt": prompts} | _settings(len(prompts), settings)


def _settings(count, settings):
    return {
        name: value if isinstance(value, list) else [value] * count
        for name, value in (DEFAULTS | settings).items()
    }


@functools.cache
def mixed_model():
    """Of a recurrent and an attention block; the same for all who ask."""
    return model_of(["gru", "attention"])


def model_of(block_types, **options):
    """A tiny `ScratchCausalLM` of one block of each type, with dropout."""
    settings = {"dropout": 0.1, "max_sequence_length": CONTEXT}
    layers = 2 if isinstance(block_types, list) else 1
    return tiny_model(block_types, num_layers=layers, **settings | options)


# With prompts of at most 16 tokens in a context of 32, `TextGenerator`
# compiles once.
GREEDY = GenerationSettings(sampler="greedy", max_new_tokens=16)

# One for each model, for it compiles.
text_generator = functools.cache(TextGenerator)


class Served:
    """A loaded SavedModel.

    Args:
        folder: of one version.
    """

    def __init__(self, folder):
        self.folder = folder
        self.model = tf.saved_model.load(str(folder))

    def answer(self, prompts):
        """What `serving_default` answers, a list."""
        return self.call("serving_default", prompt=prompts)["text"]

    def generate(self, prompts, **settings):
        """Answers prompts; see `generate_inputs`."""
        return self.call("generate", **generate_inputs(prompts, **settings))

    def chat(self, conversations, **settings):
        """Answers conversations of any numbers of turns."""
        longest = max(map(len, conversations))
        turns = [row + [""] * (longest - len(row)) for row in conversations]
        settings = _settings(len(turns), settings)
        return self.call("chat", turns=turns, **settings)

    def score(self, texts):
        return self.call("score", text=texts)

    def tokenize(self, texts):
        return self.call("tokenize", text=texts)

    def call(self, signature, **inputs):
        """Lists of what a signature gives for lists, strings as str."""
        tensors = {
            name: tf.constant(rows, DTYPES[name])
            for name, rows in inputs.items()
        }
        outputs = self.model.signatures[signature](**tensors)
        return {name: plain(value) for name, value in outputs.items()}


def plain(value):
    """Lists of a tensor's rows."""
    rows = value.numpy().tolist()
    if value.dtype == tf.string:
        return _decoded(rows)
    return rows


def _decoded(rows):
    if isinstance(rows, bytes):
        return rows.decode()
    return [_decoded(row) for row in rows]


def serve(model, settings=None, **options):
    """Exports a model once for each model, settings and options."""
    return _served(model, json.dumps(settings and to_dict(settings)), **options)


@functools.cache
def _served(model, settings, **options):
    settings = json.loads(settings)
    settings = GenerationSettings(**settings) if settings else None
    out = Path(_exports().name) / str(len(os.listdir(_exports().name)))
    return Served(to_saved_model(model, out, settings, **options))


@functools.cache
def _exports():
    """The folder of all of them, until the process ends."""
    return TemporaryDirectory()


def expected(generator, prompts, seeds=None, **settings):
    """What Python answers to each prompt by itself."""
    settings = {"max_new_tokens": 16, "temperature": 0.0, "top_p": 1.0} | (
        settings
    )
    settings = GenerationSettings(**settings)
    seeds = seeds or [0] * len(prompts)
    rows = [
        generator.generate([prompt], settings, seed)[0]
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    return {
        "text": [row.text for row in rows],
        "num_tokens": [row.num_tokens for row in rows],
        "finish_reason": [row.finish_reason for row in rows],
        "prompt_truncated": [False] * len(rows),
    }
