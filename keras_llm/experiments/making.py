"""Makes a run of any kind, with what an earlier one has made already."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_llm.experiments.runs import PRETRAINING
from keras_llm.experiments.space import AnyRecipe
from keras_llm.files import write_text
from keras_llm.recipes.settings import to_dict
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.run_folder import RECORDS, STAGES, flat, read_records


def make_run(
    kind: str,
    sources: Sequence[str],
    preset: str | None,
    recipe: AnyRecipe,
    out: Path,
    console: Console | None = None,
) -> dict[str, Any]:
    """Makes a run, or finishes what was begun.

    Args:
        kind: `"pretraining"`, or a kind of tuning.
        sources: Text or records.
        preset: What is tuned.
        recipe: All settings.
        out: Folder of the run.
        console: Where progress is shown.
    """
    from keras_llm import workflow

    if kind == PRETRAINING:
        return workflow.train(sources, recipe, out, console=console)
    tune = workflow.TUNINGS[kind]
    return tune(preset, sources, out, recipe, console=console)


def alone(recipe: AnyRecipe) -> AnyRecipe:
    """The recipe of one run, without those that are made to compare it with."""
    if not isinstance(recipe, TuningRecipe):
        return recipe
    comparisons = {"compare": False, "learning_curve": False}
    return replace(recipe, classifier=replace(recipe.classifier, **comparisons))


def share_stages(
    donors: Sequence[Path], out: Path, recipe: AnyRecipe
) -> list[str]:
    """Begins a run with the stages that another has done alike.

    The files are linked, not copied, where the disk can: a stage that is done
    again unlinks them.

    Args:
        donors: Folders of runs of the same text or data.
        out: Folder of the new run; left as it is if it is there.
        recipe: That of the new run.

    Returns:
        Names of the stages.
    """
    if out.exists():
        return []
    alike = {donor: _alike(donor, recipe) for donor in donors}
    donor = max(alike, key=lambda each: len(alike[each]), default=None)
    if donor is None or not alike[donor]:
        return []
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in alike[donor]:
        for folder in STAGES[name]:
            shutil.copytree(
                donor / folder, partial / folder, copy_function=_link
            )
    records = read_records(donor / RECORDS)
    shared = {name: records[name] for name in alike[donor]}
    write_text(partial / RECORDS, json.dumps(shared, indent=1))
    partial.rename(out)
    return alike[donor]


def _alike(donor: Path, recipe: AnyRecipe) -> list[str]:
    """First stages that are done, and would come out the same."""
    if not (donor / RECORDS).is_file():
        return []
    records = read_records(donor / RECORDS)
    ours = flat(to_dict(recipe))
    found = []
    for name in STAGES:
        if name not in records:
            continue
        # A record names the settings that its stage depends on.
        theirs = flat(records[name]["settings"])
        same = all(ours.get(k, value) == value for k, value in theirs.items())
        if not (same and records[name]["finished"]):
            break  # those that follow depend on it
        found.append(name)
    return found


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no links
        shutil.copy2(source, target)
