"""Answers to held-out conversations, and whether they end by themselves."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from keras_llm.evaluation.by_length import in_batches
from keras_llm.generation import Generation, TextGenerator
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers.messages import Messages

BATCH_SIZE = 16


@dataclass(frozen=True)
class AnswerScores:
    """What a model's answers are like.

    Args:
        num_answers: How many there are.
        stopped: Share of them that ended by themselves, in [0, 1].
        exact_match: Share equal to the answer wanted, but for space around
            them, in [0, 1].
        mean_tokens: Tokens an answer.
    """

    num_answers: int
    stopped: float
    exact_match: float
    mean_tokens: float

    def to_dict(self) -> dict:
        return asdict(self)


def answer_conversations(
    generator: TextGenerator,
    conversations: Sequence[Messages],
    settings: GenerationSettings | None = None,
    batch_size: int = BATCH_SIZE,
) -> list[Generation]:
    """The likeliest next message of each conversation.

    Args:
        generator: Of the model, with its chat template.
        conversations: Each ends with the user's message.
        settings: How long answers may be, and what ends them.
        batch_size: Conversations at once, those of like length together.

    Raises:
        InputError: A conversation that is none, or longer than the context,
            or a `batch_size` below 1.
    """
    greedy = replace(settings or GenerationSettings(), sampler="greedy")
    return in_batches(
        lambda batch: generator.chat_batch(batch, greedy),
        conversations,
        batch_size,
        lambda messages: sum(len(each["content"]) for each in messages),
    )


def score_answers(
    answers: Sequence[Generation], wanted: Sequence[str]
) -> AnswerScores:
    """What answers are like, beside the ones wanted; at least one of each."""
    count = len(answers)
    pairs = list(zip(answers, wanted, strict=True))
    return AnswerScores(
        num_answers=count,
        stopped=sum(a.finish_reason == "stop" for a in answers) / count,
        exact_match=sum(a.text.strip() == w.strip() for a, w in pairs) / count,
        mean_tokens=sum(answer.num_tokens for answer in answers) / count,
    )
