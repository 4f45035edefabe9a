"""Archives: read as streams, never believed, never on disk."""

import gzip
import io
import random
import struct
import tarfile
import tracemalloc
import zipfile

import pytest
from source_files import (
    ARCHIVES,
    COMPRESSIONS,
    json_lines,
    tarred,
    zipped,
)

from keras_llm.corpus.sources import list_sources, streams
from keras_llm.corpus.sources.reader import FileReader
from keras_llm.recipes.settings import CorpusSettings


def read(path, data, **settings):
    path.write_bytes(data)
    files = list_sources([str(path)])
    reader = FileReader([files], CorpusSettings(**settings))
    return {
        document.id: document.metadata.get("unreadable", document.text)
        for document in reader.run()
    }


@pytest.mark.parametrize("suffix", ARCHIVES)
def test_members_are_those_that_a_folder_would_give(tmp_path, suffix):
    files = {
        "b.txt": "b",
        "./a/c.md": "c",
        ".hidden/d.txt": "d",
        "__MACOSX/._b.txt": "e",
        "image.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "README": "f",
        "records.jsonl.gz": gzip.compress(json_lines(["one", "two"])),
    }
    found = read(tmp_path / f"a{suffix}", ARCHIVES[suffix](files))
    assert list(found.values()) == ["b", "c", "f", "one", "two"]
    assert f"a{suffix}/records.jsonl.gz@0" in found
    assert {path.name for path in tmp_path.iterdir()} == {f"a{suffix}"}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_compressed_files_and_archives_are_one(tmp_path, suffix):
    compress = COMPRESSIONS[suffix]
    found = read(tmp_path / f"a.txt{suffix}", compress(b"text"))
    assert found == {f"a.txt{suffix}": "text"}
    two = compress(b"one ") + compress(b"two")
    found = read(tmp_path / f"b.txt{suffix}", two)
    assert found == {f"b.txt{suffix}": "one two"}
    archive = compress(tarred({"a.txt": "in", "b.txt": "tar"}))
    found = read(tmp_path / f"c.tar{suffix}", archive)
    assert list(found.values()) == ["in", "tar"]


def read_one(path, data):
    """The text of a file that is one document, and what was repaired."""
    path.write_bytes(data)
    files = list_sources([str(path)])
    reader = FileReader([files], CorpusSettings())
    [document] = reader.run()
    return document.text, reader.count.repaired


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_what_follows_compressed_text_does_not_cost_it(tmp_path, suffix):
    data = COMPRESSIONS[suffix]("é\n".encode() * 10**5)
    for extra in (b"garbage" * 999, b"\x1f", b"\0" * 512):
        text, repaired = read_one(tmp_path / f"a.txt{suffix}", data + extra)
        assert text == "é\n" * 10**5
        told = {"files with something behind their end": 1}
        assert repaired == ({} if extra[0] == 0 else told)


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_of_what_is_cut_short_all_before_is_read(tmp_path, suffix):
    draw = random.Random(0)
    whole = "".join(f"{draw.random()} is a number.\n" for _ in range(50_000))
    data = COMPRESSIONS[suffix](whole.encode())
    text, repaired = read_one(tmp_path / f"a.txt{suffix}", data[:-1000])
    assert whole.startswith(text)
    assert repaired == {"compressed files cut short": 1}
    assert len(text) > (0.95 if suffix == ".gz" else 0.5) * len(whole)
    path = tmp_path / f"b.txt{suffix}"
    assert read(path, data[:4]) == {path.name: "damaged_archive"}


