"""From sources of raw text to a corpus folder: cleaned, divided, reported.

Four stages, each a pipeline of datatrove blocks that an executor runs for
every task: clean, compare what may be duplicates, collect what is held out,
write. What a stage leaves is in a folder beside the corpus, so that a killed
run goes on where it was. Tasks depend on the sources alone: the same sources
and settings give the same bytes on any number of workers.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from datatrove.pipeline.base import PipelineStep

from keras_llm import __version__
from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.duplicates.signatures import Signer
from keras_llm.corpus.filters import (
    DropDuplicates,
    DropEmpty,
    DropParagraphs,
    DropUnreadable,
    OnlySplit,
    RequireReadable,
)
from keras_llm.corpus.held_out import COMMON
from keras_llm.corpus.leaks import HeldOutTexts
from keras_llm.corpus.overlap import DropLeaks, FindLeaks, NgramIndexer
from keras_llm.corpus.plan import (
    EXACT_DUPLICATE,
    NEAR_DUPLICATE,
    make_plan,
)
from keras_llm.corpus.report.corpus_report import CorpusReport, save_report
from keras_llm.corpus.report.page import save_page
from keras_llm.corpus.report.timings import (
    Speed,
    Timings,
    rule_speeds,
    save_timings,
)
from keras_llm.corpus.rules import build_rules
from keras_llm.corpus.rules.rule import Rule, Tally
from keras_llm.corpus.sources import as_sources, list_sources
from keras_llm.corpus.sources.files import (
    STANDARD_INPUT,
    SourceFile,
    contents_key,
)
from keras_llm.corpus.sources.kinds import kind_of
from keras_llm.corpus.sources.reader import FileReader, make_tasks
from keras_llm.corpus.splitting import NO_SPLIT, TEST, check_splits
from keras_llm.corpus.store import CleanedWriter, Store
from keras_llm.corpus.summary import merged_tallies, summarise
from keras_llm.corpus.writing import CleanedReader, Cut, SplitWriter
from keras_llm.errors import InputError
from keras_llm.executors import (
    advance,
    check_executor,
    run_tasks,
    usable_cores,
)
from keras_llm.files import MADE, check_free, resumable_work
from keras_llm.recipes.corpus_settings import CorpusSettings, ExecutionSettings

SHOWN = 120  # characters of what was dropped, in a message
# Called with the stage, and the bytes done and in all.
ProgressHook = Callable[[str, int, int], None]


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
        files = list_sources(sources, stdin=stdin)
        _check_columns(files, settings)
        key = _key(files, held_out, settings)
        with resumable_work(out, key) as work:
            stages = _Stages(work, settings, execution, progress)
            if held_out:
                stages.collect_contamination(held_out)
            stages.clean(files, cleaning)
            stages.plan()
            stages.collect_test_split()
            stages.write()
            report = stages.report(files)
    return report


class _Stages:
    """The stages of one corpus, in a folder that outlives an interruption."""

    def __init__(
        self,
        work: Path,
        settings: CorpusSettings,
        execution: ExecutionSettings,
        progress: ProgressHook | None,
    ):
        is_web = settings.cleaning == "web"
        self.work = work
        self.corpus = work / MADE
        self.store = Store(work / "cleaned")
        self.store.folder.mkdir(exist_ok=True)
        self.settings = settings
        self.execution = execution
        self.near = settings.near_duplicates or ("drop" if is_web else "keep")
        paragraphs = settings.paragraph_duplicates
        self.paragraphs = is_web if paragraphs is None else paragraphs
        self.held_out: dict[str, HeldOutTexts] = {}
        self.seconds: dict[str, float] = {}
        self._progress = progress

    def clean(self, files: list[SourceFile], cleaning: list[Rule]) -> None:
        """Reads and cleans the sources, into the store."""
        rules = [
            Rule("unreadable", DropUnreadable()),
            *cleaning,
            Rule("empty", DropEmpty()),
        ]
        signer = Signer(self.settings.similarity) if self._compares else None
        tasks = make_tasks(files)
        pipeline = [
            self._reader(tasks),
            *rules,
            CleanedWriter(self.store, rules, signer, self.paragraphs),
        ]
        size = sum(file.bytes for file in files)
        self._run("clean", pipeline, len(tasks), size)
        self.tasks = len(tasks)
        self._check_any_left()

    def plan(self) -> None:
        """Decides which documents stay, and in which split."""
        self.made_plan = make_plan(
            self.store, self.settings, self.near, self._run
        )
        self.made_plan.save(self.store)

    def collect_contamination(self, files: list[SourceFile]) -> None:
        """Indexes evaluation files, which training text must not hold."""
        tasks = make_tasks(files)
        size = sum(file.bytes for file in files)
        pipeline = [self._reader(tasks), RequireReadable()]
        # Many questions may share a passage, which is none less leaked.
        self._index("contamination", pipeline, len(tasks), size, None)

    def collect_test_split(self) -> None:
        """Indexes the test split, which training text must not hold."""
        if self.settings.leaks == "ignore" or not self.made_plan.has_split(
            TEST
        ):
            return
        pipeline = [
            CleanedReader(self.store),
            *(rule.block for rule in self._duplicate_rules()),
            Cut(),
            OnlySplit("test"),
        ]
        size = self._cleaned_size()
        self._index("leaks", pipeline, self.tasks, size, COMMON)

    def write(self) -> None:
        """Writes the splits."""
        rules = self._duplicate_rules()
        pipeline = [CleanedReader(self.store), *rules]
        pipeline += [
            FindLeaks(texts.index, texts.found)
            for texts in self.held_out.values()
        ]
        if self.settings.leaks == "drop" and self.held_out:
            rules.append(Rule("leaks", DropLeaks()))
            pipeline.append(rules[-1])
        pipeline += [Cut(), SplitWriter(self.corpus, self.store, rules)]
        self._run("write", pipeline, self.tasks, self._cleaned_size())

    def report(self, files: list[SourceFile]) -> CorpusReport:
        """Writes the report into the corpus folder, and returns it."""
        written = self.store.records("written")
        tallies = merged_tallies(self.store.records("tallies"))
        tallies |= merged_tallies(record["tallies"] for record in written)
        drops = tallies.get("leaks", Tally())
        dropped = drops.dropped + drops.changed
        report = summarise(
            files,
            self.settings,
            self.store,
            self.made_plan,
            written,
            tallies,
            {name: each.leaks(dropped) for name, each in self.held_out.items()},
        )
        self._check_splits(files, report)
        size = sum(file.bytes for file in files)
        timings = Timings(
            total=Speed.of(sum(self.seconds.values()), size),
            workers=min(self.execution.workers or usable_cores(), self.tasks),
            rules=rule_speeds(tallies),
            stages=self.seconds,
        )
        save_report(report, self.corpus)
        save_timings(timings, self.corpus)
        save_page(report, timings, self.corpus)
        return report

    def _reader(self, tasks: list[list[SourceFile]]) -> FileReader:
        reader = FileReader(tasks, self.settings)
        reader.progress = advance
        return reader

    @property
    def _compares(self) -> bool:
        return self.near != "keep"

    def _duplicate_rules(self) -> list[Rule]:
        rules = [Rule("exact_duplicates", DropDuplicates(EXACT_DUPLICATE))]
        if self.near == "drop":
            near = DropDuplicates(NEAR_DUPLICATE)
            rules.append(Rule("near_duplicates", near))
        if self.paragraphs:
            rules.append(Rule("paragraph_duplicates", DropParagraphs()))
        return rules

    def _index(
        self,
        name: str,
        pipeline: list[PipelineStep],
        tasks: int,
        size: int,
        common_above: int | None,
    ) -> None:
        texts = HeldOutTexts(self.work / name)
        pipeline = [*pipeline, NgramIndexer(texts.ngrams)]
        self._run(name, pipeline, tasks, size)
        texts.merge(common_above)
        self.held_out[name] = texts

    def _cleaned_size(self) -> int:
        shards = self.store.folder.glob("*.jsonl")
        return sum(shard.stat().st_size for shard in shards)

    def _check_any_left(self) -> None:
        if len(self.store.index()):
            return
        tallies = merged_tallies(self.store.records("tallies"))
        why = [
            f"{rule} dropped {tally.dropped} (e.g. {drop['id']}, "
            f"{drop['reason']}: {drop['before'][:SHOWN]!r})"
            for rule, tally in tallies.items()
            for drop in tally.drops[:1]
        ]
        raise InputError(
            "The sources must hold text. Nothing is left of "
            f"{tallies['unreadable'].seen} documents: {'; '.join(why)}. Pass "
            "other sources, --corpus.rules or, for tables, --corpus.text."
        )

    def _check_splits(
        self, files: list[SourceFile], report: CorpusReport
    ) -> None:
        documents = {
            split: count.documents for split, count in report.splits.items()
        }
        if report.split_method == "given":
            given = np.unique(self.store.index()["given"])
            named = {SPLITS[split] for split in given[given != NO_SPLIT]}
            for split in named | {file.split for file in files} - {None}:
                documents.setdefault(split, 0)
        check_splits(documents, report.split_method, self.settings.split)

    def _run(
        self,
        stage: str,
        pipeline: list[PipelineStep],
        tasks: int,
        total: int | None = None,
    ) -> None:
        """Runs the tasks of a stage; `total` is what they advance by."""
        start = time.perf_counter()
        hook = self._progress if total is not None else None
        run_tasks(
            pipeline,
            tasks,
            self.work / "stages" / stage,
            self.execution,
            hook and (lambda done: hook(stage, done, total)),
        )
        self.seconds[stage] = time.perf_counter() - start


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
    kinds = [kind_of(file.id) for file in files]
    if any(kind is None or kind.archive or kind.has_fields for kind in kinds):
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
    held_out: Sequence[SourceFile],
    settings: CorpusSettings,
) -> str:
    """Digest of what the tasks depend on."""
    contents = [contents_key(files), contents_key(held_out)]
    parts = [__version__, asdict(settings), contents]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
