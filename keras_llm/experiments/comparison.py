"""Runs side by side: what they differ in, what came of it, and what of that
can be compared at all."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError
from keras_llm.experiments.pictures import draw_curves
from keras_llm.experiments.runs import Finished, read_run
from keras_llm.files import write_text, written_beside
from keras_llm.pages import picture_data, write_page

REPORT, PAGE, CURVES = "report.json", "report.html", "curves.png"
# By the last part of a figure's name.
LOWER = ("loss", "val_loss", "perplexity", "bits_per_byte")
HIGHER = ("accuracy", "macro_f1", "reward_accuracy")
OF_TRAINING = ("loss", "val_loss", "best_step")


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Args:
        runs: In the order in which they were given.
        settings: Values of each setting in which they differ, one a run;
            `None` where a run has no such setting.
        figures: Values of each figure, one a run; `None` where it has none.
        best: Which run is best, by the names of figures that can be compared.
        not_comparable: Names of figures that are not of the same thing.
        warnings: Why not, in sentences.
    """

    runs: list[Finished]
    settings: dict[str, list[Any]]
    figures: dict[str, list[float | None]]
    best: dict[str, int]
    not_comparable: list[str]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """What `report.json` holds."""
        return {
            "runs": [
                {
                    "run": run.name,
                    "kind": run.kind,
                    "settings": {k: v[i] for k, v in self.settings.items()},
                    "figures": {k: v[i] for k, v in self.figures.items()},
                }
                for i, run in enumerate(self.runs)
            ],
            "best": {k: self.runs[i].name for k, i in self.best.items()},
            "not_comparable": self.not_comparable,
            "warnings": self.warnings,
        }


def compare(paths: Sequence[Path]) -> Comparison:
    """Puts runs side by side, those of tuning too.

    Args:
        paths: Their folders.

    Raises:
        InputError: Fewer than two, one twice, or one that is no run.
    """
    distinct = {path.resolve() for path in paths}
    if len(distinct) < 2 or len(distinct) < len(paths):
        raise InputError(
            "RUN must be two runs or more, each once. Received: "
            + ", ".join(map(str, paths))
        )
    runs = [read_run(path) for path in paths]
    figures = {
        name: [(run.figures | run.evaluation).get(name) for run in runs]
        for name in _names(run.figures | run.evaluation for run in runs)
    }
    warnings = _warnings(runs)
    not_comparable = [name for name in figures if not _comparable(name, runs)]
    return Comparison(
        runs=runs,
        settings=_differing(runs),
        figures=figures,
        best={
            name: index
            for name, values in figures.items()
            if name not in not_comparable
            and (index := _best(name, values)) is not None
        },
        not_comparable=not_comparable,
        warnings=warnings,
    )


def save_comparison(comparison: Comparison, out: Path) -> None:
    """Writes `report.json`, `curves.png` and `report.html`, which has both.

    Raises:
        InputError: `out` holds something, or cannot be written.
    """
    with written_beside(out) as folder:
        report = json.dumps(comparison.to_dict(), indent=1)
        write_text(folder / REPORT, report)
        curves = {run.name: run.log for run in comparison.runs}
        draw_curves(curves, folder / CURVES)
        write_page(
            folder / PAGE,
            Path(__file__).with_name("comparison.html.jinja"),
            {"shown": shown},
            comparison=comparison,
            curves=picture_data(folder / CURVES),
        )


def shown(value: Any) -> str:
    """A setting or a figure, as a cell of a table."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _names(mappings) -> list[str]:
    """All keys, in the order in which they come first."""
    return list(dict.fromkeys(key for each in mappings for key in each))


def _differing(runs: list[Finished]) -> dict[str, list[Any]]:
    found = {
        name: [run.settings.get(name) for run in runs]
        for name in _names(run.settings for run in runs)
    }
    return {k: v for k, v in found.items() if any(x != v[0] for x in v)}


def _best(name: str, values: Sequence[float | None]) -> int | None:
    last = name.split(".")[-1]
    known = [i for i, value in enumerate(values) if value is not None]
    if last not in LOWER + HIGHER or len(known) < 2:
        return None
    choose: Callable = min if last in LOWER else max
    return choose(known, key=lambda i: values[i])


def _comparable(name: str, runs: list[Finished]) -> bool:
    """Whether a figure is of the same thing in all runs."""
    is_evaluation = name not in runs[0].figures
    if not is_evaluation and name not in OF_TRAINING:
        return True
    if len({run.kind for run in runs}) > 1:
        return False
    split = name.split(".")[0] if is_evaluation else "validation"
    by_text = name.endswith("bits_per_byte") or runs[0].kind == "classifier"
    return _same(runs, "texts" if by_text else "tokens", split)


def _same(runs: list[Finished], what: str, split: str) -> bool:
    """Whether runs were judged by the same split, or by the same ones."""
    if runs[0].manifest and len({run.manifest for run in runs}) == 1:
        return True
    held = [getattr(run, what) for run in runs]
    if any(split in each for each in held):
        held = [each.get(split) for each in held]
    return all(each == held[0] for each in held)


def _warnings(runs: list[Finished]) -> list[str]:
    kinds = {kind: _of(runs, "kind", kind) for kind in _kinds(runs)}
    if len(kinds) > 1:
        named = "; ".join(f"{kind}: {names}" for kind, names in kinds.items())
        return [
            f"The runs are of different kinds ({named}): what they learn, and "
            "what their losses and figures are of, is not the same."
        ]
    found = []
    for split in ("validation", "test"):
        if not _same(runs, "texts", split):
            found.append(
                f"The runs have different {split} splits ("
                + "; ".join(_groups(runs, split))
                + "): figures on them cannot be compared."
            )
        elif runs[0].kind != "classifier" and not _same(runs, "tokens", split):
            found.append(
                f"The runs read the same {split} split as different tokens: "
                "compare bits per byte, not losses a token."
            )
    return found


def _kinds(runs: list[Finished]) -> list[str]:
    return list(dict.fromkeys(run.kind for run in runs))


def _of(runs: list[Finished], name: str, value: str) -> str:
    return ", ".join(run.name for run in runs if getattr(run, name) == value)


def _groups(runs: list[Finished], split: str) -> list[str]:
    """Which runs share a split, and the beginning of its hash."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        groups.setdefault(run.texts.get(split, ""), []).append(run.name)
    return [
        f"{', '.join(names)}: {digest[:8] or 'none'}"
        for digest, names in groups.items()
    ]
