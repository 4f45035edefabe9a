"""Clusters of duplicates, and the document that stands for each.

Knows nothing of texts or of how duplicates are found. Every result is a
function of the arguments, not of the order in which pairs were found.
"""

import numpy as np

from keras_llm.corpus.duplicates.hashing import (
    distinct,
    is_among,
    is_first,
    repeated_values,
)

# A document that its source gives to test is not dropped in favour of one
# that will be trained on.
PRIORITY = {None: 0, "train": 0, "validation": 1, "test": 2}


def cluster(documents: int, pairs: np.ndarray) -> np.ndarray:
    """Joins what pairs connect, directly or not.

    Args:
        documents: Number of documents.
        pairs: int array `(pairs, 2)` of indices of duplicates.

    Returns:
        int64 array `(documents,)`: the smallest index of each one's
            cluster.
    """
    roots = np.arange(documents)
    nodes = distinct(pairs.ravel())
    joined = _join(len(nodes), np.searchsorted(nodes, pairs))
    roots[nodes] = nodes[joined]
    return roots


def representatives(
    roots: np.ndarray, lengths: np.ndarray, given: np.ndarray
) -> np.ndarray:
    """Picks one document of each cluster: of the highest priority, then the
    longest, then the first.

    Args:
        roots: int array `(documents,)`, from `cluster`.
        lengths: int array `(documents,)`, of the texts.
        given: int array `(documents,)`, the `PRIORITY` of each one's given
            split.

    Returns:
        bool array `(documents,)`: which documents stay.
    """
    others = np.flatnonzero(roots != np.arange(len(roots)))
    members = distinct(np.concatenate([others, roots[others]]))
    order = np.lexsort(
        (
            members,
            -lengths[members].astype(np.int64),
            -given[members].astype(np.int64),
            roots[members],
        )
    )
    members = members[order]
    keep = np.ones(len(roots), bool)
    keep[members] = False
    keep[members[is_first(roots[members])]] = True
    return keep


def exact(digests: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Finds documents whose texts have equal digests, uint64 `(documents, 2)`.

    Returns:
        int64 array `(documents,)`: the index of the document that stands
            for each, of the highest priority `given`, then the first.
    """
    result = np.arange(len(digests))
    repeated = repeated_values(digests[:, 0])
    members = np.flatnonzero(is_among(digests[:, 0], repeated))
    low, high = digests[members].T
    priority = -given[members].astype(np.int64)
    order = np.lexsort((members, priority, high, low))
    members = members[order]
    low, high = low[order], high[order]
    stays = is_first(low) | is_first(high)
    result[members] = members[stays][np.cumsum(stays) - 1]
    return result


def _join(nodes: int, edges: np.ndarray) -> np.ndarray:
    """The smallest node of each one's component (Shiloach and Vishkin 1982,
    https://doi.org/10.1016/0196-6774(82)90008-6).

    Every root hangs itself below the smallest root it has an edge to, and paths
    are halved until all nodes point at roots.
    """
    roots = np.arange(nodes)
    while True:
        edges = roots[edges]
        edges = edges[edges[:, 0] != edges[:, 1]]
        if not len(edges):
            return roots
        np.minimum.at(roots, edges.max(axis=1), edges.min(axis=1))
        while not np.array_equal(above := roots[roots], roots):
            roots = above
