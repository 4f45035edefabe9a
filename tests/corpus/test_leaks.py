"""The leak check: beside sets of 13 words in plain Python, and in a corpus."""

import json
import random

import numpy as np
import pytest
from datatrove.data import Document
from source_files import text_of, words, write

from keras_llm import files
from keras_llm.corpus import leaks as leaks_module
from keras_llm.corpus.documents import read_documents
from keras_llm.corpus.leaks import (
    COMMON,
    HeldOut,
    LeakCheck,
)
from keras_llm.corpus.prepare import prepare
from keras_llm.corpus.splitting import END
from keras_llm.errors import InputError, Interrupted
from keras_llm.recipes.corpus_settings import CorpusSettings, SplitSettings

ALL_TRAIN = SplitSettings(validation=0)
TRAIN = {"leaks": False, "begins": [END, END]}


def tuples(mine, n=13):
    return [tuple(mine[i : i + n]) for i in range(len(mine) - n + 1)]


def documents(texts):
    return [
        Document(text, f"doc-{n}", metadata=dict(TRAIN))
        for n, text in enumerate(texts)
    ]


def indexed(folder, texts, tasks=1, common_above=None):
    """Texts that are held out, collected in tasks."""
    check = LeakCheck(folder, common_above)
    for rank in range(tasks):
        check.collect(documents(texts)[rank::tasks], rank)
    check.merge()
    return check


def test_ngrams_found_are_those_that_sets_share():
    draw = random.Random(0)
    vocabulary = [str(n) for n in range(3)]
    held = [draw.choices(vocabulary, k=60) for _ in range(40)]
    index = HeldOut.of(map(" ".join, held))
    known = {ngram for text in held for ngram in tuples(text)}
    assert len(index.hashes) == len(known)
    hits = 0
    for _ in range(200):
        text = draw.choices(vocabulary, k=300) + draw.choice(held)[:20]
        where, _ = index.shared(" ".join(text))
        found = [ngram for ngram in tuples(text) if ngram in known]
        assert len(where) == len(found)
        assert len(set(where.tolist())) == len(set(found))
        hits += len(found)
    assert hits > 200 * 8


@pytest.mark.parametrize("shared, found", [(12, 0), (13, 1), (20, 8)])
def test_thirteen_words_in_a_row_are_a_leak(shared, found):
    held, other = words(50, 1), words(50, 2)
    other[20 : 20 + shared] = held[7 : 7 + shared]
    text = ", ".join(other)
    where, excerpt = HeldOut.of([" ".join(held)]).shared(text)
    assert len(where) == found
    assert bool(excerpt) == bool(found)
    if found:
        assert ", ".join(held[7:20]) in excerpt
        assert excerpt in text


@pytest.mark.parametrize("count, is_found", [(7, False), (8, True), (12, True)])
def test_a_short_text_is_one_ngram(count, is_found):
    question = words(count, 1)
    index = HeldOut.of([" ".join(question), " ".join(words(9, 5))])
    assert index.too_short == (0 if is_found else 1)
    text = " ".join(words(30, 2) + question + words(30, 3))
    assert len(index.shared(text)[0]) == is_found
    assert not len(index.shared(" ".join(words(30, 2) + question[1:]))[0])


@pytest.mark.parametrize("texts", [[], [""], ["too short to tell"]])
def test_nothing_held_out_is_found_nowhere(tmp_path, texts):
    indexed(tmp_path, texts)
    held = HeldOut.load(tmp_path)
    assert (len(held.words), held.too_short) == (len(texts), len(texts))
    assert len(held.shared(" ".join(words(50, 1)))[0]) == 0


@pytest.mark.parametrize("tasks", [1, 3, 8])
@pytest.mark.parametrize("at_once", [100, 2**24])
def test_tasks_and_passes_do_not_matter(tmp_path, tasks, at_once, monkeypatch):
    monkeypatch.setattr(leaks_module, "_PASS", at_once)
    texts = [" ".join(words(40, seed)) for seed in range(6)] + [texts_short()]
    expected = HeldOut.of(texts)
    indexed(tmp_path, texts, tasks)
    loaded = HeldOut.load(tmp_path)
    assert (loaded.hashes == expected.hashes).all()
    assert (np.diff(loaded.hashes.astype(object)) > 0).all()
    assert loaded.lengths == expected.lengths == [9, 13]
    assert len(loaded.words) == 7


def texts_short():
    return " ".join(words(9, 99))


def test_what_many_held_out_texts_share_is_common(tmp_path):
    licence = " ".join(words(20, 1))
    texts = [f"{' '.join(words(30, 10 + n))} {licence}" for n in range(12)]
    indexed(tmp_path / "strict", texts)
    strict = HeldOut.load(tmp_path / "strict")
    indexed(tmp_path / "lenient", texts, common_above=COMMON)
    lenient = HeldOut.load(tmp_path / "lenient")
    assert len(strict.shared(licence)[0]) == 8
    assert len(lenient.shared(licence)[0]) == 0
    assert len(lenient.shared(texts[0])[0]) == 38 - 8


@pytest.fixture
def collected(tmp_path):
    """Four held-out texts, and ten others, of which two share something."""
    held = [" ".join(words(40, seed)) for seed in range(4)]
    others = [words(60, 100 + seed) for seed in range(10)]
    others[3][10:30] = held[1].split()[5:25]
    others[7][10:24] = held[1].split()[20:34]
    return indexed(tmp_path, held), documents(map(" ".join, others))


