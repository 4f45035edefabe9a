"""Requests that nobody should send: an answer each, and the next is fine."""

import math

import pytest
import tensorflow as tf
from served import DEFAULTS, GREEDY, generate_inputs, mixed_model, serve
from stock_models import stock_model
from testing import slow_but

CONTEXT = 48  # the most of all of them
MEGABYTE = 2**20
TWO_BYTES = "é" * (MEGABYTE // 2)  # a character


@pytest.fixture(
    scope="module",
    params=[
        "ours",
        pytest.param("GPT2", marks=pytest.mark.slow),
        pytest.param("Gemma3", marks=pytest.mark.slow),
    ],
)
def served(request):
    if request.param == "ours":
        return serve(mixed_model(), GREEDY)
    return serve(stock_model(request.param), GREEDY)


def row_of(answers, row):
    return {name: rows[row] for name, rows in answers.items()}


def check_beside_a_usual_row(served, prompt, **settings):
    """The answer of `generate`: alone as in company, which it leaves as is."""
    before = served.generate(["war"])
    mixed = {name: [value, DEFAULTS[name]] for name, value in settings.items()}
    both = served.generate([prompt, "war"], **mixed)
    alone = served.generate([prompt], **settings)
    assert row_of(both, 0) == row_of(alone, 0)
    assert row_of(both, 1) == row_of(before, 0)
    assert served.generate(["war"]) == before
    return row_of(alone, 0)


@pytest.mark.parametrize(
    "prompt",
    ["", "\0", " ", "\n" * 9, "\ufeff", "\U0010ffff", "<|endoftext|>", "</s>"],
    ids=ascii,
)
def test_strange_prompts(prompt, served):
    answer = check_beside_a_usual_row(served, prompt)
    assert 0 < answer["num_tokens"] <= 16 and not answer["prompt_truncated"]
    war = served.generate(["war"])["text"][0]
    assert served.answer([prompt, "war"]) == [answer["text"], war]


@pytest.mark.parametrize(
    "prompt",
    slow_but(
        ["the war " * (MEGABYTE // 8), "a" * MEGABYTE, TWO_BYTES], TWO_BYTES
    ),
    ids=["words", "a", "é"],
)
def test_a_megabyte_keeps_its_end(prompt, served):
    answer = check_beside_a_usual_row(served, prompt)
    assert answer["prompt_truncated"] and answer["num_tokens"] > 0
    short = served.generate(["?" + prompt[-4 * CONTEXT :]])
    assert row_of(short, 0) == answer
    assert served.answer([prompt])[0] == answer["text"]


def test_a_megabyte_is_bounded_and_leaves_its_neighbours_as_they_are(served):
    megabyte = "the war " * (MEGABYTE // 8)
    for ask in (served.score, served.tokenize):
        both, alone = ask([megabyte, "war"]), ask(["war"])
        assert both["truncated"] == [True, False]
        for name in alone.keys() - {"token_ids"}:
            assert both[name][1] == pytest.approx(alone[name][0], rel=1e-6)
    tokens = served.tokenize([megabyte, "war"])
    assert tokens["lengths"][0] == len(tokens["token_ids"][1]) == 1024
    assert served.score([megabyte])["num_tokens"][0] in (1023, 1024)


@pytest.mark.parametrize(
    "prompt",
    [b"the\xff", b"\xc3", b"\xed\xa0\x80", b"a\xf0\x9f\x98"],
    ids=ascii,
)
def test_invalid_bytes_are_replacement_characters(prompt, served):
    text = tf.strings.unicode_transcode(prompt, "UTF-8", "UTF-8").numpy()
    assert "\ufffd" in text.decode() and text != prompt
    assert check_beside_a_usual_row(served, prompt) == row_of(
        served.generate([text]), 0
    )
    assert served.answer([prompt]) == served.answer([text])
    assert served.tokenize([prompt]) == served.tokenize([text])
    assert served.score([prompt]) == served.score([text])


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": -1},
        {"max_new_tokens": 2**31 - 1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": 1.0, "top_p": 0.0},
        {"temperature": 1.0, "top_k": 2**31 - 1},
        {"temperature": 1.0, "top_k": -(2**31), "seed": -(2**63)},
        {"repetition_penalty": math.nan},
    ],
    ids=str,
)
def test_strange_settings(settings, served):
    answer = check_beside_a_usual_row(served, "the people", **settings)
    asked = settings.get("max_new_tokens", 16)
    assert (answer["num_tokens"] > 0) == (asked > 0)
    assert answer["num_tokens"] < CONTEXT


def test_a_batch_of_no_rows(served):
    before = served.generate(["war"])
    assert served.answer([]) == []
    assert served.generate([]) == {name: [] for name in before}
    tokens, score = served.tokenize([]), served.score([])
    assert {*tokens} == {"token_ids", "lengths", "truncated"}
    assert {*score} == {
        "log_likelihood",
        "num_tokens",
        "perplexity",
        "truncated",
    }
    assert not any([*tokens.values(), *score.values()])
    assert served.generate(["war"]) == before


@pytest.mark.parametrize("field", sorted(DEFAULTS))
def test_a_field_with_other_rows_is_named(field, served):
    before = served.generate(["war"])
    inputs = generate_inputs(["war", "the"], **{field: [1, 1, 1]})
    with pytest.raises(tf.errors.InvalidArgumentError, match=field):
        served.call("generate", **inputs)
    assert served.generate(["war"]) == before
