"""The leak check, beside sets of 13 words in plain Python."""

import json
import random

import numpy as np
import pytest
from datatrove.data import Document

from keras_llm.corpus import held_out
from keras_llm.corpus.held_out import HeldOutNgrams
from keras_llm.corpus.overlap import (
    DropLeaks,
    FindLeaks,
    NgramIndexer,
    found_in,
    read_leaks,
)
from keras_llm.corpus.splitting import Span

TRAIN = {"split": "train", "leaks": False, "cuts": None}


def words(count, seed):
    draw = random.Random(seed)
    return [str(draw.randrange(10**9)) for _ in range(count)]


def tuples(mine, n=13):
    return [tuple(mine[i : i + n]) for i in range(len(mine) - n + 1)]


def documents(texts):
    return [
        Document(text, f"doc-{n}", metadata=dict(TRAIN))
        for n, text in enumerate(texts)
    ]


def indexed(tmp_path, texts, tasks=1):
    """Indexes texts in tasks; the folders of tasks and of the index."""
    folder = tmp_path / "tasks"
    for rank in range(tasks):
        mine = documents(texts)[rank::tasks]
        passed = NgramIndexer(folder).run(iter(mine), rank, tasks)
        assert list(passed) == mine
    HeldOutNgrams.merge(folder).save(tmp_path / "index")
    return folder, tmp_path / "index"


def test_ngrams_found_are_those_that_sets_share():
    draw = random.Random(0)
    vocabulary = [str(n) for n in range(3)]
    held = [draw.choices(vocabulary, k=60) for _ in range(40)]
    index = HeldOutNgrams.from_texts(map(" ".join, held))
    known = {ngram for text in held for ngram in tuples(text)}
    assert len(index.hashes) == len(known)
    hits = 0
    for _ in range(200):
        text = draw.choices(vocabulary, k=300) + draw.choice(held)[:20]
        overlap = index.shared(" ".join(text))
        found = [ngram in known for ngram in tuples(text)]
        assert (overlap.found, overlap.total) == (sum(found), len(found))
        distinct = {n for n in tuples(text) if n in known}
        assert len(overlap.positions) == len(distinct)
        hits += overlap.found
    assert hits > 200 * 8


@pytest.mark.parametrize("shared, found", [(12, 0), (13, 1), (20, 8)])
def test_thirteen_words_in_a_row_are_a_leak(shared, found):
    held, other = words(50, 1), words(50, 2)
    other[20 : 20 + shared] = held[7 : 7 + shared]
    text = ", ".join(other)
    overlap = HeldOutNgrams.from_texts([" ".join(held)]).shared(text)
    assert overlap.found == found
    assert bool(overlap.excerpt) == bool(found)
    if found:
        assert ", ".join(held[7:20]) in overlap.excerpt
        assert overlap.excerpt in text


@pytest.mark.parametrize("count, is_found", [(7, False), (8, True), (12, True)])
def test_a_short_text_is_one_ngram(count, is_found):
    question = words(count, 1)
    index = HeldOutNgrams.from_texts(
        [" ".join(question), " ".join(words(9, 5))]
    )
    assert index.too_short == (0 if is_found else 1)
    text = " ".join(words(30, 2) + question + words(30, 3))
    assert index.shared(text).found == is_found
    assert not index.shared(" ".join(words(30, 2) + question[1:])).found


@pytest.mark.parametrize("texts", [[], [""], ["too short to tell"]])
def test_nothing_held_out_is_found_nowhere(tmp_path, texts):
    _, index = indexed(tmp_path, texts)
    held = HeldOutNgrams.load(index)
    assert (held.documents, held.too_short) == (len(texts), len(texts))
    assert held.shared(" ".join(words(50, 1))).found == 0


@pytest.mark.parametrize("tasks", [1, 3, 8])
@pytest.mark.parametrize("at_once", [100, 2**24])
def test_tasks_and_passes_do_not_matter(tmp_path, tasks, at_once, monkeypatch):
    monkeypatch.setattr(held_out, "_PASS", at_once)
    texts = [" ".join(words(40, seed)) for seed in range(6)] + [texts_short()]
    expected = HeldOutNgrams.from_texts(texts)
    loaded = HeldOutNgrams.load(indexed(tmp_path, texts, tasks)[1])
    assert (loaded.hashes == expected.hashes).all()
    assert (loaded.bits == expected.bits).all()
    assert (np.diff(loaded.hashes.astype(object)) > 0).all()
    assert loaded.lengths == expected.lengths == (9, 13)
    assert loaded.documents == 7


def texts_short():
    return " ".join(words(9, 99))


def test_what_many_held_out_texts_share_is_common(tmp_path):
    licence = " ".join(words(20, 1))
    texts = [f"{' '.join(words(30, 10 + n))} {licence}" for n in range(12)]
    folder, _ = indexed(tmp_path, texts)
    strict = HeldOutNgrams.merge(folder)
    lenient = HeldOutNgrams.merge(folder, common_above=held_out.COMMON)
    assert strict.shared(licence).found == 8
    assert lenient.shared(licence).found == 0
    assert (strict.common, lenient.common) == (0, 8)
    assert lenient.shared(texts[0]).found == 38 - 8


@pytest.fixture
def leaking(tmp_path):
    """Four held-out texts, and ten others, of which two share something."""
    held = [" ".join(words(40, seed)) for seed in range(4)]
    others = [words(60, 100 + seed) for seed in range(10)]
    others[3][10:30] = held[1].split()[5:25]
    others[7][10:24] = held[1].split()[20:34]
    tasks, index = indexed(tmp_path, held)
    return tasks, index, documents(map(" ".join, others))


def test_reports_let_everything_pass_and_count(leaking, tmp_path):
    tasks, index, others = leaking
    out = tmp_path / "reports"
    for rank in range(2):
        report = FindLeaks(index, out)
        mine = others[rank * 5 : rank * 5 + 5]
        assert list(report.run(iter(mine), rank, 2)) == mine
    leaks = read_leaks(out)
    assert (leaks.seen, leaks.documents, leaks.ngrams) == (10, 2, 8 + 2)
    assert [example["id"] for example in leaks.examples] == ["doc-3", "doc-7"]
    assert leaks.examples[0]["found"] == 8
    json.dumps(leaks.to_dict())
    assert found_in(HeldOutNgrams.load(index), out) == 10


def test_what_leaks_is_dropped_unless_it_is_cut(leaking, tmp_path):
    _, index, others = leaking
    others[7].metadata["cuts"] = [Span("train", 0, 9), Span("test", 9, 99)]
    marked = FindLeaks(index, tmp_path / "reports").run(iter(others))
    kept = [document.id for document in DropLeaks().run(marked)]
    assert kept == [f"doc-{n}" for n in range(10) if n != 3]


def test_other_splits_are_not_looked_at(leaking, tmp_path):
    _, index, others = leaking
    others[3].metadata["split"] = "validation"
    list(FindLeaks(index, tmp_path / "reports").run(iter(others)))
    assert read_leaks(tmp_path / "reports").documents == 1
