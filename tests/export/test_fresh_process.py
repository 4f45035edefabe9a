"""SavedModels answer in a process that has no Keras, as they do in this one."""

import pytest
from fresh_process import answers_without_keras
from served import GREEDY, generate_inputs, mixed_model, serve
from stock_classifiers import stock_classifier
from stock_models import stock_model

PROMPTS = ["the people", "", "日本", "\t\n ", "<|user|> war"]
INPUTS = generate_inputs(
    PROMPTS,
    temperature=[0.0, 0.5, 1.0, 1.5, 2.0],
    repetition_penalty=1.2,
    seed=[0, 1, -1, 2**40, -(2**62)],
    max_new_tokens=8,
)
SETTINGS = {name: rows for name, rows in INPUTS.items() if name != "prompt"}
REQUESTS = [
    ("serving_default", {"prompt": PROMPTS}),
    ("generate", INPUTS),
    (
        "chat",
        {
            "turns": [[prompt, "", ""] for prompt in PROMPTS],
            **SETTINGS,
        },
    ),
    ("score", {"text": PROMPTS}),
    ("tokenize", {"text": PROMPTS}),
]


def byte_pairs():
    return stock_model("GPT2")


def sentence_pieces():
    return stock_model("Llama")


@pytest.mark.parametrize(
    "make",
    [
        mixed_model,
        pytest.param(byte_pairs, marks=pytest.mark.slow),
        pytest.param(sentence_pieces, marks=pytest.mark.slow),
    ],
)
def test_all_signatures(make):
    here = serve(make(), GREEDY)
    # KerasHub's own have no chat template.
    given = [each for each in REQUESTS if each[0] in here.model.signatures]
    assert len(given) == len(here.model.signatures) >= 4
    assert make is not mixed_model or len(given) == 5
    expected = [here.call(name, **inputs) for name, inputs in given]
    assert answers_without_keras(here.folder, given) == expected
    assert any(expected[0]["text"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Bert", "Roberta", "DebertaV3"])
def test_classifiers(name):
    requests = [
        (signature, {"text": PROMPTS})
        for signature in ("serving_default", "classify")
    ]
    here = serve(stock_classifier(name))
    expected = [here.call(name, **inputs) for name, inputs in requests]
    assert answers_without_keras(here.folder, requests) == expected
