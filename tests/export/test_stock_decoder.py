"""KerasHub's models decode in a graph, token by token.

That all of them answer as `generate` does is tested on their SavedModels.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from stock_models import generated_ids, stock_model
from testing import ragged_batch

from keras_llm.export.stock_decoder import StockDecoder
from keras_llm.export.without_xla import slice_update
from keras_llm.generation.engines import sampling_of
from keras_llm.recipes.settings import GenerationSettings

NEW = 12
LONGEST = 20
GREEDY = GenerationSettings(sampler="greedy")
SAMPLE = GenerationSettings(temperature=1.5, top_k=50, repetition_penalty=1.2)

pytestmark = pytest.mark.slow  # minutes


def prompts_of(batch_size, vocabulary_size):
    """Prompts of 1 to 20 tokens, the longest first and the shortest second."""
    draw = np.random.default_rng(0)
    lengths = [LONGEST, 1, *draw.integers(2, LONGEST, 14)]
    return [
        draw.integers(3, vocabulary_size, length).tolist()
        for length in lengths[:batch_size]
    ]


@functools.cache
def decode_function(model):
    """`StockDecoder.generate`, traced once for prompts of any shape."""
    decoder = StockDecoder(model)
    sampling = sampling_of([GREEDY], [0])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([], tf.int32),
            type(sampling)(
                *(
                    tf.TensorSpec([None, *x.shape[1:]], x.dtype)
                    for x in sampling
                )
            ),
        ],
        autograph=False,
    )
    def decode(token_ids, lengths, max_new_tokens, stop, sampling):
        def stopped(token_ids, lengths):
            last = tf.gather(token_ids, lengths - 1, batch_dims=1)
            return last == stop

        prompts = tf.RaggedTensor.from_tensor(token_ids, lengths)
        return decoder.generate(prompts, sampling, max_new_tokens, stopped)

    return decode


def decoded(model, prompts, settings=GREEDY, seeds=None, new=NEW, stop=-1):
    """The new tokens of each row."""
    lengths = np.array([len(prompt) for prompt in prompts], "int32")
    batch = ragged_batch(prompts, max(lengths))["token_ids"]
    limits = np.broadcast_to(np.array(new, "int32"), lengths.shape)
    sampling = sampling_of(
        [settings] * len(prompts), seeds or [0] * len(prompts)
    )
    rows = decode_function(model)(batch, lengths, limits, stop, sampling)
    return rows.to_list()


def test_greedy_ids_are_those_of_generate():
    model = stock_model("GptOss")  # whose tokenizer keeps it from an export
    prompts = prompts_of(16, model.backbone.vocabulary_size)
    expected = generated_ids(model, prompts, NEW)
    for batch_size in (1, 3, 16):
        found = decoded(model, prompts[:batch_size])
        assert found == expected[:batch_size]
    assert len({token for row in expected for token in row}) > 12


def test_rows_end_by_themselves():
    model = stock_model("Llama")
    prompts = prompts_of(3, model.backbone.vocabulary_size)
    whole = decoded(model, prompts)
    stop = whole[1][3]
    limits = [5, NEW, 0]
    rows = decoded(model, prompts, new=limits, stop=stop)
    for row, all_of_it, limit in zip(rows, whole, limits, strict=True):
        end = all_of_it.index(stop) + 1 if stop in all_of_it else NEW
        assert row == all_of_it[: min(limit, end)]
    assert decoded(model, prompts, new=0) == [[], [], []]


def test_context_is_the_limit():
    model = stock_model("GPT2")
    prompts = [[5] * 40, [6] * 47, [7] * 48]
    assert [len(row) for row in decoded(model, prompts)] == [8, 1, 0]


@pytest.mark.parametrize("name", ["Gemma3", "GPT2", "Mixtral"])
def test_samples_alone_as_in_company(name):
    model = stock_model(name)
    prompts = prompts_of(8, model.backbone.vocabulary_size)
    seeds = list(range(8))
    together = decoded(model, prompts, SAMPLE, seeds)
    alone = [
        decoded(model, [prompt], SAMPLE, [seed])[0]
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    assert together == alone
    again = decoded(model, prompts, SAMPLE, [seed + 8 for seed in seeds])
    assert again != together


@pytest.mark.parametrize(
    ("shape", "start", "size"),
    [
        ((2, 6, 3, 2), (0, 4, 0, 0), (2, 1, 3, 2)),
        ((2, 6, 3), (0, 1, 1), (1, 5, 2)),
        ((5,), (2,), (3,)),
        ((2, 6), (0, 0), (2, 4)),
        ((2, 6), (1, 0), (1, 6)),
    ],
)
def test_slice_update_is_that_of_keras(shape, start, size):
    inputs = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    updates = -np.ones(size, "float32")
    expected = keras.ops.slice_update(inputs, start, updates)
    moving = [tf.constant(index) if index else 0 for index in start]
    for starts in (start, moving, tf.constant(start)):
        found = slice_update(inputs, starts, updates)
        np.testing.assert_array_equal(found, expected)
