"""Splits: exact shares, the same side for the same text, none empty."""

import hashlib
import random

import numpy as np
import pytest

from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.splitting import (
    NO_SPLIT,
    check_splits,
    cut,
    divide,
)
from keras_llm.errors import InputError
from keras_llm.recipes.corpus_settings import SplitSettings


def text(content, split=None):
    return content, split


def many(count, split=None, first=0):
    return [text(f"text {n}", split) for n in range(first, first + count)]


def divided(texts, settings):
    digests = [hashlib.sha256(item.encode()).digest() for item, _ in texts]
    given = [SPLITS.index(s) if s else NO_SPLIT for _, s in texts]
    return divide(
        np.array([int.from_bytes(d[:8], "big") for d in digests], np.uint64),
        np.array([len(item.encode()) for item, _ in texts]),
        np.array(given, np.uint8),
        settings,
    )


def pieces_of(texts, settings):
    """The splits of every text, each with what it has of it."""
    begins = divided(texts, settings).begins.tolist()
    return [
        list(cut(item, its))
        for (item, _), its in zip(texts, begins, strict=True)
    ]


def sides(texts, **settings):
    """The split of each text, where texts are not cut."""
    found = pieces_of(texts, SplitSettings(**settings))
    return [split for [(split, _)] in found]


def pieces(contents, **settings):
    """What each split holds, joined."""
    found = {"train": "", "validation": "", "test": ""}
    texts = [text(item) for item in contents]
    for its_pieces in pieces_of(texts, settings_of(settings)):
        for split, piece in its_pieces:
            found[split] += piece
    return found


def settings_of(values):
    return SplitSettings(method="position", **values)


@pytest.mark.parametrize("documents, method", [(99, "position"), (100, "hash")])
def test_auto_hashes_from_a_hundred_documents_on(documents, method):
    assert divided(many(documents), SplitSettings()).method == method


def test_hash_depends_on_the_text_alone():
    texts = many(200)
    expected = dict(zip(texts, sides(texts, method="hash"), strict=True))
    random.Random(0).shuffle(texts)
    found = sides(texts[:50], method="hash")
    assert found == [expected[item] for item in texts[:50]]


def test_hash_keeps_test_when_validation_grows():
    small = sides(many(500), method="hash", validation=0.1, test=0.1)
    large = sides(many(500), method="hash", validation=0.4, test=0.1)
    for before, after in zip(small, large, strict=True):
        assert (before == "test") == (after == "test")
        assert before != "validation" or after == "validation"


@pytest.mark.parametrize("length", [2, 9, 10, 11, 999, 1_115_394])
def test_position_cuts_ascii_at_the_exact_character(length):
    content = "x" * length
    found = pieces([content], validation=0.1)
    assert len(found["train"]) == int(length * 0.9)
    assert sum(map(len, found.values())) == length


@pytest.mark.parametrize("seed", range(12))
def test_position_keeps_every_character_in_order(seed):
    draw = random.Random(seed)
    contents = [
        "".join(draw.choices("aé世😀\n", k=draw.randint(1, 40)))
        for _ in range(draw.randint(1, 6))
    ]
    shares = {"validation": draw.random() / 2, "test": draw.random() / 2}
    found = pieces(contents, **shares)
    assert "".join(found.values()) == "".join(contents)
    total = len("".join(contents).encode())
    # Within a character (at most three bytes more) of the exact share.
    expected = total * (1 - shares["validation"] - shares["test"])
    assert expected - 4 < len(found["train"].encode()) <= expected


def test_given_splits_are_kept():
    texts = [text(name, name) for name in ("train", "validation", "test")]
    division = divided(texts, SplitSettings(validation=0.5, test=0.3))
    assert division.method == "given"
    assert sides(texts) == ["train", "validation", "test"]


def test_texts_without_a_split_are_hashed_among_those_not_named():
    texts = many(300) + many(20, "test", first=300)
    found = sides(texts, validation=0.2, test=0.4)
    assert found[300:] == ["test"] * 20
    assert found[:300].count("validation") == pytest.approx(60, abs=20)
    assert "test" not in found[:300]


def test_training_text_is_divided_if_no_validation_is_named():
    texts = many(300, "train") + many(3, "test", first=300)
    found = sides(texts)
    assert found[:300].count("validation") == pytest.approx(30, abs=15)
    few = [text("0123456789", "train"), text("held out", "test")]
    first, second = pieces_of(few, SplitSettings())
    assert first == [("train", "012345678"), ("validation", "9")]
    assert second == [("test", "held out")]


def test_what_must_stay_together_does_also_where_few_are_divided():
    held_out = [NO_SPLIT] * 20 + [SPLITS.index("test")]
    digests = np.arange(21, dtype=np.uint64)
    digests[19] = digests[3]
    for given in (held_out, [NO_SPLIT] * 21):
        settings = SplitSettings(validation=0.3, test=0)
        sizes, given = np.full(21, 10), np.array(given, np.uint8)
        begins = divide(digests, sizes, given, settings).begins
        assert begins[19].tolist() == begins[3].tolist()
        assert begins[18].tolist() != begins[3].tolist()


def test_no_validation_is_made_if_none_is_asked_for():
    texts = many(300, "train") + many(3, "test", first=300)
    assert set(sides(texts, validation=0)) == {"train", "test"}


def test_given_without_splits_is_refused():
    with pytest.raises(InputError, match="names no splits"):
        divided(many(3), SplitSettings(method="given"))


@pytest.mark.parametrize(
    "documents, method, message",
    [
        ({"train": 3}, "hash", "The validation split is empty.*position"),
        (
            {"train": 1},
            "position",
            "0.1 of this text is less than.*split.validation 0",
        ),
        ({"validation": 3}, "given", "The train split is empty.*position"),
        (
            {"train": 1, "validation": 1, "test": 0},
            "given",
            "The test split is empty: the source has no text",
        ),
    ],
)
def test_an_empty_split_is_refused_with_advice(documents, method, message):
    with pytest.raises(InputError, match=message):
        check_splits(documents, method, SplitSettings())
