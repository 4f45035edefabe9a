"""What becomes of each cleaned document: dropped, or of which split.

Reads the index of all documents, never their texts; only suspected
near-duplicates are read again, in tasks of their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from datatrove.pipeline.base import PipelineStep

from keras_llm.corpus.arrays import save_array, task_files
from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.duplicates.clusters import (
    PRIORITY,
    cluster,
    exact,
    representatives,
)
from keras_llm.corpus.duplicates.minhash import VerifyPairs, candidate_pairs
from keras_llm.corpus.duplicates.paragraphs import repeated
from keras_llm.corpus.splitting import Division, Span, divide
from keras_llm.corpus.store import Store
from keras_llm.recipes.corpus_settings import CorpusSettings, SplitSettings

# What a plan keeps in memory at most, for each document and for each pair that
# may be alike.
BYTES_PER_DOCUMENT = 133
BYTES_PER_PAIR = 64
KEPT, EXACT_DUPLICATE, NEAR_DUPLICATE = range(3)
PAIRS_OF_A_TASK = 50_000
PRIORITIES = np.array([PRIORITY[split] for split in (*SPLITS, None)])

# Runs a pipeline for so many tasks; the name is that of the stage.
RunTasks = Callable[[str, list[PipelineStep], int], None]


@dataclass(frozen=True)
class TaskPlan:
    """The share of a `Plan` that one task needs, numbered from zero."""

    verdicts: np.ndarray
    splits: np.ndarray
    repeated: np.ndarray
    cuts: dict[int, list[Span]]

    def of(self, number: int) -> dict[str, Any]:
        """What is planned for a document, as metadata."""
        start, stop = np.searchsorted(self.repeated[:, 0], [number, number + 1])
        return {
            "verdict": int(self.verdicts[number]),
            "split": SPLITS[self.splits[number]],
            "repeated": self.repeated[start:stop, 1],
            "cuts": self.cuts.get(number),
        }


@dataclass(frozen=True)
class Plan:
    """The fate of every document, by its number.

    Args:
        verdicts: uint8 `(documents,)`: `KEPT`, `EXACT_DUPLICATE` or
            `NEAR_DUPLICATE`.
        clusters: int64 `(documents,)`. Number of the document that stands for
            its near-duplicates, itself if it has none.
        division: The split of every document.
        repeated: int64 `(paragraphs, 2)`. Document and paragraph of each that
            came before, sorted.
    """

    verdicts: np.ndarray
    clusters: np.ndarray
    division: Division
    repeated: np.ndarray

    def documents(self) -> dict[str, int]:
        """How many documents each split will have, as far as is planned."""
        counts = np.bincount(
            self.division.splits[self.verdicts == KEPT], minlength=len(SPLITS)
        )
        found = dict(zip(SPLITS, counts.tolist(), strict=True))
        for _, *others in self.division.cuts.values():
            for span in others:
                found[span.split] += 1
        return {split: count for split, count in found.items() if count}

    def of_tasks(self, starts: Sequence[int]) -> list[TaskPlan]:
        """Each task's share; `starts` are numbers of their first documents."""
        plans = []
        for start, stop in pairwise(starts):
            first, last = np.searchsorted(self.repeated[:, 0], [start, stop])
            cuts = {
                number - start: spans
                for number, spans in self.division.cuts.items()
                if start <= number < stop
            }
            plans.append(
                TaskPlan(
                    self.verdicts[start:stop],
                    self.division.splits[start:stop],
                    self.repeated[first:last] - [start, 0],
                    cuts,
                )
            )
        return plans


def make_plan(
    store: Store, settings: CorpusSettings, near: str, run: RunTasks
) -> Plan:
    """Decides about every document.

    Of equal documents the first stays, of near-duplicates the longest; but
    one that its source gives to the test or validation split wins, for those
    are measured on by others too, and must be whole.

    Args:
        store: The cleaned documents.
        settings: How documents are divided.
        near: What happens to near-duplicates: `"drop"`, `"together"` or
            `"keep"`.
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
        path, found = store.folder / "pairs.npy", store.folder / "verified"
        save_array(path, pairs)
        verify = VerifyPairs(path, found, store.text, settings.similarity)
        run("verify", [verify], -(-len(pairs) // PAIRS_OF_A_TASK))
        parts = [np.load(path) for path in task_files(found)]
        pairs = np.concatenate(parts)
    return cluster(len(is_kept), pairs)


def _named_by(stays: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Clusters named by the document that stands for them."""
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
    splits = np.zeros(len(index), np.uint8)
    splits[kept] = division.splits
    if division.method == "position":
        # The other methods need no help: equal digests, published splits.
        splits[kept] = splits[clusters[kept]]
    cuts = {int(kept[each]): spans for each, spans in division.cuts.items()}
    return Division(division.method, splits, cuts)


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
