"""Composes the stages: from raw text to an evaluated preset.

A run is a folder. Each stage writes a folder of its own in it, and
`stages.json` records the settings and input that each was made from. A rerun
skips the stages whose records agree.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from keras_llm.corpus.sources import as_sources, fingerprint
from keras_llm.files import file_digest
from keras_llm.recipes.corpus_settings import ExecutionSettings
from keras_llm.recipes.settings import Recipe, to_dict
from keras_llm.run_folder import Run
from keras_llm.workflow.evaluating import check_tokenizer, evaluate_run
from keras_llm.workflow.first_checks import check_pretraining, least_vocabulary


def train(
    source: str | Sequence[str],
    recipe: Recipe,
    out: Path,
    redo: str | None = None,
    console: Console | None = None,
    execution: ExecutionSettings | None = None,
) -> dict[str, Any]:
    """Trains a language model on a text, or finishes what was begun.

    Args:
        source: One or several files, folders, globs, addresses, or names of
            the catalogue.
        recipe: All settings.
        out: Folder of the run.
        redo: A stage to do again; those after it follow where it comes out
            differently.
        console: Where progress is shown; the terminal if omitted.
        execution: Where text is cleaned and encoded.

    Returns:
        Metrics of each held-out split, and where things are.

    Raises:
        InputError: `out` is no run, or a run of other settings or text, or
            another command works on it; or as the stages raise it.
    """
    sources = as_sources(source)
    run = Run(out, console)
    with run.opened(recipe, redo):
        if run.is_due("pretrain"):
            check_pretraining(recipe, least_vocabulary(recipe.tokenizer))
        make_tokens(run, sources, recipe, execution)
        return _make_model(run, recipe)


def make_tokens(
    run: Run,
    sources: Sequence[str],
    recipe: Recipe,
    execution: ExecutionSettings | None = None,
) -> None:
    """The stages from text to tokens; the arguments are those of `train`."""
    out, console = run.out, run.console
    corpus, tokenizer, tokens = (
        out / name for name in ("corpus", "tokenizer", "tokens")
    )
    settings = to_dict(recipe)
    run.stage(
        "prepare",
        {"corpus": settings["corpus"]},
        {"files": fingerprint(sources, include=recipe.corpus.include)},
        lambda: prepare_corpus(sources, corpus, recipe, console, execution),
    )
    run.stage(
        "tokenizer",
        {"tokenizer": settings["tokenizer"]},
        {"prepare": run.digest("prepare")} | _given_tokenizer(recipe),
        lambda: make_tokenizer(corpus, tokenizer, recipe, console),
    )
    run.stage(
        "encode",
        {},
        {"tokenizer": run.digest("tokenizer")},
        lambda: encode_corpus(corpus, tokenizer, tokens, console, execution),
    )


def _make_model(run: Run, recipe: Recipe) -> dict[str, Any]:
    """The stages from tokens to an evaluated preset."""
    out = run.out
    _pretrain(run, out / "tokens", out / "tokenizer", recipe)
    report = run.stage(
        "evaluate",
        {},
        {"pretrain": run.digest("pretrain")},
        lambda: evaluate_run(out, recipe.training.stateful, run.console),
    )
    return {
        **report,
        "preset": str(out / "preset"),
        "curves": str(out / "training" / "curves.png"),
        "samples": str(out / "training" / "samples.txt"),
    }


def pretrain_run(
    tokens: Path,
    tokenizer: Path,
    out: Path,
    recipe: Recipe,
    redo: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Trains on token shards alone, or finishes what was begun.

    Args:
        tokens: Folder of token shards.
        tokenizer: The tokenizer that they were encoded with.
        out: Folder of the run.
        recipe: All settings.
        redo: `"pretrain"` to begin again.
        console: Where progress is shown; the terminal if omitted.

    Returns:
        The report of the stage.

    Raises:
        InputError: as `train`.
    """
    from keras_llm.datasets import TokenManifest
    from keras_llm.tokenizers import ScratchTokenizer

    tokens, tokenizer = Path(tokens), Path(tokenizer)
    run = Run(out, console)
    with run.opened(recipe, redo):
        if run.is_due("pretrain"):
            size = TokenManifest.load(tokens).vocabulary_size
            loaded = ScratchTokenizer.from_file(tokenizer)
            check_tokenizer(tokens, loaded, str(tokenizer))
            check_pretraining(recipe, size)
        return _pretrain(run, tokens, tokenizer, recipe)


