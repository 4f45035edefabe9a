"""Words and word n-grams of a text, as 64-bit hashes.

Two texts that differ in letter case, punctuation or spaces only have equal
hashes. What a hash is depends on the text alone: not on the process, the
machine or the rest of the corpus. Knows nothing of documents.

datatrove joins each n-gram's words and hashes the string, in a Python loop
over a text tokenized by spaCy; here words are hashed eight bytes at a time
and n-grams from the words' hashes, all in NumPy.
"""

import functools
import hashlib
import unicodedata

import numpy as np

# Scripts written without spaces between words: each character is a word.
UNSPACED = (
    (0x0E00, 0x0F00),  # Thai, Lao
    (0x1000, 0x10A0),  # Myanmar
    (0x1780, 0x1800),  # Khmer
    (0x3005, 0x3008),  # ideographic iteration mark, closing mark and zero
    (0x3040, 0x3100),  # Hiragana, Katakana
    (0x31F0, 0x3200),  # Katakana extensions
    (0x3400, 0x4DC0),  # Han
    (0x4E00, 0xA000),
    (0xF900, 0xFB00),
    (0xFF66, 0xFF9E),  # half-width Katakana
    (0x20000, 0x40000),
)
_CHARACTERS = 0x40000  # no letter, digit or mark comes after
_SPACE = ord(" ")
_BLOCK = 8  # bytes hashed at once
_LONGEST = 64  # bytes of a word that is hashed in blocks
_MASKS = np.array(
    [(1 << 8 * length) - 1 for length in range(_BLOCK + 1)], np.uint64
)
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2 ** 64 divided by the golden ratio


def word_hashes(text: str) -> np.ndarray:
    """The hash of each word, in order.

    A word is a run of letters, digits, underscores and combining marks, case
    folded; a character of a script without spaces (`UNSPACED`) is a word.

    Args:
        text: Any text, lone surrogates included.

    Returns:
        uint64 array `(words,)`.
    """
    if text.isascii():
        return _hash_words(text.encode("ascii").translate(_ascii_table()))
    folded = _folded(text)
    if _is_unspaced()[folded].any():
        folded = _spaced(folded)
    return _hash_words(folded.tobytes().decode("utf-32-le").encode("utf-8"))


def ngram_hashes(words: np.ndarray, n: int) -> np.ndarray:
    """The hash of each run of `n` words, in order.

    Args:
        words: uint64 array `(words,)`, from `word_hashes`.
        n: Words of an n-gram.

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
    """Where `count` words from word `first` on stand in the text.

    Args:
        text: The text.
        first: Index of a word, as in `word_hashes`.
        count: Number of words, at least 1.

    Returns:
        The characters `(start, stop)`.
    """
    folded = _folded(text)
    is_word = folded != _SPACE
    is_single = _is_unspaced()[folded]
    breaks = ~is_word | is_single
    is_start = is_word.copy()
    is_start[1:] &= breaks[:-1] | is_single[1:]
    starts = np.flatnonzero(is_start)[first : first + count]
    end = int(starts[-1]) + 1
    while end < len(text) and is_word[end] and not is_start[end]:
        end += 1
    return int(starts[0]), end


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


def _hash_words(folded: bytes) -> np.ndarray:
    """Hashes of the words of UTF-8 in which all else is a space."""
    padded = b" " + folded + b" " * _BLOCK
    raw = np.frombuffer(padded, np.uint8)
    is_word = raw != _SPACE
    edges = np.flatnonzero(is_word[1:] != is_word[:-1])
    edges += 1
    starts, lengths = edges[0::2], edges[1::2] - edges[0::2]
    # The eight bytes from any byte on, without a copy.
    shape = (len(raw) - _BLOCK + 1,)
    blocks = np.ndarray(shape, "<u8", buffer=padded, strides=(1,))
    hashes = lengths.astype(np.uint64) * _ODD
    hashes ^= blocks[starts] & _MASKS[np.minimum(lengths, _BLOCK)]
    mixed(hashes)
    rest = np.flatnonzero(lengths > _BLOCK)
    for offset in range(_BLOCK, _LONGEST, _BLOCK):
        rest = rest[lengths[rest] > offset]
        if not len(rest):
            break
        mask = _MASKS[np.minimum(lengths[rest] - offset, _BLOCK)]
        hashes[rest] ^= blocks[starts[rest] + offset] & mask
        hashes[rest] = mixed(hashes[rest])
    for index in np.flatnonzero(lengths > _LONGEST):
        start, stop = edges[2 * index], edges[2 * index + 1]
        hashes[index] = hash_bytes(padded[start:stop])
    return hashes


def hash_bytes(content: bytes) -> int:
    """A 64-bit hash of any bytes (BLAKE2b)."""
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _folded(text: str) -> np.ndarray:
    """uint32 array: each character case folded, or a space."""
    content = text.encode("utf-32-le", "surrogatepass")
    return _fold_table().take(np.frombuffer(content, "<u4"), mode="clip")


def _spaced(folded: np.ndarray) -> np.ndarray:
    """Puts a space on both sides of each character that is a word."""
    is_single = _is_unspaced()[folded]
    spaced = np.repeat(folded, 1 + 2 * is_single)
    first = np.flatnonzero(is_single) + 2 * np.arange(is_single.sum())
    spaced[first] = spaced[first + 2] = _SPACE
    return spaced


@functools.cache
def _fold_table() -> np.ndarray:
    """uint32 array: what a character of a word is folded to, else a space."""
    table = np.full(_CHARACTERS, _SPACE, np.uint32)
    for code in range(_CHARACTERS):
        character = chr(code)
        if _is_word(character):
            table[code] = ord(_fold(character))
    table[-1] = _SPACE  # what all later characters are clipped to
    return table


@functools.cache
def _is_unspaced() -> np.ndarray:
    """bool array: whether a folded character is a word by itself."""
    table = np.zeros(_CHARACTERS, bool)
    for start, stop in UNSPACED:
        table[start:stop] = True
    return table & (_fold_table() != _SPACE)


@functools.cache
def _ascii_table() -> bytes:
    """For `bytes.translate`: the fold table's start."""
    return bytes(_fold_table()[:256].clip(max=255).astype(np.uint8))


def _is_word(character: str) -> bool:
    if character.isalnum() or character == "_":
        return True
    is_mark = unicodedata.category(character) in ("Mn", "Mc")
    return is_mark and not 0xFE00 <= ord(character) <= 0xFE0F  # of emoji


def _fold(character: str) -> str:
    """Its case folding, if that is one character."""
    folds = (character.casefold(), character.lower(), character)
    return next(fold for fold in folds if len(fold) == 1)
