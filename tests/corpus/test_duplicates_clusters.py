"""Clusters and who stands for them, beside loops over sets."""

import itertools
import random

import numpy as np
import pytest

from keras_llm.corpus.duplicates.clusters import (
    cluster,
    exact,
    representatives,
)


def components(documents, pairs):
    """The smallest member of each one's component, by walking."""
    neighbours = [[] for _ in range(documents)]
    for a, b in pairs:
        neighbours[a].append(b)
        neighbours[b].append(a)
    roots = [None] * documents
    for start in range(documents):
        waiting = [start] if roots[start] is None else []
        while waiting:
            node = waiting.pop()
            if roots[node] is None:
                roots[node] = start
                waiting.extend(neighbours[node])
    return roots


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("density", [0.0, 0.3, 0.5, 2.0])
def test_clusters_are_connected_components(seed, density):
    draw = random.Random(seed)
    documents = draw.randrange(1, 300)
    pairs = [
        (draw.randrange(documents), draw.randrange(documents))
        for _ in range(int(density * documents))
    ]
    expected = components(documents, pairs)
    array = np.array(pairs, np.int64).reshape(-1, 2)
    assert cluster(documents, array).tolist() == expected
    draw.shuffle(pairs)
    flipped = np.array(pairs, np.int64).reshape(-1, 2)[:, ::-1]
    assert cluster(documents, flipped).tolist() == expected


def test_a_path_of_a_hundred_thousand_is_one_cluster():
    order = np.random.default_rng(0).permutation(100_000)
    pairs = np.stack([order[:-1], order[1:]], axis=1)
    assert (cluster(100_000, pairs) == 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_the_given_then_the_longest_then_the_first_stays(seed):
    draw = np.random.default_rng(seed)
    documents = 60
    roots = cluster(documents, draw.integers(0, documents, (25, 2)))
    lengths = draw.integers(1, 4, documents)
    given = draw.integers(0, 3, documents).astype(np.int8)
    keep = representatives(roots, lengths, given)
    for root in set(roots.tolist()):
        members = np.flatnonzero(roots == root).tolist()
        best = max(members, key=lambda m: (given[m], lengths[m], -m))
        assert [m for m in members if keep[m]] == [best]


@pytest.mark.parametrize("seed", range(6))
def test_equal_digests_are_found(seed):
    draw = np.random.default_rng(seed)
    # Few values, so that halves of digests agree by chance.
    digests = draw.integers(0, 6, (50, 2), dtype=np.uint64)
    given = draw.integers(0, 3, 50)
    expected = []
    for digest in digests.tolist():
        same = [i for i in range(50) if digests[i].tolist() == digest]
        expected.append(max(same, key=lambda m: (given[m], -m)))
    assert exact(digests, given).tolist() == expected


def test_the_order_of_documents_decides_ties_only():
    """Whoever is in a cluster does not depend on where it stands."""
    lengths = np.array([5, 9, 7, 1])
    for order in itertools.permutations(range(4)):
        pairs = np.array([[order[0], order[1]], [order[2], order[1]]])
        roots = cluster(4, pairs)
        keep = representatives(roots, lengths, np.zeros(4))
        members = list(order[:3])
        longest = max(members, key=lambda m: lengths[m])
        assert [m for m in members if keep[m]] == [longest]
        assert keep[order[3]]
