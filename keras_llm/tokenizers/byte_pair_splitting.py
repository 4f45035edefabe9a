"""How text is cut into words before byte pairs are merged, in TensorFlow.

The published rules are regular expressions with a look-ahead, which RE2 does
not have. Here the same words are found by comparing neighbours: text becomes
runs of characters of one kind, and each rule says where, in a run, words
begin. Everything is a core TensorFlow operation over all texts at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_llm.tokenizers.byte_pair_unicode import (
    LETTER,
    NUMBER,
    NUMERIC,
    PAGE,
    PUNCTUATION,
    SPACE,
    character_classes,
    pages_of,
)

_PAGE_OF, _PAGES = pages_of(character_classes())

OTHER_KIND, LETTER_KIND, NUMBER_KIND, SPACE_KIND = range(4)

# After an apostrophe; case-insensitive, s is the long s too.
_ONE_LETTER, _TWO_LETTERS = "stmd", ("re", "ve", "ll")
_LONG_S = "\u017f"


@dataclass(frozen=True)
class Characters:
    """All characters of all texts, one after the other.

    Args:
        code_points: int32 `(characters,)`.
        classes: int32 `(characters,)`, see `byte_pair_unicode`.
        cuts: bool `(characters,)`. A text, or a part that is split by itself,
            begins here.
    """

    code_points: tf.Tensor
    classes: tf.Tensor
    cuts: tf.Tensor


@dataclass(frozen=True)
class Runs:
    """Characters of one kind in a row; `(runs,)` each.

    Args:
        begin: int32. Index of the first character.
        end: int32. Index after the last one.
        kind: int32.
        last: int32. The last code point.
        opens: bool. A part begins with it.
        closes: bool. A part ends with it.
    """

    begin: tf.Tensor
    end: tf.Tensor
    kind: tf.Tensor
    last: tf.Tensor
    opens: tf.Tensor
    closes: tf.Tensor

    @property
    def length(self) -> tf.Tensor:
        return self.end - self.begin


def classes_of(code_points: tf.Tensor) -> tf.Tensor:
    """int32: the classes of code points, looked up in the frozen table."""
    page = tf.gather(_PAGE_OF, tf.bitwise.right_shift(code_points, 8))
    within = tf.bitwise.bitwise_and(code_points, PAGE - 1)
    return tf.gather(_PAGES, page * PAGE + within)


def previous(values: tf.Tensor, first) -> tf.Tensor:
    """Each element's left neighbour; `first` for the first."""
    return tf.concat([tf.fill([1], first), values], 0)[:-1]


def following(values: tf.Tensor, last) -> tf.Tensor:
    """Each element's right neighbour; `last` for the last."""
    return tf.concat([values, tf.fill([1], last)], 0)[1:]


def _runs(text: Characters, kinds: tf.Tensor) -> Runs:
    starts = text.cuts | (kinds != previous(kinds, -1))
    begin = tf.cast(tf.where(starts)[:, 0], tf.int32)
    end = following(begin, tf.size(kinds))
    opens = tf.gather(text.cuts, begin)
    return Runs(
        begin,
        end,
        tf.gather(kinds, begin),
        tf.gather(text.code_points, end - 1),
        opens,
        following(opens, True),
    )


def _kinds(classes: tf.Tensor) -> tf.Tensor:
    """Other, letter, number or space: what most rules tell apart."""
    table = np.full(32, OTHER_KIND, np.int32)
    for value in range(32):
        for bit, kind in (
            (LETTER, LETTER_KIND),
            (NUMBER, NUMBER_KIND),
            (SPACE, SPACE_KIND),
        ):
            if value & bit:
                table[value] = kind
    return tf.gather(table, classes)


def _starts(size: tf.Tensor, *positions: tf.Tensor) -> tf.Tensor:
    """bool `(size,)`: whether a word begins; positions below 0 are none."""
    places = tf.concat(positions, 0)
    places = tf.boolean_mask(places, places >= 0)
    ones = tf.ones_like(places)
    return tf.scatter_nd(places[:, None], ones, [size]) > 0


