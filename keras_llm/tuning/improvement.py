"""Whether corrections have made a model better, and where it got worse."""

import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras_hub

from keras_llm import pages
from keras_llm.datasets.examples import AnswerBatches, Examples
from keras_llm.datasets.shapes import Messages
from keras_llm.errors import InputError
from keras_llm.evaluation import Evaluator
from keras_llm.evaluation.conversations import answer_conversations
from keras_llm.generation import TextGenerator
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers.chat_templates import ChatTemplate
from keras_llm.tuning.feedback import Event

PAGE = "report.html"
# They are few, and of other facts than those that are learned: they need not
# become likelier, but what was learned must not have been bought with them.
MAX_HELD_BACK_RISE = 0.1
# Near 0 a loss is soon many times what it was, and answers stay as they were:
# in nats per token, 1% of perplexity.
NO_RISE = 0.01


@dataclass(frozen=True)
class Judgement:
    """What a model makes of corrections, and of everything else.

    Args:
        general_loss: On the answers of general conversations that were held
            out, in nats per token.
        held_back_loss: The same on the corrections that were held back, if
            any were.
        answers: To the question of each correction.
        right: Of each, whether it says what the correction does.
    """

    general_loss: float
    held_back_loss: float | None
    answers: list[str]
    right: list[bool]


def judge(
    model: keras_hub.models.CausalLM,
    template: ChatTemplate,
    data: Path,
    corrections: Sequence[Event],
    settings: GenerationSettings,
    batch_size: int,
) -> Judgement:
    """Judges a model.

    Args:
        model: The model.
        template: How questions are put to it.
        data: Examples: of general conversations in `validation`, of
            corrections that were held back in `test`.
        corrections: All of them; each has an answer that is good.
        settings: How long answers may be.
        batch_size: Examples at once.
    """
    if not (data / "validation").is_dir():
        raise InputError(
            "Of the general conversations that were held out none fits the "
            "model's context. Pass others with --general."
        )
    evaluator = Evaluator(model)

    def loss(split: str) -> float | None:
        if not (data / split).is_dir():
            return None
        batches = AnswerBatches(Examples(data / split), batch_size)
        return evaluator.evaluate(batches).loss

    answers = answer_conversations(
        TextGenerator(model, template),
        [event.messages() for event in corrections],
        settings,
    )
    texts = [answer.text.strip() for answer in answers]
    pairs = zip(texts, corrections, strict=True)
    return Judgement(
        general_loss=loss("validation"),
        held_back_loss=loss("test"),
        answers=texts,
        right=[says_the_same(text, event.good_answer) for text, event in pairs],
    )


def says_the_same(answer: str, wanted: str) -> bool:
    """Whether two texts are equal but for case, punctuation and spaces."""
    first, second = (re.findall(r"\w+", t.casefold()) for t in (answer, wanted))
    return first == second


def objections(
    before: Judgement, after: Judgement, max_loss_rise: float
) -> list[str]:
    """Why a tuned model is no better; empty if it is.

    Args:
        before: Of the model as it was.
        after: Of the tuned one.
        max_loss_rise: By which share the loss on general conversations may
            rise. By `NO_RISE` it always may.
    """
    found = _rise(
        "general conversations",
        before.general_loss,
        after.general_loss,
        max_loss_rise,
    )
    if sum(after.right) <= sum(before.right):
        found.append(
            f"{sum(after.right)} of {len(after.right)} corrections are "
            f"answered as corrected, and {sum(before.right)} were before."
        )
    if after.held_back_loss:
        found += _rise(
            "the corrections that were held back",
            before.held_back_loss,
            after.held_back_loss,
            MAX_HELD_BACK_RISE,
        )
    return found


def _rise(of: str, before: float, after: float, share: float) -> list[str]:
    """What is to be said of a loss that rose by more than a share of it."""
    if after - before <= max(NO_RISE, share * before):
        return []
    return [
        f"The loss on {of} rose from {before:.4f} to {after:.4f}; a rise by "
        f"{share:.1%} is allowed, or by {NO_RISE}."
    ]


def divide(
    corrections: Sequence[Event], share: float, seed: int
) -> tuple[list[Event], list[Event]]:
    """Corrections to learn, and those that are held back.

    At least one of several is held back, and at least one learned.
    """
    shuffled = list(corrections)
    random.Random(seed).shuffle(shuffled)
    count = max(1, round(share * len(shuffled))) if share else 0
    count = min(count, len(shuffled) - 1)
    return shuffled[count:], shuffled[:count]


def replayed(
    general: Sequence[Messages], corrections: int, share: float, seed: int
) -> list[Messages]:
    """General conversations to learn beside so many corrections.

    Args:
        share: Of all that is learned, in [0, 1).
    """
    count = min(len(general), round(corrections * share / (1 - share)))
    return random.Random(seed).sample(list(general), count)


def write_page(
    path: Path,
    corrections: Sequence[Event],
    held_back: Sequence[Event],
    before: Judgement,
    after: Judgement,
    verdict: dict[str, Any],
) -> None:
    """Writes a page with question, old answer, correction and new answer."""
    rows = [
        {
            "question": event.messages()[-1]["content"],
            "old": old,
            "correction": event.good_answer,
            "new": new,
            "right": right,
            "held_back": event in held_back,
        }
        for event, old, new, right in zip(
            corrections, before.answers, after.answers, after.right, strict=True
        )
    ]
    pages.write_page(
        path,
        Path(__file__).with_name("improvement.html.jinja"),
        rows=rows,
        before=asdict(before),
        after=asdict(after),
        **verdict,
    )
