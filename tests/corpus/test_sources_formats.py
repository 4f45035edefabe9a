"""Each format against the library, or the rules, that wrote the file."""

import csv
import gzip
import io
import json
import tracemalloc

import brotli
import pyarrow
import pytest
from source_files import (
    ARCHIVES,
    documents,
    epub,
    json_lines,
    page,
    parquet,
    read,
    table,
    tabs,
    warc,
)

from keras_llm.corpus.sources import list_sources, tables, texts
from keras_llm.corpus.sources import records as json_lines_module
from keras_llm.corpus.sources.reader import FileReader
from keras_llm.errors import InputError
from keras_llm.recipes.settings import CorpusSettings

TEXTS = ["One, two.", 'She said "no".', "two\nlines", "Ünï 漢字 😀", " "]


def test_documents_say_where_they_are_from(tmp_path):
    [document] = documents(tmp_path / "a.txt", b"text")
    assert document.id == "a.txt"
    assert document.metadata == {
        "source": str(tmp_path / "a.txt"),
        "split": None,
        "format": "text",
    }


def test_plain_text_is_kept_as_it_is(tmp_path):
    text = "\tone \r\n two\rthree\n\n\x0c é\u200b\x01"
    assert read(tmp_path / "a.txt", text.encode()) == [text]
    assert read(tmp_path / "b.md", b"") == [""]


@pytest.mark.parametrize("size", [10, 11, 16, 99])
def test_documents_make_up_a_long_text(tmp_path, monkeypatch, size):
    monkeypatch.setattr(texts, "PART_CHARACTERS", size)
    text = "a line\r\nand another\r\n\r\n" * 5 + "é" * 40 + "x" * 60
    found = documents(tmp_path / "a.txt", text.encode())
    parts = [document.text for document in found]
    assert "".join(parts) == text
    assert all(0 < len(part) <= size for part in parts)
    assert not any(part.endswith("\r") for part in parts[:-1])
    numbers = range(1, len(found) + 1)
    assert [each.id for each in found] == [f"a.txt#{n}" for n in numbers]


def test_a_text_that_fails_late_ends_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "PART_CHARACTERS", 2**20)
    text = ("A line of text.\n" * 2**18).encode()
    wrong = gzip.compress(text)[:-8] + bytes(8)  # its checksum
    found = documents(tmp_path / "a.txt.gz", wrong)
    assert found[-2].id == f"a.txt.gz#{len(found) - 1}"
    assert found[-1].id == "a.txt.gz#rest"
    assert found[-1].metadata["unreadable"] == "damaged_archive"
    joined = "".join(document.text for document in found)
    assert text.decode().startswith(joined)
    wrong = gzip.compress(b"short")[:-8] + bytes(8)
    [document] = documents(tmp_path / "b.txt.gz", wrong)
    assert document.metadata["unreadable"] == "damaged_archive"


def test_a_page_is_one_document_or_too_large(tmp_path, monkeypatch):
    [document] = documents(tmp_path / "a.html", page(TEXTS))
    assert document.text == page(TEXTS).decode()
    assert document.metadata["format"] == "html"
    monkeypatch.setattr(texts, "PART_CHARACTERS", 20)
    assert read(tmp_path / "a.html", page(TEXTS)) == ["too_large"]


def test_json_lines_are_what_json_wrote(tmp_path):
    assert read(tmp_path / "a.jsonl", json_lines(TEXTS)) == TEXTS


@pytest.mark.parametrize(
    "line, expected",
    [
        (b'{"text": "\\ud83d\\ude00 \\ud800 \\udc00x"}', "😀 � �x"),
        (b'{"text": 5}', "no_text_field"),
        (b'{"text": null}', "no_text_field"),
        (b"{}", "no_text_field"),
        (b'{"text": "a"', "invalid_json"),
        (b'["text"]', "invalid_json"),
        (b"[" * 10**5, "invalid_json"),
        (b'{"text": ' + b"1" * 10**4 + b"}", "invalid_json"),
        (b'{"text": "\xff"}', "not_text"),
        (b'{"text": "\0"}', "invalid_json"),
    ],
)
def test_one_bad_line_does_not_cost_the_rest(tmp_path, line, expected):
    data = json_lines(["before"]) + line + b"\r\n\n \n" + json_lines(["after"])
    found = read(tmp_path / "a.jsonl", data)
    assert found == ["before", expected, "after"]


def test_lines_that_are_too_long_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines_module, "LINE_BYTES", 1000)
    data = json_lines(["a", "b" * 5000, "c" * 900, "d" * 10**6, "e"])
    found = read(tmp_path / "a.jsonl", data)
    assert found == ["a", "too_large", "c" * 900, "too_large", "e"]


