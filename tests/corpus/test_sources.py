"""Sources: found as named, read in parts, refused with a clear reason."""

import random
import tracemalloc

import pytest

from keras_llm.corpus import sources
from keras_llm.corpus.sources import TextFile, read_source, summarise
from keras_llm.errors import InputError


def write(path, content="text\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(data)
    return path


def ids(source):
    return [file.id for file in read_source(str(source)).files]


def texts(path):
    return [part.text for part in TextFile(path, path.name).parts()]


def test_a_folder_is_read_in_order_without_hidden_or_other_files(tmp_path):
    for name in ("b.txt", "a/z.md", "a/b/c.TXT", ".git/x.txt", ".y.txt"):
        write(tmp_path / name)
    write(tmp_path / "image.png", b"\x89PNG")
    assert ids(tmp_path) == ["a/b/c.TXT", "a/z.md", "b.txt"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path / "elsewhere/b.txt")
    folder = tmp_path / "folder"
    write(folder / "a.txt")
    (folder / "back").symlink_to(folder)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(folder)
    assert ids(folder) == ["a.txt", "linked/b.txt"]


def test_a_path_wins_over_a_name(tmp_path, monkeypatch):
    write(tmp_path / "tinyshakespeare/mine.txt")
    monkeypatch.chdir(tmp_path)
    assert ids("tinyshakespeare") == ["mine.txt"]


def test_file_names_that_are_not_utf8_can_be_written(tmp_path):
    name = b"caf\xe9.txt"
    try:
        (tmp_path / name.decode("utf-8", "surrogateescape")).write_text("a")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    assert ids(tmp_path) == ["caf\\xe9.txt"]
    [path] = tmp_path.iterdir()
    assert read_source(str(path)).name.endswith("caf\\xe9.txt")


def test_splits_are_known_by_folder_or_file_name(tmp_path):
    expected = {
        "Train/a.txt": "train",
        "a.txt": None,
        "deep/train/a.txt": None,
        "dev/test.txt": "validation",
        "news.test.txt": "test",
        "news.val.md": "validation",
        "pretest.txt": None,
        "valid.txt": "validation",
    }
    for name in expected:
        write(tmp_path / name)
    files = read_source(str(tmp_path)).files
    assert {file.id: file.split for file in files} == expected


def test_without_a_train_split_no_name_means_one(tmp_path):
    for name in ("a.txt", "dev/b.txt", "notes.test.md"):
        write(tmp_path / name)
    files = read_source(str(tmp_path)).files
    assert {file.split for file in files} == {None}


def test_a_lone_file_is_not_a_split(tmp_path):
    [file] = read_source(str(write(tmp_path / "test.txt"))).files
    assert file.split is None


@pytest.mark.parametrize("name", ["tinyshakespear", "Wikitext-2"])
def test_an_unknown_source_suggests_the_nearest_name(name):
    with pytest.raises(InputError, match=r"Did you mean (tiny|wiki)"):
        read_source(name)


@pytest.mark.parametrize("name", ["", "no/such/folder", "x" * 5000, "a\0b"])
def test_an_unknown_source_is_refused(name):
    with pytest.raises(InputError, match="which does not exist"):
        read_source(name)


def test_a_folder_without_text_files_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"must hold \.txt or \.md files"):
        read_source(str(tmp_path))
    write(tmp_path / "data.csv")
    with pytest.raises(InputError, match=r"must hold \.txt or \.md files"):
        read_source(str(tmp_path))


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.txt or \.md"):
        read_source(str(write(tmp_path / "report.pdf", b"%PDF")))


def test_line_ends_become_one_and_the_mark_goes(tmp_path):
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\n\r\n")
    [part] = TextFile(path, "a.txt").parts()
    assert part.text == "one\ntwo\nthree\n\n"
    assert part.carriage_returns
    [part] = TextFile(write(tmp_path / "b.txt", "a\nb"), "b.txt").parts()
    assert not part.carriage_returns


@pytest.mark.parametrize(
    "content, byte, offset",
    [
        (b"abc\xffdef", "ff", 3),
        (b"abc\0def", "00", 3),
        (b"a\0b\xff", "00", 1),
        (b"\xef\xbb\xbfabc\xe9", "e9", 6),
        ("é".encode() * 700_000 + b"\xe2\x82", "e2", 1_400_000),
        (b"x" + "é".encode() * 700_000 + b"\0", "00", 1_400_001),
        ("text".encode("utf-16"), "ff", 0),
    ],
)
def test_what_is_not_text_is_named_with_its_offset(
    tmp_path, content, byte, offset
):
    path = write(tmp_path / "a.txt", content)
    with pytest.raises(InputError) as error:
        texts(path)
    assert str(path) in str(error.value)
    assert f"byte 0x{byte} at offset {offset}." in str(error.value)


def test_a_file_that_vanished_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt cannot be read"):
        texts(tmp_path / "gone.txt")


@pytest.mark.parametrize("seed", range(20))
def test_parts_make_up_the_text(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(sources, "PART_CHARACTERS", 16)
    draw = random.Random(seed)
    alphabet = ["a", "é", "世", "😀", "\n", "\r\n", " "]
    text = "".join(draw.choices(alphabet, k=draw.randint(0, 200)))
    parts = texts(write(tmp_path / "a.txt", text))
    assert "".join(parts) == text.replace("\r\n", "\n")
    assert all(0 < len(part) <= 16 for part in parts) or parts == [""]
    for part in parts[:-1]:
        assert part.endswith("\n") or "\n" not in part[8:]


def test_a_summary_does_not_depend_on_parts_or_line_ends(tmp_path, monkeypatch):
    one = TextFile(write(tmp_path / "a.txt", "é\nb\n" * 50), "a.txt")
    two = TextFile(write(tmp_path / "b.txt", "é\r\nb\r\n" * 50), "b.txt")
    whole = summarise(one, one.parts())
    monkeypatch.setattr(sources, "PART_CHARACTERS", 16)
    in_parts = summarise(two, two.parts())
    assert whole.digest == in_parts.digest
    assert (in_parts.characters, in_parts.size) == (200, 250)
    assert not whole.carriage_returns and in_parts.carriage_returns


def test_a_large_file_is_never_whole_in_memory(tmp_path):
    path = write(tmp_path / "a.txt", b"A line of text to read.\n" * 2_500_000)
    tracemalloc.start()
    count = sum(len(part.text) for part in TextFile(path, "a").parts())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == path.stat().st_size == 60_000_000
    assert peak < 30_000_000
