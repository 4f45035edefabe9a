"""Unicode normalization form C in core TensorFlow operations.

As the `tokenizers` package does it, whose tables are those of Unicode 9: later
characters stay as they are. Of a base and what follows it, the first
`LONGEST_SEQUENCE` characters are composed.
"""

import re
import unicodedata
from itertools import cycle

import numpy as np
import tensorflow as tf

from keras_llm.tokenizers.byte_pair_unicode import pages_of

LONGEST_SEQUENCE = 64

# Lengths of ranges in hexadecimal: code points that neither decompose nor are
# combining marks, and those that do, by turns; Hangul is computed.
_RANGES = (
    "c0 6 1 9 1 6 2 5 2 6 1 9 1 6 2 5 1 11 2 14 2 9 3 4 1 6 4 6 3 6 2 12 2 17 "
    "21 2 d 2 1c 10 1 6 2 b 3 2 2 24 2 2 6 e cc 4f 1 20 4 1 9 1 6 6 1 1 1 3 "
    "19 7 19 5 4 2 2b 2 1 1 3 1 4 3 a 1 1f 1 16 2 1 1 3 1 4 3 17 2 b 5 39 2 d "
    "4 2 2 2 6 2 6 2 c 2 2 97 2d 1 1 1 2 1 2 1 1 48 b 7 5 24 15 10 1 4f 1 1 1 "
    "10 1 2 7 2 6 2 2 1 4 23 1 1e 1b a0 9 22 4 1 9 1 3 1 5 2b 3 78 e 1 1d 29 "
    "1 7 1 2 1 7 1 10 1 3 4 3 8 5c 1 e 3 e 2 1 1 53 1 2 1 5 1 10 1 b 3 2 1 5d "
    "1 10 1 6e 1 b 1 2 3 e 2 36 1 35 4 7a 1 4 1 7 2 65 1 3 1 6 2 1 2 1 1 7c 4 "
    "7c 1 f 1 1 3 59 3 d 4 6c 2 e 4 4c 2 1b 1 1 1 1 1 9 1 9 1 4 1 4 1 4 1 c 1 "
    "7 6 1 1 1 4 2 5 1 2 b 1 9 1 4 1 4 1 4 1 c 1 c 1 5f 1 10 1 1 2 52 1 2cf 3 "
    "3b4 1 1f 1 9d 1 a 1 cb 1 8f 3 db 2 47 1 14 8 2 1 30 e 48 1 1 1 1 1 1 1 1 "
    "1 3 1 21 1 6 1 1 1 2 2 1 2 26 9 36 2 3a 1 b 2 43 1 98 3 1 d 1 7 4 1 6 1 "
    "3 2 c6 36 5 9f 1 1 4 5a 6 16 2 6 2 26 2 6 2 8 1 1 1 1 1 1 1 1f 2 35 1 7 "
    "1 1 2 4 1 e 2 6 1 13 2 3 1 8 2 2 ce d 4 1 3 c 35 1 3 2 6e 2 12 1 1e 3 34 "
    "1 4 1 2 1 17 1 1 1 1a 1 2 1 2 1 1 1 16 1 1 1 a 5 2 2 2 2 6 2 2 2 2 2 22 "
    "4 30 4 6 4 3b 2 7b1 1 212 3 8d 1 60 20 22a 6 1c 1 1 1 1 1 1 1 1 1 1 1 1 "
    "1 1 1 1 1 1 1 1 1 1 1 2 1 1 1 1 1 6 2 1 2 1 2 1 2 1 2 16 1 4 2 3 1 d 1 1 "
    "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2 1 1 1 1 1 6 2 1 2 1 2 1 2 1 "
    "2 16 1 2 4 3 1 7570 1 4 a 20 2 50 2 114 1 bd 1 1b 12 39 3 25 1 5f 1 c 1 "
    "ef 1 1 3 2 2 5 2 1 1 34 1 f6 1 4d12 10e 2 1 1 1 2 a 1 1 1 1 2 2 3 44 2 "
    "6a 43 3 a d 1 5 1 1 1 2 1 2 1 9 2d1 10 3cd 1 e2 1 95 5 692 1 1 1 28 3 4 "
    "1 a5 2 55f 1 38 1 1a 1 1 1 e 1 d 2 45 3 2b 2 3 2 3e 1 4c 1 9 1 6a 2 b2 2 "
    "51 1 e 3 18 7 3 5 cd 1 3 1 74 2 1 1 3 2 f6 2 3 2 7e 1 76 2 73 1 513 1 "
    "4eb0 5 3b 7 5167 1 14bf c 3 6 8 8 2 7 1e 4 d 6 81 3 dbb 7 1 11 2 7 1 2 1 "
    "5 8a5 7 6d 7 10eb5 21e e05e2 "
)

