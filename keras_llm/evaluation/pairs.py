"""Questions and their answers, read from files. Knows nothing of models."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_llm.corpus.sources.records import read_records
from keras_llm.corpus.sources.texts import without_surrogates
from keras_llm.errors import InputError

# What people call the two columns; the first pair that a file has counts.
COLUMNS = (
    ("prompt", "completion"),
    ("question", "answer"),
    ("instruction", "output"),
    ("input", "output"),
)


class Pair(NamedTuple):
    """A question, or any text to answer, and the answer wanted."""

    prompt: str
    completion: str


def read_pairs(
    source: str, prompt: str | None = None, completion: str | None = None
) -> list[Pair]:
    """Reads questions and answers.

    The columns are `prompt` and `completion`, `question` and `answer`,
    `instruction` and `output` (with an `input` that follows the instruction
    on a line of its own, where it is not empty), or `input` and `output`,
    unless they are named. Of a conversation, in `messages`, they are what the
    user asks and what the assistant answers, once each.

    Args:
        source: JSON, JSON Lines, CSV, TSV or Parquet, or another source of
            `read_records`.
        prompt: Name of the column of questions. A number, from 1, means a
            table without a header; the same for `completion`.
        completion: Name of the column of answers.

    Raises:
        InputError: No such file, one that cannot be read, or a record
            without text in one of the columns; the message says which.

    Example:
        >>> read_pairs("held_out.jsonl")[0].completion
        'Paris'
    """
    if (prompt is None) != (completion is None):
        raise InputError(
            "The columns of questions and of answers must be named both, or "
            f"neither. Received: {prompt!r} and {completion!r}"
        )
    names = () if prompt is None else (prompt, completion)
    pairs = []
    for record in read_records([source], names):
        if record.values is None:
            raise InputError(f"{record.id} cannot be read: {record.trouble}")
        values = record.values
        if not names and "messages" in values:
            pairs.append(_turns(values["messages"], record.id))
            continue
        names = names or _columns_of(values, record.id)
        pairs.append(_pair(values, names, record.id))
    if not pairs:
        raise InputError(
            f"{source} must have at least one question and answer. It has none."
        )
    return pairs


def _turns(messages: Any, place: str) -> Pair:
    """The question and the answer of a conversation that has no more."""
    try:
        roles = [message["role"] for message in messages]
        texts = [message["content"] for message in messages]
    except (TypeError, KeyError):
        roles, texts = [], []
    if roles != ["user", "assistant"]:
        raise InputError(
            f"{place} must have messages of one user and one assistant. "
            f"Received: {messages!r:.60}"
        )
    return _pair(dict(zip(roles, texts, strict=True)), tuple(roles), place)


def _columns_of(values: Mapping[str, Any], place: str) -> tuple[str, str]:
    for names in COLUMNS:
        if all(name in values for name in names):
            return names
    known = "; ".join([*map(" and ".join, COLUMNS), "messages"])
    raise InputError(
        f"{place} must have columns of questions and answers: {known}. "
        f"Received: {', '.join(map(str, values))}. Name the two columns."
    )


def _pair(
    values: Mapping[str, Any], names: tuple[str, str], place: str
) -> Pair:
    texts = []
    for name in names:
        text = values.get(name)
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"{place} must have a text that is not empty in the column "
                f"{name}. Received: {text!r:.60}"
            )
        texts.append(without_surrogates(text))
    more = values.get("input")
    if names == ("instruction", "output") and more:
        texts[0] += f"\n{more}"
    return Pair(*texts)
