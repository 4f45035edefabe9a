"""MinHash signatures, beside exact Jaccard similarity in plain Python."""

import re

import numpy as np
import pytest

from keras_llm.corpus.duplicates.minhash import (
    NO_KEY,
    Signer,
    bands_and_rows,
    jaccard,
    recall,
)
from keras_llm.errors import InputError


def numbers(*ranges):
    return " ".join(
        str(n) for start, stop in ranges for n in range(start, stop)
    )


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


def test_fewer_pairs_below_the_similarity_are_found_by_more_rows():
    shapes = [bands_and_rows(s) for s in (0.3, 0.5, 0.7, 0.8, 0.9)]
    found = [recall(0.3, *shape) for shape in shapes]
    assert found == sorted(found, reverse=True)


def test_the_issues_figures():
    assert recall(0.8, 14, 8) == pytest.approx(0.924, abs=5e-4)
    assert bands_and_rows(0.8) == (20, 7)


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
    assert int(keys[0]) == 12309168421078211675
