"""What the folder of a run tells, of whatever kind the run is."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError
from keras_llm.recipes.loading import read_recipe
from keras_llm.run_folder import RECIPE, RECORDS, flat, read_records
from keras_llm.training.log import read_log

PRETRAINING, MASKED_WORDS = "pretraining", "masked words"
TRAINED = ("pretrain", "tune")
HELD_OUT = ("validation", "test")
ABOUT = ("description", "expected_minutes")  # of a recipe, no settings


@dataclass(frozen=True)
class Finished:
    """A run, as far as it has come.

    Args:
        name: Its folder, as it was given.
        kind: `"pretraining"`, `"masked words"` of an encoder, or what the
            command of its tuning is called.
        settings: Of its recipe, by dotted name.
        figures: What is known of the training.
        evaluation: Figures of its evaluation, by dotted name.
        tokens: A hash of each held-out split as the model reads it.
        texts: A hash of each held-out split as it is written.
        manifest: A hash of all that it was trained on.
        log: Rows of its log.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    figures: dict[str, float | None]
    evaluation: dict[str, float]
    tokens: dict[str, str]
    texts: dict[str, str]
    manifest: str
    log: list[dict[str, float | None]]


def read_run(path: Path) -> Finished:
    """Reads a run's folder.

    Raises:
        InputError: It is no run, one that was not trained, or damaged.
    """
    if not (path / RECORDS).is_file():
        raise InputError(
            f"{path} must be the folder of a run (with {RECORDS}), as "
            "`keras-llm train` and `keras-llm tune` make it."
        )
    records = read_records(path / RECORDS)
    log = read_log(path / "training" / "log.csv")
    trained = [records[name] for name in TRAINED if name in records]
    if not trained or not log:
        begun = ", ".join(records) or "none"
        raise InputError(
            f"{path} must be a run whose training has begun. Its stages so "
            f"far: {begun}."
        )
    settings = flat(read_recipe(str(path / RECIPE)))
    report = records.get("evaluate", {}).get("report") or {}
    return Finished(
        name=str(path),
        kind=_kind(records, settings),
        settings={k: v for k, v in settings.items() if k not in ABOUT},
        figures=_figures(log, trained[0].get("report") or {}),
        evaluation=_numbers(report),
        tokens=_tokens(path),
        texts=_texts(path),
        manifest=trained[0]["input"].get("tokens", ""),
        log=log,
    )


def _kind(records: dict[str, dict], settings: dict[str, Any]) -> str:
    if "records" in records:
        return "improvement"
    for name in ("data", "prepare"):
        if kind := records.get(name, {}).get("settings", {}).get("kind"):
            return kind
    is_causal = settings.get("model.causal", True)
    return PRETRAINING if is_causal else MASKED_WORDS


def best_validation(log: list[dict]) -> tuple[float | None, int | None]:
    """The lowest validation loss that was logged, and its first step."""
    losses = {
        row["val_loss"]: int(row["step"])
        for row in reversed(log)
        if row["val_loss"] is not None
    }
    best = min(losses, default=None)
    return best, losses.get(best)


def _figures(log: list[dict], report: dict[str, Any]) -> dict[str, Any]:
    last = log[-1]
    best, best_step = best_validation(log)
    return {
        "parameters": report.get("parameters"),
        "steps": int(last["step"]),
        "tokens": int(last["tokens"]),
        "seconds": last["seconds"],
        "loss": last["loss"],
        "val_loss": best,
        "best_step": best_step,
    }


def _numbers(report: dict[str, Any]) -> dict[str, float]:
    """Numbers of an evaluation and of its parts; no lists or tables."""
    found = {}
    for name, value in report.items():
        parts = value if isinstance(value, dict) else {"": value}
        for part, number in parts.items():
            if isinstance(number, int | float) and number is not True:
                found[f"{name}.{part}".rstrip(".")] = number
    return found


def _tokens(path: Path) -> dict[str, str]:
    from keras_llm.datasets.tokens import MANIFEST_NAME, TokenManifest

    if (path / "data").is_dir():
        return _hashes(path / "data", "*")
    if not (path / "tokens" / MANIFEST_NAME).is_file():
        return {}  # they are elsewhere
    manifest = TokenManifest.load(path / "tokens")
    return {
        name: _digest([manifest.tokenizer_sha256, *map(str, split.shards)])
        for name, split in manifest.splits.items()
        if name in HELD_OUT
    }


def _texts(path: Path) -> dict[str, str]:
    from keras_llm.corpus.documents import read_documents

    if (path / "data").is_dir():
        return _hashes(path / "data", "*.jsonl")
    return {
        split: _digest(
            document.text for document in read_documents(path / "corpus", split)
        )
        for split in HELD_OUT
        if any((path / "corpus").glob(f"{split}/*.jsonl"))
    }


def _hashes(folder: Path, pattern: str) -> dict[str, str]:
    from keras_llm.files import file_digest

    return {
        split: _digest(
            file_digest(file) for file in sorted((folder / split).glob(pattern))
        )
        for split in HELD_OUT
        if (folder / split).is_dir()
    }


def _digest(parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part).encode())
    return digest.hexdigest()
