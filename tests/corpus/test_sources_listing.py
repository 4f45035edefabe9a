"""Sources: found as named, each file once, refused with a clear reason."""

import gzip
import inspect
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from source_files import json_lines, write, zipped

from keras_llm.corpus.sources import fingerprint, list_sources, listing
from keras_llm.corpus.sources.listing import contents_key
from keras_llm.corpus.sources.reader import FileReader, make_tasks
from keras_llm.errors import InputError
from keras_llm.recipes.settings import CorpusSettings


def ids(*sources):
    files = list_sources([str(source) for source in sources])
    return [file.id for file in files if not file.skipped]


def test_a_folder_is_read_in_order_without_hidden_files_and_binaries(tmp_path):
    for name in ("b.txt", "a/z.md", "a/b/c.TXT", ".git/x.txt", ".y.txt"):
        write(tmp_path / name)
    write(tmp_path / "image.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    write(tmp_path / "c.jsonl.gz", gzip.compress(json_lines(["a"])))
    write(tmp_path / "README")
    names = ["README", "a/b/c.TXT", "a/z.md", "b.txt", "c.jsonl.gz"]
    assert ids(tmp_path) == [*names, "image.png"]
    files = list_sources([str(tmp_path)])
    reader = FileReader([files], CorpusSettings())
    assert len(list(reader.run())) == 5
    read = {"no suffix": 1, ".txt": 2, ".md": 1, ".gz": 1}
    count = reader.count
    assert count.found == 6
    assert (count.read, count.skipped) == (read, {".png": 1})


def test_links_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path / "elsewhere/b.txt")
    folder = tmp_path / "folder"
    write(folder / "a.txt")
    (folder / "back").symlink_to(folder)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(folder)
    (folder / "nowhere.txt").symlink_to(tmp_path / "absent.txt")
    assert ids(folder) == ["a.txt", "linked/b.txt"]
    assert ids(folder / "**/*.txt") == ["a.txt"]


def test_folders_that_all_link_to_each_other_are_read_once(tmp_path):
    folders = [tmp_path / f"{number:02d}" for number in range(30)]
    for folder in folders:
        write(folder / "a.txt", folder.name)
    for folder in folders:
        for other in folders:
            (folder / f"to{other.name}").symlink_to(other)
    assert len(ids(tmp_path)) == len(folders)
    assert len(ids(tmp_path / "**" / "*")) == len(folders)


def test_folders_may_be_deeper_than_the_stack(monkeypatch):
    # Not in `tmp_path`, which pytest removes by recursion.
    folder, limit = tempfile.mkdtemp(), sys.getrecursionlimit()
    try:
        monkeypatch.chdir(folder)
        for _ in range(300):
            os.mkdir("d")
            os.chdir("d")
        os.close(os.open("a.txt", os.O_CREAT))
        monkeypatch.chdir(folder)
        sys.setrecursionlimit(len(inspect.stack(0)) + 200)
        assert ids(folder) == ["d/" * 300 + "a.txt"]
    finally:
        sys.setrecursionlimit(limit)
        subprocess.run(["rm", "-r", folder], check=True)


def corpus_of_ours(folder):
    write(folder / "train/00000.jsonl", json_lines(["ours"]))
    write(folder / "test/00000.jsonl", json_lines(["ours"]))
    write(folder / "report.html", "<p>ours</p>")
    write(folder / "report.json", "{}")


def test_corpora_among_the_files_are_left_out(tmp_path):
    write(tmp_path / "a.txt")
    write(tmp_path / "report/train/b.txt")
    write(tmp_path / "report/report.json", "{}")
    corpus_of_ours(tmp_path / "out")
    corpus_of_ours(tmp_path / "deep/run/corpus")
    expected = ["a.txt", "report/report.json", "report/train/b.txt"]
    assert ids(tmp_path) == expected
    for pattern in ("*", "**", "**/*", "**/*.*"):
        assert ids(tmp_path / pattern) == expected, pattern


def test_a_corpus_that_is_named_is_read_without_its_report(tmp_path):
    corpus_of_ours(tmp_path / "out")
    assert ids(tmp_path / "out") == ["test/00000.jsonl", "train/00000.jsonl"]
    named = ids(tmp_path / "*/train/*.jsonl")
    assert named == ["out/train/00000.jsonl"]
    with pytest.raises(InputError, match="corpus of ours, which must be named"):
        ids(tmp_path)


@pytest.mark.parametrize("source", ["", "*", "**/*"])
def test_folders_that_cannot_be_read_are_documents_that_cannot(
    tmp_path, monkeypatch, source
):
    write(tmp_path / "a.txt")
    write(tmp_path / "locked/b.txt")
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    files = list_sources([str(tmp_path / source)])
    found = {
        document.id: document.metadata
        for document in FileReader([files], CorpusSettings()).run()
    }
    assert "unreadable" not in found.pop("a.txt")
    # With `**`, what is in it may be found all the same.
    assert found["locked"]["unreadable"] == "unavailable"
    assert found["locked"]["detail"] == "It cannot be read: Permission denied."
    assert contents_key(files) == contents_key(files)
    assert fingerprint([str(tmp_path)])
    with pytest.raises(InputError, match="locked cannot be read: .*denied"):
        ids(tmp_path / "locked")


