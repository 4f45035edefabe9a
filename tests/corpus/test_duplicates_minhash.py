"""MinHash: signatures, candidates beside all pairs, and verified pairs."""

import itertools
import re
import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from keras_llm.corpus.duplicates import minhash
from keras_llm.corpus.duplicates.clusters import cluster
from keras_llm.corpus.duplicates.minhash import (
    NEIGHBOURS,
    NO_KEY,
    Signer,
    bands_and_rows,
    candidate_pairs,
    recall,
    shingle_set,
    verified,
)
from keras_llm.corpus.plan import (
    BYTES_PER_DOCUMENT,
    BYTES_PER_PAIR,
    NEAR_DUPLICATE,
    make_plan,
)
from keras_llm.corpus.splitting import NO_SPLIT
from keras_llm.corpus.store import INDEX, Store
from keras_llm.errors import InputError
from keras_llm.recipes.corpus_settings import CorpusSettings


def numbers(*ranges):
    return " ".join(
        str(n) for start, stop in ranges for n in range(start, stop)
    )


def jaccard(a, b):
    return minhash.jaccard(shingle_set(a), shingle_set(b))


def similarity_of_sets(a, b):
    sets = []
    for text in (a, b):
        words = re.findall(r"\w+", text.lower())
        sets.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.parametrize("similarity", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1])
def test_bands_find_nearly_all_pairs_that_reach_the_similarity(similarity):
    bands, rows = bands_and_rows(similarity)
    assert recall(similarity, bands, rows) >= 0.99
    assert bands * rows <= 160


@pytest.mark.parametrize("similarity", [0.0, 0.05, 1.5])
def test_a_similarity_that_cannot_be_searched_is_named(similarity):
    with pytest.raises(InputError, match=f"similarity.*{similarity}"):
        Signer(similarity)


@pytest.mark.parametrize(
    "a, b",
    [
        (numbers((0, 100)), numbers((0, 90))),
        (numbers((0, 100)), numbers((50, 200))),
        (numbers((0, 50), (0, 50)), numbers((0, 50))),
        (numbers((0, 10)), numbers((20, 30))),
        ("a b c d e", "A, b; C d (e)!"),
    ],
)
def test_jaccard_is_that_of_sets_of_tuples(a, b):
    assert jaccard(a, b) == similarity_of_sets(a, b)
    assert jaccard(b, a) == jaccard(a, b)


def test_short_texts_are_alike_if_their_words_are():
    assert jaccard("To be", "to be!") == 1
    assert jaccard("to be", "to see") == 0
    assert jaccard("", "") == 0


def test_texts_without_words_have_no_key():
    signer = Signer(0.8)
    assert (signer.band_keys("... !") == NO_KEY).all()
    assert (signer.band_keys("a") != NO_KEY).all()


@pytest.mark.parametrize("shared", [100, 500, 900])
def test_minima_agree_as_often_as_texts_are_alike(shared):
    signer = Signer(0.8)
    agreed, exact = [], []
    for seed in range(0, 40):
        start = seed * 10_000
        a = numbers((start, start + 1000))
        other = start + 5000
        b = numbers((start, start + shared), (other, other + 1000 - shared))
        agreed.append((signer._minima(a) == signer._minima(b)).mean())
        exact.append(similarity_of_sets(a, b))
    # 40 x 140 draws: a standard error of 0.007 at most.
    assert np.mean(agreed) == pytest.approx(np.mean(exact), abs=0.02)


def test_keys_are_the_same_on_every_machine():
    keys = Signer(0.8).band_keys(numbers((0, 1000)))
    assert keys.dtype == np.uint64 and keys.shape == (20,)
    assert int(keys[0]) == 3691718906112028571


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


def peak_of_plan(folder, documents):
    """Bytes that a plan takes of the coordinator, and candidate pairs."""
    draw = np.random.default_rng(0)
    store = Store(folder)
    keys = draw.integers(1, 2**63, (documents, 20), dtype=np.uint64)
    copies = documents // 20
    keys[:copies] = keys[copies : 2 * copies]
    store.save("keys", 0, np.asfortranarray(keys))
    index = np.zeros(documents, INDEX)
    index["digest"] = draw.integers(0, 2**63, (documents, 2), dtype=np.uint64)
    index["characters"] = draw.integers(1, 10**6, documents)
    index["given"] = NO_SPLIT
    store.save("index", 0, index)

    def all_are_near(stage, task, tasks):
        store.save("verified", 0, np.load(folder / "pairs.npy"))

    del keys, index
    tracemalloc.start()
    plan = make_plan(store, CorpusSettings(), "drop", all_are_near)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (plan.verdicts == NEAR_DUPLICATE).sum() == copies
    return peak, len(np.load(folder / "pairs.npy"))


def test_memory_is_the_stated_bytes_a_document(tmp_path):
    # Twice as many and more than are looked up at a time.
    small, few_pairs = peak_of_plan(tmp_path / "few", 70_000)
    large, many_pairs = peak_of_plan(tmp_path / "many", 140_000)
    stated = BYTES_PER_DOCUMENT * 70_000
    stated += BYTES_PER_PAIR * (many_pairs - few_pairs)
    assert 0.7 * stated < large - small <= stated


WORDS = [str(n) for n in range(100)]
TEXTS = [" ".join(WORDS[:stop]) for stop in range(60, 101, 4)] + [
    "",
    "...",
    "5",
]


def near(pairs, similarity, texts=TEXTS):
    pairs = np.array(pairs, np.int64).reshape(-1, 2)
    return verified(pairs, texts.__getitem__, similarity).tolist()


@pytest.mark.parametrize("similarity", [0.1, 0.55, 0.7, 0.8, 1.0])
def test_the_pairs_that_reach_the_similarity_stay(similarity):
    pairs = list(itertools.combinations(range(len(TEXTS)), 2))
    expected = [
        [a, b] for a, b in pairs if jaccard(TEXTS[a], TEXTS[b]) >= similarity
    ]
    assert near(pairs, similarity) == expected
    assert near([], similarity) == []


def test_the_threshold_itself_is_reached():
    # 55 of 100 shingles: 0.55 * 100 is a little more than 55.
    texts = [" ".join(WORDS[:59]), " ".join([*WORDS, "a", "b", "c", "d"])]
    assert near([[0, 1]], 0.55, texts) == [[0, 1]]
