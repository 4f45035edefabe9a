"""A tiny model that knows three answers by heart."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import keras
from testing import tiny_model

from keras_llm.evaluation.pairs import Pair
from keras_llm.evaluation.questions import prompt_of
from keras_llm.models import save_preset

FACTS = [
    Pair("Who counts?", "The owl."),
    Pair("What?", "Stars over the sea."),
    Pair("When?", "At night."),
]


@functools.cache
def taught_model():
    """Trained to answer and then to go on, as a text with questions does."""
    keras.utils.set_random_seed(0)
    model = tiny_model(max_sequence_length=96)
    texts = [
        f"{prompt_of(fact.prompt)} {fact.completion}\nQuestion: and"
        for fact in FACTS
    ]
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        sampler="greedy",
        jit_compile=False,
    )
    model.fit(texts, batch_size=3, epochs=60, verbose=0)
    return model


@functools.cache
def taught_preset():
    """The folder of its preset."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save_preset(taught_model(), folder / "preset")
    return folder / "preset"
