"""Whatever way tokens are decoded, they are the ones of the whole model."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from testing import EVERY_TYPE, ragged_batch, slow_but, tiny_backbone

from keras_llm.compilation import compile_function
from keras_llm.generation.decoding import Sampling, decode, ends_with, prefill
from keras_llm.models import ScratchCausalLM

DRAW = np.random.default_rng(3)
PROMPTS = [
    DRAW.integers(0, 40, length).tolist()
    for length in (1, 10, 3, 7, 2, 11, 5, 8)
]
TOTAL = 16
# Whose learned positions are among the slow ones.
FIRST = {"attention": "rotary", "rnn": "none"}


def make_model(block_types, sampler="greedy", **options):
    # A tied head prefers the token that it has just seen, and one of columns
    # of unequal length the token of the longest.
    options = {"tie_word_embeddings": False} | options
    if block_types in ("gru", "lstm", "rnn", "min_gru"):
        options["num_layers"] = 1
    model = ScratchCausalLM(tiny_backbone(block_types, **options))
    if not options["tie_word_embeddings"]:
        head = model.backbone.token_embedding.reverse_embeddings
        head.assign(2 * head / np.linalg.norm(head, axis=0))
    model.compile(sampler=sampler, jit_compile=False)
    return model


def last_logits(model):
    """A function from rows to the whole model's logits at their ends."""
    whole = tf.function(model)

    def function(rows):
        logits = whole(ragged_batch(rows, TOTAL)).numpy()
        return [
            logit[len(row) - 1] for logit, row in zip(logits, rows, strict=True)
        ]

    return function


def greedy_rows(model, prompts, total=TOTAL):
    """Rows grown to `total` by the likeliest token, without a cache."""
    logits_of, rows = last_logits(model), [list(row) for row in prompts]
    while any(len(row) < total for row in rows):
        for row, logits in zip(rows, logits_of(rows), strict=True):
            if len(row) < total:
                row.append(int(np.argmax(logits)))
    return np.array(rows)


def greedy_sampling(rows):
    return Sampling(
        temperature=np.zeros(rows, "float32"),
        top_k=np.zeros(rows, "int32"),
        top_p=np.ones(rows, "float32"),
        min_p=np.zeros(rows, "float32"),
        repetition_penalty=np.ones(rows, "float32"),
        key=np.zeros((rows, 2), "uint32"),
    )


def decoded(model, prompts, max_steps=TOTAL, stop_token_ids=(), width=12):
    """The state that `prefill` and `decode` end in."""
    lengths = np.array([len(row) for row in prompts], "int32")

    def run(token_ids, lengths):
        state = prefill(model, token_ids, lengths, TOTAL)
        sampling = greedy_sampling(len(prompts))
        stopped = ends_with(stop_token_ids)
        return decode(model, state, sampling, max_steps, stopped)

    token_ids = ragged_batch(prompts, width)["token_ids"]
    return compile_function(run, model)(
        keras.ops.convert_to_tensor(token_ids),
        keras.ops.convert_to_tensor(lengths),
    )


def check_both_ways(model):
    expected = greedy_rows(model, PROMPTS)
    new = np.arange(TOTAL) >= [[len(prompt)] for prompt in PROMPTS]
    assert len(set(expected[new])) > 4  # decisions, not one token repeated
    generated = model.generate(
        ragged_batch(PROMPTS, TOTAL), stop_token_ids=None
    )
    np.testing.assert_array_equal(generated["token_ids"], expected)
    state = decoded(model, PROMPTS)
    np.testing.assert_array_equal(state.token_ids, expected)
    np.testing.assert_array_equal(state.lengths, [TOTAL] * len(PROMPTS))
    assert np.all(state.finished)


@pytest.mark.parametrize(
    "block_types, position_embedding",
    [
        (block_types, position_embedding)
        if position_embedding == FIRST.get(str(block_types), "learned")
        else pytest.param(
            block_types, position_embedding, marks=pytest.mark.slow
        )
        for block_types in EVERY_TYPE
        for position_embedding in ("learned", "rotary", "none")
        # To a recurrent block, rotary positions are none.
        if "attention" in block_types or position_embedding != "rotary"
    ],
)
def test_cached_generation_equals_uncached(block_types, position_embedding):
    check_both_ways(
        make_model(block_types, position_embedding=position_embedding)
    )


