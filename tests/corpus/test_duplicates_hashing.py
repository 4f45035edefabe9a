"""Hashes of words and n-grams, beside Python's own words and tuples."""

import random
import re
import unicodedata

import pytest

from keras_llm.corpus.duplicates.hashing import (
    ngram_hashes,
    word_hashes,
    word_spans,
)

AWKWARD = [
    *"aAbBzZ09_ \t\n.,-'\"éÉßſKσΣçàйЙ١²½",
    "e\u0301",  # a combining accent
    "हिन्दी",  # vowel signs are marks
    "\ud800",  # a lone surrogate
    "❤\ufe0f",
    "\u200b",
    "\U00010400",  # a capital beyond the first plane
    "\U0001d400",
    "\U0010ffff",
    "x" * 63,
    "y" * 64,
    "z" * 65,
    "é" * 40,
]


def words_of(text):
    """Words as `re` and a loop see them: an oracle without arrays."""
    words, word = [], ""
    for character in text:
        is_mark = unicodedata.category(character) in ("Mn", "Mc")
        is_word = re.match(r"\w", character) or is_mark
        if is_word and not 0xFE00 <= ord(character) <= 0xFE0F:
            word += character
        elif word:
            words.append(word)
            word = ""
    return [*words, word] if word else words


def awkward_text(seed, size=200):
    return "".join(random.Random(seed).choices(AWKWARD, k=size))


@pytest.mark.parametrize("seed", range(8))
def test_equal_hashes_are_equal_words(seed):
    text = awkward_text(seed)
    words = [word.casefold() for word in words_of(text)]
    hashes = word_hashes(text).tolist()
    assert len(hashes) == len(words)
    assert len(set(zip(words, hashes, strict=True))) == len(set(words))
    assert len(set(hashes)) == len(set(words))


def test_case_punctuation_and_spaces_are_ignored():
    plain = word_hashes("the cafe s price was 5 see over")
    assert (
        word_hashes("The  CAFE's\nprice: was 5 — see (over)!") == plain
    ).all()


def test_a_word_is_the_same_in_any_company():
    for text in ("word", "word é", "漢 word", "a word", "word\ud800"):
        assert word_hashes("word")[0] in word_hashes(text)


@pytest.mark.parametrize(
    "text, words",
    [("漢字かな", 4), ("abc漢字def", 4), ("สวัสดี", 6), ("한국어 말", 2)],
)
def test_scripts_without_spaces_are_cut_into_characters(text, words):
    assert len(word_hashes(text)) == words
    spaced = " ".join(text) if words >= 4 and text != "abc漢字def" else text
    assert (word_hashes(spaced) == word_hashes(text)).all()


@pytest.mark.parametrize("n", [1, 2, 5, 13])
@pytest.mark.parametrize("words", [0, 1, 4, 5, 13, 300])
def test_ngrams_are_equal_where_their_words_are(n, words):
    draw = random.Random(words)
    text = [draw.choice("ab") for _ in range(words)]
    tuples = [tuple(text[i : i + n]) for i in range(words - n + 1)]
    hashes = ngram_hashes(word_hashes(" ".join(text)), n).tolist()
    assert len(hashes) == len(tuples)
    assert len(set(zip(tuples, hashes, strict=True))) == len(set(tuples))
    assert len(set(hashes)) == len(set(tuples))


def test_hashes_are_the_same_on_every_machine():
    words = word_hashes("To be, or not to be: être ou ne pas être")
    assert int(words[0]) == 17317425407431806273
    assert int(ngram_hashes(words, 5)[-1]) == 17521786321266487911


@pytest.mark.parametrize("seed", range(4))
def test_spans_are_where_the_words_are(seed):
    text = awkward_text(seed) + "漢字 end"
    hashes = word_hashes(text)
    for first in range(0, len(hashes) - 3, 7):
        start, stop = word_spans(text, first, 3)
        assert (
            word_hashes(text[start:stop]) == hashes[first : first + 3]
        ).all()
        assert text[start:stop] == text[start:stop].strip()
