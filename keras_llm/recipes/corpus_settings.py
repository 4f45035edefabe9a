"""Typed settings of the corpus stage, checked where they are built."""

from dataclasses import dataclass, field
from typing import Literal

from keras_llm.recipes.checks import check, check_ranges, check_types

SplitMethod = Literal["auto", "hash", "position", "given"]
Cleaning = Literal["light", "web"]
NearDuplicates = Literal["keep", "together", "drop"]
Leaks = Literal["ignore", "report", "drop"]
ExecutorName = Literal["local", "ray", "slurm"]


@dataclass(frozen=True)
class SplitSettings:
    """How documents are divided into train, validation and test.

    Args:
        method: `"hash"` of each document's text, `"position"` (the last share
            of the text), `"given"` (the source names its splits), or
            `"auto"`: given if the source has splits, else hash from 100
            documents on, else position.
        validation: Share of the text for validation, in [0, 1).
        test: Share of the text for testing, in [0, 1).
    """

    method: SplitMethod = "auto"
    validation: float = 0.1
    test: float = 0.0

    def __post_init__(self) -> None:
        check_types(self, "corpus.split")
        shares = {"in [0, 1)": ["validation", "test"]}
        check_ranges(self, "corpus.split", shares)
        check(
            self.validation + self.test < 1,
            "corpus.split.validation + test",
            "below 1, so that text is left to train on",
            self.validation + self.test,
        )


@dataclass(frozen=True)
class CorpusSettings:
    """How raw text becomes documents.

    Args:
        cleaning: `"light"`, for a person's own texts, or `"web"`, strict, for
            crawled pages: what the three settings below mean if omitted.
        rules: Cleaning rules in order, each a name or a mapping from a name to
            its settings, e.g. `[nfc, {gopher_quality: {min_doc_words: 30}}]`.
            A filter or formatter of datatrove, such as `RegexFilter`, and the
            path of one that can be imported are names as well.
        near_duplicates: `"drop"` all but the longest of a cluster, keep them
            `"together"` in one split, or just `"keep"` them.
        paragraph_duplicates: Whether a paragraph that came before is removed.
        similarity: Jaccard similarity of word 5-grams from which documents
            are near-duplicates, in [0.1, 1].
        leaks: What happens to a document of the train split that shares a
            word 13-gram with the test split or with `contamination`:
            `"ignore"`, `"report"` or `"drop"` it.
        contamination: Files that a model will be evaluated on, as sources.
        include: Patterns of names, e.g. `["*.txt", "docs/*"]`, of the files
            to take from folders, patterns and archives; all if omitted.
        encoding: Of plain text; detected if omitted.
        text: The column, key or number (from 1) that holds a table's text.
        template: Text made of several columns, e.g. `"{question} {answer}"`,
            instead of `text`.
        split_column: The column or key that names each record's split.
        split: How documents are divided.
    """

    cleaning: Cleaning = "light"
    rules: list[str | dict] | None = None
    near_duplicates: NearDuplicates | None = None
    paragraph_duplicates: bool | None = None
    similarity: float = 0.8
    leaks: Leaks = "report"
    contamination: list[str] = field(default_factory=list)
    include: list[str] = field(default_factory=list)
    encoding: str | None = None
    text: str = "text"
    template: str | None = None
    split_column: str | None = None
    split: SplitSettings = field(default_factory=SplitSettings)

    def __post_init__(self) -> None:
        check_types(self, "corpus")
        check_ranges(self, "corpus", {"in [0.1, 1]": ["similarity"]})


@dataclass(frozen=True)
class ExecutionSettings:
    """Where tasks run; never changes what comes out.

    Args:
        executor: `"local"` (the cores of this machine), `"ray"` or `"slurm"`.
        workers: How many tasks run at once; all cores, or all there is room
            for on a cluster, if omitted.
        ray_address: Of the cluster; the one that Ray finds if omitted.
        slurm_partition: Of the Slurm cluster.
        slurm_time: Time limit of a task there, e.g. `"04:00:00"`.
    """

    executor: ExecutorName = "local"
    workers: int | None = None
    ray_address: str | None = None
    slurm_partition: str = "cpu"
    slurm_time: str = "04:00:00"

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self, "", {"at least 1": ["workers"]})
