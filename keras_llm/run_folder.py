"""A run's folder: what was done in it, and from what. Knows no stage's work.

Each stage writes folders of its own; `stages.json` records the settings and
the input that they were made from.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from keras_llm.artifacts import read_artifact
from keras_llm.errors import InputError, Interrupted
from keras_llm.files import is_free, one_command, write_text
from keras_llm.recipes.checks import check
from keras_llm.recipes.settings import Recipe, to_dict
from keras_llm.recipes.tuning_settings import TuningRecipe

# The folders that each stage writes; the names are those of the commands.
STAGES = {
    "prepare": ("corpus",),
    "tokenizer": ("tokenizer",),
    "encode": ("tokens",),
    "records": ("records",),
    "data": ("data",),
    "reference": ("reference",),
    "pretrain": ("training", "preset"),
    "tune": ("training", "preset"),
    "evaluate": ("evaluation",),
    "untrained": ("untrained",),
    "learning_curve": ("learning_curve",),
    "judge": ("preset",),
    "export": (),
}
PRETRAINING = ("prepare", "tokenizer", "encode", "pretrain", "evaluate")
# Inputs that are recorded as hashes, and what to say if one is another.
CONTENTS = {
    "files": "the text has changed",
    "model_file": "the file at tokenizer.model_path has changed",
    "prepare": "the corpus was made again and is another",
    "tokenizer": "the tokenizer was made again and is another",
    "tokens": "the tokens have changed",
    "base": "the model that is tuned has changed",
    "data": "the examples were made again and are others",
    "reference": "the reference's scores were made again",
    "encode": "the tokens were made again and are others",
    "old_tokens": "the tokens that are replayed have changed",
    "pretrain": "the model was trained again",
    "tune": "the model was tuned again",
    "feedback": "the feedback has changed",
    "records": "the records were made again and are others",
    "judge": "the model was judged again",
}
RECORDS = "stages.json"
RECIPE = "recipe.yaml"
LOCK = ".lock"


@dataclass(frozen=True)
class Record:
    """What is recorded of a stage.

    Args:
        settings: Nested settings that it was done with.
        input: What else its output depends on.
        finished: Whether it was.
        report: What it returned then.
        follows: Whether it is done again if its input is another.
    """

    settings: dict
    input: dict
    finished: bool
    report: dict | None = None
    follows: bool | None = None

    def __post_init__(self) -> None:
        is_whole = self.report is not None or not self.finished
        check(is_whole, "report", "there, of a finished stage", self.report)


class Run:
    """A run's folder, and the record of what was done in it.

    Args:
        out: The folder.
        console: Where the stages are announced; the terminal if omitted.
    """

    def __init__(self, out: Path, console: Console | None = None):
        self.out = Path(out)
        self.console = console or Console(stderr=True)
        self.records: dict[str, dict] = {}

    @contextmanager
    def opened(
        self, recipe: Recipe | TuningRecipe, redo: str | None = None
    ) -> Iterator["Run"]:
        """Within, no other command works on the run.

        Reads the records of an earlier one; writes nothing yet.

        Args:
            recipe: All settings.
            redo: A stage to do again; those after it follow where it comes
                out differently.

        Raises:
            InputError: `out` holds something other than a run, or another
                command works on it.
        """
        records = self.out / RECORDS
        if not records.is_file() and not is_free(self.out):
            raise InputError(
                f"{self.out} must be a new or empty folder, or an earlier run "
                f"(with {RECORDS}). Pass another --out."
            )
        # Forgotten when it is due, and not before, so that a mistake in what
        # comes first loses nothing.
        self._redo = redo
        self._recipe = yaml.safe_dump(to_dict(recipe), sort_keys=False)
        with one_command(self.out / LOCK, self.out):
            if records.is_file():
                self.records = read_records(records)
            self._check_kind(isinstance(recipe, TuningRecipe))
            yield self

    def _check_kind(self, is_tuning: bool) -> None:
        """Raises if the model in the folder would be lost."""
        other = "pretrain" if is_tuning else "tune"
        if other in self.records:
            made = "trained from scratch" if is_tuning else "tuned"
            raise InputError(
                f"{self.out} has a model that was {made}. Pass another --out."
            )

    def is_due(self, stage: str) -> bool:
        """Whether a stage is not begun, or some stage is to be done again."""
        return stage not in self.records or self._redo is not None

    def digest(self, stage: str) -> str:
        """A hash of what a finished stage was made from, and of its report."""
        record = self.records[stage]
        parts = [record[part] for part in ("settings", "input", "report")]
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def stage(
        self,
        name: str,
        settings: dict[str, Any],
        input: dict[str, Any],
        work: Callable[[], dict[str, Any]],
    ) -> dict[str, Any]:
        """Does a stage's work, unless it has been done.

        Args:
            name: One of `STAGES`.
            settings: Nested settings that its output depends on, called as
                in the recipe.
            input: What else its output depends on.
            work: Writes the stage's folders and returns its report.

        Returns:
            The report.

        Raises:
            InputError: The stage was done with other settings or input, and
                not because an earlier one has been done again.
        """
        if name == self._redo:
            self._redo = None
            self._let_follow(name)
            self._forget(name)
        record = self.records.get(name, {})
        if record.get("follows") and record["input"] != input:
            self._check_same(name, record["settings"], settings)
            self._forget(name)
            record = {}
        done = record.get("finished") and self._has_folders(name)
        if done or (record and self._can_resume(name)):
            before = record["settings"] | record["input"]
            self._check_same(name, before, settings | input)
        else:
            self._forget(name)
        if done:
            if record.pop("follows", False):
                self._save()
            self.console.print(f"[dim]{name}: done before[/dim]")
            return record["report"]
        record = {"settings": settings, "input": input, "finished": False}
        self._record(name, record)
        self.console.print(f"[bold]{name}[/bold]")
        try:
            report = work()
            self._record(name, record | {"finished": True, "report": report})
        except Interrupted:
            raise
        except InputError:
            self._take_back(name)
            raise
        except MemoryError as error:
            self._take_back(name)
            raise InputError(
                f"The stage {name} needs more memory than there is: {error}"
            ) from error
        except OSError as error:
            raise InputError(
                f"The stage {name} of {self.out} stopped: {error}. The same "
                "command goes on from there."
            ) from error
        return report

    def _take_back(self, name: str) -> None:
        """Leaves nothing of a stage that could not be done.

        What training can go on from stays, and what it has logged.
        """
        trains = "training" in STAGES[name]
        has_log = trains and (self.out / "training" / "log.csv").is_file()
        if has_log or self._can_resume(name):
            return
        self._forget(name)
        if not self.records:
            for path in (self.out / RECIPE, self.out / RECORDS):
                path.unlink(missing_ok=True)

    def _has_folders(self, name):
        return all((self.out / folder).is_dir() for folder in STAGES[name])

    def _can_resume(self, name):
        # A stage that compares may train several times.
        return any(
            any((self.out / folder).glob("**/checkpoints/[0-9]*"))
            for folder in STAGES[name]
        )

    def _check_same(self, name, before, now):
        before, now = flat(before), flat(now)
        for field in before | now:
            # A setting that is newer than the run was as it is by default.
            was = before.get(field, _defaults().get(field))
            received = now.get(field)
            if was == received:
                continue
            what = CONTENTS.get(field, f"{field} was {was!r}, now {received!r}")
            raise InputError(
                f"{self.out} was made from other settings or text: {what}. "
                f"Pass --redo {name} to do that stage again, or another --out."
            )

    def _record(self, name, record):
        self.records[name] = record
        self._save()

    def _save(self):
        records = json.dumps(self.records, indent=1)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            # First, for it is what a run is known by.
            write_text(self.out / RECORDS, records)
            self._save_recipe()
        except OSError as error:
            raise InputError(
                f"{self.out} cannot be written: {error}"
            ) from error

    def _save_recipe(self):
        path = self.out / RECIPE
        written = path.read_text(encoding="utf-8") if path.is_file() else None
        if written != self._recipe + "\n":
            write_text(path, self._recipe)

    def _let_follow(self, name):
        """Lets later stages be done again if their input becomes another.

        Recorded, for this call may be interrupted.
        """
        names = list(STAGES)
        for later in names[names.index(name) + 1 :]:
            if later in self.records:
                self.records[later]["follows"] = True

    def _forget(self, name):
        self.records.pop(name, None)
        self._save()  # first, for a folder without a record is not trusted
        for folder in STAGES[name]:
            shutil.rmtree(self.out / folder, ignore_errors=True)


@cache
def _defaults() -> dict[str, Any]:
    """All settings by dotted name, as they are if nothing is said."""
    return flat(to_dict(TuningRecipe())) | flat(to_dict(Recipe()))


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def read_records(path: Path) -> dict[str, dict]:
    """The record of every stage that was begun, by name.

    Raises:
        InputError: The file is damaged.
    """
    what, advice = "the record of a run", "Pass another --out."
    records = read_artifact(path, dict[str, Record], what, advice)
    for name in records:
        expected = "one of " + ", ".join(STAGES)
        check(name in STAGES, f"{path}: a stage", expected, name)
    return {
        name: {k: v for k, v in vars(record).items() if v is not None}
        for name, record in records.items()
    }
