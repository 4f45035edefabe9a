"""The word 13-grams of what is held out, and which documents share them.

Held-out texts are the test split, or files that a model will be evaluated on.
A text of 8 to 12 words is one n-gram of its own length; a shorter one says too
little to be looked for, and is counted (Brown et al. 2020, appendix C,
https://arxiv.org/abs/2005.14165).

datatrove's `NGramsDecontIndexer` needs lighteval, hashes in a Python loop and
holds a dictionary in every process, and its filter says nothing of the
held-out side.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from datatrove.data import Document

from keras_llm.corpus.counts import EXAMPLES, Leak, Leaks, merged
from keras_llm.corpus.duplicates.hashing import (
    counted,
    distinct,
    hash_range,
    ngram_hashes,
    word_hashes,
    word_spans,
)
from keras_llm.corpus.splitting import cut, is_cut
from keras_llm.corpus.store import Store, save_array

WORDS = 13
FEWEST_WORDS = 8  # of a held-out text that is looked for
COMMON = 10  # texts of a test split that may share what still is a leak

_MARGIN = 80  # characters shown on each side of what is shared
_EXCERPT = 400
_PASS = 2**24  # n-grams sorted at a time


@dataclass(frozen=True)
class HeldOut:
    """The n-grams of held-out texts.

    Args:
        hashes: uint64 array, sorted, each n-gram once.
        words: int64 array, the words of an n-gram of each text: 13, or those
            of a shorter text.
    """

    hashes: np.ndarray
    words: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[str]) -> "HeldOut":
        """Indexes texts, of which all n-grams fit in memory."""
        found = [ngrams_of(text) for text in texts]
        words = np.array([length for _, length in found], np.int64)
        return cls.merge([mine for mine, _ in found], words)

    @classmethod
    def merge(
        cls,
        tasks: Sequence[np.ndarray],
        words: np.ndarray,
        common_above: int | None = None,
    ) -> "HeldOut":
        """Indexes what tasks found, one range of hashes after the other."""
        passes = max(1, -(-sum(len(task) for task in tasks) // _PASS))
        kept = []
        for part in range(passes):
            mine = [task[hash_range(task, passes) == part] for task in tasks]
            values, counts = counted(
                np.concatenate([np.empty(0, np.uint64), *mine])
            )
            if common_above is not None:
                values = values[counts <= common_above]
            kept.append(values)
        return cls(np.concatenate(kept), words)

    @property
    def too_short(self) -> int:
        """Texts of fewer than eight words, which are not looked for."""
        return int((self.words < FEWEST_WORDS).sum())

    @cached_property
    def lengths(self) -> list[int]:
        """Words of an n-gram: 13, and those of shorter texts."""
        return distinct(self.words[self.words >= FEWEST_WORDS]).tolist()

    @classmethod
    def load(cls, folder: Path) -> "HeldOut":
        """Opens a saved index; processes of a machine share its memory."""
        names = [folder / f"{field.name}.npy" for field in fields(cls)]
        return cls(*(np.load(path, mmap_mode="r") for path in names))

    def shared(self, text: str) -> tuple[np.ndarray, str]:
        """Looks up every n-gram of a text.

        Returns:
            int64 array of which held-out n-grams were found, for each place
                in the text; and the text around the first, empty without
                any.
        """
        words = word_hashes(text)
        found, first = [np.empty(0, np.int64)], None
        for length in self.lengths if len(self.hashes) else ():
            hashes = ngram_hashes(words, length)
            where = np.searchsorted(self.hashes, hashes)
            where[where == len(self.hashes)] = 0
            places = np.flatnonzero(self.hashes[where] == hashes)
            found.append(where[places])
            if len(places) and (first is None or places[0] < first[0]):
                first = int(places[0]), length
        return np.concatenate(found), _excerpt(text, *first) if first else ""


def ngrams_of(text: str) -> tuple[np.ndarray, int]:
    """The distinct n-grams of a held-out text, a sorted uint64 array, and the
    words of each: 13, or the text's own number. None if it has fewer than
    eight.
    """
    words = word_hashes(text)
    length = min(len(words), WORDS)
    if length < FEWEST_WORDS:
        return words[:0], length
    return distinct(ngram_hashes(words, length)), length


class LeakCheck:
    """Texts that are held out, and what the train split shares with them.

    Tasks `collect` the texts, `merge` makes one index of them, tasks have
    documents `marked`, and `leaks` says what was found.

    Args:
        folder: Of these texts alone.
        common_above: Leaves out n-grams of more texts than this: licences and
            phrases that come with every document are no leak. Give `COMMON`
            for a test split; `None` for evaluation files, where many questions
            may share a passage, which is none less leaked.
    """

    def __init__(self, folder: Path, common_above: int | None = None):
        self.store = Store(folder)
        self.common_above = common_above

    def collect(self, documents: Iterable[Document], rank: int = 0) -> None:
        """Saves the n-grams of a task's held-out texts."""
        hashes, words = [np.empty(0, np.uint64)], []
        for document in documents:
            mine, length = ngrams_of(document.text)
            hashes.append(mine)
            words.append(length)
        self.store.save("words", rank, np.array(words, np.int64))
        self.store.save("ngrams", rank, np.concatenate(hashes))

    def merge(self) -> None:
        """Makes one index of what the tasks collected."""
        words = [np.empty(0, np.int64), *self.store.arrays("words")]
        ngrams = self.store.arrays("ngrams")
        index = HeldOut.merge(ngrams, np.concatenate(words), self.common_above)
        for name, array in vars(index).items():
            save_array(self.store.folder / f"{name}.npy", array)

    def marked(
        self, documents: Iterable[Document], rank: int = 0, drops: bool = False
    ) -> Iterator[Document]:
        """The documents; those that leak have `leaks` set in their metadata.

        `drops` says whether those that `may_go` are dropped, for their count.
        """
        held_out, leaks = HeldOut.load(self.store.folder), Leaks()
        is_found = np.zeros(len(held_out.hashes), bool)
        for document in documents:
            for text in _trained_on(document):
                where, excerpt = held_out.shared(text)
                is_found[where] = True
                if excerpt:
                    document.metadata["leaks"] = True
                    leaks.documents += 1
                    leaks.dropped += drops and may_go(document)
                    if len(leaks.examples) < EXAMPLES:
                        leaks.examples.append(Leak(document.id, excerpt))
            yield document
        self.store.save("found", rank, np.flatnonzero(is_found))
        self.store.save_record("leaks", rank, asdict(leaks))

    def leaks(self) -> Leaks:
        """What the train split shares with these texts."""
        index = HeldOut.load(self.store.folder)
        leaks = merged(Leaks, self.store.records("leaks"))
        is_found = np.zeros(len(index.hashes), bool)
        for found in self.store.arrays("found"):
            is_found[found] = True
        leaks.texts, leaks.too_short = len(index.words), index.too_short
        leaks.ngrams, leaks.found = len(is_found), int(is_found.sum())
        return leaks


def may_go(document: Document) -> bool:
    """Whether a document that leaks may be dropped.

    One that is cut between splits stays: its own end is held out.
    """
    return not is_cut(document.metadata["begins"])


def _trained_on(document: Document) -> list[str]:
    """What a document has in the train split: at most one stretch."""
    pieces = cut(document.text, document.metadata["begins"])
    return [text for split, text in pieces if split == "train"]


def _excerpt(text: str, first: int, words: int) -> str:
    start, stop = word_spans(text, first, words)
    start = max(0, start - _MARGIN)
    return text[start : min(stop + _MARGIN, start + _EXCERPT)]