def test_patterns_match_files_and_folders(tmp_path):
    for name in ("x/a.txt", "x/y/b.txt", "x/y/c.md", "x/.h/d.txt", "x/e.png"):
        write(tmp_path / name)
    assert ids(tmp_path / "**/*.txt") == ["x/a.txt", "x/y/b.txt"]
    found = ["a.txt", "e.png", "y/b.txt", "y/c.md"]
    assert ids(tmp_path / "x/*") == found
    assert ids(tmp_path / "x/[y]/*.md") == ["y/c.md"]
    with pytest.raises(InputError, match="none among 0 matches"):
        ids(tmp_path / "*.csv")


def test_a_path_wins_over_a_name_and_a_pattern(tmp_path, monkeypatch):
    write(tmp_path / "tinyshakespeare/mine.txt")
    write(tmp_path / "[ab].txt")
    monkeypatch.chdir(tmp_path)
    assert ids("tinyshakespeare") == ["mine.txt"]
    assert ids("[ab].txt") == ["[ab].txt"]


def test_file_names_that_are_not_utf8_can_be_written(tmp_path):
    name = b"caf\xe9.txt"
    try:
        (tmp_path / name.decode("utf-8", "surrogateescape")).write_text("a")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    assert ids(tmp_path) == ["caf\\xe9.txt"]
    [path] = tmp_path.iterdir()
    [file] = list_sources([str(path)])
    assert file.source.endswith("caf\\xe9.txt")


def test_splits_are_known_by_folder_or_file_name(tmp_path):
    expected = {
        "Train/a.txt": "train",
        "a.txt": None,
        "deep/train/a.txt": None,
        "dev/test.txt": "validation",
        "news.test.txt": "test",
        "news.val.md": "validation",
        "pretest.txt": None,
        "test-00000-of-00002.parquet": "test",
        "train.jsonl.gz": "train",
        "valid.txt": "validation",
    }
    for name in expected:
        write(tmp_path / name)
    for source in (tmp_path, tmp_path / "**/*"):
        found = list_sources([str(source)])
        assert {file.id: file.split for file in found} == expected


def test_without_a_train_split_no_name_means_one(tmp_path):
    for name in ("a.txt", "dev/b.txt", "notes.test.md"):
        write(tmp_path / name)
    found = list_sources([str(tmp_path)])
    assert {file.split for file in found} == {None}


def test_a_lone_file_is_not_a_split(tmp_path):
    [file] = list_sources([str(write(tmp_path / "test.txt"))])
    assert file.split is None


def test_several_sources_have_ids_of_their_own(tmp_path):
    for name in ("one/a.txt", "two/a.txt", "three/one/a.txt"):
        write(tmp_path / name)
    one, two = tmp_path / "one", tmp_path / "two"
    assert ids(one, two) == ["one/a.txt", "two/a.txt"]
    assert ids(one, str(one) + "/", one / "a.txt") == ["a.txt"]
    third = tmp_path / "three/one"
    assert ids(one, third) == [f"{one}/a.txt", f"{third}/a.txt"]


@pytest.mark.parametrize("name", ["tinyshakespear", "Wikitext-2"])
def test_an_unknown_source_suggests_the_nearest_name(name):
    with pytest.raises(InputError, match=r"Did you mean (tiny|wiki)"):
        list_sources([name])


def test_an_unknown_source_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"not exist in {tmp_path}."):
        list_sources(["my_texts"])
    with pytest.raises(InputError, match="which does not exist.$"):
        list_sources([str(tmp_path / "my_texts")])


@pytest.mark.parametrize("name", ["", "no/such/folder", "x" * 5000, "a\0b"])
def test_an_unknown_source_is_refused(name):
    with pytest.raises(InputError, match="which does not exist"):
        list_sources([name])


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"must hold files\. Received: none"):
        list_sources([str(tmp_path)])


def test_what_is_taken_is_named_by_patterns(tmp_path):
    names = ["a.txt", "b.md", "c.py", "docs/d.txt", "docs/e.rst"]
    for name in names:
        write(tmp_path / name)
    archived = zipped({"f.txt": "f", "docs/g.rst": "g", "h.py": "h"})
    write(tmp_path / "i.zip", archived)

    def taken(*patterns):
        source = [str(tmp_path)]
        files = list_sources(source, include=patterns)
        settings = CorpusSettings(include=list(patterns))
        reader = FileReader([files], settings)
        found = [document.id for document in reader.run()]
        assert reader.count.found == len(names) + 1 + 3
        skipped = len(names) + 3 - len(found)
        assert reader.count.skipped == {"not in corpus.include": skipped}
        return found

    assert taken("*.txt") == ["a.txt", "docs/d.txt", "i.zip/f.txt"]
    found = taken("docs/*", "*.md")
    assert found == ["b.md", "docs/d.txt", "docs/e.rst", "i.zip/docs/g.rst"]
    with pytest.raises(InputError, match=r"\*\.x, which match none of 5 files"):
        (tmp_path / "i.zip").unlink()
        list_sources([str(tmp_path)], include=["*.x"])
    one = list_sources([str(tmp_path / "c.py")], include=["*.x"])
    assert not one[0].skipped  # it is named


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(InputError, match="a device or a pipe"):
        list_sources([str(tmp_path / "a.txt")])


