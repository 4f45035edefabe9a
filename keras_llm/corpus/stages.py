"""The stages of making a corpus, in a folder that outlives an interruption.

Each is a pipeline of datatrove blocks that an executor runs for every task:
clean, compare what may be duplicates, collect what is held out, write. Tasks
depend on the sources alone: the same sources and settings give the same bytes
on any number of workers.
"""

import itertools
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from keras_llm.corpus.arrays import distinct
from keras_llm.corpus.counts import RuleCount
from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.duplicates.minhash import Signer
from keras_llm.corpus.leaks import (
    COMMON,
    DropLeaks,
    FindLeaks,
    LeakCheck,
    NgramIndexer,
)
from keras_llm.corpus.plan import (
    EXACT_DUPLICATE,
    NEAR_DUPLICATE,
    make_plan,
)
from keras_llm.corpus.report.corpus_report import CorpusReport, save_report
from keras_llm.corpus.report.page import save_page
from keras_llm.corpus.report.summary import (
    merged_files,
    merged_rules,
    summarise,
)
from keras_llm.corpus.report.timings import (
    Speed,
    Timings,
    rule_speeds,
    save_timings,
)
from keras_llm.corpus.rules.rule import Rule
from keras_llm.corpus.sources.listing import (
    SourceFile,
)
from keras_llm.corpus.sources.reader import FileReader, make_tasks
from keras_llm.corpus.splitting import NO_SPLIT, check_splits
from keras_llm.corpus.steps import (
    CleanedReader,
    Cut,
    DropDuplicates,
    DropEmpty,
    DropParagraphs,
    DropUnreadable,
    OnlySplit,
    RequireReadable,
    SplitWriter,
)
from keras_llm.corpus.store import (
    CleanedWriter,
    KeepCounts,
    SavedTasks,
    Store,
)
from keras_llm.errors import InputError
from keras_llm.executors import (
    advance,
    run_tasks,
    usable_cores,
)
from keras_llm.files import MADE, write_text
from keras_llm.recipes.corpus_settings import CorpusSettings, ExecutionSettings

SHOWN = 120  # characters of what was dropped, in a message
# Called with the stage, and the bytes done and in all.
ProgressHook = Callable[[str, int, int], None]


