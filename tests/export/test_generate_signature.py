"""What `generate` answers: per-row settings, stops, unusual requests."""

import math

import pytest
from served import (
    CONTEXT,
    DEFAULTS,
    expected,
)

NAN, INFINITE = math.nan, math.inf
PROMPTS = ["the people of", "", "war", " the\n", "é 😀"]


def test_signatures_are_those_of_the_design(served):
    specs = {}
    for name, function in served.model.signatures.items():
        _, inputs = function.structured_input_signature
        specs[name] = (_specs(inputs), _specs(function.structured_outputs))
    row = (None,)
    settings = {
        "max_new_tokens": ("int32", row),
        "temperature": ("float32", row),
        "top_k": ("int32", row),
        "top_p": ("float32", row),
        "repetition_penalty": ("float32", row),
        "seed": ("int64", row),
    }
    answers = {
        "text": ("string", row),
        "num_tokens": ("int32", row),
        "finish_reason": ("string", row),
        "prompt_truncated": ("bool", row),
    }
    assert specs == {
        "serving_default": (
            {"prompt": ("string", row)},
            {"text": ("string", row)},
        ),
        "generate": ({"prompt": ("string", row)} | settings, answers),
        "chat": ({"turns": ("string", (None, None))} | settings, answers),
        "score": (
            {"text": ("string", row)},
            {
                "log_likelihood": ("float32", row),
                "num_tokens": ("int32", row),
                "perplexity": ("float32", row),
                "truncated": ("bool", row),
            },
        ),
        "tokenize": (
            {"text": ("string", row)},
            {
                "token_ids": ("int32", (None, None)),
                "lengths": ("int32", row),
                "truncated": ("bool", row),
            },
        ),
    }


def _specs(specs):
    return {
        name: (spec.dtype.name, tuple(spec.shape))
        for name, spec in specs.items()
    }


def test_each_row_has_its_own_settings(served, generator):
    rows = [
        {},
        {"temperature": 1.5, "seed": 3},
        {"temperature": 1.5, "seed": -(2**40)},
        {"temperature": 2.0, "top_k": 5, "seed": 1},
        {"temperature": 2.0, "top_p": 0.5, "max_new_tokens": 3},
        {"temperature": 1.0, "repetition_penalty": 1.4, "seed": 2**62},
        {"repetition_penalty": 3.0, "max_new_tokens": 7},
    ]
    names = sorted({name for row in rows for name in row})
    columns = {name: [] for name in names}
    answers = {}
    for row in rows:
        settings = {"max_new_tokens": 16, "temperature": 0.0} | row
        for name in names:
            default = {"top_p": 1.0, "repetition_penalty": 1.0}.get(name, 0)
            columns[name].append(settings.get(name, default))
        seed = settings.pop("seed", 0)
        alone = expected(generator, ["the war"], [seed], **settings)
        for name, value in alone.items():
            answers.setdefault(name, []).extend(value)
    assert served.generate(["the war"] * len(rows), **columns) == answers
    assert len(set(answers["text"])) == len(rows)


# Of a request, what it means.
UNUSUAL = [
    ({"max_new_tokens": -1}, {"max_new_tokens": 0}),
    ({"max_new_tokens": -(2**31)}, {"max_new_tokens": 0}),
    ({"max_new_tokens": 2**31 - 1}, {"max_new_tokens": CONTEXT}),
    ({"temperature": NAN}, {"temperature": 0.0}),
    ({"temperature": -1.0}, {"temperature": 0.0}),
    ({"temperature": -INFINITE}, {"temperature": 0.0}),
    ({"temperature": 1e-30}, {"temperature": 0.0}),
    ({"temperature": 1.0, "top_p": 0.0}, {"temperature": 0.0}),
    ({"temperature": 1.0, "top_p": -1.0}, {"temperature": 0.0}),
    ({"temperature": 1.0, "top_p": NAN}, {"temperature": 1.0}),
    ({"temperature": 1.0, "top_p": INFINITE}, {"temperature": 1.0}),
    ({"temperature": 1.0, "top_k": -5}, {"temperature": 1.0}),
    ({"temperature": 1.0, "top_k": 2**31 - 1}, {"temperature": 1.0}),
    ({"repetition_penalty": 0.0}, {}),
    ({"repetition_penalty": -2.0}, {}),
    ({"repetition_penalty": NAN}, {}),
    ({"repetition_penalty": INFINITE}, {}),
    ({"repetition_penalty": 1e-30}, {"repetition_penalty": 0.01}),
    ({"repetition_penalty": 1e30}, {"repetition_penalty": 100.0}),
]


@pytest.mark.parametrize("request_, meaning", UNUSUAL, ids=str)
def test_unusual_settings_have_a_meaning(request_, meaning, served):
    before = served.generate(["war"])
    # Beside a usual row, which it must not change.
    mixed = {name: [value, DEFAULTS[name]] for name, value in request_.items()}
    answers = served.generate(["the people", "war"], **mixed)
    meant = served.generate(["the people"], **meaning)
    assert {name: rows[:1] for name, rows in answers.items()} == meant
    assert {name: rows[1:] for name, rows in answers.items()} == before
    assert served.generate(["war"]) == before


def test_an_infinite_temperature_forgets_the_model(served):
    texts = served.generate(
        ["war"] * 400,
        temperature=INFINITE,
        max_new_tokens=1,
        seed=list(range(400)),
    )["text"]
    assert len(set(texts)) > 100  # of 360 tokens, half of them parts of one
