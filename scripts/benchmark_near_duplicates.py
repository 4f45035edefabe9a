"""Recall and precision of near-duplicate search, on planted pairs.

Usage: python scripts/benchmark_near_duplicates.py [TEXT...] [--pairs 4000]
    [--similarity 0.8]

Documents are made of each TEXT's paragraphs, and of random words; each of
them gets a near-duplicate: words replaced here and there, a passage replaced,
or the end cut off, for a Jaccard similarity around 0.75 to 0.97. What counts
as a near-duplicate is decided by plain Python sets of word 5-grams, which
share nothing with the code that is measured. Speeds are of one core.
"""

import argparse
import random
import re
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_llm.corpus.duplicates.hashing import word_hashes
from keras_llm.corpus.duplicates.minhash import (
    Signer,
    candidate_pairs,
    recall,
    verified,
)
from keras_llm.corpus.leaks import HeldOut
from keras_llm.corpus.plan import BYTES_PER_DOCUMENT

STEP = 0.05  # of similarity, a row of the table


@dataclass
class Figures:
    """What was found among planted pairs.

    Args:
        similarities: Exact Jaccard similarity of each planted pair.
        is_found: Whether each was found and verified.
        candidates: Pairs that shared a key.
        near_candidates: Those of them that are near-duplicates.
        verified: Pairs that were verified.
        near_verified: Those of them that are near-duplicates.
    """

    similarities: np.ndarray
    is_found: np.ndarray
    candidates: int
    near_candidates: int
    verified: int
    near_verified: int

    def recall(self, low: float, high: float = 2.0) -> float:
        """Found share of the pairs with a similarity in [low, high)."""
        is_in = (self.similarities >= low) & (self.similarities < high)
        return float(self.is_found[is_in].mean()) if is_in.any() else 1.0

    @property
    def precision(self) -> float:
        return self.near_verified / max(self.verified, 1)


def near_duplicate_figures(
    documents: list[str], similarity: float = 0.8, seed: int = 0
) -> Figures:
    """Plants a near-duplicate of each document, and searches for them."""
    texts, planted = planted_pairs(documents, seed)
    signer = Signer(similarity)
    keys = np.stack([signer.band_keys(text) for text in texts])
    candidates = candidate_pairs([keys], np.ones(len(texts), bool))
    near = verified(candidates, texts.__getitem__, similarity)
    exact = {
        pair: similarity_of_sets(texts[pair[0]], texts[pair[1]])
        for pair in planted + as_tuples(candidates)
    }
    found = set(as_tuples(near))
    return Figures(
        similarities=np.array([exact[pair] for pair in planted]),
        is_found=np.array([pair in found for pair in planted]),
        candidates=len(candidates),
        near_candidates=count_near(candidates, exact, similarity),
        verified=len(near),
        near_verified=count_near(near, exact, similarity),
    )


def planted_pairs(
    documents: list[str], seed: int
) -> tuple[list[str], list[tuple[int, int]]]:
    """Documents and a near-duplicate of each, shuffled, and the pairs."""
    draw = random.Random(seed)
    words = " ".join(documents).split()
    texts = documents + [
        edited(document, words, draw) for document in documents
    ]
    order = list(range(len(texts)))
    draw.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    half = len(documents)
    pairs = [
        tuple(sorted((place[index], place[index + half])))
        for index in range(half)
    ]
    return [texts[index] for index in order], pairs


def edited(text: str, words: list[str], draw: random.Random) -> str:
    """A text that is about 0.75 to 0.97 like another."""
    mine = text.split()
    similarity = draw.uniform(0.75, 0.97)
    lost = len(mine) * (1 - similarity) / (1 + similarity)  # shingles
    kind = draw.choice(["scattered", "passage", "cut"])
    if kind == "cut":
        return " ".join(mine[: max(5, round(len(mine) * similarity))])
    if kind == "passage":
        count = max(1, round(lost) - 4)
        start = draw.randrange(max(1, len(mine) - count))
        mine[start : start + count] = draw.choices(words, k=count)
        return " ".join(mine)
    for _ in range(max(1, round(lost / 5))):
        mine[draw.randrange(len(mine))] = draw.choice(words)
    return " ".join(mine)


def similarity_of_sets(a: str, b: str) -> float:
    """Exact Jaccard similarity of word 5-grams, in plain Python."""
    first, second = (
        {tuple(words[start : start + 5]) for start in range(len(words) - 4)}
        for words in (re.findall(r"\w+", text.lower()) for text in (a, b))
    )
    return len(first & second) / max(len(first | second), 1)