# Hangul syllables, https://www.unicode.org/versions/latest/core-spec/
_S, _L, _V, _T = 0xAC00, 0x1100, 0x1161, 0x11A7
_L_COUNT, _V_COUNT, _T_COUNT = 19, 21, 28
_S_COUNT = _L_COUNT * _V_COUNT * _T_COUNT

# Characters from here on are looked up: those before are stable.
_FIRST = 0x300
_NO_BASE = 256


def _known() -> list[int]:
    points, known = [], cycle((False, True))
    start = 0
    for length, is_known in zip(
        re.findall(r"\w+", _RANGES), known, strict=False
    ):
        end = start + int(length, 16)
        points += range(start, end) if is_known else ()
        start = end
    return points


class FormC(tf.Module):
    """Composes characters; see the module."""

    def __init__(self):
        super().__init__(name="nfc")
        known = _known()
        parts = {p: unicodedata.normalize("NFD", chr(p)) for p in known}
        classes = {p: unicodedata.combining(chr(p)) for p in known}
        pairs = _composing_pairs(known)
        self._decomposed = np.array(
            [[0] * 4]
            + [_padded([ord(c) for c in part]) for part in parts.values()],
            np.int32,
        )
        self._row_of = _table({p: i + 1 for i, p in enumerate(known)})
        self._class_of = _table(classes)
        second = {b for _, b in pairs}
        second |= {_V + i for i in range(_V_COUNT)}
        second |= {_T + i for i in range(1, _T_COUNT)}
        self._joins = _table(dict.fromkeys(second, 1))
        changed = (p for p in known if p not in pairs.values())
        unstable = {*changed, *second, *(p for p in known if classes[p])}
        self._unstable = _table(dict.fromkeys(unstable, 1))
        keys = np.array([a << 21 | b for a, b in pairs], np.int64)
        self._pairs = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                keys, np.array(list(pairs.values()), np.int32)
            ),
            0,
        )

    def is_stable(self, code_points: tf.Tensor) -> tf.Tensor:
        """bool `()`: whether text of these characters surely stays."""
        high = tf.boolean_mask(code_points, code_points >= _FIRST)
        return ~tf.reduce_any(_look_up(self._unstable, high) > 0)

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """The form C of each text.

        Args:
            texts: string `(batch,)`, valid UTF-8.

        Returns:
            string `(batch,)`.
        """
        points, rows = self._decompose(
            tf.strings.unicode_decode(texts, "UTF-8")
        )
        classes = _look_up(self._class_of, points)
        first = tf.concat([[True], rows[1:] != rows[:-1]], 0)
        first = first[: tf.size(rows)]
        points, classes = _in_order(points, classes, first)
        points, kept = self._compose(points, classes, first)
        rows = tf.boolean_mask(rows, kept)
        composed = tf.RaggedTensor.from_value_rowids(
            tf.boolean_mask(points, kept),
            rows,
            nrows=tf.size(texts, out_type=tf.int64),
            validate=False,
        )
        return tf.strings.unicode_encode(composed, "UTF-8")

    def _decompose(self, text: tf.RaggedTensor):
        """Code points of the full decomposition, and the row of each."""
        points = text.flat_values
        index = points - _S
        hangul = (index >= 0) & (index < _S_COUNT)
        tail = index % _T_COUNT
        syllables = tf.stack(
            [
                _L + index // (_V_COUNT * _T_COUNT),
                _V + index % (_V_COUNT * _T_COUNT) // _T_COUNT,
                tf.where(tail > 0, _T + tail, 0),
                tf.zeros_like(index),
            ],
            axis=1,
        )
        row = _look_up(self._row_of, points)
        parts = tf.gather(self._decomposed, row)
        whole = tf.pad(points[:, None], [[0, 0], [0, 3]])
        parts = tf.where((row > 0)[:, None], parts, whole)
        parts = tf.where(hangul[:, None], syllables, parts)
        rows = tf.tile(text.value_rowids()[:, None], [1, 4])
        # NUL is no part but of itself.
        used = (parts > 0) | (tf.range(4) == 0)
        return tf.boolean_mask(parts, used), tf.boolean_mask(rows, used)

    def _compose(self, points, classes, first):
        """Code points, and whether each is still there.

        Sequences begin at bases that join nothing before them; all of them
        are gone through together, a character a round.
        """
        joins = _look_up(self._joins, points) > 0
        starts = first | ((classes == 0) & ~joins)
        begin = tf.cast(tf.where(starts)[:, 0], tf.int32)
        size = tf.size(points)
        end = tf.concat([begin[1:], size[None]], 0)[: tf.size(begin)]
        long = end - begin > 1
        begin, end = tf.boolean_mask(begin, long), tf.boolean_mask(end, long)
        own = tf.gather(classes, begin)
        # Marks without a base compose with nothing.
        last = tf.where(own == 0, 0, _NO_BASE)
        longest = tf.reduce_max(tf.concat([[0], end - begin], 0))
        rounds = tf.minimum(longest, LONGEST_SEQUENCE)

        def step(k, points, kept, base, last):
            place = tf.where(begin + k < end, begin + k, -1)
            going = place >= 0
            at = tf.maximum(place, 0)
            point, own = tf.gather(points, at), tf.gather(classes, at)
            composed = self._pair(tf.gather(points, base), point)
            joined = going & (composed > 0) & ((last < own) | (last == 0))
            rows = tf.where(joined)
            points = tf.tensor_scatter_nd_update(
                points,
                tf.gather_nd(base, rows)[:, None],
                tf.gather_nd(composed, rows),
            )
            kept = tf.tensor_scatter_nd_update(
                kept,
                tf.gather_nd(at, rows)[:, None],
                tf.zeros([tf.shape(rows)[0]], tf.bool),
            )
            stays = going & ~joined
            base = tf.where(stays & (own == 0), at, base)
            last = tf.where(stays, own, last)
            return k + 1, points, kept, base, last

        _, points, kept, _, _ = tf.while_loop(
            lambda k, *_: k < rounds,
            step,
            (tf.constant(1), points, tf.fill([size], True), begin, last),
        )
        return points, kept

    def _pair(self, base: tf.Tensor, point: tf.Tensor) -> tf.Tensor:
        """int32: the character that two make, 0 where they make none."""
        key = tf.cast(base, tf.int64) * (1 << 21) + tf.cast(point, tf.int64)
        found = self._pairs.lookup(key)
        lead, vowel = base - _L, point - _V
        both = (lead >= 0) & (lead < _L_COUNT)
        both &= (vowel >= 0) & (vowel < _V_COUNT)
        syllable = _S + (lead * _V_COUNT + vowel) * _T_COUNT
        found = tf.where(both, syllable, found)
        index, tail = base - _S, point - _T
        open_ = (index >= 0) & (index < _S_COUNT) & (index % _T_COUNT == 0)
        open_ &= (tail > 0) & (tail < _T_COUNT)
        return tf.where(open_, base + tail, found)


def _composing_pairs(known: list[int]) -> dict[tuple[int, int], int]:
    pairs = {}
    for point in known:
        parts = unicodedata.decomposition(chr(point)).split()
        stays = unicodedata.normalize("NFC", chr(point)) == chr(point)
        if len(parts) == 2 and stays:
            pairs[int(parts[0], 16), int(parts[1], 16)] = point
    return pairs


def _padded(points: list[int]) -> list[int]:
    return points + [0] * (4 - len(points))


def _table(values: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    flat = np.zeros(0x110000, np.int32)
    flat[list(values)] = list(values.values())
    return pages_of(flat)


def _look_up(table: tuple[np.ndarray, np.ndarray], points: tf.Tensor):
    index, pages = table
    page = tf.gather(index, points // 256)
    return tf.gather(pages, page * 256 + points % 256)


def _in_order(points, classes, first):
    """Marks of each base sorted by their class, otherwise as they came."""
    sequence = tf.cumsum(tf.cast((classes == 0) | first, tf.int64))
    order = tf.argsort(
        sequence * _NO_BASE + tf.cast(classes, tf.int64), stable=True
    )
    return tf.gather(points, order), tf.gather(classes, order)