def _where(condition: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    return tf.where(condition, position, -1)


def _suffix_length(
    text: Characters, begin: tf.Tensor, length: tf.Tensor, any_case: bool
) -> tf.Tensor:
    """int32 `(runs,)`: letters of a contraction that runs begin with, or 0."""
    last = tf.maximum(tf.size(text.code_points) - 1, 0)
    first = tf.gather(text.code_points, begin)
    second = tf.gather(text.code_points, tf.minimum(begin + 1, last))

    def one_of(values: tf.Tensor, letters: str) -> tf.Tensor:
        if any_case:
            letters += letters.upper() + (_LONG_S if "s" in letters else "")
        same = [values == ord(letter) for letter in letters]
        return tf.reduce_any(tf.stack(same), axis=0)

    pairs = [one_of(first, a) & one_of(second, b) for a, b in _TWO_LETTERS]
    two = tf.reduce_any(tf.stack(pairs), axis=0) & (length >= 2)
    one = one_of(first, _ONE_LETTER)
    return tf.where(one, 1, tf.where(two, 2, 0))


def _contractions(
    text: Characters, runs: Runs, word_start: tf.Tensor, any_case: bool
) -> tf.Tensor:
    """int32 `(runs,)`: letters that belong to an apostrophe before the run.

    Args:
        text: the characters.
        runs: the runs.
        word_start: bool `(runs,)`. A word begins where the run does.
        any_case: capitals too.
    """
    apostrophe = (runs.length == 1) & (runs.last == ord("'")) & word_start
    after = previous(apostrophe, False) & ~runs.opens
    after &= runs.kind == LETTER_KIND
    # Few runs follow an apostrophe.
    places = tf.where(after)
    found = _suffix_length(
        text,
        tf.gather_nd(runs.begin, places),
        tf.gather_nd(runs.length, places),
        any_case,
    )
    return tf.scatter_nd(places, found, tf.shape(runs.begin, out_type=tf.int64))


def split_gpt2(text: Characters) -> tf.Tensor:
    r"""`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|
    \s+(?!\S)|\s+`

    The words of GPT-2 (Radford et al. 2019), also of GPT-NeoX and OPT.

    Args:
        text: the characters.

    Returns:
        bool `(characters,)`: whether a word begins.
    """
    runs = _runs(text, _kinds(text.classes))
    space = runs.kind == SPACE_KIND
    spaced = previous(space & (runs.last == ord(" ")), False) & ~runs.opens
    suffix = _contractions(text, runs, ~spaced, any_case=False)
    # The last of a run of whitespace is no part of it, if a word follows.
    last_space = _where(space & ~runs.closes, runs.end - 1)
    begins = ~spaced & (suffix < runs.length)
    # An apostrophe's letters belong to the word it begins.
    return _starts(
        tf.size(text.code_points),
        _where(begins, runs.begin + suffix),
        last_space,
    )


def _grouped_digits(runs: Runs, size: int) -> tf.Tensor:
    """int32: the first of every `size` digits."""
    digits = runs.kind == NUMBER_KIND
    begin, end = (tf.boolean_mask(x, digits) for x in (runs.begin, runs.end))
    return tf.ragged.range(begin, end, size).flat_values


def _split_llama(text: Characters, digits: int) -> tf.Tensor:
    kinds = _kinds(text.classes)
    runs = _runs(text, kinds)
    is_space, is_other = runs.kind == SPACE_KIND, runs.kind == OTHER_KIND
    line_end = (runs.last == ord("\n")) | (runs.last == ord("\r"))
    after_space = previous(is_space, False) & ~runs.opens
    spaced = after_space & previous(runs.last == ord(" "), False)

    # One character that is no line end goes with the letters after it.
    letters = runs.kind == LETTER_KIND
    alone = is_other & (runs.length == 1) & ~spaced
    suffix = _contractions(text, runs, ~spaced & is_other, any_case=True)
    joined = after_space & ~previous(line_end, False)
    joined |= previous(alone, False) & ~runs.opens & (suffix == 0)
    word = letters & ~joined & (suffix < runs.length)
    other = is_other & ~spaced

    # Line ends go with the punctuation before them.
    first, last = _line_ends(text, runs, is_space)
    after_other = previous(is_other, False) & ~runs.opens
    space = tf.where(after_other, first, runs.begin)
    # The rest of the whitespace is a word up to its last line end.
    rest = tf.maximum(last, space)
    last_space = is_space & ~runs.closes & (rest < runs.end)
    return _starts(
        tf.size(kinds),
        _where(word, runs.begin + suffix),
        _where(other, runs.begin),
        _grouped_digits(runs, digits),
        _where(is_space & (space < runs.end), space),
        _where(is_space & (rest < runs.end), rest),
        _where(last_space, runs.end - 1),
    )


def _line_ends(
    text: Characters, runs: Runs, is_space: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where, in each run, its leading line ends end, and its last one.

    Returns:
        int32 `(runs,)` each: the first character that is no line end (the end
        of the run if all are), and the character after the last line end (the
        beginning of the run if none is).
    """
    points = text.code_points
    line_end = (points == ord("\n")) | (points == ord("\r"))
    places = tf.where(is_space)
    begin, end = (tf.gather_nd(x, places) for x in (runs.begin, runs.end))
    spaces = tf.ragged.range(begin, end)
    index = spaces.flat_values
    is_end = tf.gather(line_end, index)
    rows = spaces.value_rowids()
    count = tf.size(begin)
    none = tf.where(is_end, tf.int32.max, index)
    first = tf.math.unsorted_segment_min(none, rows, count)
    after = tf.where(is_end, index + 1, -1)
    last = tf.math.unsorted_segment_max(after, rows, count)
    shape = tf.shape(runs.begin, out_type=tf.int64)
    return (
        tf.scatter_nd(places, tf.minimum(first, end), shape),
        tf.scatter_nd(places, tf.maximum(last, begin), shape),
    )


def split_llama3(text: Characters) -> tf.Tensor:
    r"""`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
    ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

    The words of Llama 3; see `split_gpt2` for arguments and result.
    """
    return _split_llama(text, digits=3)


def split_qwen2(text: Characters) -> tf.Tensor:
    """The words of Qwen 2 to 3: those of Llama 3, each digit by itself.

    See `split_gpt2` for arguments and result.
    """
    return _split_llama(text, digits=1)


def split_smollm(text: Characters) -> tf.Tensor:
    """The words of SmolLM: each digit, and between them those of GPT-2.

    See `split_gpt2` for arguments and result.
    """
    digit = tf.bitwise.bitwise_and(text.classes, NUMERIC) > 0
    cuts = text.cuts | digit | previous(digit, False)
    return split_gpt2(Characters(text.code_points, text.classes, cuts))


def split_falcon(text: Characters) -> tf.Tensor:
    """The words of Falcon: runs of punctuation, between them GPT-2's.

    Falcon then cuts at digits among bytes; see `cut_byte_digits`. See
    `split_gpt2` for arguments and result.
    """
    marks = tf.bitwise.bitwise_and(text.classes, PUNCTUATION) > 0
    cuts = text.cuts | (marks != previous(marks, False))
    return split_gpt2(Characters(text.code_points, text.classes, cuts))


_BLOOM_MARKS = "().,!?|…。，、।۔،"


def split_bloom(text: Characters) -> tf.Tensor:
    r"""` ?[^(\s|[.,!?…。，、।۔،])]+`, and what is between.

    The words of Bloom; see `split_gpt2` for arguments and result.
    """
    points = text.code_points
    marks = [points == ord(mark) for mark in _BLOOM_MARKS]
    space = tf.bitwise.bitwise_and(text.classes, SPACE) > 0
    between = tf.reduce_any(tf.stack([space, *marks]), axis=0)
    runs = _runs(text, tf.cast(between, tf.int32))
    gap = runs.kind == 1
    spaced = previous(gap & (runs.last == ord(" ")), False) & ~runs.opens
    goes_on = gap & ~runs.closes & (runs.last == ord(" "))
    return _starts(
        tf.size(points),
        _where(~spaced, runs.begin),
        _where(goes_on, runs.end - 1),
    )


def cut_byte_digits(data: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    """Falcon's last two steps, which see bytes as characters.

    Of the characters that stand for bytes, ten ASCII digits and six others
    (0xB2 is "²") are numbers: runs of them are words, cut further at every
    three ASCII digits.

    Args:
        data: int32 `(bytes,)`.
        starts: bool `(bytes,)`. Where words begin.

    Returns:
        bool `(bytes,)`: where words begin.
    """
    digit = (data >= ord("0")) & (data <= ord("9"))
    others = [data == value for value in b"\xb2\xb3\xb9\xbc\xbd\xbe"]
    number = tf.reduce_any(tf.stack([digit, *others]), axis=0)
    starts |= number != previous(number, False)
    kinds = tf.where(digit, NUMBER_KIND, OTHER_KIND)
    runs = _runs(Characters(data, data, starts), kinds)
    long = (runs.kind == NUMBER_KIND) & (runs.length >= 3)
    begin = tf.boolean_mask(runs.begin, long)
    end = tf.boolean_mask(runs.end, long)
    threes = tf.ragged.range(begin, end, 3).flat_values
    after = end - (end - begin) % 3
    after = _where(after < tf.size(data), after)
    return starts | _starts(tf.size(data), threes, after)


SPLITTING_RULES: dict[str, Callable[[Characters], tf.Tensor]] = {
    "bloom": split_bloom,
    "falcon": split_falcon,
    "gpt2": split_gpt2,
    "llama3": split_llama3,
    "qwen2": split_qwen2,
    "smollm": split_smollm,
}