def as_tuples(pairs: np.ndarray) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in pairs.tolist()]


def count_near(pairs: np.ndarray, exact: dict, similarity: float) -> int:
    return sum(exact[pair] >= similarity for pair in as_tuples(pairs))


def random_documents(count: int, seed: int = 0) -> list[str]:
    """Texts of 40 to 1000 words of 20,000, some far commoner than others."""
    draw = np.random.default_rng(seed)
    shares = 1 / np.arange(1, 20_001)
    shares /= shares.sum()
    sizes = np.exp(draw.uniform(np.log(40), np.log(1000), count)).astype(int)
    return [
        " ".join(f"w{word}" for word in draw.choice(20_000, size, p=shares))
        for size in sizes
    ]


def text_documents(text: str, count: int, seed: int = 0) -> list[str]:
    """Texts of one to four paragraphs in a row, of 30 words or more each."""
    paragraphs = [line for line in text.split("\n") if len(line.split()) >= 30]
    draw, documents, start = random.Random(seed), [], 0
    while start < len(paragraphs) and len(documents) < count:
        size = draw.randint(1, 4)
        documents.append("\n".join(paragraphs[start : start + size]))
        start += size
    return documents


def megabytes_a_second(function, texts: list[str]) -> float:
    size = sum(len(text.encode()) for text in texts)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for text in texts:
            function(text)
        best = min(best, time.perf_counter() - start)
    return size / best / 1e6


def bytes_a_document(sizes: tuple[int, int] = (100_000, 200_000)) -> float:
    """What a document more takes in `candidate_pairs`: a tenth are copies."""
    peaks = []
    for size in sizes:
        keys = np.random.default_rng(0).integers(1, 2**63, (size, 20), "uint64")
        keys[: size // 10] = keys[size // 10 : 2 * (size // 10)]
        tracemalloc.start()
        candidate_pairs([keys], np.ones(size, bool))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return (peaks[1] - peaks[0]) / (sizes[1] - sizes[0])


def print_table(name: str, figures: Figures, similarity: float) -> None:
    signer = Signer(similarity)
    bands, rows = signer.bands, signer.rows
    print(f"\n### {name}: {len(figures.similarities):,} planted pairs\n")
    print(f"| Jaccard | pairs | found | theory {bands} × {rows} | 14 × 8 |")
    print("|---|---|---|---|---|")
    steps = np.arange(similarity, 1, STEP).round(4)
    for low in steps:
        high = low + STEP
        is_in = (figures.similarities >= low) & (figures.similarities < high)
        like = figures.similarities[is_in]
        theory = [
            recall(like, *shape).mean() for shape in ((bands, rows), (14, 8))
        ]
        print(
            f"| {low:.2f} to {high:.2f} | {is_in.sum():,} "
            f"| {figures.recall(low, high):.4f} "
            f"| {theory[0]:.4f} | {theory[1]:.4f} |"
        )
    print(
        f"\nRecall at {similarity} or more: {figures.recall(similarity):.4f}. "
        f"Precision: {figures.precision:.4f} of {figures.verified:,} verified "
        f"pairs, without verification "
        f"{figures.near_candidates / max(figures.candidates, 1):.4f} of "
        f"{figures.candidates:,} candidates."
    )


def print_speeds(documents: list[str], similarity: float) -> None:
    signer = Signer(similarity)
    held_out = HeldOut.of(documents[::10])
    rest = [text for index, text in enumerate(documents) if index % 10]
    print("\n| one core | MB/s |\n|---|---|")
    for name, function in (
        ("words hashed", word_hashes),
        ("signature, words and shingles included", signer.band_keys),
        ("13-grams looked up, words included", held_out.shared),
    ):
        print(f"| {name} | {megabytes_a_second(function, rest):.1f} |")
    print(
        f"\nA document more takes {bytes_a_document():.1f} bytes of "
        f"`candidate_pairs`; {BYTES_PER_DOCUMENT} are stated for the plan."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="*", type=Path)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--similarity", type=float, default=0.8)
    options = parser.parse_args()
    corpora = {"random words": random_documents(options.pairs)}
    for path in options.text:
        content = path.read_text(encoding="utf-8")
        corpora[path.name] = text_documents(content, options.pairs)
    for name, documents in corpora.items():
        figures = near_duplicate_figures(documents, options.similarity)
        print_table(name, figures, options.similarity)
    print_speeds(documents, options.similarity)


if __name__ == "__main__":
    main()
