"""Repeated paragraphs, beside a dictionary; what stays is untouched."""

import random

import numpy as np
import pytest

from keras_llm.corpus.duplicates import paragraphs
from keras_llm.corpus.duplicates.paragraphs import (
    LEAST,
    paragraphs_of,
    repeated,
    without,
)

LINE = "All work and no play makes Jack a dull boy, as everyone here knows."


def test_case_and_spaces_are_ignored_but_not_words():
    rows = paragraphs_of(f"{LINE}\n  {LINE.upper()} \n{LINE}!", 7)
    assert rows["hash"][0] == rows["hash"][1] != rows["hash"][2]
    assert rows["document"].tolist() == [7] * 3
    assert rows["number"].tolist() == [0, 1, 2]
    size = len(LINE)
    assert rows["bytes"].tolist() == [size + 1, size + 4, size + 1]


def corpus(seed, documents=30):
    draw = random.Random(seed)
    lines = [f"{number} {LINE}" for number in range(25)] + ["short", ""]
    return [
        "\n".join(draw.choices(lines, k=draw.randrange(8)))
        for _ in range(documents)
    ]


def removed(texts, size, is_kept):
    """Document and paragraph of what came before, of tasks of some size."""
    starts = list(range(0, len(texts), size))
    tasks = [
        np.concatenate(
            [
                paragraphs_of(text, number)
                for number, text in enumerate(texts[start : start + size])
            ]
        )
        for start in starts
    ]
    return [
        [start + int(row["document"]), int(row["number"])]
        for rows, start, places in zip(
            tasks, starts, repeated(tasks, starts, is_kept), strict=True
        )
        for row in rows[places]
    ]


def expected_removals(texts, is_kept):
    seen, removed = set(), []
    for document, text in enumerate(texts):
        for paragraph, line in enumerate(text.split("\n")):
            if is_kept[document] and len(line) >= LEAST:
                if line in seen:
                    removed.append([document, paragraph])
                seen.add(line)
    return removed


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [1, 7, 30])
@pytest.mark.parametrize("at_once", [10, 2**24])
def test_all_but_the_first_are_removed(seed, size, at_once, monkeypatch):
    monkeypatch.setattr(paragraphs, "_PASS", at_once)
    texts = corpus(seed)
    is_kept = np.random.default_rng(seed).random(len(texts)) < 0.8
    expected = expected_removals(texts, is_kept)
    assert removed(texts, size, is_kept) == expected


@pytest.mark.parametrize(
    "numbers, expected",
    [
        ([], "a\r\n\n b \nc"),
        ([0], "\n b \nc"),
        ([1, 2], "a\r\nc"),
        ([3], "a\r\n\n b \n"),
        ([0, 1, 2, 3], ""),
    ],
)
def test_what_stays_is_byte_for_byte(numbers, expected):
    assert without("a\r\n\n b \nc", np.array(numbers, int)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_no_long_line_is_left_twice(seed):
    texts = corpus(seed)
    found = removed(texts, 30, np.ones(len(texts), bool))
    cleaned = [
        without(text, [n for mine, n in found if mine == document])
        for document, text in enumerate(texts)
    ]
    long = [
        line
        for text in cleaned
        for line in text.split("\n")
        if len(line) >= LEAST
    ]
    assert len(long) == len(set(long))
    before = {line for text in texts for line in text.split("\n")}
    assert set(long) == {line for line in before if len(line) >= LEAST}
