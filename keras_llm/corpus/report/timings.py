"""How long a corpus took: `timings.json`, beside the report.

Kept apart, so that the report is the same on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_llm.artifacts import read_artifact
from keras_llm.files import write_text

TIMINGS = "timings.json"


@dataclass(frozen=True)
class Speed:
    """A time on one core, and megabytes of UTF-8 a second.

    Args:
        seconds: Summed over all tasks.
        megabytes_per_second: `None` where nothing was measured.
    """

    seconds: float = 0.0
    megabytes_per_second: float | None = None

    @classmethod
    def of(cls, seconds: float, bytes: int) -> Speed:
        """The speed of something that took bytes in a time."""
        is_measured = seconds > 0 and bytes > 0
        rate = bytes / 1e6 / seconds if is_measured else None
        return cls(seconds, rate)


@dataclass(frozen=True)
class Timings:
    """How long a corpus took.

    Args:
        total: Time on the wall, and bytes read a second.
        workers: Tasks that ran at once.
        rules: Of each rule, by name.
        stages: Time on the wall of each stage, in seconds.
    """

    total: Speed
    workers: int
    rules: dict[str, Speed] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready values."""
        return asdict(self)


def rule_speeds(records: Iterable[Mapping[str, Any]]) -> dict[str, Speed]:
    """Speeds of rules over all tasks, of the records of `KeepCounts`."""
    sums: dict[str, list[float]] = {}
    for record in records:
        for name, rule in record.items():
            mine = sums.setdefault(name, [0.0, 0])
            mine[0] += rule["seconds"]
            mine[1] += rule["bytes"]
    return {name: Speed.of(*sum) for name, sum in sums.items()}


def save_timings(timings: Timings, folder: Path) -> None:
    """Writes `timings.json` into a folder."""
    text = json.dumps(timings.to_dict(), indent=2)
    write_text(Path(folder) / TIMINGS, text)


def load_timings(corpus: Path) -> Timings | None:
    """Reads the timings of a corpus folder; `None` if it has none.

    Raises:
        InputError: They are damaged.
    """
    path = Path(corpus) / TIMINGS
    if not path.exists():
        return None
    return read_artifact(
        path,
        Timings,
        "the timings of a corpus",
        "Delete it: nothing else needs it.",
    )