@pytest.mark.parametrize("mark", ["utf-16", "utf-32"])
def test_json_lines_are_utf8(tmp_path, mark):
    data = '{"text": "a"}\n'.encode(mark)
    assert read(tmp_path / "a.jsonl", data) == ["not_text"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_are_what_csv_wrote(tmp_path, delimiter):
    data = table(TEXTS, delimiter)
    found = documents(tmp_path / "a.csv", data)
    assert [document.text for document in found] == TEXTS
    assert found[2].id == "a.csv@3"
    rows = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=",")
    assert delimiter != "," or len(list(rows)) == 1 + len(TEXTS)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_have_any_line_ends(tmp_path, end):
    lines = ["\ufefftext,more", "a,1", '"b', 'c",2', "", "d"]
    data = end.join(lines).encode()
    assert read(tmp_path / "a.csv", data) == ["a", f"b{end}c", "d"]
    data = end.join(["text", 'a "b', "c"]).encode()
    assert read(tmp_path / "a.tsv", data) == ['a "b', "c"]


def test_tables_without_header_have_numbers(tmp_path):
    data = b"a,b\nc,d\n\ne\n"
    assert read(tmp_path / "a.csv", data, text="1") == ["a", "c", "e"]
    found = read(tmp_path / "a.csv", data, text="2")
    assert found == ["b", "d", "no_text_field"]
    found = read(tmp_path / "a.tsv", tabs(["x\ty"]), template="{2}-{1}")
    assert found == ["no_text_field"]
    assert read(tmp_path / "b.tsv", b"x\ty\n", template="{2}-{1}") == ["y-x"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_rows_are_counted_as_people_do(tmp_path, suffix):
    end = {".csv": ",", ".tsv": "\t"}[suffix]
    lines = ["", f"text{end}n", f"a{end}1", "", end, f"b{end}2", "", "c"]
    data = "\n".join(lines).encode()
    found = documents(tmp_path / f"a{suffix}", data)
    ids = {document.id.partition("@")[2]: document.text for document in found}
    assert ids == {"1": "a", "4": "b", "6": "c"}
    found = documents(tmp_path / f"a{suffix}", data, text="1")
    ids = [document.id.partition("@")[2] for document in found]
    assert ids == ["2", "3", "6", "8"]


def test_a_table_without_the_column_names_those_it_has(tmp_path):
    [document] = documents(tmp_path / "a.csv", b"title,body\na,b\n")
    assert document.metadata["unreadable"] == "no_text_field"
    assert "its columns are title, body" in document.metadata["detail"]


def test_an_open_quote_costs_a_bounded_part_of_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROW_CHARACTERS", 100)
    rows = [f"row {number}" for number in range(50)]
    data = "\n".join(["text", "a", '"open', *rows]).encode()
    found = read(tmp_path / "a.csv", data)
    assert found[:2] == ["a", "too_large"]
    assert found[2:] == rows[-len(found) + 2 :] and len(found) > 30
    long = b"text\na\n" + b"x" * 10**4 + b"\nb\n"
    for suffix in (".csv", ".tsv"):
        found = read(tmp_path / f"b{suffix}", long)
        assert found == ["a", "too_large", "b"]


def test_a_row_that_crosses_blocks_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROW_CHARACTERS", 2**20)
    data = b"text\na\n" + b"x" * 2**23 + b"\r\nb\r\n" + b"y" * 2**21
    for suffix in (".csv", ".tsv"):
        found = read(tmp_path / f"a{suffix}", data)
        assert found == ["a", "too_large", "b", "too_large"]


RECORDS = [
    {"q": "Why?", "n": 1, "s": "train"},
    {"q": "How?", "n": 2.5, "s": " DEV "},
    {"q": "Who?", "n": 3, "s": "other"},
    {"q": None, "n": 3, "s": "test"},
]


def packed(suffix):
    if suffix == ".jsonl":
        return "\n".join(map(json.dumps, RECORDS)).encode()
    columns = {key: [r[key] for r in RECORDS] for key in RECORDS[0]}
    return parquet(["x"] * 4, **columns)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_templates_and_splits_of_records(tmp_path, suffix):
    found = documents(
        tmp_path / f"a{suffix}",
        packed(suffix),
        template="Q: {q} {{{n}}}",
        split_column="s",
    )
    told = [d.metadata.get("unreadable", d.text) for d in found]
    second = "Q: How? {2.5}"
    first = "Q: Why? {1}" if suffix == ".jsonl" else "Q: Why? {1.0}"
    assert told == [first, second, "unknown_split", "no_text_field"]
    splits = [document.metadata["split"] for document in found]
    assert splits == ["train", "validation", None, "test"]


@pytest.mark.parametrize(
    "template", ["", "no field", "{}", "{a!r}", "{a:>5}", "{a", "a}"]
)
def test_templates_that_are_none_are_refused(template):
    with pytest.raises(InputError, match=r"corpus\.template"):
        FileReader([], CorpusSettings(template=template))


def test_parquet_is_what_pyarrow_wrote(tmp_path):
    found = documents(tmp_path / "a.parquet", parquet(TEXTS * 200))
    assert [document.text for document in found] == TEXTS * 200
    assert found[-1].id == "a.parquet@1000"
    reasons = read(tmp_path / "b.parquet", parquet([1, 2]))
    assert reasons == ["no_text_field"] * 2
    [document] = documents(tmp_path / "a.parquet", parquet(["a"]), text="body")
    assert "its columns are text" in document.metadata["detail"]


def test_arrow_is_what_pyarrow_wrote_as_a_file_and_as_a_stream(tmp_path):
    rows = pyarrow.table({"text": TEXTS * 200})
    for write in (pyarrow.ipc.new_file, pyarrow.ipc.new_stream):
        written = io.BytesIO()
        with write(written, rows.schema) as file:
            file.write_table(rows, max_chunksize=300)
        found = read(tmp_path / "a.arrow", written.getvalue())
        assert found == TEXTS * 200
        found = documents(tmp_path / "a.arrow", written.getvalue()[:-200])
        assert "damaged" in str(found[-1].metadata)


def test_parquet_streams(tmp_path):
    rows = [f"{number} " + "word " * 400 for number in range(12_000)]
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet(rows))
    length = sum(map(len, rows))
    del rows
    [file] = list_sources([str(path)])
    reader = FileReader([[file]], CorpusSettings())
    next(reader.run())  # imports
    tracemalloc.start()
    assert sum(len(document.text) for document in reader.run()) == length
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < length / 4


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_pages_of_a_crawl_are_what_warcio_wrote(tmp_path, compress):
    suffix = ".gz" if compress is gzip.compress else ""
    path = tmp_path / f"a.warc{suffix}"
    found = documents(path, compress(warc(TEXTS)))
    assert [d.text for d in found] == [page([t]).decode() for t in TEXTS]
    assert found[1].id == f"{path.name}@2"
    assert found[1].metadata["url"] == "https://example.org/1"
    assert {d.metadata["format"] for d in found} == {"html"}


