"""Candidate pairs, beside a loop over all pairs; and what they take."""

import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from keras_llm.corpus.arrays import save_array
from keras_llm.corpus.duplicates.clusters import (
    cluster,
)
from keras_llm.corpus.duplicates.minhash import (
    NEIGHBOURS,
    NO_KEY,
    candidate_pairs,
)
from keras_llm.corpus.plan import (
    BYTES_PER_DOCUMENT,
    BYTES_PER_PAIR,
    NEAR_DUPLICATE,
    make_plan,
)
from keras_llm.corpus.splitting import NO_SPLIT
from keras_llm.corpus.store import INDEX, Store
from keras_llm.recipes.corpus_settings import CorpusSettings


def random_keys(documents, bands, values, seed=0):
    draw = np.random.default_rng(seed)
    return draw.integers(0, values, (documents, bands), dtype=np.uint64)


def all_pairs(keys, is_kept):
    return [
        [a, b]
        for a, b in combinations(range(len(keys)), 2)
        if is_kept[a] and is_kept[b]
        if ((keys[a] == keys[b]) & (keys[a] != NO_KEY)).any()
    ]


@pytest.mark.parametrize("seed", range(10))
def test_whatever_shares_a_key_is_a_candidate(seed):
    keys = random_keys(80, 3, 40, seed)
    is_kept = np.random.default_rng(seed).random(80) < 0.8
    pairs = candidate_pairs([keys], is_kept)
    assert pairs.dtype == np.int64
    assert pairs.tolist() == all_pairs(keys, is_kept)


@pytest.mark.parametrize("cuts", [[], [0], [40], [1, 1, 79, 80]])
def test_tasks_do_not_matter(cuts, tmp_path):
    keys = random_keys(80, 3, 40)
    tasks = []
    for number, part in enumerate(np.split(keys, cuts)):
        np.save(tmp_path / f"{number}.npy", np.asfortranarray(part))
        tasks.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    kept = np.ones(80, bool)
    expected = candidate_pairs([keys], kept)
    assert (candidate_pairs(tasks, kept) == expected).all()


@pytest.mark.parametrize("bands", [1, 2])
def test_a_key_that_many_share_makes_no_square(bands):
    size = 5000
    keys = np.full((size, bands), 7, np.uint64)
    pairs = candidate_pairs([keys], np.ones(size, bool))
    assert len(pairs) <= size * (NEIGHBOURS + 1)
    assert (cluster(size, pairs) == 0).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)


def test_nothing_gives_no_pairs():
    assert candidate_pairs([], np.empty(0, bool)).shape == (0, 2)
    empty = np.empty((0, 3), np.uint64)
    assert candidate_pairs([empty], np.empty(0, bool)).shape == (0, 2)
    none = np.full((4, 3), NO_KEY, np.uint64)
    assert candidate_pairs([none], np.ones(4, bool)).shape == (0, 2)


def peak_of_plan(folder, documents):
    """Bytes that a plan takes of the coordinator, and candidate pairs."""
    draw = np.random.default_rng(0)
    store = Store(folder)
    keys = draw.integers(1, 2**63, (documents, 20), dtype=np.uint64)
    copies = documents // 20
    keys[:copies] = keys[copies : 2 * copies]
    save_array(store.array("keys", 0), np.asfortranarray(keys))
    index = np.zeros(documents, INDEX)
    index["digest"] = draw.integers(0, 2**63, (documents, 2), dtype=np.uint64)
    index["characters"] = draw.integers(1, 10**6, documents)
    index["given"] = NO_SPLIT
    save_array(store.array("index", 0), index)

    def all_are_near(stage, pipeline, tasks):
        [step] = pipeline
        save_array(step.out / "00000.npy", np.load(step.pairs))

    del keys, index
    tracemalloc.start()
    plan = make_plan(store, CorpusSettings(), "drop", all_are_near)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (plan.verdicts == NEAR_DUPLICATE).sum() == copies
    return peak, len(np.load(folder / "pairs.npy"))


def test_memory_is_the_stated_bytes_a_document(tmp_path):
    # Twice as many and more than are looked up at a time.
    small, few_pairs = peak_of_plan(tmp_path / "few", 100_000)
    large, many_pairs = peak_of_plan(tmp_path / "many", 200_000)
    stated = BYTES_PER_DOCUMENT * 100_000
    stated += BYTES_PER_PAIR * (many_pairs - few_pairs)
    assert 0.7 * stated < large - small <= stated
