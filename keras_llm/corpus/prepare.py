"""From sources of raw text to a corpus folder: cleaned, divided, reported.

The stages are in a folder beside the corpus, so that a killed run goes on
where it was. Tasks depend on the sources alone: the same sources and settings
give the same bytes on any number of workers.
"""

import hashlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from keras_llm import __version__
from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.duplicates.hashing import distinct
from keras_llm.corpus.duplicates.minhash import Signer
from keras_llm.corpus.leaks import COMMON, LeakCheck
from keras_llm.corpus.plan import Task, make_plan
from keras_llm.corpus.report.corpus_report import CorpusReport, save_report
from keras_llm.corpus.report.page import save_page
from keras_llm.corpus.report.summary import (
    merged_files,
    merged_rules,
    summarise,
)
from keras_llm.corpus.rules import Rule, build_rules
from keras_llm.corpus.sources import as_sources, list_sources
from keras_llm.corpus.sources.kinds import kind_of
from keras_llm.corpus.sources.listing import (
    STANDARD_INPUT,
    SourceFile,
    contents_key,
)
from keras_llm.corpus.sources.reader import FileReader, make_tasks
from keras_llm.corpus.splitting import NO_SPLIT, check_splits
from keras_llm.corpus.store import SavedTasks, Store
from keras_llm.corpus.tasks import (
    Clean,
    IndexQuestions,
    IndexTest,
    Planned,
    Write,
)
from keras_llm.errors import InputError
from keras_llm.executors import (
    advance,
    check_executor,
    run_tasks,
    usable_cores,
)
from keras_llm.files import MADE, check_free, resumable_work, write_text
from keras_llm.recipes.corpus_settings import CorpusSettings, ExecutionSettings

# What cleaning does not depend on: a change of these keeps what is cleaned.
SPLITTING = ("contamination", "leaks", "split")
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
    rules = build_rules(settings)  # says what is wrong with them first
    held_out = []
    if settings.contamination and settings.leaks != "ignore":
        held_out = list_sources(settings.contamination)
    with spooled_input(sources) as stdin:
        files = list_sources(sources, stdin, include=settings.include)
        _check_columns(files, settings)
        with resumable_work(out, _key(files, settings)) as work:
            stages = _Stages(work, files, settings, execution, progress)
            stages.forget_unless(_key(held_out, settings, SPLITTING))
            if held_out:
                stages.index_questions(held_out)
            stages.clean(rules)
            stages.plan()
            stages.index_test_split()
            stages.write()
            report = stages.report()
    return report


