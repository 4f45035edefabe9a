"""Answers against references, with figures published or worked out by hand."""

import math
import sys

import pytest
from stock_models import stock_model
from taught import FACTS, taught_model
from testing import tiny_model

from keras_llm.errors import InputError
from keras_llm.evaluation.pairs import Pair
from keras_llm.evaluation.questions import prompt_of
from keras_llm.evaluation.references import (
    answer_prompts,
    compare,
    evaluate_references,
)
from keras_llm.evaluation.truncation import TruncatingGenerator
from keras_llm.recipes.settings import GenerationSettings

PROMPTS = [prompt_of(fact.prompt) for fact in FACTS]


def test_bleu_by_the_formula_of_its_paper():
    # 4/5, 3/4, 2/3 and 1/2 of one to four words in a row are right.
    scores = compare(["a b c d e"], ["a b c d f"])
    assert scores.bleu == pytest.approx(
        100 * (4 / 5 * 3 / 4 * 2 / 3 / 2) ** 0.25
    )
    # All are right, but a word of five is missing.
    scores = compare(["a b c d"], ["a b c d e"])
    assert scores.bleu == pytest.approx(100 * math.exp(1 - 5 / 4))
    assert "tok:13a" in scores.bleu_signature


@pytest.mark.parametrize(
    ("answers", "references", "expected"),
    [  # what sacrebleu's own tests say
        (["a b c"], ["abc"], 100.0),
        (["a", "b"], ["a", "c"], 50.0),
        (["aa"], ["ab"], 25.0),
        (["abcdefg"], ["hijklmnop"], 0.0),
    ],
)
def test_chrf_as_published(answers, references, expected):
    scores = compare(answers, references)
    assert scores.chrf == pytest.approx(expected, abs=1e-4)


def test_rouge_as_published():
    # What rouge-score's own tests say, and the mean over two answers.
    scores = compare(["testing one", "testing"], ["testing one two"] * 2)
    assert scores.rouge1 == pytest.approx((4 / 5 + 1 / 2) / 2)
    assert scores.rouge2 == pytest.approx((2 / 3 + 0) / 2)
    assert scores.rouge_l == pytest.approx((4 / 5 + 1 / 2) / 2)
    scores = compare(["Testing, two!"], ["testing one two"])
    assert scores.rouge_l == pytest.approx(4 / 5)


def test_rouge_knows_other_letters_than_english_ones():
    scores = compare(["où est l'été ?"], ["Où est l'hiver ?"])
    assert scores.rouge1 == pytest.approx(3 / 4)
    assert compare(["звёзды"], ["звёзды над морем"]).rouge1 == 0.5
    assert compare(["звёзды"], ["море"]).rouge1 == 0


def test_answers_of_a_model_that_knows_them():
    pairs = [
        Pair(prompt, fact.completion)
        for prompt, fact in zip(PROMPTS, FACTS, strict=True)
    ]
    pairs += [Pair(PROMPTS[0], "Nobody.")]
    model = taught_model()
    scores, rows = evaluate_references(model, pairs, 30, ["\n"], 2)
    said = [row["answer"] for row in rows]
    assert said == [fact.completion for fact in FACTS] + [FACTS[0].completion]
    assert rows[-1] == {
        "prompt": PROMPTS[0],
        "completion": "Nobody.",
        "answer": FACTS[0].completion,
    }
    assert scores["exact_match"] == 0.75
    assert scores["num_answers"] == 4
    assert scores["truncated_prompts"] == 0
    assert 50 < scores["chrf"] < 100


def test_prompts_without_room_lose_their_beginning():
    model = taught_model()
    long = "Nothing to see here. " * 20
    answers, truncated = answer_prompts(
        model, [PROMPTS[0], f"{long}\n\n{PROMPTS[1]}"], 30, ["\n"]
    )
    assert truncated == 1
    assert answers[0] == FACTS[0].completion
    again, _ = answer_prompts(model, [PROMPTS[0]], 30, ["\n"], batch_size=1)
    assert again == answers[:1]


def test_what_cannot_be_compared_is_refused(monkeypatch):
    with pytest.raises(InputError, match="Received: 1 and 2"):
        compare(["a"], ["a", "b"])
    with pytest.raises(InputError, match="Received: 0 and 0"):
        compare([], [])
    model, pairs = tiny_model(), [Pair("a", "b")]
    with pytest.raises(InputError, match="below 64, the model's context"):
        evaluate_references(model, pairs, max_new_tokens=64)
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        evaluate_references(model, pairs, batch_size=0)
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        evaluate_references(model, pairs, batch_size=0, chat=True)
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(InputError, match=r"install 'keras-llm\[metrics\]'"):
        evaluate_references(model, pairs)


def test_what_the_preprocessor_packs_may_be_less_than_the_context():
    model = stock_model("GPT2")
    model.preprocessor.sequence_length = 24
    generator = TruncatingGenerator(model)
    settings = GenerationSettings(max_new_tokens=4, temperature=0.0)
    assert len(generator.encode_prompt("the people of " * 20)) == 23
    [answer] = generator.generate_batches(["the people " * 20], settings, 1)
    assert isinstance(answer, str) and generator.truncated == 2