@pytest.mark.parametrize(
    "body, headers, expected",
    [
        (b"plain", {"Content-Type": "text/plain"}, ["plain"]),
        (b"\x89PNG", {"Content-Type": "image/png"}, []),
        (
            gzip.compress(b"<p>a", mtime=0),
            {"Content-Encoding": "gzip"},
            ["<p>a"],
        ),
        (b"<p>unpacked", {"Content-Encoding": "gzip"}, ["<p>unpacked"]),
        (brotli.compress(b"<p>br"), {"Content-Encoding": "br"}, ["<p>br"]),
        (b"<p>undone", {"Content-Encoding": "br"}, ["<p>undone"]),
        (
            gzip.compress(b"a", mtime=0)[:-9],
            {"Content-Encoding": "gzip"},
            ["damaged"],
        ),
        (
            b"3\r\n<p>\r\n2;x=y\r\nab\r\n0\r\n\r\n",
            {"Transfer-Encoding": "chunked"},
            ["<p>ab"],
        ),
        (b"5\r\n<p>", {"Transfer-Encoding": "chunked"}, ["damaged"]),
        (b"<p>joined", {"Transfer-Encoding": "chunked"}, ["<p>joined"]),
        (
            "<p>Привет, мир".encode("koi8-r"),
            {"Content-Type": "text/html; charset=KOI8-R"},
            ["<p>Привет, мир"],
        ),
    ],
)
def test_bodies_of_a_crawl_are_as_the_server_meant_them(
    tmp_path, body, headers, expected
):
    assert read(tmp_path / "a.warc", warc([body], **headers)) == expected


def test_a_crawl_that_is_cut_says_so(tmp_path):
    data = warc(["one", "two", "three"])
    cut = data[: data.find(b"three") + 2]
    found = read(tmp_path / "a.warc", cut)
    assert [text for text in found if "<p>" in text] == [
        page([text]).decode() for text in ("one", "two")
    ]
    assert found[-1] == "damaged"


@pytest.mark.parametrize(
    "name, module, extra",
    [
        ("a.parquet", "pyarrow", "tables"),
        ("a.warc", "fastwarc.warc", "web"),
        ("a.docx", "mammoth", "documents"),
        ("a.epub", "lxml.etree", "documents"),
        ("a.pdf", "pypdfium2", "documents"),
        ("a.txt.zst", "backports.zstd", "zstd"),
    ],
)
def test_a_missing_library_is_named(tmp_path, monkeypatch, name, module, extra):
    import sys

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"keras-llm\[{extra}\]"):
        documents(tmp_path / name, epub(["a"]))
    for suffix, pack in ARCHIVES.items():
        with pytest.raises(InputError, match=rf"keras-llm\[{extra}\]"):
            documents(tmp_path / f"b{suffix}", pack({name: epub(["a"])}))
    (tmp_path / "b.txt").write_text("needs nothing")
    assert read(tmp_path / "b.txt", b"needs nothing") == ["needs nothing"]


def test_a_file_that_vanished_is_unreadable(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("gone")
    files = list_sources([str(path)])
    path.unlink()
    told = []
    reader = FileReader([files], CorpusSettings())
    reader.progress = told.append
    [document] = reader.run()
    assert document.metadata["unreadable"] == "unavailable"
    assert sum(told) == 4