@pytest.mark.parametrize(
    "options",
    [
        {"num_heads": 4, "num_key_value_heads": 1, "query_key_norm": True},
        {"sliding_window": 3, "normalization": "layer", "use_bias": True},
        {"tie_word_embeddings": True, "activation": "swiglu"},
        {
            "num_layers": 2,
            "head_dim": 12,
            "num_heads": 4,
            "num_key_value_heads": 2,
            "rotary_layers": [False, True],
            "sliding_window": 4,
            "sliding_window_layers": [True, False],
            "attention_bias": True,
            "attention_output_bias": False,
            "activation": "gelu_exact",
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ],
)
def test_cached_generation_equals_uncached_whatever_the_options(options):
    check_both_ways(make_model("attention", **options))


def beam_rows(model, prompts, num_beams):
    """KerasHub's beam search without a cache, one row and beam at a time.

    All rows grow from the end of the shortest prompt; where a longer prompt
    still goes on, its own token follows whatever beam was chosen.
    """
    logits_of = last_logits(model)
    start = min(map(len, prompts))
    answers = []
    for prompt in prompts:
        beams = [(0.0, prompt[:start])]
        for index in range(start, TOTAL):
            candidates = []
            logits = logits_of([tokens for _, tokens in beams])
            for (score, tokens), logit in zip(beams, logits, strict=True):
                logit = logit.astype("float64")
                for token, log_probability in enumerate(
                    logit - np.log(np.sum(np.exp(logit)))
                ):
                    candidates.append((score + log_probability, tokens, token))
            candidates.sort(key=lambda candidate: -candidate[0])
            beams = []
            for score, tokens, token in candidates[:num_beams]:
                if index < len(prompt):
                    token = prompt[index]
                beams.append((score, tokens + [token]))
        answers.append(max(beams, key=lambda beam: beam[0])[1])
    return np.array(answers)


@pytest.mark.parametrize(
    "block_types",
    slow_but(EVERY_TYPE, ["gru", "attention"]),
)
def test_cached_beam_search_equals_uncached(block_types):
    sampler = keras_hub.samplers.BeamSampler(num_beams=3)
    model = make_model(block_types, sampler)
    expected = beam_rows(model, PROMPTS, num_beams=3)
    assert np.any(expected != greedy_rows(model, PROMPTS))
    generated = model.generate(
        ragged_batch(PROMPTS, TOTAL), stop_token_ids=None
    )
    np.testing.assert_array_equal(generated["token_ids"], expected)


def test_a_row_ends_with_its_stop_token():
    model = make_model(["gru", "attention"])
    rows = greedy_rows(model, PROMPTS)
    stop = int(rows[0, 4])  # the first row's fourth new token
    ends = []
    for row, prompt in zip(rows, PROMPTS, strict=True):
        new = row[len(prompt) :].tolist()
        ends.append(len(prompt) + new.index(stop) + 1 if stop in new else TOTAL)
    assert min(ends) < TOTAL
    state = decoded(model, PROMPTS, stop_token_ids=[stop])
    np.testing.assert_array_equal(state.lengths, ends)
    generated = model.generate(
        ragged_batch(PROMPTS, TOTAL), stop_token_ids=[stop]
    )
    np.testing.assert_array_equal(generated["padding_mask"].sum(1), ends)
    for row, end in enumerate(ends):
        np.testing.assert_array_equal(
            state.token_ids[row, :end], rows[row, :end]
        )
        assert not np.any(state.token_ids[row, end:])
        np.testing.assert_array_equal(
            generated["token_ids"][row, :end], rows[row, :end]
        )


def test_a_stop_token_in_the_prompt_ends_nothing():
    model = make_model("attention")
    stop = PROMPTS[1][2]
    rows = greedy_rows(model, PROMPTS[1:2])
    generated = model.generate(
        ragged_batch(PROMPTS[1:2], TOTAL), stop_token_ids=[stop]
    )
    new = rows[0, len(PROMPTS[1]) :].tolist()
    end = len(PROMPTS[1]) + (new + [stop]).index(stop) + 1
    assert generated["padding_mask"].sum() == min(end, TOTAL) > 3


def test_decoding_in_parts_equals_decoding_at_once():
    model = make_model(["lstm", "attention"])
    whole = decoded(model, PROMPTS)
    state = decoded(model, PROMPTS, max_steps=3)
    np.testing.assert_array_equal(
        state.lengths, [len(row) + 3 for row in PROMPTS]
    )
    np.testing.assert_array_equal(state.steps, [3] * len(PROMPTS))
    more = compile_function(
        lambda state: decode(
            model,
            state,
            greedy_sampling(len(PROMPTS)),
            TOTAL,
            ends_with(()),
        ),
        model,
    )
    np.testing.assert_array_equal(more(state).token_ids, whole.token_ids)


@pytest.mark.parametrize("block_types", [["gru", "attention"]], ids=str)
def test_the_width_that_prompts_are_padded_to_does_not_matter(block_types):
    model = make_model(block_types)
    narrow = decoded(model, PROMPTS, width=11)
    np.testing.assert_array_equal(
        decoded(model, PROMPTS, width=TOTAL).token_ids, narrow.token_ids
    )