@pytest.mark.parametrize(
    "content, id, text",
    [
        (b"Plain text.\n", "stdin.txt", "Plain text.\n"),
        (json_lines(["one"]), "stdin.jsonl@0", "one"),
        (b"[1, 2]\n", "stdin.txt", "[1, 2]\n"),
    ],
)
def test_standard_input_is_text_or_records(tmp_path, content, id, text):
    files = list_sources(["-"], stdin=write(tmp_path / "spooled", content))
    [document] = FileReader([files], CorpusSettings()).run()
    assert (document.id, document.text) == (id, text)
    with pytest.raises(InputError, match="not at hand"):
        list_sources(["-"])


def test_a_fingerprint_tells_names_and_contents(tmp_path):
    source = [str(tmp_path)]
    path = write(tmp_path / "a.txt", "one")
    first = fingerprint(source)
    assert fingerprint(source) == first
    write(path, "two")
    second = fingerprint(source)
    path.rename(tmp_path / "b.txt")
    assert len({first, second, fingerprint(source)}) == 3


def test_a_fingerprint_is_of_what_is_included(tmp_path):
    write(tmp_path / "a.txt", "one")
    source, log = [str(tmp_path)], write(tmp_path / "b.log", "one")
    first = fingerprint(source, include=["*.txt"])
    write(log, "two")
    assert fingerprint(source, include=["*.txt"]) == first
    write(tmp_path / "a.txt", "two")
    assert fingerprint(source, include=["*.txt"]) != first


def test_a_fingerprint_is_of_text_whatever_it_is_called(tmp_path):
    source = [str(tmp_path)]
    readme = write(tmp_path / "README", "one")
    film = write(tmp_path / "film.mp4", b"\0\0\1ftyp" * 99)
    first = fingerprint(source)
    write(film, b"\0\0\2ftyp" * 99)
    assert fingerprint(source) == first
    write(readme, "two")
    assert fingerprint(source) != first


def test_the_key_of_standard_input_is_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "CUT_BYTES", 10)

    def key(name, texts):
        path = write(tmp_path / name, json_lines(texts))
        return contents_key(list_sources(["-"], stdin=path))

    first = key("one", ["a", "b"])
    assert key("two", ["a", "b"]) == first
    assert key("three", ["a", "c"]) != first


def test_the_key_of_files_is_where_they_are_and_when_they_changed(tmp_path):
    def key(path):
        return contents_key(list_sources([str(path)]))

    path = write(tmp_path / "a.txt", "one")
    first = key(path)
    assert key(path) == first
    os.utime(path, ns=(1, 1))
    assert key(path) != first
    other = write(tmp_path / "b.txt", "one")
    os.utime(other, ns=(1, 1))
    assert key(other) != key(path)


@pytest.mark.parametrize("cut", [1, 7, 64, 1000, 10**6])
def test_records_do_not_depend_on_where_a_file_is_cut(
    tmp_path, monkeypatch, cut
):
    texts = ["", "é" * 100, "two\nlines", "x" * 3000, "last"]
    lines = [json.dumps({"text": t}, ensure_ascii=False) for t in texts]
    data = "\n".join(["\ufeff" + lines[0], "", *lines[1:]]).encode()
    path = write(tmp_path / "a.jsonl", data)
    monkeypatch.setattr(listing, "CUT_BYTES", cut)
    files = list_sources([str(path)])
    assert len(files) == -(-len(data) // cut)
    tasks = make_tasks(files, task_bytes=500)
    found = [
        document
        for rank in range(len(tasks))
        for document in FileReader(tasks, CorpusSettings()).run(rank)
    ]
    assert [document.text for document in found] == texts
    for document, line in zip(found[1:], lines[1:], strict=True):
        offset = int(document.id.removeprefix("a.jsonl@"))
        assert data[offset:].startswith(line.encode())


def test_tasks_are_groups_in_order_of_limited_size(tmp_path):
    for number in range(20):
        write(tmp_path / f"{number:02d}.txt", "x" * (number * 10))
    files = list_sources([str(tmp_path)])
    tasks = make_tasks(files, task_bytes=300)
    assert [file for task in tasks for file in task] == files
    sizes = [sum(file.bytes for file in task) for task in tasks]
    assert max(sizes) <= 300
    assert all(a + b > 300 for a, b in zip(sizes, sizes[1:], strict=False))
    assert make_tasks([]) == []
