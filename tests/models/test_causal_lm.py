import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from testing import tiny_backbone, tiny_model, tiny_tokenizer
from tiny_corpus import sample_tokenizer

from keras_llm.errors import InputError
from keras_llm.models import (
    ScratchBackbone,
    ScratchCausalLM,
    ScratchCausalLMPreprocessor,
    build_model,
)
from keras_llm.recipes.settings import ModelSettings
from keras_llm.tokenizers import ScratchTokenizer

TEXTS = ["the people of the union", "war and peace", "", "justice\n\thope"] * 2


def token_batch(rows, length, vocabulary_size=40, seed=0):
    draw = np.random.default_rng(seed)
    ids = draw.integers(0, vocabulary_size, (rows, length + 1)).astype("int32")
    x = {
        "token_ids": ids[:, :-1],
        "padding_mask": np.ones((rows, length), "int32"),
    }
    return x, ids[:, 1:]


def mean_loss(model, x, y):
    loss = keras.losses.sparse_categorical_crossentropy(
        y, model(x), from_logits=True
    )
    return float(np.mean(loss))


@pytest.mark.slow
def test_fit_on_strings():
    model = tiny_model(max_sequence_length=16)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), run_eagerly=True)
    history = model.fit(TEXTS, batch_size=4, epochs=8, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]


@pytest.mark.slow
def test_strings_fit_after_a_seed_was_set(tmp_path):
    tokenizer = ScratchTokenizer.from_file(sample_tokenizer(tmp_path))
    settings = ModelSettings(
        num_layers=1, num_heads=2, hidden_dim=16, max_sequence_length=16
    )
    model = build_model(settings, tokenizer)  # which sets one
    model.compile(optimizer="adam", jit_compile=False)
    # Lists of strings go through grain, where that is installed.
    rows = tf.data.Dataset.from_tensor_slices(TEXTS).batch(4)
    losses = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        losses += model.fit(rows, verbose=0).history["loss"]
    assert losses[1] < losses[0]


def test_padding_adds_nothing_to_the_loss():
    model = tiny_model(max_sequence_length=16)
    x, y, weight = model.preprocessor(["the people of the union"])
    length = int(np.sum(weight))
    assert 0 < length < 16
    real = {name: np.array(ids)[:, :length] for name, ids in x.items()}
    expected = mean_loss(model, real, np.array(y)[:, :length])
    model.compile(run_eagerly=True)
    loss = model.evaluate(["the people of the union"], verbose=0)[0]
    assert loss * 16 / length == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "block_types, tied",
    [
        (["gru", "attention"], True),
        pytest.param("rnn", False, marks=pytest.mark.slow),
        *(
            pytest.param(block_types, True, marks=pytest.mark.slow)
            for block_types in ("attention", "gru", "lstm", "rnn")
        ),
    ],
)
def test_overfits_one_batch(block_types, tied):
    keras.utils.set_random_seed(0)
    model = ScratchCausalLM(
        ScratchBackbone(
            vocabulary_size=20,
            num_layers=2,
            num_heads=2,
            hidden_dim=32,
            block_types=block_types,
            tie_word_embeddings=tied,
            max_sequence_length=16,
        )
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    x, y = token_batch(2, 10, vocabulary_size=20)
    data = tf.data.Dataset.from_tensors((x, y)).repeat(120)
    model.fit(data, verbose=0)
    assert mean_loss(model, x, y) < 0.1


@pytest.mark.parametrize(
    "sampler",
    [
        "top_p",
        "beam",
        *(
            pytest.param(sampler, marks=pytest.mark.slow)
            for sampler in ("greedy", "top_k", "random")
        ),
    ],
)
def test_samplers_of_kerashub_work_by_name(sampler):
    model = tiny_model()
    model.compile(sampler=sampler, jit_compile=False)
    prompts = ["the people", "war"]
    texts = model.generate(prompts, max_length=12)
    for prompt, text in zip(prompts, texts, strict=True):
        assert text.startswith(prompt) and len(text) > len(prompt)


def test_samplers_of_kerashub_work_as_objects():
    model = tiny_model()
    model.compile(sampler=keras_hub.samplers.TopKSampler(k=1))
    by_top_one = model.generate("the people", max_length=12)
    model.compile(sampler="greedy")
    assert model.generate("the people", max_length=12) == by_top_one


def test_an_unknown_sampler_is_named_with_the_known_ones():
    model = tiny_model()
    with pytest.raises(InputError) as error:
        model.compile(sampler="gredy")
    assert "beam, greedy, random, top_k, top_p" in str(error.value)
    assert "'gredy'. Did you mean greedy?" in str(error.value)
    assert type(model.sampler) is keras_hub.samplers.GreedySampler


def test_another_prompt_length_does_not_trace_again():
    model = tiny_model()
    model.generate("war", max_length=24)
    traced = model.generate_function.experimental_get_tracing_count()
    model.generate("the people of the union", max_length=24)
    model.generate("", max_length=24)
    again = model.generate_function.experimental_get_tracing_count()
    assert again == traced == 1


def test_generate_takes_one_prompt_or_several():
    model = tiny_model()
    one = model.generate("the people", max_length=16)
    several = model.generate(["the people", "war"], max_length=16)
    assert several[0] == one
    stripped = model.generate("the people", max_length=16, strip_prompt=True)
    assert "the people" + stripped == one


def test_generate_fills_the_context_and_no_more():
    tokenizer = tiny_tokenizer()
    backbone = tiny_backbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        max_sequence_length=20,
        position_embedding="learned",
    )
    # The preprocessor's own length is 1024.
    model = ScratchCausalLM(backbone, ScratchCausalLMPreprocessor(tokenizer))
    model.compile(sampler="greedy", jit_compile=False)
    assert model.generate("war") == model.generate("war", max_length=20)


def test_max_length_beyond_the_context_is_named():
    model = tiny_model(max_sequence_length=20)
    with pytest.raises(InputError, match="20. Received: max_length=21"):
        model.generate("war", max_length=21)


@pytest.mark.parametrize("add_start_token", [True, False])
def test_a_prompt_that_leaves_no_room_is_named_with_both_lengths(
    add_start_token,
):
    model = tiny_model(max_sequence_length=20)
    model.preprocessor.add_start_token = add_start_token
    prompt = "%" * 19  # a token each, and the start token
    with pytest.raises(InputError, match="20 tokens.*length, 20"):
        model.generate(prompt)
    assert len(model.generate(prompt[1:], strip_prompt=True)) > 0


def test_an_encoder_is_no_causal_model():
    with pytest.raises(InputError, match="causal=True"):
        ScratchCausalLM(tiny_backbone(causal=False))


def test_lora_trains_and_generates():
    model = tiny_model(max_sequence_length=16)
    model.backbone.enable_lora(2)
    model.compile(optimizer="adam", sampler="greedy", run_eagerly=True)
    frozen = model.backbone.token_embedding.embeddings.numpy()
    model.fit(TEXTS, batch_size=4, verbose=0)
    np.testing.assert_array_equal(
        model.backbone.token_embedding.embeddings.numpy(), frozen
    )
    query = model.backbone.blocks[0].mixer.query
    assert np.any(query.lora_kernel_b.numpy() != 0)
    assert model.generate("war", max_length=8).startswith("war")
