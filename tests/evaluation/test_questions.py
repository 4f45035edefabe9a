"""Questions put to a model, after examples or none."""

import numpy as np
import pytest
import row_by_row
from taught import FACTS, taught_model
from testing import tiny_model

from keras_llm.errors import InputError
from keras_llm.evaluation.encoding import TextEncoder
from keras_llm.evaluation.pairs import Pair
from keras_llm.evaluation.questions import ask, prompt_of

CHOICES = [fact.completion for fact in FACTS]


def test_the_prompt_has_instruction_shots_and_question_in_turn():
    prompt = prompt_of(" 2 + 2? ", [("1 + 1?", "2\n")], "Calculate.\n")
    assert prompt == (
        "Calculate.\n\nQuestion: 1 + 1?\nAnswer: 2\n\nQuestion: 2 + 2?\nAnswer:"
    )
    assert prompt_of("Why?") == "Question: Why?\nAnswer:"


@pytest.mark.slow  # test_evaluation_commands.py asks, too
def test_what_was_learned_is_chosen_and_said():
    fact = FACTS[0]
    model = taught_model()
    chosen = ask(model, fact.prompt, choices=CHOICES)
    assert chosen.answer == fact.completion
    said = ask(model, fact.prompt)
    # It goes on with another question, which is no part of the answer.
    assert said.answer == fact.completion
    assert said.choices == ()


def test_probabilities_are_those_of_the_model():
    model = tiny_model(["gru", "attention"])
    choices = ["the sea", "an owl, or two", "über"]
    answer = ask(model, "Who?", [], choices)
    encoder = TextEncoder(model)
    before = encoder.encode([answer.prompt])[0]
    nats = []
    for choice in choices:
        ids = encoder.encode([f"{answer.prompt} {choice}"])[0][len(before) :]
        nats.append(row_by_row.scored(model, 64, before, ids)[0])
    found = [choice.log_likelihood for choice in answer.choices]
    np.testing.assert_allclose(found, nats, atol=1e-4)
    odds = np.exp(np.array(nats) - max(nats))
    np.testing.assert_allclose(
        [choice.probability for choice in answer.choices],
        odds / odds.sum(),
        atol=1e-4,
    )
    sizes = [7, 14, 5]
    np.testing.assert_allclose(
        [choice.log_likelihood_per_byte for choice in answer.choices],
        np.array(nats) / sizes,
        atol=1e-4,
    )
    assert answer.answer == choices[int(np.argmax(nats))]


def test_shots_change_what_is_answered():
    model = tiny_model(max_sequence_length=128)
    without = ask(model, "Who?", choices=["a", "b"])
    shots = [Pair("What?", "b"), Pair("How?", "b")]
    after = ask(model, "Who?", shots, ["a", "b"], "Say a or b.")
    assert after.prompt.endswith(without.prompt)
    assert after.choices != without.choices


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"question": " "}, "must have some text"),
        ({"choices": ["a", " "]}, "each given once. Received: 'a', ' '"),
        ({"choices": ["a", "a "]}, "each given once"),
        (
            {"shots": [("what?", "that")] * 9, "choices": ["a"]},
            r"have \d+ tokens; the model's context holds 64. Pass fewer",
        ),
        ({"shots": [("what?", "that")] * 9}, "context holds 64"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments, expected):
    with pytest.raises(InputError, match=expected):
        ask(tiny_model(), **{"question": "Who?"} | arguments)
