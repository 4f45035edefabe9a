"""Our models in other dtypes: what is in the file, and equal answers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_checks import SENTENCE_PIECE_OPS, check_saved_model, saved_weights
from served import Served, every_block_type, expected, model_of
from testing import without_xla

from keras_llm.export import to_saved_model
from keras_llm.generation import TextGenerator, engines

PROMPTS = ["the people of", "", "war", " the\n", "é 😀", "of the union the"]


def dense_layers(model):
    layers = model._flatten_layers(recursive=True)
    return [layer for layer in layers if isinstance(layer, keras.layers.Dense)]


def check_answers(model, folder):
    """Greedily, those of Python; in any company."""
    served = Served(folder)
    answers = expected(TextGenerator(model), PROMPTS)
    for size in (1, 3, len(PROMPTS)):
        some = {name: rows[:size] for name, rows in answers.items()}
        assert served.generate(PROMPTS[:size]) == some
    assert len(set(answers["text"])) > 1
    assert check_saved_model(folder) == SENTENCE_PIECE_OPS


@pytest.fixture
def as_served(monkeypatch):
    """XLA rounds less often than bfloat16 asks for, and no server has it."""
    compiled = without_xla(engines.compile_function)
    monkeypatch.setattr(engines, "compile_function", compiled)


@pytest.mark.slow
@every_block_type
@pytest.mark.usefixtures("as_served")
def test_bfloat16_weights(tmp_path, block_types):
    model = model_of(block_types, dtype="bfloat16")
    folder = to_saved_model(model, tmp_path)
    weights = saved_weights(folder)
    assert {dtype for dtype, _ in weights} == {tf.bfloat16}
    assert sum(size for _, size in weights) == model.count_params()
    check_answers(model, folder)


@pytest.mark.slow
@every_block_type
@pytest.mark.usefixtures("as_served")
def test_mixed_bfloat16_keeps_float32_weights(tmp_path, block_types):
    model = model_of(block_types, dtype="mixed_bfloat16")
    folder = to_saved_model(model, tmp_path)
    assert {dtype for dtype, _ in saved_weights(folder)} == {tf.float32}
    check_answers(model, folder)


@pytest.mark.slow  # half a minute
@every_block_type
def test_int8_weights(tmp_path, block_types):
    model = model_of(block_types)
    kernels = sum(
        int(np.prod(layer.kernel.shape)) for layer in dense_layers(model)
    )
    model.quantize(
        "int8", filters=lambda layer: isinstance(layer, keras.layers.Dense)
    )
    folder = to_saved_model(model, tmp_path)
    weights = saved_weights(folder)
    assert kernels > 0
    assert kernels == sum(size for dtype, size in weights if dtype == tf.int8)
    check_answers(model, folder)


@pytest.mark.slow
def test_int8_weights_take_a_quarter_of_the_room(tmp_path):
    model = model_of("attention", hidden_dim=64, intermediate_dim=256)
    kernels = sum(
        int(np.prod(layer.kernel.shape)) for layer in dense_layers(model)
    )
    data = "variables/variables.data-00000-of-00001"
    before = (to_saved_model(model, tmp_path / "float32") / data).stat().st_size
    model.quantize(
        "int8", filters=lambda layer: isinstance(layer, keras.layers.Dense)
    )
    after = (to_saved_model(model, tmp_path / "int8") / data).stat().st_size
    saved = before - after
    # Three bytes a value, less the scales and what each variable is called.
    assert 2.7 * kernels < saved <= 3 * kernels
