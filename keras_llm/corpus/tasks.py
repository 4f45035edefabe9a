"""What a task of each stage does: clean, index what is held out, write."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from datatrove.data import Document

from keras_llm.corpus import documents as written
from keras_llm.corpus.documents import SPLITS, ShardWriter
from keras_llm.corpus.duplicates.minhash import Signer
from keras_llm.corpus.duplicates.paragraphs import (
    PARAGRAPHS,
    paragraphs_of,
    without,
)
from keras_llm.corpus.leaks import LeakCheck, may_go
from keras_llm.corpus.plan import EXACT_DUPLICATE, NEAR_DUPLICATE, Plan
from keras_llm.corpus.report.contents import Contents
from keras_llm.corpus.rules.rule import Rule, Verdict
from keras_llm.corpus.sources.reader import FileReader
from keras_llm.corpus.splitting import cut
from keras_llm.corpus.store import Store
from keras_llm.errors import InputError
from keras_llm.executors import advance


@dataclass
class Clean:
    """Reads files and cleans their documents, into the store.

    Near-duplicates are found by the `signer`, if there is one; `paragraphs`
    says whether these are compared.
    """

    reader: FileReader
    rules: list[Rule]
    store: Store
    signer: Signer | None
    paragraphs: bool

    def __post_init__(self) -> None:
        unreadable = Rule("unreadable", _readable)
        self.rules = [unreadable, *self.rules, Rule("empty", _not_empty)]

    def __call__(self, _: None, rank: int, world_size: int) -> None:
        documents = self.reader.run(rank)
        for rule in self.rules:
            documents = rule.run(documents)
        self.store.write(rank, self._compared(documents, rank))
        self.store.save_record("files", rank, vars(self.reader.count))
        _save_counts(self.store, "cleaning", rank, self.rules)

    def _compared(
        self, documents: Iterator[Document], rank: int
    ) -> Iterator[Document]:
        """The same; at their end, what duplicates are found by is saved."""
        keys, paragraphs = [], [np.empty(0, PARAGRAPHS)]
        for number, document in enumerate(documents):
            yield document
            if self.signer is not None:
                keys.append(self.signer.band_keys(document.text))
            if self.paragraphs:
                paragraphs.append(paragraphs_of(document.text, number))
        if self.signer is not None:
            shape = (len(keys), self.signer.bands)
            array = np.array(keys, np.uint64).reshape(shape)
            # So that a band, which is read at once, is in one place.
            self.store.save("keys", rank, np.asfortranarray(array))
        if self.paragraphs:
            self.store.save("paragraphs", rank, np.concatenate(paragraphs))


@dataclass
class IndexQuestions:
    """Indexes evaluation files, all of which must be readable."""

    reader: FileReader
    held_out: LeakCheck

    def __call__(self, _: None, rank: int, world_size: int) -> None:
        self.held_out.collect(self._readable(rank), rank)

    def _readable(self, rank: int) -> Iterator[Document]:
        for document in self.reader.run(rank):
            if reason := document.metadata.get("unreadable"):
                detail = document.metadata.get("detail", reason)
                raise InputError(
                    f"corpus.contamination: {document.id} cannot be read: "
                    f"{detail}"
                )
            yield document


@dataclass
class Planned:
    """The cleaned documents of a task, without duplicates.

    `near` says whether near-duplicates are dropped, `paragraphs` whether
    repeated ones are; there is a plan for each task.
    """

    store: Store
    plans: Sequence[Plan]
    near: bool
    paragraphs: bool

    def rules(self) -> list[Rule]:
        """What drops the duplicates."""
        exact = partial(_is_not, EXACT_DUPLICATE)
        rules = [Rule("exact_duplicates", exact)]
        if self.near:
            near = partial(_is_not, NEAR_DUPLICATE)
            rules.append(Rule("near_duplicates", near))
        if self.paragraphs:
            rules.append(Rule("paragraph_duplicates", _without_repeated))
        return rules

    def documents(self, rank: int, rules: list[Rule]) -> Iterator[Document]:
        """Those that the rules leave."""
        documents = self._all(rank)
        for rule in rules:
            documents = rule.run(documents)
        return documents

    def _all(self, rank: int) -> Iterator[Document]:
        plan = self.plans[rank]
        for number, record in enumerate(self.store.read(rank)):
            advance(record["bytes"])
            metadata = {name: record[name] for name in ("source", "language")}
            metadata |= {"number": number, "leaks": False} | plan.of(number)
            yield Document(record["text"], record["id"], metadata=metadata)


@dataclass
class IndexTest:
    """Indexes the test split."""

    planned: Planned
    held_out: LeakCheck

    def __call__(self, _: None, rank: int, world_size: int) -> None:
        documents = self.planned.documents(rank, self.planned.rules())
        pieces = _pieces(documents)
        test = (each for each in pieces if each.metadata["split"] == "test")
        self.held_out.collect(test, rank)


@dataclass
class Write:
    """Writes each split's documents, and what the report needs to know.

    The train split is searched for texts that are `held_out`; `drops` says
    whether documents that share some are dropped.
    """

    planned: Planned
    corpus: Path
    held_out: list[LeakCheck]
    drops: bool

    def __call__(self, _: None, rank: int, world_size: int) -> None:
        rules = self.planned.rules()
        documents = self.planned.documents(rank, rules)
        for each in self.held_out:
            documents = each.marked(documents, rank, self.drops)
        if self.drops and self.held_out:
            rules.append(Rule("leaks", _not_leaked))
            documents = rules[-1].run(documents)
        store, contents = self.planned.store, Contents()
        with ExitStack() as stack:
            writers = {
                split: stack.enter_context(
                    ShardWriter(self.corpus / split, rank)
                )
                for split in SPLITS
            }
            for piece in contents.counted(_pieces(documents)):
                source = piece.metadata["source"]
                document = written.Document(piece.id, piece.text, source)
                writers[piece.metadata["split"]].write(document)
        store.save("lengths", rank, np.array(contents.lengths, np.int64))
        store.save_record("written", rank, asdict(contents))
        _save_counts(store, "writing", rank, rules)


def _save_counts(
    store: Store, name: str, rank: int, rules: Sequence[Rule]
) -> None:
    record = {
        rule.name: {
            "count": asdict(rule.count),
            "bytes": rule.bytes,
            "seconds": rule.seconds,
        }
        for rule in rules
    }
    store.save_record(name, rank, record)


def _pieces(documents: Iterator[Document]) -> Iterator[Document]:
    """The documents, each of one split; those that are in several, cut."""
    for document in documents:
        pieces = list(cut(document.text, document.metadata["begins"]))
        for k, (split, text) in enumerate(pieces, start=1):
            suffix = f"#{k}" if len(pieces) > 1 else ""
            metadata = document.metadata | {"split": split}
            yield Document(text, document.id + suffix, metadata=metadata)


def _readable(document: Document) -> Verdict:
    reason = document.metadata.get("unreadable")
    return (False, reason) if reason else True


def _not_empty(document: Document) -> Verdict:
    is_empty = not document.text or document.text.isspace()
    return (False, "only_whitespace") if is_empty else True


def _is_not(verdict: int, document: Document) -> Verdict:
    return document.metadata["verdict"] != verdict


def _without_repeated(document: Document) -> Verdict:
    if document.metadata["repeated"]:
        document.text = without(document.text, document.metadata["repeated"])
    return True if document.text.strip() else (False, "nothing_left")


def _not_leaked(document: Document) -> Verdict:
    leaks = document.metadata["leaks"] and may_go(document)
    return (False, "held_out") if leaks else True
