"""A whole run in seconds, for tests of the workflow and the command line."""

import atexit
import functools
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from tiny_corpus import sample_text

from keras_llm.recipes.settings import (
    GenerationSettings,
    ModelSettings,
    Recipe,
    TokenizerSettings,
    TrainingSettings,
)

RECIPE = Recipe(
    tokenizer=TokenizerSettings(model_type="char"),
    model=ModelSettings(
        num_layers=1, num_heads=2, hidden_dim=16, max_sequence_length=32
    ),
    training=TrainingSettings(
        steps=4,
        batch_size=4,
        log_interval=2,
        validation_interval=2,
        sample_prompt="a",
        sample_tokens=4,
    ),
    generation=GenerationSettings(max_new_tokens=8),
)
QUIET = Console(quiet=True)


def changed(field: str, value) -> Recipe:
    """The recipe with another value of a field, by its dotted name."""
    return _replaced(RECIPE, field.split("."), value)


def _replaced(settings, names, value):
    name, *rest = names
    if rest:
        value = _replaced(getattr(settings, name), rest, value)
    return replace(settings, **{name: value})


@functools.cache
def finished_run() -> Path:
    """The folder of a run that is done; its text lies beside it.

    Tests that change it work on a copy: `copied_run`.
    """
    from keras_llm.workflow import train

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source = folder / "text.txt"
    source.write_text(sample_text(400), encoding="utf-8")
    train(str(source), RECIPE, folder / "run", console=QUIET)
    return folder / "run"


def copied_run(folder: Path) -> Path:
    """A copy of `finished_run` that a test may change."""
    run = folder / "run"
    shutil.copytree(finished_run(), run)
    return run


def train_again(run: Path, recipe: Recipe = RECIPE, redo: str | None = None):
    """The same command once more."""
    from keras_llm.workflow import train

    source = finished_run().parent / "text.txt"
    return train(str(source), recipe, run, redo, QUIET)


def files_of(folder: Path) -> dict[str, bytes]:
    """Content of every file, by its path within the folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_times(folder: Path) -> dict[str, int]:
    """When each file was written last, by its path within the folder."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
