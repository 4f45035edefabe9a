"""Composes the stages: from raw text to an evaluated preset.

A run is a folder. Each stage writes a folder of its own in it, and
`stages.json` records the settings and input that each was made from. A rerun
skips the stages whose records agree.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress

from keras_llm.corpus.prepare import prepare
from keras_llm.corpus.sources import read_source
from keras_llm.errors import InputError
from keras_llm.recipes.checks import check
from keras_llm.recipes.settings import Recipe, to_dict

# The folders that each stage writes; the names are those of the commands.
STAGES = {
    "prepare": ("corpus",),
    "tokenizer": ("tokenizer",),
    "encode": ("tokens",),
    "pretrain": ("training", "preset"),
    "evaluate": ("evaluation",),
}
# Inputs that are recorded as hashes, and what to say if one is another.
CONTENTS = {
    "files": "the text has changed",
    "model_file": "the file at tokenizer.model_path has changed",
    "tokens": "the tokens have changed",
}
RECORDS = "stages.json"
RECIPE = "recipe.yaml"


def train(
    source: str,
    recipe: Recipe,
    out: Path,
    redo: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Trains a language model on a text, or finishes what was begun.

    Args:
        source: A file, a folder, or a name of the catalogue.
        recipe: All settings.
        out: Folder of the run.
        redo: A stage to do again, with those after it.
        console: Where progress is shown; the terminal if omitted.

    Returns:
        Metrics of each held-out split, and where things are.

    Raises:
        InputError: `out` is no run, or a run of other settings or text; or
            as the stages raise it.
    """
    out = Path(out)
    out, console = Path(out), console or Console(stderr=True)
    run = Run(out, console)
    run.open(recipe, redo)
    corpus, tokenizer, tokens = (
        out / name for name in ("corpus", "tokenizer", "tokens")
    )
    settings = to_dict(recipe)
    run.stage(
        "prepare",
        {"corpus": settings["corpus"]},
        {"source": source, "files": _fingerprint(source)},
        lambda: prepare_corpus(source, corpus, recipe, console),
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
        lambda: encode_corpus(corpus, tokenizer, tokens, console),
    )
    _pretrain(run, tokens, tokenizer, recipe)
    report = run.stage(
        "evaluate",
        {},
        {"pretrain": run.digest("pretrain")},
        lambda: _evaluate_run(out, recipe, console),
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
    run = Run(Path(out), console or Console(stderr=True))
    run.open(recipe, redo)
    return _pretrain(run, Path(tokens), Path(tokenizer), recipe)


class Run:
    """A run's folder, and the record of what was done in it.

    Args:
        out: The folder.
        console: Where the stages are announced.
    """

    def __init__(self, out: Path, console: Console):
        self.out = out
        self.console = console
        self.records: dict[str, dict] = {}

    def open(self, recipe: Recipe, redo: str | None = None) -> None:
        """Reads the records of an earlier run; writes nothing yet.

        Args:
            recipe: All settings.
            redo: A stage to do again, with those after it.

        Raises:
            InputError: `out` holds something other than a run.
        """
        records = self.out / RECORDS
        if records.is_file():
            self.records = _read_records(records)
        elif self.out.exists() and (
            not self.out.is_dir() or any(self.out.iterdir())
        ):
            raise InputError(
                f"{self.out} must be a new or empty folder, or an earlier run "
                f"(with {RECORDS}). Pass another --out."
            )
        names = list(STAGES)
        self._redo = names[names.index(redo) :] if redo else []
        self._recipe = yaml.safe_dump(to_dict(recipe), sort_keys=False)

    def digest(self, stage: str) -> str:
        """A hash of all that a stage was made from."""
        record = self.records[stage]
        made_from = json.dumps(
            [record["settings"], record["input"]], sort_keys=True
        )
        return hashlib.sha256(made_from.encode()).hexdigest()

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
            settings: Nested settings that its output depends on.
            input: What else its output depends on.
            work: Writes the stage's folders and returns its report.

        Returns:
            The report.

        Raises:
            InputError: The stage was done with other settings or input.
        """
        if name in self._redo:
            # Not before, so that a mistake in another stage loses nothing.
            for each in self._redo:
                self._forget(each)
            self._redo = []
        record = self.records.get(name)
        if record is not None:
            done = record["finished"] and self._has_folders(name)
            if done or self._can_resume(name):
                self._check_same(name, record, settings, input)
            else:
                self._forget(name)
            if done:
                self.console.print(f"[dim]{name}: done before[/dim]")
                return record["report"]
        record = {"settings": settings, "input": input, "finished": False}
        self._record(name, record)
        self.console.print(f"[bold]{name}[/bold]")
        report = work()
        self._record(name, record | {"finished": True, "report": report})
        return report

    def _has_folders(self, name):
        return all((self.out / folder).is_dir() for folder in STAGES[name])

    def _can_resume(self, name):
        checkpoints = self.out / "training" / "checkpoints"
        return name == "pretrain" and any(checkpoints.glob("[0-9]*"))

    def _check_same(self, name, record, settings, input):
        before = _flat(record["settings"] | record["input"])
        now = _flat(settings | input)
        for field in before | now:
            was, received = before.get(field), now.get(field)
            if was == received:
                continue
            what = CONTENTS.get(field, f"{field} was {was!r}, now {received!r}")
            raise InputError(
                f"{self.out} was made from other settings or text: {what}. "
                f"Pass --redo {name} to do that stage and all after it again, "
                "or another --out."
            )

    def _record(self, name, record):
        self.records[name] = record
        self.out.mkdir(parents=True, exist_ok=True)
        _write(self.out / RECIPE, self._recipe)
        _write(self.out / RECORDS, json.dumps(self.records, indent=1))

    def _forget(self, name):
        self.records.pop(name, None)
        for folder in STAGES[name]:
            shutil.rmtree(self.out / folder, ignore_errors=True)


def prepare_corpus(
    source: str, out: Path, recipe: Recipe, console: Console
) -> dict[str, Any]:
    """Reads and splits the text; returns the corpus report."""
    with _progress(console) as bar:
        task = bar.add_task("reading", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return prepare(source, out, recipe.corpus, progress).to_dict()


def make_tokenizer(
    corpus: Path, out: Path, recipe: Recipe, console: Console
) -> dict[str, Any]:
    """Trains a tokenizer or takes one; returns its report."""
    from keras_llm.tokenizers.training import train_tokenizer

    with console.status("training the tokenizer"):
        return asdict(train_tokenizer(corpus, out, recipe.tokenizer))


def encode_corpus(
    corpus: Path, tokenizer: Path, out: Path, console: Console
) -> dict[str, Any]:
    """Writes token shards; returns their manifest."""
    from keras_llm.corpus.prepare import load_report
    from keras_llm.datasets import encode

    splits = load_report(corpus).splits.values()
    with _progress(console) as bar:
        task = bar.add_task("encoding", total=sum(s.bytes for s in splits))
        manifest = encode(
            corpus, tokenizer, out, lambda done: bar.advance(task, done)
        )
    return asdict(manifest)


def _progress(console: Console) -> Progress:
    return Progress(
        console=console, transient=True, disable=not console.is_terminal
    )


def _pretrain(
    run: Run, tokens: Path, tokenizer: Path, recipe: Recipe
) -> dict[str, Any]:
    settings = to_dict(recipe)
    return run.stage(
        "pretrain",
        {name: settings[name] for name in ("model", "training", "seed")},
        {"tokens": _tokens_digest(tokens)},
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
    _check_tokenizer(tokens, loaded, str(tokenizer))
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


def evaluate_preset(
    preset: Path,
    tokens: Path,
    splits: list[str],
    batch_size: int,
    console: Console,
) -> dict[str, Any]:
    """Loss, perplexity, bits per byte and accuracy over whole splits."""
    from keras_llm.datasets import open_tokens
    from keras_llm.evaluation import Evaluator
    from keras_llm.models import load_preset

    check(batch_size >= 1, "batch_size", "at least 1", batch_size)
    model = load_preset(preset)
    _check_tokenizer(tokens, model.preprocessor.tokenizer, str(preset))
    length = model.backbone.max_sequence_length
    evaluator = Evaluator(model, length, batch_size)
    report = {}
    for split in splits:
        with console.status(f"evaluating {split}"):
            evaluation = evaluator.evaluate(open_tokens(tokens, split))
        report[split] = evaluation.to_dict()
    return report


def held_out_splits(tokens: Path) -> list[str]:
    """The splits that were not trained on."""
    from keras_llm.datasets import TokenManifest

    splits = TokenManifest.load(tokens).splits
    return [name for name in splits if name != "train"]


def _evaluate_run(out: Path, recipe: Recipe, console: Console) -> dict:
    tokens = out / "tokens"
    report = evaluate_preset(
        out / "preset",
        tokens,
        held_out_splits(tokens),
        recipe.training.batch_size,
        console,
    )
    (out / "evaluation").mkdir(exist_ok=True)
    _write(out / "evaluation" / "report.json", json.dumps(report, indent=1))
    return report


def _fingerprint(source: str) -> str:
    """A hash of the names and the contents of a source's files."""
    digest = hashlib.sha256()
    for file in read_source(source).files:
        content = _digest(file.path)
        digest.update(repr((file.id, file.split, content)).encode())
    return digest.hexdigest()


def _given_tokenizer(recipe: Recipe) -> dict[str, str]:
    """A hash of the model at `tokenizer.model_path`, if there is one."""
    from keras_llm.tokenizers.processor import model_path

    given = recipe.tokenizer.model_path
    return {"model_file": _digest(model_path(Path(given)))} if given else {}


def _tokens_digest(tokens: Path) -> str:
    """A hash of the manifest, which holds those of all shards."""
    from keras_llm.datasets.tokens import MANIFEST_NAME, TokenManifest

    TokenManifest.load(tokens)  # says what is wrong with it
    return _digest(tokens / MANIFEST_NAME)


def _check_tokenizer(tokens: Path, tokenizer: Any, name: str) -> None:
    from keras_llm.datasets import TokenManifest

    received = hashlib.sha256(tokenizer.proto).hexdigest()
    expected = TokenManifest.load(tokens).tokenizer_sha256
    if received != expected:
        raise InputError(
            f"{tokens} was encoded with another tokenizer than that of {name}: "
            f"expected sha256 {expected[:12]}…. Received: {received[:12]}…. "
            "Encode the text again with `keras-llm encode`."
        )


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read_records(path: Path) -> dict[str, dict]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        for record in records.values():
            _flat(record["settings"] | record["input"])
            if record["finished"]:
                record["report"].items()
        return records
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} must be the record of a run. It is damaged: {error!r}. "
            "Pass another --out."
        ) from error


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