class Stages:
    """The stages of one corpus.

    Args:
        work: Their folder.
        settings: How the texts are cleaned and divided.
        execution: Where the tasks run.
        progress: Called with the stage, the bytes done and the bytes in all.
    """

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
        self.held_out: dict[str, LeakCheck] = {}
        self.seconds: dict[str, float] = {}
        self._progress = progress

    def forget_unless(self, key: str) -> None:
        """Deletes what depends on more than cleaning, if that has changed."""
        path = self.work / "splitting.key"
        if path.is_file() and path.read_text(encoding="utf-8") == key:
            return
        path.unlink(missing_ok=True)
        for name in ("contamination", "leaks", "write"):
            shutil.rmtree(self.work / "stages" / name, ignore_errors=True)
            shutil.rmtree(self.work / name, ignore_errors=True)
        shutil.rmtree(self.corpus)
        self.corpus.mkdir()
        write_text(path, key)

    def clean(self, files: list[SourceFile], cleaning: list[Rule]) -> None:
        """Reads and cleans the sources, into the store."""
        rules = [
            Rule("unreadable", DropUnreadable()),
            *cleaning,
            Rule("empty", DropEmpty()),
        ]
        compares = self.near != "keep"
        signer = Signer(self.settings.similarity) if compares else None
        tasks = make_tasks(files)
        pipeline = [
            self._reader(
                "clean", tasks, partial(self.store.save_record, "files")
            ),
            *rules,
            KeepCounts(self.store, "cleaning", rules),
            CleanedWriter(self.store, signer, self.paragraphs),
        ]
        size = sum(file.bytes for file in files)
        self._run("clean", pipeline, len(tasks), size)
        self.tasks = len(tasks)
        self._check_any_left()

    def plan(self, files: list[SourceFile]) -> None:
        """Decides which documents stay, and in which split."""
        self.made_plan = make_plan(
            self.store, self.settings, self.near, self._run
        )
        self._check_splits(self.made_plan.documents(), files)
        plans = self.made_plan.of_tasks(self.store.starts().tolist())
        self.plans = SavedTasks.save(self.work / "plan.tasks", plans)

    def collect_contamination(self, files: list[SourceFile]) -> None:
        """Indexes evaluation files, which training text must not hold."""
        tasks = make_tasks(files)
        size = sum(file.bytes for file in files)
        pipeline = [self._reader("contamination", tasks), RequireReadable()]
        # Many questions may share a passage, which is none less leaked.
        self._index("contamination", pipeline, len(tasks), size, None)

    def collect_test_split(self) -> None:
        """Indexes the test split, which training text must not hold."""
        has_test = "test" in self.made_plan.documents()
        if self.settings.leaks == "ignore" or not has_test:
            return
        pipeline = [
            CleanedReader(self.store, self.plans),
            *(rule.block for rule in self._duplicate_rules()),
            Cut(),
            OnlySplit("test"),
        ]
        size = self._cleaned_size()
        self._index("leaks", pipeline, self.tasks, size, COMMON)

    def write(self) -> None:
        """Writes the splits."""
        rules = self._duplicate_rules()
        pipeline = [CleanedReader(self.store, self.plans), *rules]
        pipeline += [
            FindLeaks(texts.index, texts.found)
            for texts in self.held_out.values()
        ]
        if self.settings.leaks == "drop" and self.held_out:
            rules.append(Rule("leaks", DropLeaks()))
            pipeline.append(rules[-1])
        pipeline += [
            KeepCounts(self.store, "writing", rules),
            Cut(),
            SplitWriter(self.corpus, self.store),
        ]
        self._run("write", pipeline, self.tasks, self._cleaned_size())

    def report(self, files: list[SourceFile]) -> CorpusReport:
        """Writes the report into the corpus folder, and returns it."""
        written = self.store.records("written")
        stages = [self.store.records(name) for name in ("cleaning", "writing")]
        rules = {
            name: count
            for records in stages
            for name, count in merged_rules(records).items()
        }
        dropped = rules.get("leaks", RuleCount()).dropped
        report = summarise(
            files,
            self.settings,
            self.store,
            self.made_plan,
            written,
            rules,
            {name: each.leaks(dropped) for name, each in self.held_out.items()},
        )
        documents = {
            split: count.documents for split, count in report.splits.items()
        }
        self._check_splits(documents, files)
        size = sum(file.bytes for file in files)
        timings = Timings(
            total=Speed.of(sum(self.seconds.values()), size),
            workers=min(self.execution.workers or usable_cores(), self.tasks),
            rules=rule_speeds(itertools.chain(*stages)),
            stages=self.seconds,
        )
        save_report(report, self.corpus)
        save_timings(timings, self.corpus)
        save_page(report, timings, self.corpus)
        return report

    def _reader(
        self,
        name: str,
        tasks: list[list[SourceFile]],
        save: Callable[[int, dict], None] | None = None,
    ) -> FileReader:
        saved = SavedTasks.save(self.work / f"{name}.tasks", tasks)
        reader = FileReader(saved, self.settings, save)
        reader.progress = advance
        return reader

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
        texts = LeakCheck(self.work / name)
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
        rules = merged_rules(self.store.records("cleaning"))
        why = [
            f"{name} dropped {rule.dropped} (e.g. {drop.id}, "
            f"{drop.reason}: {drop.before[:SHOWN]!r})"
            for name, rule in rules.items()
            for drop in rule.drops[:1]
        ]
        files = merged_files(self.store.records("files"))
        raise InputError(
            "The sources must hold text. Nothing is left of "
            f"{rules['unreadable'].seen} documents ({files}): "
            f"{'; '.join(why)}. Pass other sources, --corpus.rules or, for "
            "tables, --corpus.text."
        )

    def _check_splits(
        self, documents: dict[str, int], files: list[SourceFile]
    ) -> None:
        """Raises `Interrupted` if a split is empty that must not be."""
        method = self.made_plan.division.method
        if method == "given":
            given = distinct(self.store.index()["given"])
            named = {SPLITS[split] for split in given[given != NO_SPLIT]}
            named |= {file.split for file in files} - {None}
            documents = dict.fromkeys(named, 0) | documents
        check_splits(documents, method, self.settings.split)

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
