"""Verified pairs are those that reach the similarity, for any tasks."""

import itertools
import pickle
from functools import partial

import numpy as np
import pytest

from keras_llm.corpus.duplicates import minhash
from keras_llm.corpus.duplicates.minhash import VerifyPairs, jaccard

WORDS = [str(n) for n in range(100)]
TEXTS = [" ".join(WORDS[:stop]) for stop in range(60, 101, 4)] + [
    "",
    "...",
    "5",
]


def read(texts, document):
    return texts[document]


def verified(tmp_path, pairs, similarity, tasks=1, texts=TEXTS):
    np.save(tmp_path / "pairs.npy", np.array(pairs, np.int64).reshape(-1, 2))
    out = tmp_path / f"verified-{tasks}"
    step = VerifyPairs(
        tmp_path / "pairs.npy", out, partial(read, texts), similarity
    )
    for rank in range(tasks):
        pickle.loads(pickle.dumps(step)).run(rank=rank, world_size=tasks)
    paths = sorted(out.iterdir())
    assert [path.name for path in paths] == [
        f"{rank:05d}.npy" for rank in range(tasks)
    ]
    return np.concatenate([np.load(path) for path in paths]).tolist()


@pytest.mark.parametrize("similarity", [0.1, 0.55, 0.7, 0.8, 1.0])
def test_the_pairs_that_reach_the_similarity_stay(tmp_path, similarity):
    pairs = list(itertools.combinations(range(len(TEXTS)), 2))
    expected = [
        [a, b] for a, b in pairs if jaccard(TEXTS[a], TEXTS[b]) >= similarity
    ]
    assert verified(tmp_path, pairs, similarity) == expected


def test_the_threshold_itself_is_reached(tmp_path):
    # 55 of 100 shingles: 0.55 * 100 is a little more than 55.
    texts = [" ".join(WORDS[:59]), " ".join([*WORDS, "a", "b", "c", "d"])]
    assert verified(tmp_path, [[0, 1]], 0.55, texts=texts) == [[0, 1]]


@pytest.mark.parametrize("tasks", [2, 7, 200])
def test_the_number_of_tasks_does_not_matter(tmp_path, tasks):
    pairs = list(itertools.combinations(range(len(TEXTS)), 2))
    expected = verified(tmp_path, pairs, 0.8)
    assert verified(tmp_path, pairs, 0.8, tasks) == expected


def test_no_pairs_give_an_empty_file(tmp_path):
    assert verified(tmp_path, [], 0.8, tasks=2) == []


@pytest.mark.parametrize("bound", [1, 3, 64])
def test_what_is_kept_in_memory_is_bounded(tmp_path, monkeypatch, bound):
    monkeypatch.setattr(minhash, "_KEPT_SETS", bound)
    pairs = [[0, n] for n in range(1, 11)] + [[0, 1]]
    np.save(tmp_path / "pairs.npy", np.array(pairs))
    reads = []

    def read_text(document):
        reads.append(document)
        return TEXTS[document]

    VerifyPairs(tmp_path / "pairs.npy", tmp_path, read_text, 0.8).run()
    read_again = len(reads) - len(set(reads))
    assert (read_again == 0) == (bound == 64)
    expected = [[a, b] for a, b in pairs if jaccard(TEXTS[a], TEXTS[b]) >= 0.8]
    assert np.load(tmp_path / "00000.npy").tolist() == expected
