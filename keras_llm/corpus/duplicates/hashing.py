"""Words and word n-grams of a text as 64-bit hashes, and arrays of hashes.

Two texts that differ in letter case, punctuation or spaces only have equal
hashes. What a hash is depends on the text alone: not on the process, the
machine or the rest of the corpus. Knows nothing of documents.

datatrove joins each n-gram's words and hashes the string; here n-grams are
hashed in NumPy, from the words' hashes. `np.unique` on uint64 takes NumPy 2.4
8 to 51 times as long as sorting and comparing neighbours.
"""

import functools
import hashlib
import re
import unicodedata

import numpy as np

# Scripts written without spaces between words, of which each character is a
# word: Thai, Lao, Myanmar, Khmer, kana and Han.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff"
)
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_STRIDE = 2**16  # values looked up at a time, so that this takes no room
_MOST_KNOWN = 2**20  # words whose hashes are remembered
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2 ** 64 divided by the golden ratio


class _Known(dict):
    def __missing__(self, word: str) -> int:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        self[word] = value = hash_bytes(word.encode())
        return value


_known = _Known()


def word_hashes(text: str) -> np.ndarray:
    """The hash of each word, in order: a uint64 array `(words,)`.

    A word is a run of letters, digits, underscores and combining marks, case
    folded; a character of a script without spaces is a word.
    """
    words = _word(text).findall(text.casefold())
    return np.fromiter(map(_known.__getitem__, words), np.uint64, len(words))


def ngram_hashes(words: np.ndarray, n: int) -> np.ndarray:
    """The hash of each run of `n` words, in order.

    Returns:
        uint64 array `(words - n + 1,)`; empty if there are fewer words.
    """
    count = max(len(words) - n + 1, 0)
    hashes = words[:count].copy()
    for offset in range(1, n if count else 1):
        hashes *= _ODD
        hashes += words[offset : offset + count]
    return mixed(hashes ^ np.uint64(n))


def word_spans(text: str, first: int, count: int) -> tuple[int, int]:
    """The characters `(start, stop)` of `count` words, from word `first` on."""
    spans = [found.span() for found in _word(text).finditer(text)]
    return spans[first][0], spans[first + count - 1][1]


def mixed(hashes: np.ndarray) -> np.ndarray:
    """Spreads every bit over all 64, in place (splitmix64's finaliser).

    Source: Steele, Lea and Flood 2014, https://doi.org/10.1145/2660193.2660195
    """
    hashes ^= hashes >> np.uint64(30)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(27)
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)
    return hashes


def hash_bytes(content: bytes) -> int:
    """A 64-bit hash of any bytes (BLAKE2b)."""
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "little")


def is_first(ordered: np.ndarray) -> np.ndarray:
    """bool array: whether each value differs from the one before."""
    result = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=result[1:])
    return result


def distinct(values: np.ndarray) -> np.ndarray:
    """The values, sorted, each once."""
    ordered = np.sort(values)
    return ordered[is_first(ordered)]


def counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values, sorted, each once, and how often each occurs."""
    ordered = np.sort(values)
    starts = np.flatnonzero(is_first(ordered))
    return ordered[starts], np.diff(starts, append=len(ordered))


def repeated_values(values: np.ndarray) -> np.ndarray:
    """The values that occur more than once, sorted, each once."""
    ordered = np.sort(values)  # of the size of `values`, and the only copy
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    return repeated[is_first(repeated)]


def is_among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool array: which values are in `known`, which is sorted."""
    found = np.zeros(len(values), bool)
    if not len(known):
        return found
    for start in range(0, len(values), _STRIDE):
        part = values[start : start + _STRIDE]
        positions = np.searchsorted(known, part)
        positions[positions == len(known)] = 0
        found[start : start + _STRIDE] = known[positions] == part
    return found


def hash_range(hashes: np.ndarray, ranges: int) -> np.ndarray:
    """int64 array: in which of equal ranges each uint64 hash falls.

    A larger hash never falls in an earlier range.
    """
    high = hashes >> np.uint64(32)
    return (high * np.uint64(ranges) >> np.uint64(32)).astype(np.int64)


def _word(text: str) -> re.Pattern:
    spaced, unspaced = _patterns()
    return unspaced if _HAS_UNSPACED.search(text) else spaced


@functools.cache
def _patterns() -> tuple[re.Pattern, re.Pattern]:
    """A word, without and with characters that are words by themselves."""
    marks = "".join(
        character
        for character in map(chr, range(2**16))
        if unicodedata.category(character) in ("Mn", "Mc")
        and not "\ufe00" <= character <= "\ufe0f"  # of emoji
    )
    letter = rf"[\w{marks}]"
    alone = rf"(?={letter})[{_UNSPACED}]"
    run = rf"(?:(?![{_UNSPACED}]){letter})+"
    return re.compile(f"{letter}+"), re.compile(f"{alone}|{run}")
