"""What people said of answers: a file that is only ever appended to.

A line is an event, in the columns that `tune preferences` reads: a correction
has `prompt`, `chosen` and `rejected`, a thumb `prompt`, `completion` and
`label`. A correction of an answer that nobody wrote down is a good answer.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from keras_llm.artifacts import check_regular
from keras_llm.errors import InputError
from keras_llm.files import check_free, write_json_lines, written_beside
from keras_llm.recipes.checks import check_unicode
from keras_llm.tokenizers.messages import check_messages

CORRECTIONS, THUMBS = "corrections.jsonl", "thumbs.jsonl"


@dataclass(frozen=True)
class Event:
    """One thing that somebody said of an answer.

    Args:
        prompt: What was asked: a text, or messages of which the user's is the
            last.
        chosen: The better answer, with `rejected`, the one that was given.
        completion: The answer that was given, with `label`, whether it is
            good.
        model_version: What gave the answer.
        time: When, in UTC (ISO 8601); `add_feedback` fills it in.

    Raises:
        InputError: Neither a correction nor a thumb, or an empty text.
    """

    prompt: str | list[dict[str, str]]
    chosen: str | None = None
    rejected: str | None = None
    completion: str | None = None
    label: bool | None = None
    model_version: str | None = None
    time: str | None = None

    def __post_init__(self) -> None:
        check_messages(self.messages(), is_answered=False)
        pairs = {
            "chosen and rejected": (self.chosen, self.rejected),
            "completion and label": (self.completion, self.label),
        }
        given = [n for n, pair in pairs.items() if None not in pair]
        partly = [n for n, pair in pairs.items() if pair != (None, None)]
        if len(given) != 1 or given != partly:
            raise InputError(
                "Feedback must have chosen and rejected, both texts, or "
                f"completion and label. Received: {self._received()}"
            )
        texts = "chosen", "rejected", "completion", "model_version", "time"
        for name in texts:
            text = getattr(self, name)
            if text is None:
                continue
            if not isinstance(text, str):
                raise InputError(f"{name} must be a text. Received: {text!r}")
            check_unicode(name, text)
            if name in ("chosen", "completion") and not text.strip():
                raise InputError(
                    f"{name} must be a text that is not empty. Received: "
                    f"{text!r}"
                )
        if self.chosen is not None and self.chosen == self.rejected:
            raise InputError(
                "The better answer must not be the one that was given. "
                f"Received: {self.chosen!r} for both"
            )
        if not isinstance(self.label, bool | None):
            raise InputError(
                f"label must be true or false. Received: {self.label!r}"
            )

    def messages(self) -> list[dict[str, str]]:
        """The prompt as a conversation."""
        if isinstance(self.prompt, str):
            return [{"role": "user", "content": self.prompt}]
        return self.prompt

    @property
    def good_answer(self) -> str | None:
        """An answer to learn, if the event has one."""
        return self.completion if self.label else self.chosen

    def to_dict(self) -> dict[str, Any]:
        """The columns that it has."""
        return {k: v for k, v in asdict(self).items() if v is not None}

    def _received(self) -> str:
        names = ("chosen", "rejected", "completion", "label")
        given = [name for name in names if getattr(self, name) is not None]
        return ", ".join(given) or "neither"


@dataclass(frozen=True)
class Feedback:
    """All events of a file, and the lines that are none.

    Args:
        events: In the order they came.
        damaged: Number of each line that could not be read, and why.
    """

    events: list[Event]
    damaged: dict[int, str]

    def corrections(self) -> list[Event]:
        """Events with an answer to learn; of one prompt, the last."""
        found: dict[str, Event] = {}
        for event in self.events:
            key = json.dumps(event.messages(), sort_keys=True)
            if event.good_answer is not None:
                found.pop(key, None)
                found[key] = event
        return list(found.values())


def add_feedback(path: Path, event: Event) -> None:
    """Appends an event; several processes may at the same time.

    A line that a crash has torn is closed first, so that it is lost alone.

    Raises:
        InputError: The file cannot be written.
    """
    path = Path(path)
    if event.time is None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        event = replace(event, time=now)
    line = json.dumps(event.to_dict(), ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock")
        with FileLock(lock), path.open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def read_feedback(path: Path) -> Feedback:
    """Reads all events of a file.

    Raises:
        InputError: There is no such file.
    """
    try:
        check_regular(Path(path))
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(
            f"{path} must be a file of feedback, as `keras-llm feedback add` "
            f"writes it. {error}"
        ) from error
    events, damaged = [], {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(_event(json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            damaged[number] = str(error)
    return Feedback(events, damaged)


def _event(values: Any) -> Event:
    if not isinstance(values, Mapping):
        raise InputError("It must be a JSON object.")
    if "messages" in values:
        values = {"prompt": values["messages"]} | {
            name: value for name, value in values.items() if name != "messages"
        }
    names = Event.__dataclass_fields__
    known = {name: values[name] for name in names if name in values}
    if "prompt" not in known:
        raise InputError("It has no prompt.")
    return Event(**known)


def export_feedback(feedback: Feedback, out: Path) -> dict[str, int]:
    """Writes what `tune` reads: corrections as pairs, and thumbs.

    Args:
        feedback: The events.
        out: Folder to write.

    Returns:
        Events by file.

    Raises:
        InputError: No event, or `out` is not free.
    """
    files = {CORRECTIONS: [], THUMBS: []}
    for event in feedback.events:
        name = THUMBS if event.chosen is None else CORRECTIONS
        files[name].append(event.to_dict())
    if not feedback.events:
        raise InputError("There must be at least one event. Received: none")
    check_free(out)
    with written_beside(out) as folder:
        for name, rows in files.items():
            if rows:
                write_json_lines(folder / name, rows)
    return {name: len(rows) for name, rows in files.items() if rows}
