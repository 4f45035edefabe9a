"""Asks a model a question: none, some or many examples, choices or none."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import keras_hub

from keras_llm.errors import InputError
from keras_llm.evaluation.likelihood import LikelihoodScorer
from keras_llm.generation import TextGenerator
from keras_llm.recipes.settings import GenerationSettings

QUESTION, ANSWER = "Question:", "Answer:"
MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class Choice:
    """What a model thinks of one of the answers it may give.

    Args:
        text: The answer.
        log_likelihood: Of the whole answer, in nats.
        log_likelihood_per_byte: The same over its bytes of UTF-8, so that
            long answers are not at a disadvantage.
        probability: That it is this one, if it must be one of the choices:
            the softmax of `log_likelihood`.
    """

    text: str
    log_likelihood: float
    log_likelihood_per_byte: float
    probability: float


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    Args:
        answer: The choice with the highest `log_likelihood`, or generated
            text.
        prompt: What the model read.
        choices: In the order they were given; empty if text was generated.
    """

    answer: str
    prompt: str
    choices: tuple[Choice, ...] = ()

    def to_dict(self) -> dict:
        return asdict(self)


def ask(
    model: keras_hub.models.CausalLM,
    question: str,
    shots: Sequence[tuple[str, str]] = (),
    choices: Sequence[str] = (),
    instruction: str = "",
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Answer:
    """The model's answer to a question (Brown et al. 2020, few-shot).

    Args:
        model: The model, with its preprocessor.
        question: What is asked.
        shots: Questions with their answers that stand before it (Brown et
            al. 2020, https://arxiv.org/abs/2005.14165).
        choices: The answers that it may give. The likeliest is chosen; with
            none, an answer is generated, up to the end of its line.
        instruction: What stands before all of it.
        max_new_tokens: The most tokens to generate.

    Raises:
        InputError: An empty question or choice, a choice given twice, or more
            text than the model's context holds.

    Example:
        >>> ask(model, "I loved it.", choices=["good", "bad"]).answer
        'good'
    """
    if not question.strip():
        raise InputError("A question must have some text. Received: none")
    prompt = prompt_of(question, shots, instruction)
    if choices:
        return _choose(model, prompt, choices)
    settings = GenerationSettings(
        sampler="greedy",
        max_new_tokens=max_new_tokens,
        stop=["\n", QUESTION],
    )
    generated = TextGenerator(model).generate([prompt], settings)[0]
    return Answer(generated.text.strip(), prompt)


def prompt_of(
    question: str, shots: Sequence[tuple[str, str]] = (), instruction: str = ""
) -> str:
    """The text that a model completes with an answer.

    Example:
        >>> print(prompt_of("2 + 2?", [("1 + 1?", "2")], "Calculate."))
        Calculate.

        Question: 1 + 1?
        Answer: 2

        Question: 2 + 2?
        Answer:
    """
    parts = [instruction.strip()] if instruction.strip() else []
    parts += [
        f"{QUESTION} {asked.strip()}\n{ANSWER} {answer.strip()}"
        for asked, answer in shots
    ]
    parts.append(f"{QUESTION} {question.strip()}\n{ANSWER}")
    return "\n\n".join(parts)


def _choose(model, prompt: str, choices: Sequence[str]) -> Answer:
    texts = [choice.strip() for choice in choices]
    if not all(texts) or len({*texts}) < len(texts):
        raise InputError(
            "choices must be texts that are not empty, each given once. "
            f"Received: {', '.join(map(repr, choices))}"
        )
    scorer = LikelihoodScorer(model)
    rows = scorer.encoder.encode_pairs([(prompt, f" {it}") for it in texts])
    longest = max(len(before) + len(scored) for before, scored in rows)
    if longest > scorer.max_length:
        raise InputError(
            f"The prompt and a choice have {longest} tokens; the model's "
            f"context holds {scorer.max_length}. Pass fewer or shorter shots."
        )
    nats = [each.log_likelihood for each in scorer.score_tokens(rows)]
    highest = max(nats)
    odds = [math.exp(each - highest) for each in nats]
    found = tuple(
        Choice(text, each, each / len(text.encode()), odd / sum(odds))
        for text, each, odd in zip(texts, nats, odds, strict=True)
    )
    return Answer(texts[nats.index(highest)], prompt, found)
