"""Answers to held-out prompts, compared with the answers wanted.

For summaries, translations, and any other text of which there may be several
that are right.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras_hub

from keras_llm.errors import InputError
from keras_llm.evaluation.conversations import answer_conversations
from keras_llm.evaluation.pairs import Pair
from keras_llm.evaluation.truncation import TruncatingGenerator
from keras_llm.generation import TextGenerator
from keras_llm.recipes.checks import check
from keras_llm.recipes.settings import GenerationSettings

BATCH_SIZE = 16
MAX_NEW_TOKENS = 128


@dataclass(frozen=True)
class ReferenceScores:
    """How close answers are to the ones wanted.

    Args:
        exact_match: Share of answers equal to the reference, but for space
            around them, in [0, 1].
        bleu: Papineni et al. 2002, https://aclanthology.org/P02-1040, of the
            whole set, in [0, 100], by sacrebleu.
        chrf: Popović 2015, https://aclanthology.org/W15-3049, the same.
        rouge1, rouge2, rouge_l: Lin 2004, https://aclanthology.org/W04-1013,
            F-measure, mean over answers, in [0, 1], by rouge-score.
        num_answers: How many were compared.
        bleu_signature, chrf_signature: What sacrebleu asks to be reported
            beside the figures: version and settings.
    """

    exact_match: float
    bleu: float
    chrf: float
    rouge1: float
    rouge2: float
    rouge_l: float
    num_answers: int
    bleu_signature: str
    chrf_signature: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def answer_prompts(
    model: keras_hub.models.CausalLM,
    prompts: Sequence[str],
    max_new_tokens: int,
    stop: Sequence[str] = (),
    batch_size: int = BATCH_SIZE,
) -> tuple[list[str], int]:
    """Answers each prompt with the likeliest tokens.

    Args:
        model: The model, with its preprocessor.
        prompts: What is to be answered, as it is.
        max_new_tokens: The most tokens of an answer. A prompt that leaves no
            room for them loses its beginning.
        stop: Strings that end an answer.
        batch_size: Prompts at once.

    Returns:
        The answers, without space around them, and how many prompts lost
        their beginning.

    Raises:
        InputError: More new tokens than the model's context holds.
    """
    check(batch_size >= 1, "batch_size", "at least 1", batch_size)
    settings = GenerationSettings(
        sampler="greedy", max_new_tokens=max_new_tokens, stop=list(stop)
    )
    generator = TruncatingGenerator(model)
    answers = generator.generate_batches(prompts, settings, batch_size)
    return [text.strip() for text in answers], generator.truncated


def answer_messages(
    model: keras_hub.models.CausalLM,
    prompts: Sequence[str],
    max_new_tokens: int,
    stop: Sequence[str] = (),
    batch_size: int = BATCH_SIZE,
) -> tuple[list[str], int]:
    """Answers each prompt as a user's message; see `answer_prompts`.

    Raises:
        InputError: A model without a chat template, or a prompt longer than
            its context.
    """
    settings = GenerationSettings(
        max_new_tokens=max_new_tokens, stop=list(stop)
    )
    asked = [[{"role": "user", "content": prompt}] for prompt in prompts]
    answers = answer_conversations(
        TextGenerator(model), asked, settings, batch_size
    )
    return [answer.text.strip() for answer in answers], 0


def compare(answers: Sequence[str], references: Sequence[str]):
    """Scores answers against references.

    ROUGE's words are runs of letters and digits of any script, in lower case;
    of English text they are those of rouge-score itself.

    Args:
        answers: What a model said.
        references: What was wanted, one each.

    Returns:
        The `ReferenceScores`.

    Raises:
        InputError: Not as many of both, none at all, or sacrebleu or
            rouge-score is not installed.
    """
    if not answers or len(answers) != len(references):
        raise InputError(
            "There must be as many answers as references, at least one. "
            f"Received: {len(answers)} and {len(references)}"
        )
    bleu, chrf, rouge = _metrics()
    rouge_sums = dict.fromkeys(("rouge1", "rouge2", "rougeL"), 0.0)
    for answer, reference in zip(answers, references, strict=True):
        for name, score in rouge.score(reference, answer).items():
            rouge_sums[name] += score.fmeasure
    pairs = zip(answers, references, strict=True)
    equal = sum(
        answer.strip() == reference.strip() for answer, reference in pairs
    )
    count = len(answers)
    return ReferenceScores(
        exact_match=equal / count,
        bleu=bleu.corpus_score(answers, [references]).score,
        chrf=chrf.corpus_score(answers, [references]).score,
        rouge1=rouge_sums["rouge1"] / count,
        rouge2=rouge_sums["rouge2"] / count,
        rouge_l=rouge_sums["rougeL"] / count,
        num_answers=count,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )


def evaluate_references(
    model: keras_hub.models.CausalLM,
    pairs: Sequence[Pair],
    max_new_tokens: int | None = None,
    stop: Sequence[str] = (),
    batch_size: int | None = None,
    chat: bool = False,
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Answers held-out prompts and compares.

    The arguments and errors are those of `answer_prompts` and `compare`.
    Answers have at most 128 tokens if `max_new_tokens` is omitted. With
    `chat` a prompt is a user's message, and none may be longer than the
    context.

    Returns:
        The scores with `truncated_prompts`, how many prompts lost their
        beginning; and each prompt with its `completion` and `answer`.
    """
    _metrics()  # before minutes of answering
    prompts = [pair.prompt for pair in pairs]
    answer = answer_messages if chat else answer_prompts
    answers, truncated = answer(
        model,
        prompts,
        MAX_NEW_TOKENS if max_new_tokens is None else max_new_tokens,
        stop,
        BATCH_SIZE if batch_size is None else batch_size,
    )
    scores = compare(answers, [pair.completion for pair in pairs])
    rows = [
        {**pair._asdict(), "answer": answer}
        for pair, answer in zip(pairs, answers, strict=True)
    ]
    return {**scores.to_dict(), "truncated_prompts": truncated}, rows


def _metrics():
    """sacrebleu's BLEU and chrF, and rouge-score's scorer."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise InputError(
            f"Comparing answers with references needs {error.name}, which is "
            "not installed. Run `pip install 'keras-llm[metrics]'`."
        ) from error
    kinds = ["rouge1", "rouge2", "rougeL"]
    return BLEU(), CHRF(), RougeScorer(kinds, tokenizer=_Words())


class _Words:
    """A tokenizer for rouge-score, whose own knows the letters a to z only."""

    def tokenize(self, text: str) -> list[str]:
        import regex

        return regex.findall(r"[\p{L}\p{M}\p{N}]+", text.lower())