def prepare_corpus(
    sources: Sequence[str],
    out: Path,
    recipe: Recipe,
    console: Console,
    execution: ExecutionSettings | None = None,
) -> dict[str, Any]:
    """Cleans and splits the text; returns the corpus report."""
    from keras_llm.corpus.prepare import prepare

    with _progress(console) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=total)

        report = prepare(sources, out, recipe.corpus, execution, progress)
    return report.to_dict()


def make_tokenizer(
    corpus: Path, out: Path, recipe: Recipe, console: Console
) -> dict[str, Any]:
    """Trains a tokenizer or takes one; returns its report."""
    from keras_llm.tokenizers.training import train_tokenizer

    with console.status("training the tokenizer"):
        return asdict(train_tokenizer(corpus, out, recipe.tokenizer))


def encode_corpus(
    corpus: Path,
    tokenizer: Path,
    out: Path,
    console: Console,
    execution: ExecutionSettings | None = None,
) -> dict[str, Any]:
    """Writes token shards; returns their manifest."""
    from keras_llm.corpus.report.corpus_report import load_report
    from keras_llm.datasets import encode

    splits = load_report(corpus).splits.values()
    with _progress(console) as bar:
        task = bar.add_task("encode", total=sum(s.bytes for s in splits))
        manifest = encode(
            corpus,
            tokenizer,
            out,
            lambda done: bar.update(task, completed=done),
            execution,
        )
    return asdict(manifest)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _pretrain(
    run: Run, tokens: Path, tokenizer: Path, recipe: Recipe
) -> dict[str, Any]:
    settings = to_dict(recipe)
    return run.stage(
        "pretrain",
        {name: settings[name] for name in ("model", "training", "seed")},
        {"tokens": tokens_digest(tokens)},
        lambda: pretrain_model(tokens, tokenizer, run.out, recipe, run.console),
    )


def pretrain_model(
    tokens: Path, tokenizer: Path, out: Path, recipe: Recipe, console: Console
) -> dict[str, Any]:
    """Trains a model from scratch into `out/training` and `out/preset`."""
    from keras_llm.models import build_model, save_preset
    from keras_llm.tokenizers import ScratchTokenizer
    from keras_llm.training import pretrain

    loaded = ScratchTokenizer.from_file(tokenizer)
    check_tokenizer(tokens, loaded, str(tokenizer))
    model = build_model(
        recipe.model,
        loaded,
        recipe.training.dtype,
        recipe.seed,
    )
    console.print(f"{model.count_params():,} parameters")
    result = pretrain(
        model,
        tokens,
        out / "training",
        recipe.training,
        recipe.generation,
        recipe.seed,
        console,
    )
    shutil.rmtree(out / "preset", ignore_errors=True)
    save_preset(model, out / "preset")
    return {"parameters": model.count_params(), **result.to_dict()}


def _given_tokenizer(recipe: Recipe) -> dict[str, str]:
    """A hash of the model at `tokenizer.model_path`, if there is one."""
    from keras_llm.tokenizers.processor import model_path

    given = recipe.tokenizer.model_path
    return {"model_file": file_digest(model_path(Path(given)))} if given else {}


def tokens_digest(tokens: Path) -> str:
    """A hash of the manifest, which holds those of all shards."""
    from keras_llm.datasets.tokens import MANIFEST_NAME, TokenManifest

    TokenManifest.load(tokens)  # says what is wrong with it
    return file_digest(tokens / MANIFEST_NAME)
