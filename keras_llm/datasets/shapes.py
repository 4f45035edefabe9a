"""Records in the shapes that people have, as conversations.

Knows nothing of tokens: a sample is messages, `{"role", "content"}` each.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from keras_llm.errors import InputError

Message = dict[str, str]
Messages = list[Message]
# ShareGPT's names, and whose they are.
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "system": "system",
}
LABELS = {"true": True, "1": True, "false": False, "0": False}


class Unusable(ValueError):
    """A record cannot be used; a reason for counts."""


class Sample(NamedTuple):
    """What one record says.

    Args:
        conversations: One that answers well; or the better and the worse of
            two with the same prompt.
        label: Whether the answer is good, where the record says so.
    """

    conversations: tuple[Messages, ...]
    label: bool | None = None


@dataclass(frozen=True)
class Shape:
    """How the columns of a record are read.

    Args:
        columns: Those that it must have.
        read: Makes a sample of a record.
    """

    columns: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Sample]


def recognized(
    columns: Iterable[str], shapes: Sequence[str], named: Sequence[str] = ()
) -> str:
    """The first of the shapes that records of these columns have.

    Args:
        columns: Of a record.
        shapes: Names of shapes that would do, the best first.
        named: The two columns of prompt and answer, if they have been named.

    Raises:
        InputError: None of them.
    """
    columns = list(columns)
    if named and set(named) <= set(columns):
        return "prompt_completion"
    for name in shapes:
        if set(SHAPES[name].columns) <= set(columns):
            return name
    known = "; ".join(" + ".join(SHAPES[name].columns) for name in shapes)
    raise InputError(
        f"The data must have one of these sets of columns: {known}. Received: "
        f"{', '.join(map(str, columns[:12])) or 'none'}. Name the two columns "
        "of prompt and answer with --data.columns PROMPT ANSWER."
    )


def read_sample(
    record: Mapping[str, Any], shape: str, named: Sequence[str] = ()
) -> Sample:
    """The sample that a record is.

    Args:
        record: Values by column.
        shape: One of `SHAPES`.
        named: Columns that stand for `prompt` and `completion`.

    Raises:
        Unusable: A value is missing or none that can be learned from.
    """
    if named:
        new = dict(zip(("prompt", "completion"), named, strict=True))
        record = record | {name: record.get(old) for name, old in new.items()}
    for column in SHAPES[shape].columns:
        if record.get(column) is None:
            raise Unusable(f"has no {column}")
    sample = SHAPES[shape].read(record)
    for messages in sample.conversations:
        _check(messages)
    return sample


def _check(messages: Messages) -> None:
    """Raises `Unusable` unless user and assistant take turns."""
    turns = (
        messages[1:]
        if messages[:1] and _is(messages[0], "system")
        else (messages)
    )
    if not turns or not _is(turns[-1], "assistant"):
        raise Unusable("has no answer")
    expected = ("user", "assistant")
    if any(not _is(each, expected[i % 2]) for i, each in enumerate(turns)):
        raise Unusable("has roles out of order")
    if not all(m["content"].strip() for m in turns if _is(m, "assistant")):
        raise Unusable("has an empty answer")


def _is(message: Message, role: str) -> bool:
    return message["role"] == role


def _messages(value: Any, role: str = "role", content: str = "content"):
    """OpenAI's messages, or ShareGPT's by its names; also as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unusable("has messages that are no list") from error
    if not isinstance(value, list) or not value:
        raise Unusable("has messages that are no list")
    found = []
    for each in value:
        if not isinstance(each, Mapping):
            raise Unusable("has a message that is no object")
        name, text = each.get(role), each.get(content)
        name = ROLES.get(name) if isinstance(name, str) else None
        if name is None:
            raise Unusable("has an unknown role")
        if not isinstance(text, str):
            raise Unusable("has a message without text")
        found.append({"role": name, "content": text})
    return found


def _prompt(value: Any) -> Messages:
    """A prompt is a user's text, or messages."""
    if isinstance(value, list):
        return _messages(value)
    return [{"role": "user", "content": _text(value)}]


def _answer(value: Any) -> Messages:
    if isinstance(value, list):
        return _messages(value)
    return [{"role": "assistant", "content": _text(value)}]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unusable("has a value that is no text")
    return value


def _instruction(record: Mapping[str, Any]) -> str:
    """Alpaca's instruction, with what it is about after an empty line."""
    given = _text(record.get("input") or "")
    return "\n\n".join(filter(None, [_text(record["instruction"]), given]))


def _preference(prompt: Messages, record: Mapping[str, Any]) -> Sample:
    chosen, rejected = _answer(record["chosen"]), _answer(record["rejected"])
    if chosen == rejected:
        raise Unusable("has the same answer as chosen and rejected")
    return Sample((prompt + chosen, prompt + rejected))


def _whole_preference(record: Mapping[str, Any]) -> Sample:
    """TRL's pairs without a prompt: two conversations that begin alike."""
    return _preference([], record)


def _judged(record: Mapping[str, Any]) -> Sample:
    label = LABELS.get(str(record["label"]).strip().lower())
    if label is None:
        raise Unusable("has a label that is neither true nor false")
    messages = _prompt(record["prompt"]) + _answer(record["completion"])
    return Sample((messages,), label)


SHAPES = {
    "messages": Shape(
        ("messages",), lambda r: Sample((_messages(r["messages"]),))
    ),
    "conversations": Shape(
        ("conversations",),
        lambda r: Sample((_messages(r["conversations"], "from", "value"),)),
    ),
    "prompt_completion_label": Shape(
        ("prompt", "completion", "label"), _judged
    ),
    "prompt_completion": Shape(
        ("prompt", "completion"),
        lambda r: Sample((_prompt(r["prompt"]) + _answer(r["completion"]),)),
    ),
    "instruction_output": Shape(
        ("instruction", "output"),
        lambda r: Sample(
            (_prompt(_instruction(r)) + _answer(r["output"]),),
        ),
    ),
    "prompt_chosen_rejected": Shape(
        ("prompt", "chosen", "rejected"),
        lambda r: _preference(_prompt(r["prompt"]), r),
    ),
    "instruction_chosen_rejected": Shape(
        ("instruction", "chosen", "rejected"),
        lambda r: _preference(_prompt(_instruction(r)), r),
    ),
    "chosen_rejected": Shape(("chosen", "rejected"), _whole_preference),
}
# What can be learned from by which kind of tuning, the best first.
ANSWERS = (
    "messages",
    "conversations",
    "prompt_completion",
    "instruction_output",
)
PAIRS = (
    "prompt_chosen_rejected",
    "instruction_chosen_rejected",
    "chosen_rejected",
)
JUDGED = ("prompt_completion_label",)