def test_archives_in_archives_are_named(tmp_path):
    inner = zipped({"a.txt": "a"})
    files = {"in.zip": inner, "in.tgz": b"", "b.txt": "b"}
    for suffix, pack in ARCHIVES.items():
        found = read(tmp_path / f"a{suffix}", pack(files))
        assert found == {
            f"a{suffix}/in.zip": "nested_archive",
            f"a{suffix}/in.tgz": "nested_archive",
            f"a{suffix}/b.txt": "b",
        }


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_member_may_have_no_name(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(tarred({"": "e", "b.txt": "b"}))
    reader = FileReader([list_sources([str(path)])], CorpusSettings())
    assert [document.text for document in reader.run()] == ["e", "b"]
    assert reader.count.found == reader.count.read.total() == 3


def test_links_and_devices_are_not_touched(tmp_path):
    links = {
        "soft.txt": special("soft.txt", tarfile.SYMTYPE, "/etc/passwd"),
        "hard.txt": special("hard.txt", tarfile.LNKTYPE, "../x"),
        "device.txt": special("device.txt", tarfile.CHRTYPE),
        "pipe.txt": special("pipe.txt", tarfile.FIFOTYPE),
    }
    found = read(tmp_path / "b.tar", tarred(links | {"e.txt": "e"}))
    assert list(found.values()) == ["e"]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.zst"])
def test_a_truncated_archive_yields_what_was_whole(tmp_path, suffix):
    draw = random.Random(0)
    texts = [draw.randbytes(100_000).hex() for _ in range(5)]
    files = {f"{number}.txt": text for number, text in enumerate(texts)}
    archive, _, compression = suffix[1:].partition(".")
    data = ARCHIVES[f".{archive}"](files)
    if compression:
        data = COMPRESSIONS[f".{compression}"](data)
    for share in (0.95, 0.7, 0.5, 0.3):
        cut = data[: int(len(data) * share)]
        found = list(read(tmp_path / f"a{suffix}", cut).values())
        whole = [text for text in found if text in texts]
        assert whole == texts[: len(whole)]
        assert found[-1] == "damaged_archive" or len(whole) == len(texts)
        # A zip without its list of members is not one.
        assert suffix == ".zip" or len(whole) > int(5 * share) - 2


def test_damage_between_the_members_of_a_tar_is_not_its_end(tmp_path):
    data = bytearray(tarred({"a.txt": "a", "b.txt": "b", "c.txt": "c"}))
    data[1024 + 150] ^= 1  # the checksum in the header of b.txt
    found = read(tmp_path / "a.tar", bytes(data))
    assert found == {"a.tar/a.txt": "a", "a.tar": "damaged_archive"}


def test_one_damaged_member_of_a_zip_does_not_cost_the_rest(tmp_path):
    data = bytearray(zipped({f"{n}.txt": f"{n}" * 99 for n in range(3)}))
    data[data.find(b"1.txt") + 6] ^= 0xFF
    found = read(tmp_path / "a.zip", bytes(data))
    assert list(found.values()) == ["0" * 99, "damaged_archive", "2" * 99]


def test_members_of_one_name_have_different_ids(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        with pytest.warns(UserWarning):
            for text in ("one", "two", "three"):
                archive.writestr("a.txt", text)
    found = read(tmp_path / "a.zip", file.getvalue())
    assert found == {
        "a.zip/a.txt": "one",
        "a.zip/a.txt#2": "two",
        "a.zip/a.txt#3": "three",
    }


def test_encrypted_members_are_named(tmp_path):
    data = bytearray(zipped({"a.txt": "a", "b.txt": "b"}))
    entry = data.find(b"PK\1\2")
    struct.pack_into("<H", data, entry + 8, 1)
    found = read(tmp_path / "a.zip", bytes(data))
    assert found == {"a.zip/a.txt": "encrypted", "a.zip/b.txt": "b"}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_cannot_be_bounded_are_refused(tmp_path, method):
    found = read(tmp_path / "a.zip", zipped({"a.txt": "a"}, method))
    assert found == {"a.zip/a.txt": "unsupported"}


def bombs():
    zeros = b"\n" * (8 * 2**20)
    yield "a.txt.gz", gzip.compress(zeros)
    yield "a.txt.zst", COMPRESSIONS[".zst"](zeros)
    yield "a.txt.bz2", COMPRESSIONS[".bz2"](zeros)
    yield "a.zip", zipped({"a.txt": zeros})
    yield "a.tar.gz", gzip.compress(tarred({"a.txt": zeros}))
    yield "b.tar.gz", gzip.compress(tarred({"a.png": zeros, "b.txt": "b"}))
    yield "b.zip", zipped({"a.txt.gz": gzip.compress(zeros)})


@pytest.mark.parametrize(
    "name, data", [pytest.param(*bomb, id=bomb[0]) for bomb in bombs()]
)
def test_bombs_go_off_nowhere(tmp_path, monkeypatch, name, data):
    monkeypatch.setattr(streams, "GRACE", 2**20)
    assert "archive_bomb" in read(tmp_path / name, data).values()


def test_a_bomb_of_overlapping_members_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "GRACE", 2**20)
    data = zipped({"a.txt": random.Random(0).randbytes(2**16).hex()})
    entry = data[data.find(b"PK\1\2") : data.rfind(b"PK\5\6")]
    directory = entry * 1000  # every one the same, compressed 2 : 1
    end = struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, 1000, 1000, len(directory), len(data), 0
    )
    body = data[: data.find(b"PK\1\2")]
    end = end[:16] + struct.pack("<LH", len(body), 0)
    found = list(read(tmp_path / "a.zip", body + directory + end).values())
    assert found.count("archive_bomb") > 500


def test_headers_do_not_fill_the_memory(tmp_path):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**40
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**32)  # sparse
    [file] = list_sources([str(path)])
    [document] = FileReader([[file]], CorpusSettings()).run()
    assert document.metadata["unreadable"] == "damaged_archive"


def test_sparse_members_are_not_made_up(tmp_path):
    info = tarfile.TarInfo("a.txt")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # of its declared size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data = bytes(header) + bytes(1024)
    assert read(tmp_path / "a.tar", data) == {"a.tar/a.txt": "unsupported"}


@pytest.mark.parametrize("name", ["a.txt.gz", "a.zip", "a.tar"])
def test_a_large_member_is_never_whole_in_memory(tmp_path, name):
    text = "".join(f"Line {number} of a text.\n" for number in range(10**6))
    if ".txt" in name:
        data = text.encode()
    else:
        pack = zipped if name == "a.zip" else tarred
        data = pack({"a.txt": text})
    path = tmp_path / name
    path.write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    files = list_sources([str(path)])
    del data
    tracemalloc.start()
    reader = FileReader([files], CorpusSettings())
    length = sum(len(document.text) for document in reader.run())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length == len(text) > 22_000_000
    assert peak < 20_000_000
