"""What becomes of each cleaned document: dropped, or of which split.

Reads the index of all documents, never their texts; only suspected
near-duplicates are read again, in tasks of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.duplicates.clusters import (
    PRIORITY,
    cluster,
    exact,
    representatives,
)
from keras_llm.corpus.duplicates.minhash import candidate_pairs, verified
from keras_llm.corpus.duplicates.paragraphs import repeated
from keras_llm.corpus.splitting import END, Division, divide
from keras_llm.corpus.store import Store, save_array
from keras_llm.recipes.corpus_settings import CorpusSettings, SplitSettings

# What a plan keeps in memory at most, for each document and for each pair that
# may be alike.
BYTES_PER_DOCUMENT = 133
BYTES_PER_PAIR = 64
KEPT, EXACT_DUPLICATE, NEAR_DUPLICATE = range(3)
PAIRS = "pairs.npy"
PAIRS_OF_A_TASK = 50_000
PRIORITIES = np.array([PRIORITY[split] for split in (*SPLITS, None)])

# Called with nothing, the rank and the number of tasks.
Task = Callable[[None, int, int], None]
# Runs so many tasks; the name is that of the stage.
RunTasks = Callable[[str, Task, int], None]


@dataclass(frozen=True)
class Plan:
    """The fate of every document, by its number.

    Args:
        verdicts: uint8 `(documents,)`: `KEPT`, `EXACT_DUPLICATE` or
            `NEAR_DUPLICATE`.
        clusters: int64 `(documents,)`. Number of the document that stands
            for its near-duplicates, itself if it has none.
        division: The split of every document.
        repeated: int64 `(paragraphs, 2)`. Document and paragraph of each
            that came before, sorted.
    """

    verdicts: np.ndarray
    clusters: np.ndarray
    division: Division
    repeated: np.ndarray

    def documents(self) -> dict[str, int]:
        """How many documents each split will have, as far as is planned."""
        return self.division.documents(self.verdicts == KEPT)

    def part(self, start: int, stop: int) -> "Plan":
        """That of some documents alone, numbered from zero."""
        first, last = np.searchsorted(self.repeated[:, 0], [start, stop])
        begins = self.division.begins[start:stop]
        return Plan(
            self.verdicts[start:stop],
            self.clusters[start:stop] - start,
            Division(self.division.method, begins),
            self.repeated[first:last] - [start, 0],
        )

    def of(self, number: int) -> dict[str, Any]:
        """What is planned for a document, as metadata."""
        start, stop = np.searchsorted(self.repeated[:, 0], [number, number + 1])
        return {
            "verdict": int(self.verdicts[number]),
            "begins": self.division.begins[number].tolist(),
            "repeated": self.repeated[start:stop, 1].tolist(),
        }


def make_plan(
    store: Store, settings: CorpusSettings, near: str, run: RunTasks
) -> Plan:
    """Decides about every document.

    Of equal documents the first stays, of near-duplicates the longest; but one
    that its source gives to the test or validation split wins, for those are
    measured on by others too, and must be whole.

    Args:
        store: The cleaned documents.
        settings: How documents are divided.
        near: `"drop"`, `"together"` or `"keep"` near-duplicates.
        run: Runs tasks, to compare texts.
    """
    index = store.index()
    priority = PRIORITIES[index["given"]]
    firsts = exact(index["digest"], priority)
    numbers = np.arange(len(index))
    verdicts = np.where(firsts == numbers, KEPT, EXACT_DUPLICATE)
    clusters = numbers
    if near != "keep":
        clusters = _near_clusters(store, verdicts == KEPT, settings, run)
        stays = representatives(clusters, index["characters"], priority)
        clusters = _named_by(stays, clusters)
        if near == "drop":
            verdicts[(verdicts == KEPT) & ~stays] = NEAR_DUPLICATE
    sizes = index["bytes"].astype(np.int64)
    found = _repeated(store, verdicts == KEPT, sizes)
    return Plan(
        verdicts.astype(np.uint8),
        clusters,
        _divide(index, sizes, verdicts == KEPT, clusters, settings.split),
        found,
    )


def _near_clusters(
    store: Store, is_kept: np.ndarray, settings: CorpusSettings, run: RunTasks
) -> np.ndarray:
    pairs = candidate_pairs(store.arrays("keys"), is_kept)
    if len(pairs):
        save_array(store.folder / PAIRS, pairs)
        verify = partial(_verify, store, settings.similarity)
        run("verify", verify, -(-len(pairs) // PAIRS_OF_A_TASK))
        pairs = np.concatenate(store.arrays("verified"))
    return cluster(len(is_kept), pairs)


def _verify(
    store: Store, similarity: float, _: None, rank: int, world_size: int
) -> None:
    """The task that compares its share of the pairs, in order."""
    pairs = np.load(store.folder / PAIRS, mmap_mode="r")
    ends = (len(pairs) * part // world_size for part in (rank, rank + 1))
    mine = np.array(pairs[slice(*ends)])
    store.save("verified", rank, verified(mine, store.text, similarity))


def _named_by(stays: np.ndarray, roots: np.ndarray) -> np.ndarray:
    names = np.arange(len(roots))
    names[roots[stays]] = np.flatnonzero(stays)
    return names[roots]


def _divide(
    index: np.ndarray,
    sizes: np.ndarray,
    is_kept: np.ndarray,
    clusters: np.ndarray,
    settings: SplitSettings,
) -> Division:
    """The division of the kept documents; the rest counts as train."""
    kept = np.flatnonzero(is_kept)
    division = divide(
        index["digest"][clusters[kept], 0],
        sizes[kept],
        index["given"][kept],
        settings,
    )
    begins = np.full((len(index), 2), END, np.uint32)
    begins[kept] = division.begins
    return Division(division.method, begins)


def _repeated(
    store: Store, is_kept: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Paragraphs that came before; takes their bytes off documents' sizes."""
    tasks, starts = store.arrays("paragraphs"), store.starts()
    numbers = [np.empty((0, 2), np.int64)]
    found = repeated(tasks, starts, is_kept)
    for rows, start, places in zip(tasks, starts, found, strict=False):
        mine = rows[places]
        documents = mine["document"].astype(np.int64) + start
        np.subtract.at(sizes, documents, mine["bytes"])
        numbers.append(np.stack([documents, mine["number"]], axis=1))
    return np.concatenate(numbers)
