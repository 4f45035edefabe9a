"""The word 13-grams of what is held out, and which documents share them.

Held-out texts are the test split, or files that a model will be evaluated on.
`NgramIndexer` indexes them in tasks, `HeldOut.merge` makes one index of it;
`FindLeaks` marks the documents of the train split that share an n-gram, and
`DropLeaks` drops them. A held-out text of 8 to 12 words is one n-gram of its
own length; a shorter one says too little to be looked for, and is counted
(Brown et al. 2020, appendix C, https://arxiv.org/abs/2005.14165).

datatrove's `NGramsDecontIndexer` needs lighteval, hashes in a Python loop and
holds a dictionary in every process, and its filter says nothing of the
held-out side. Ours have the same interface, and can go where those go.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter

from keras_llm.artifacts import read_object
from keras_llm.corpus.arrays import (
    counted,
    distinct,
    hash_range,
    save_array,
    task_files,
)
from keras_llm.corpus.counts import EXAMPLES, Leak, Leaks, merged
from keras_llm.corpus.duplicates.hashing import (
    ngram_hashes,
    word_hashes,
    word_spans,
)
from keras_llm.corpus.splitting import cut
from keras_llm.files import write_text

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
        texts: Number of held-out texts.
        too_short: Texts of fewer than eight words, which are not looked for.
        lengths: Words of an n-gram: 13, and those of shorter texts.
    """

    hashes: np.ndarray
    texts: int
    too_short: int
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "HeldOut":
        """Indexes texts, of which all n-grams fit in memory."""
        found = [ngrams_of(text) for text in texts]
        hashes = np.concatenate(
            [np.empty(0, np.uint64), *(mine for mine, _ in found)]
        )
        words = np.array([length for _, length in found], np.int64)
        return _merged([hashes], words, common_above=None)

    @classmethod
    def merge(cls, folder: Path, common_above: int | None = None) -> "HeldOut":
        """Indexes what the tasks of `NgramIndexer` found.

        Args:
            folder: Their folder.
            common_above: Leaves out n-grams of more texts than this: licences
                and phrases that come with every document are no leak. Give
                `COMMON` for a test split; `None` for evaluation files, where
                many questions may share a passage, which is none less leaked.
        """
        paths = task_files(folder)
        tasks = [np.load(path, mmap_mode="r") for path in paths]
        words = [np.load(_words_beside(path)) for path in paths]
        words = np.concatenate([np.empty(0, np.int64), *words])
        return _merged(tasks, words, common_above)

    def save(self, folder: Path) -> None:
        """Writes the index; what is not complete cannot be loaded."""
        save_array(folder / "hashes.npy", self.hashes)
        names = ("texts", "too_short", "lengths")
        summary = {name: getattr(self, name) for name in names}
        write_text(folder / "summary.json", json.dumps(summary))

    @classmethod
    def load(cls, folder: Path) -> "HeldOut":
        """Opens a saved index; processes of a machine share its memory."""
        summary = read_object(folder / "summary.json")
        hashes = np.load(folder / "hashes.npy", mmap_mode="r")
        return cls(hashes, **summary | {"lengths": tuple(summary["lengths"])})

    def shared(self, text: str) -> tuple[np.ndarray, str]:
        """Looks up every n-gram of a text.

        Returns:
            int64 array of which held-out n-grams were found, for each place
            in the text; and the text around the first, empty without any.
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
    """The distinct n-grams of a held-out text, and the words of each.

    Returns:
        A sorted uint64 array, empty for a text of fewer than eight words; and
        13, or the number of words if there are fewer.
    """
    words = word_hashes(text)
    length = min(len(words), WORDS)
    if length < FEWEST_WORDS:
        return words[:0], length
    return distinct(ngram_hashes(words, length)), length


class NgramIndexer(PipelineStep):
    """Writes the n-grams of every document that passes, for `HeldOut.merge`.

    Args:
        out: Folder for `{rank:05d}.npy`, the task's hashes, and
            `{rank:05d}.words.npy`, how many words each document's have.
    """

    type = "leaks"
    name = "index"

    def __init__(self, out: Path):
        super().__init__()
        self.out = out

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        hashes, words = [np.empty(0, np.uint64)], []
        for document in data:
            mine, length = ngrams_of(document.text)
            hashes.append(mine)
            words.append(length)
            yield document
        path = self.out / f"{rank:05d}.npy"
        save_array(_words_beside(path), np.array(words, np.int64))
        save_array(path, np.concatenate(hashes))


class FindLeaks(PipelineStep):
    """Marks documents of the train split that share a held-out n-gram.

    They have `leaks` set in their metadata; others are not looked at.

    Args:
        index: Folder of a saved `HeldOut`.
        out: Folder for `{rank:05d}.npy`, which held-out n-grams the task
            found, and `{rank:05d}.json`, its `Leaks`.
    """

    type = "leaks"
    name = "find"

    def __init__(self, index: Path, out: Path):
        super().__init__()
        self.index = index
        self.out = out

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        held_out, leaks = HeldOut.load(self.index), Leaks()
        is_found = np.zeros(len(held_out.hashes), bool)
        for document in data:
            for text in _trained_on(document):
                where, excerpt = held_out.shared(text)
                is_found[where] = True
                if excerpt:
                    document.metadata["leaks"] = True
                    leaks.documents += 1
                    if len(leaks.examples) < EXAMPLES:
                        leaks.examples.append(Leak(document.id, excerpt))
            yield document
        save_array(self.out / f"{rank:05d}.npy", np.flatnonzero(is_found))
        write_text(self.out / f"{rank:05d}.json", json.dumps(asdict(leaks)))


class DropLeaks(BaseFilter):
    """Leaves out the documents that `FindLeaks` marked.

    A document that is cut between splits stays: its own end is what is held
    out.
    """

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        if doc.metadata["leaks"] and doc.metadata["cuts"] is None:
            return False, "held_out"
        return True


class LeakCheck:
    """Texts that are held out, and where the search for them is kept.

    Args:
        folder: Of these texts alone.
    """

    def __init__(self, folder: Path):
        self.ngrams = folder / "ngrams"  # of each task
        self.index = folder / "index"
        self.found = folder / "found"  # of each task

    def merge(self, common_above: int | None) -> None:
        """Makes one index of what the tasks found."""
        HeldOut.merge(self.ngrams, common_above).save(self.index)

    def leaks(self, dropped: int) -> Leaks:
        """What the train split shares with these texts.

        Args:
            dropped: Documents that were left out for it.
        """
        index = HeldOut.load(self.index)
        paths = task_files(self.found, ".json")
        leaks = merged(Leaks, map(read_object, paths))
        is_found = np.zeros(len(index.hashes), bool)
        for path in task_files(self.found):
            is_found[np.load(path)] = True
        leaks.texts, leaks.too_short = index.texts, index.too_short
        leaks.ngrams, leaks.found = len(is_found), int(is_found.sum())
        leaks.dropped = dropped
        return leaks


def _trained_on(document: Document) -> list[str]:
    """What a document has in the train split: at most one stretch."""
    if spans := document.metadata["cuts"]:
        pieces = cut(document.text, spans)
        return [text for split, text in pieces if split == "train"]
    return [document.text] if document.metadata["split"] == "train" else []


def _words_beside(path: Path) -> Path:
    return path.with_suffix(".words.npy")


def _merged(
    tasks: Sequence[np.ndarray], words: np.ndarray, common_above: int | None
) -> HeldOut:
    """The index of what tasks found, one range of hashes after the other."""
    passes = max(1, -(-sum(len(task) for task in tasks) // _PASS))
    kept = []
    for part in range(passes):
        mine = [task[hash_range(task, passes) == part] for task in tasks]
        hashes = np.concatenate([np.empty(0, np.uint64), *mine])
        values, counts = counted(hashes)
        if common_above is not None:
            values = values[counts <= common_above]
        kept.append(values)
    is_long = words >= FEWEST_WORDS
    return HeldOut(
        np.concatenate(kept),
        texts=len(words),
        too_short=int((~is_long).sum()),
        lengths=tuple(distinct(words[is_long]).tolist()),
    )


def _excerpt(text: str, first: int, words: int) -> str:
    """The text around some of its words."""
    start, stop = word_spans(text, first, words)
    start = max(0, start - _MARGIN)
    return text[start : min(stop + _MARGIN, start + _EXCERPT)]
