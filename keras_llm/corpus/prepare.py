"""From sources of raw text to a corpus folder: cleaned, divided, reported.

What a stage leaves is in a folder beside the corpus, so that a killed run goes
on where it was: see `keras_llm.corpus.stages`.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from keras_llm import __version__
from keras_llm.corpus.report.corpus_report import CorpusReport
from keras_llm.corpus.rules import build_rules
from keras_llm.corpus.sources import as_sources, list_sources
from keras_llm.corpus.sources.kinds import kind_of
from keras_llm.corpus.sources.listing import (
    STANDARD_INPUT,
    SourceFile,
    contents_key,
)
from keras_llm.corpus.stages import ProgressHook, Stages
from keras_llm.errors import InputError
from keras_llm.executors import check_executor
from keras_llm.files import check_free, resumable_work
from keras_llm.recipes.corpus_settings import CorpusSettings, ExecutionSettings

# What cleaning does not depend on: a change of these keeps what is cleaned.
SPLITTING = ("contamination", "leaks", "split")


def prepare(
    sources: str | Sequence[str],
    out: Path,
    settings: CorpusSettings | None = None,
    execution: ExecutionSettings | None = None,
    progress: ProgressHook | None = None,
) -> CorpusReport:
    """Makes a corpus of one or several sources.

    Args:
        sources: Files, folders, globs, http(s) addresses, `hf:NAME` for a
            Hugging Face dataset, `-` for standard input, or names of the
            catalogue.
        out: Folder to write: `train/00000.jsonl` and so on for each split,
            `report.json`, `report.html` and `timings.json`. It appears whole
            or not at all.
        settings: How the texts are cleaned and divided.
        execution: Where the tasks run; changes nothing of what is written.
        progress: Called with the stage, the bytes done and the bytes in all.

    Returns:
        The report, as written.

    Raises:
        InputError: A source or rule cannot be used, nothing is left, a split
            that was asked for is empty, or `out` exists or cannot be written.
        Interrupted: A worker died; the same call goes on from there.
    """
    sources = as_sources(sources)
    settings = settings or CorpusSettings()
    out = Path(os.path.realpath(out))
    check_free(out)
    execution = execution or ExecutionSettings()
    check_executor(execution, out)
    cleaning = build_rules(settings)  # says what is wrong with them first
    held_out = []
    if settings.contamination and settings.leaks != "ignore":
        held_out = list_sources(settings.contamination)
    with spooled_input(sources) as stdin:
        files = list_sources(sources, stdin, include=settings.include)
        _check_columns(files, settings)
        with resumable_work(out, _key(files, settings)) as work:
            stages = Stages(work, settings, execution, progress)
            stages.forget_unless(_key(held_out, settings, SPLITTING))
            if held_out:
                stages.collect_contamination(held_out)
            stages.clean(files, cleaning)
            stages.plan(files)
            stages.collect_test_split()
            stages.write()
            report = stages.report(files)
    return report


@contextmanager
def spooled_input(sources: Sequence[str]) -> Iterator[Path | None]:
    """Yields a file of what standard input holds, if that is a source."""
    if STANDARD_INPUT not in sources:
        yield None
        return
    if sys.stdin is None:
        raise InputError("- stands for standard input, which is closed.")
    with tempfile.NamedTemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield Path(file.name)


def _check_columns(
    files: Sequence[SourceFile], settings: CorpusSettings
) -> None:
    """Raises if columns are named where no source has any."""
    kinds = [kind_of(file.id) for file in files if not file.skipped]
    if any(kind.archive or kind.has_fields for kind in kinds):
        return
    for name in ("text", "template", "split_column"):
        value = getattr(settings, name)
        if value != getattr(CorpusSettings(), name):
            raise InputError(
                f"corpus.{name} names columns or keys, which only tables and "
                f"records have. Received: {value!r}, and no such source."
            )


def _key(
    files: Sequence[SourceFile],
    settings: CorpusSettings,
    names: Sequence[str] | None = None,
) -> str:
    """Digest of files and settings: those named, or all but `SPLITTING`."""
    values = asdict(settings)
    names = names or sorted(values.keys() - set(SPLITTING))
    chosen = {name: values[name] for name in names}
    parts = [__version__, chosen, contents_key(files)]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