def test_everything_passes_and_is_counted(collected):
    check, others = collected
    for rank in range(2):
        mine = others[rank * 5 : rank * 5 + 5]
        assert list(check.marked(mine, rank)) == mine
    assert [n for n in range(10) if others[n].metadata["leaks"]] == [3, 7]
    leaks = check.leaks()
    assert (leaks.texts, leaks.too_short, leaks.dropped) == (4, 0, 0)
    assert (leaks.ngrams, leaks.found) == (4 * 28, 10)
    assert leaks.documents == 2
    assert [each.train for each in leaks.examples] == ["doc-3", "doc-7"]
    assert leaks.examples[0].phrase in others[3].text


def test_other_splits_are_not_looked_at(collected):
    check, others = collected
    others[3].metadata["begins"] = [0, END]
    others[7].metadata["begins"] = [60, 60]
    list(check.marked(others))
    assert check.leaks().documents == 0


def kept_in(corpus):
    return sorted(each.id for each in read_documents(corpus, "train"))


@pytest.fixture
def leaking(tmp_path):
    """A test document of which two of six train documents hold a phrase."""
    held_out = words(60, 0)
    write(tmp_path / "in/test/a.txt", " ".join(held_out))
    for number in range(1, 7):
        content = words(60, number)
        if number in (2, 5):
            content[10:30] = held_out[20:40]
        write(tmp_path / f"in/train/{number}.txt", " ".join(content))
    return str(tmp_path / "in")


@pytest.mark.parametrize(
    "leaks, kept, dropped", [("ignore", 6, 0), ("report", 6, 0), ("drop", 4, 2)]
)
def test_leaks_from_the_test_split(leaking, tmp_path, leaks, kept, dropped):
    settings = CorpusSettings(leaks=leaks, split=ALL_TRAIN)
    report = prepare(leaking, tmp_path / "out", settings)
    assert len(kept_in(tmp_path / "out")) == kept
    if leaks == "ignore":
        assert report.leaks is None
        return
    assert report.leaks.documents == 2
    assert (report.leaks.ngrams, report.leaks.found) == (48, 8)
    assert report.leaks.dropped == dropped
    assert report.kept.documents == kept + 1


def test_contamination_by_evaluation_files(leaking, tmp_path):
    question = {"text": " ".join(words(60, 3)[5:25])}
    write(tmp_path / "questions.jsonl", json.dumps(question))
    settings = CorpusSettings(
        leaks="drop",
        contamination=[str(tmp_path / "questions.jsonl")],
        split=ALL_TRAIN,
    )
    report = prepare(leaking, tmp_path / "out", settings)
    assert report.contamination.documents == report.contamination.dropped == 1
    assert report.leaks.documents == report.leaks.dropped == 2
    assert report.rules["leaks"].dropped == 3
    assert kept_in(tmp_path / "out") == [
        f"train/{number}.txt" for number in (1, 4, 6)
    ]


def test_questions_too_short_to_look_for_are_no_clean_bill(leaking, tmp_path):
    questions = [{"text": "Why is the sky blue?"}, {"text": "Who was it?"}]
    lines = "\n".join(map(json.dumps, questions))
    write(tmp_path / "questions.jsonl", lines)
    settings = CorpusSettings(
        contamination=[str(tmp_path / "questions.jsonl")], split=ALL_TRAIN
    )
    report = prepare(leaking, tmp_path / "out", settings)
    assert report.contamination.texts == report.contamination.too_short == 2
    [warning] = [each for each in report.warnings if "8 words" in each]
    assert warning.startswith("2 of 2 texts of the files of corpus.contamin")
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Nothing could be looked for" in page


def test_evaluation_files_need_no_split(tmp_path):
    rows = [{"text": text_of(60, n), "part": "train"} for n in range(5)]
    write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)))
    write(tmp_path / "asked.jsonl", json.dumps({"text": rows[3]["text"]}))
    settings = CorpusSettings(
        split_column="part",
        contamination=[str(tmp_path / "asked.jsonl")],
        split=ALL_TRAIN,
    )
    report = prepare(str(tmp_path / "rows.jsonl"), tmp_path / "out", settings)
    assert report.contamination.documents == 1


def test_evaluation_files_must_be_readable(leaking, tmp_path):
    write(tmp_path / "questions.jsonl", '{"question": "why"}')
    settings = CorpusSettings(contamination=[str(tmp_path / "questions.jsonl")])
    with pytest.raises(InputError, match="corpus.contamination: questions"):
        prepare(leaking, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_a_text_cut_between_splits_is_never_dropped(tmp_path):
    refrain = " ".join(words(20, 0))
    verses = [f"{text_of(40, seed)}{refrain}\n" for seed in range(1, 11)]
    write(tmp_path / "in/song.txt", "".join(verses))
    write(tmp_path / "in/a.txt", refrain)
    settings = CorpusSettings(
        leaks="drop", split=SplitSettings("position", 0.2, 0.3)
    )
    report = prepare(str(tmp_path / "in"), tmp_path / "out", settings)
    assert (report.kept.documents, report.leaks.documents) == (1, 2)
    assert report.rules["leaks"].dropped == report.leaks.dropped == 1
    assert sum(split.documents for split in report.splits.values()) == 3


def test_evaluation_files_that_changed_are_read_again(leaking, tmp_path):
    questions = tmp_path / "questions.jsonl"
    settings = CorpusSettings(contamination=[str(questions)], split=ALL_TRAIN)
    write(questions, json.dumps({"text": text_of(20, 999)}))
    with pytest.MonkeyPatch.context() as broken, pytest.raises(Interrupted):
        broken.setattr(files, "put_in_place", fails)
        prepare(leaking, tmp_path / "out", settings)
    write(questions, json.dumps({"text": " ".join(words(60, 3))}))
    report = prepare(leaking, tmp_path / "out", settings)
    assert report.contamination.documents == 1


def fails(*arguments):
    raise OSError("stopped here")
