"""What tests of several stages share."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from tiny_corpus import sample_tokenizer

DATA = Path(
    os.environ.get("KERAS_LLM_DATA")
    or Path(__file__).parents[2] / "shared/data/language_modelling"
)

needs_data = pytest.mark.skipif(
    not (DATA / "tinyshakespeare.txt").is_file(),
    reason="needs the folder of published texts: set KERAS_LLM_DATA",
)

BLOCK_TYPES = ("attention", "gru", "lstm", "rnn", ["gru", "attention"])
# Slower to trace; tested where it is about blocks.
EVERY_TYPE = (*BLOCK_TYPES, "min_gru", "gated_delta", "mlstm")


@functools.cache
def code_blocks(page, language):
    """What stands in a page's blocks of a language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def tiny_tokenizer(mask_token=False):
    """A unigram tokenizer of 360 pieces, with bytes to fall back on."""
    from keras_llm.tokenizers import ScratchTokenizer

    folder = Path(_trained_tokenizer(mask_token).name) / "tokenizer"
    return ScratchTokenizer.from_file(folder)


def tiny_ids(text):
    """What `tiny_tokenizer` makes of a text, by one that is there already."""
    return [int(token) for token in _shared_tokenizer()(text)]


_shared_tokenizer = functools.cache(tiny_tokenizer)


@functools.cache
def _trained_tokenizer(mask_token):
    """A folder that is there as long as the process is."""
    folder = TemporaryDirectory()
    sample_tokenizer(Path(folder.name), mask_token=mask_token)
    return folder


def slow_but(cases, *quick):
    """Cases for `parametrize`, of which all but a few are slow."""
    return [
        case if case in quick else pytest.param(case, marks=pytest.mark.slow)
        for case in cases
    ]


def trace_alone():
    """Lets graphs run as they are traced, where all of these tests do so.

    So do processes that must compute the same to the bit. Nor does XLA compile
    what decodes: that takes longer than the texts of these tests.
    """
    if os.environ.get("KERAS_LLM_TESTS_GRAPHS") != "as traced":
        return
    import tensorflow as tf

    from keras_llm.generation import engines
    from keras_llm.models import causal_lm

    off = {"disable_meta_optimizer": True}
    tf.config.optimizer.set_experimental_options(off)
    for module in (causal_lm, engines):
        module.compile_function = without_xla(module.compile_function)


def without_xla(compile_function):
    """`compile_function`, but that XLA has no part in it."""

    @functools.wraps(compile_function)
    def compiled(function, model, inputs=None, jit_compile=False):
        return compile_function(function, model, inputs)

    return compiled


def tiny_backbone(block_types="attention", **overrides):
    """A layer a type, sixteen wide, with weights that make clear decisions."""
    from keras_llm.models import ScratchBackbone

    types = [block_types] if isinstance(block_types, str) else block_types
    settings = {
        "vocabulary_size": 40,
        "num_layers": len(types),
        "num_heads": 2,
        "hidden_dim": 16,
        "intermediate_dim": 24,
        "max_sequence_length": 64,
    }
    settings |= {"block_types": block_types} | overrides
    backbone = ScratchBackbone(**settings)
    randomize(backbone)
    return backbone


def tiny_model(block_types="attention", **overrides):
    """A `ScratchCausalLM` of `tiny_backbone`, with `tiny_tokenizer`."""
    from keras_llm.models import ScratchCausalLM, ScratchCausalLMPreprocessor

    tokenizer = tiny_tokenizer()
    size = tokenizer.vocabulary_size()
    backbone = tiny_backbone(block_types, vocabulary_size=size, **overrides)
    preprocessor = ScratchCausalLMPreprocessor(
        tokenizer, sequence_length=backbone.max_sequence_length
    )
    model = ScratchCausalLM(backbone, preprocessor)
    # XLA would compile for longer than these models run.
    model.compile(optimizer="adam", sampler="greedy", jit_compile=False)
    return model


def tiny_encoder(**overrides):
    """A `ScratchMaskedLM` of `tiny_backbone`, whose tokenizer has a mask."""
    from keras_llm.models import ScratchMaskedLM, ScratchMaskedLMPreprocessor

    tokenizer = tiny_tokenizer(mask_token=True)
    size = tokenizer.vocabulary_size()
    backbone = tiny_backbone(causal=False, vocabulary_size=size, **overrides)
    model = ScratchMaskedLM(
        backbone,
        ScratchMaskedLMPreprocessor(
            tokenizer,
            sequence_length=backbone.max_sequence_length,
            mask_selection_length=8,
        ),
    )
    randomize(model)
    model.compile(optimizer="adam", jit_compile=False)
    return model


def randomize(layer, seed=0, deviation=0.3):
    """Sets all weights at random, scales of normalisations around one."""
    draw = np.random.default_rng(seed)
    for weight in layer.weights:
        if "seed_generator" in weight.path:
            continue
        noise = draw.normal(0, deviation, weight.shape)
        scales = weight.path.endswith(("/scale", "/gamma"))
        weight.assign(1 + noise if scales else noise)


def input_influence(backbone, length, seed=0):
    """`|d out[t] / d in[s]|`, `(length, length)`, at the embeddings' output.

    Each output is a random mix of a position's hidden dimensions.
    """
    import tensorflow as tf

    draw = np.random.default_rng(seed)
    token_ids = draw.integers(0, backbone.vocabulary_size, (1, length))
    embedded = backbone.embedding(token_ids)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(embedded)
        x = embedded
        for block in backbone.blocks:
            x = block(x)
        mix = draw.normal(size=(1, 1, x.shape[-1]))
        outputs = tf.reduce_sum(backbone.final_norm(x) * mix, axis=-1)
        outputs = tf.unstack(outputs[0])
    gradients = [tape.gradient(output, embedded)[0] for output in outputs]
    return np.abs(gradients).sum(-1)


def ragged_batch(rows, length):
    """int32 ids and bool mask, each `(len(rows), length)`."""
    token_ids = np.zeros((len(rows), length), "int32")
    mask = np.zeros((len(rows), length), bool)
    for index, row in enumerate(rows):
        token_ids[index, : len(row)] = row
        mask[index, : len(row)] = True
    return {"token_ids": token_ids, "padding_mask": mask}


# For the beginning of a program that must do without it.
NO_TENSORFLOW = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_text"):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
"""


def run_python(code, *arguments, **environment):
    """What a fresh Python process prints; fails with its errors."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
