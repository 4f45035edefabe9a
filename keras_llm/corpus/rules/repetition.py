"""Filter of repetitive texts: Gopher's rules, on hashes of n-grams.

The verdicts are those of datatrove's `GopherRepetitionFilter` with the same
words, at several times its speed: it joins and looks up every n-gram as text,
nine times over. (Joined, `a bc` equals `ab c`; here they are two.) Lines and
paragraphs are judged by datatrove's own code.
"""

import re
from collections import defaultdict
from itertools import count

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters import GopherRepetitionFilter
from datatrove.utils.text import split_into_words

from keras_llm.corpus.duplicates.hashing import (
    counted,
    is_among,
    mixed,
    repeated_values,
)
from keras_llm.corpus.rules.words import WORDS
from keras_llm.recipes.checks import check

# Table A1 of https://arxiv.org/abs/2112.11446: greatest share of characters.
TOP_N_GRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE_N_GRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 2**64)


class GopherRepetition(GopherRepetitionFilter):
    """Drops texts that repeat lines, paragraphs or n-grams of words.

    Args:
        dup_line_frac: Greatest share of lines that came before.
        dup_para_frac: Greatest share of paragraphs that came before.
        dup_line_char_frac: Greatest share of characters in such lines.
        dup_para_char_frac: Greatest share of characters in such paragraphs.
        top_n_grams: By n, greatest share of characters in the commonest
            n-gram; Gopher's if omitted.
        dup_n_grams: By n, greatest share of characters in n-grams that came
            before; Gopher's if omitted.
    """

    def __init__(
        self,
        dup_line_frac: float | None = 0.3,
        dup_para_frac: float | None = 0.3,
        dup_line_char_frac: float | None = 0.2,
        dup_para_char_frac: float | None = 0.2,
        top_n_grams: dict | None = None,
        dup_n_grams: dict | None = None,
    ):
        super().__init__(
            dup_line_frac,
            dup_para_frac,
            dup_line_char_frac,
            dup_para_char_frac,
            top_n_grams=(),
            dup_n_grams=(),
            language=WORDS,
        )
        # The same patterns, which `re` finds faster by how they begin.
        self.paragraph_exp = re.compile(r"\n\n\n*")
        self._line_splitter = re.compile(r"\n\n*")
        self._top = _shares("top_n_grams", top_n_grams, TOP_N_GRAMS)
        self._duplicate = _shares("dup_n_grams", dup_n_grams, DUPLICATE_N_GRAMS)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """`True`, or `False` and the first rule that the text breaks."""
        verdict = super().filter(doc)  # on lines and paragraphs
        if verdict is not True:
            return verdict
        grams = NGrams(split_into_words(doc.text, WORDS))
        for n, share in self._top.items():
            if grams.top_characters(n) / len(doc.text) > share:
                return False, f"top_{n}_gram"
        for n, share in self._duplicate.items():
            if grams.duplicate_characters(n) / len(doc.text) > share:
                return False, f"duplicated_{n}_n_grams"
        return True


class NGrams:
    """Counts the n-grams of a list of words, none empty, by their hashes.

    That of any n words is a difference of two sums (Rabin and Karp).
    """

    def __init__(self, words: list[str]):
        number = defaultdict(count().__next__)  # of each distinct word
        numbers = map(number.__getitem__, words)
        hashes = mixed(np.fromiter(numbers, np.uint64, len(words)))
        self._sums = np.zeros(len(words) + 1, np.uint64)
        np.cumsum(hashes * _powers(_BASE, len(words)), out=self._sums[1:])
        self._inverses = _powers(_INVERSE, len(words))
        self._ends = np.cumsum([0, *map(len, words)])

    def hashes(self, n: int) -> np.ndarray:
        """The hash of each n words, in order: a uint64 array."""
        sums = self._sums[n:] - self._sums[: max(len(self._sums) - n, 0)]
        return sums * self._inverses[: len(sums)]

    def top_characters(self, n: int) -> int:
        """Characters in the commonest n-gram, spaces between words included.

        Of two as common the one that came first counts.
        """
        keys = self.hashes(n)
        if not len(keys):
            return 0
        values, counts = counted(keys)
        most = int(counts.max())
        first = int(is_among(keys, values[counts == most]).argmax())
        return most * (int(self._ends[first + n] - self._ends[first]) + n - 1)

    def duplicate_characters(self, n: int) -> int:
        """Characters of n-grams that came before, none counted twice."""
        keys = self.hashes(n)
        places = np.flatnonzero(is_among(keys, repeated_values(keys)))
        lengths = self._ends[places + n] - self._ends[places]
        found = places.tolist(), keys[places].tolist(), lengths.tolist()
        return _without_overlap(zip(*found, strict=True), n)


def _powers(base: int, count: int) -> np.ndarray:
    """`base`, `base ** 2` and so on, modulo 2**64."""
    return np.cumprod(np.full(count, base, np.uint64))


def _without_overlap(found: zip, n: int) -> int:
    """Counts as datatrove does: a duplicate's words begin no other n-gram."""
    seen = set()
    characters = next_place = 0
    for place, key, length in found:
        if place < next_place:
            continue
        if key in seen:
            characters += length
            next_place = place + n
        else:
            seen.add(key)
    return characters


def _shares(name: str, given: dict | None, default: dict) -> dict[int, float]:
    if given is None:
        return default
    expected = "a mapping from n, at least 1, to a share, e.g. {2: 0.2}"
    is_valid = all(
        isinstance(n, int)
        and n >= 1
        and isinstance(share, int | float)
        and not isinstance(share, bool)
        for n, share in given.items()
    )
    check(is_valid, f"gopher_repetition.{name}", expected, given)
    return given