class _Stages:
    """The stages of one corpus, in a folder that outlives an interruption."""

    def __init__(
        self,
        work: Path,
        files: list[SourceFile],
        settings: CorpusSettings,
        execution: ExecutionSettings,
        progress: ProgressHook | None,
    ):
        is_web = settings.cleaning == "web"
        self._work = work
        self._corpus = work / MADE
        self._store = Store(work / "cleaned")
        self._files = files
        self._settings = settings
        self._execution = execution
        self._near = settings.near_duplicates or ("drop" if is_web else "keep")
        paragraphs = settings.paragraph_duplicates
        self._paragraphs = is_web if paragraphs is None else paragraphs
        self._held_out: dict[str, LeakCheck] = {}
        self._seconds: dict[str, float] = {}
        self._progress = progress

    def forget_unless(self, key: str) -> None:
        """Deletes what depends on more than cleaning, if that has changed."""
        path = self._work / "splitting.key"
        if path.is_file() and path.read_text(encoding="utf-8").strip() == key:
            return
        path.unlink(missing_ok=True)
        for name in ("contamination", "leaks", "write"):
            shutil.rmtree(self._work / "stages" / name, ignore_errors=True)
            shutil.rmtree(self._work / name, ignore_errors=True)
        shutil.rmtree(self._corpus)
        self._corpus.mkdir()
        write_text(path, key)

    def index_questions(self, files: list[SourceFile]) -> None:
        # Which split a record belongs to is said of the sources alone.
        settings = replace(self._settings, split_column=None)
        reader = self._reader("contamination", files, settings)
        held_out = LeakCheck(self._work / "contamination")
        index = IndexQuestions(reader, held_out)
        self._run("contamination", index, len(reader.tasks), _bytes_of(files))
        held_out.merge()
        self._held_out["contamination"] = held_out

    def clean(self, rules: list[Rule]) -> None:
        """Reads and cleans the sources, into the store."""
        reader = self._reader("clean", self._files, self._settings)
        compares = self._near != "keep"
        signer = Signer(self._settings.similarity) if compares else None
        clean = Clean(reader, rules, self._store, signer, self._paragraphs)
        self._tasks = len(reader.tasks)
        self._run("clean", clean, self._tasks, _bytes_of(self._files))
        if not len(self._store.index()):
            raise self._nothing_left()

    def plan(self) -> None:
        """Decides which documents stay, and in which split."""
        self._plan = make_plan(
            self._store, self._settings, self._near, self._run
        )
        self._check_splits(self._plan.documents())
        starts = self._store.starts().tolist()
        plans = (self._plan.part(*ends) for ends in itertools.pairwise(starts))
        saved = SavedTasks.save(self._work / "plan.tasks", plans)
        drops = self._near == "drop"
        self._planned = Planned(self._store, saved, drops, self._paragraphs)

    def index_test_split(self) -> None:
        """Indexes the test split, which training text must not hold."""
        has_test = "test" in self._plan.documents()
        if self._settings.leaks == "ignore" or not has_test:
            return
        held_out = LeakCheck(self._work / "leaks", COMMON)
        index = IndexTest(self._planned, held_out)
        self._run("leaks", index, self._tasks, self._store.size())
        held_out.merge()
        self._held_out["leaks"] = held_out

    def write(self) -> None:
        held_out = list(self._held_out.values())
        drops = self._settings.leaks == "drop"
        write = Write(self._planned, self._corpus, held_out, drops)
        self._run("write", write, self._tasks, self._store.size())

    def report(self) -> CorpusReport:
        """Writes the report into the corpus folder, and returns it."""
        stages = [self._store.records(name) for name in ("cleaning", "writing")]
        rules = {
            name: count
            for records in stages
            for name, count in merged_rules(records).items()
        }
        leaks = {name: each.leaks() for name, each in self._held_out.items()}
        report = summarise(
            self._files, self._settings, self._store, self._plan, rules, leaks
        )
        self._check_splits(
            {split: count.documents for split, count in report.splits.items()}
        )
        save_report(report, self._corpus)
        save_page(report, self._corpus)
        self._save_timings(itertools.chain(*stages))
        return report

    def _save_timings(self, records: Iterable[dict]) -> None:
        """Seconds of the stages, and of each rule summed over all tasks."""
        rules: dict[str, Counter] = defaultdict(Counter)
        for name, rule in (item for each in records for item in each.items()):
            rules[name].update(seconds=rule["seconds"], bytes=rule["bytes"])
        workers = self._execution.workers or usable_cores()
        timings = {
            "bytes": _bytes_of(self._files),
            "workers": min(workers, self._tasks),
            "stages": self._seconds,
            "rules": rules,
        }
        write_text(self._corpus / "timings.json", json.dumps(timings, indent=2))

    def _reader(
        self, name: str, files: list[SourceFile], settings: CorpusSettings
    ) -> FileReader:
        tasks = make_tasks(files)
        saved = SavedTasks.save(self._work / f"{name}.tasks", tasks)
        return FileReader(saved, settings, advance)

    def _nothing_left(self) -> InputError:
        rules = merged_rules(self._store.records("cleaning"))
        why = [
            f"{name} dropped {rule.dropped} (e.g. {drop.id}, "
            f"{drop.reason}: {drop.before[:SHOWN]!r})"
            for name, rule in rules.items()
            for drop in rule.drops[:1]
        ]
        files = merged_files(self._store.records("files"))
        return InputError(
            "The sources must hold text. Nothing is left of "
            f"{rules['unreadable'].seen} documents ({files}): "
            f"{'; '.join(why)}. Pass other sources, --corpus.rules or, for "
            "tables, --corpus.text."
        )

    def _check_splits(self, documents: dict[str, int]) -> None:
        """Raises `Interrupted` if a split is empty that must not be."""
        method = self._plan.division.method
        if method == "given":
            given = distinct(self._store.index()["given"])
            named = {SPLITS[split] for split in given[given != NO_SPLIT]}
            named |= {file.split for file in self._files} - {None}
            documents = dict.fromkeys(named, 0) | documents
        check_splits(documents, method, self._settings.split)

    def _run(
        self, stage: str, task: Task, tasks: int, total: int | None = None
    ) -> None:
        """Runs the tasks of a stage; `total` is what they advance by."""
        start = time.perf_counter()
        hook = self._progress if total is not None else None
        run_tasks(
            [task],
            tasks,
            self._work / "stages" / stage,
            self._execution,
            hook and (lambda done: hook(stage, done, total)),
        )
        self._seconds[stage] = time.perf_counter() - start


def _bytes_of(files: Sequence[SourceFile]) -> int:
    return sum(file.bytes for file in files)


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
