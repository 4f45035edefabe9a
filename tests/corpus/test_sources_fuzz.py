"""Damaged files end as documents with a text or with a reason, in time."""

import random
import signal
from contextlib import contextmanager

import pytest
from source_files import ARCHIVES, COMPRESSIONS, FORMATS, json_lines
from testing import run_python

from keras_llm.corpus.sources import list_sources
from keras_llm.corpus.sources.reader import FileReader, make_tasks
from keras_llm.errors import InputError
from keras_llm.recipes.corpus_settings import CorpusSettings

SECONDS = 20  # that a file of a few kilobytes may take
CASES = 80
MANY_CASES = 10_000
MOST_MEBIBYTES = 200  # beyond what the libraries take
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Ünïcödé, 漢字 and 😀 in one line.",
    "Numbers, 1234567890, and \"quotes\", and 'more'.",
]


@contextmanager
def time_limit(seconds):
    def stop(signum, frame):
        raise TimeoutError("this input hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def samples():
    """Whole files by suffix: every format, as it is, compressed, archived."""
    files = {suffix: write(TEXTS) for suffix, write in FORMATS.items()}
    members = {f"text{suffix}": data for suffix, data in files.items()}
    for suffix, pack in ARCHIVES.items():
        files[suffix] = pack(members)
    for suffix in (".txt", ".jsonl", ".warc", ".tar"):
        for compression, compress in COMPRESSIONS.items():
            files[suffix + compression] = compress(files[suffix])
    nested = {"inner.tar.gz": files[".tar.gz"], "inner.zip": files[".zip"]}
    files["nested.zip"] = ARCHIVES[".zip"](nested)
    files["nested.tar"] = ARCHIVES[".tar"](nested)
    return files


SAMPLES = samples()


def cut(data, draw):
    return data[: draw.randrange(len(data) + 1)]


def flip(data, draw):
    damaged = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 8, 64])):
        if damaged:
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def overwrite(data, draw):
    start = draw.randrange(len(data) + 1)
    length = draw.choice([1, 4, 64, 600])
    filler = draw.choice(
        [b"\0", b"\xff", b" ", b"9", b"[", b'"', b"\n", b"<", b"\xed\xa0\x80"]
    )
    return data[:start] + filler * length + data[start + length :]


def remove(data, draw):
    start = draw.randrange(len(data) + 1)
    return data[:start] + data[start + draw.choice([1, 16, 512]) :]


def splice(data, draw):
    other = draw.choice(list(SAMPLES.values()))
    start, end = draw.randrange(len(data) + 1), draw.randrange(len(other) + 1)
    return data[:start] + other[end:]


def repeat(data, draw):
    start = draw.randrange(len(data) + 1)
    return data[:start] + data[start:] * draw.choice([2, 3, 50])


def surrogates(data, draw):
    return data.replace(b" ", b" \\ud800", draw.randrange(4))


def noise(data, draw):
    return draw.randbytes(draw.choice([0, 1, 10, 1000, 5000]))


DAMAGES = [cut, flip, overwrite, remove, splice, repeat, surrogates, noise]


def damaged_file(seed):
    """Suffix and content of a damaged file, a function of the seed."""
    draw = random.Random(seed)
    suffix, data = draw.choice(list(SAMPLES.items()))
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        data = draw.choice(DAMAGES)(data, draw)
    if draw.random() < 0.1:
        suffix = draw.choice(list(SAMPLES))  # it claims to be another kind
    if draw.random() < 0.2:
        name, pack = draw.choice(list(ARCHIVES.items()))
        return name, pack({"text" + suffix: data})
    if draw.random() < 0.1:
        name, pack = draw.choice(list(COMPRESSIONS.items()))
        return suffix + name, pack(data)
    return suffix, data


def settings_for(draw):
    return draw.choice(
        [
            CorpusSettings(),
            CorpusSettings(text="1"),
            CorpusSettings(template="{number}: {text}"),
            CorpusSettings(encoding="utf-16"),
            CorpusSettings(split_column="text"),
        ]
    )


def check(document):
    """What must hold of every document, whatever it was read from."""
    metadata = document.metadata
    document.text.encode(), document.id.encode()
    assert metadata["format"] in ("text", "html")
    if "unreadable" in metadata:
        assert document.text == ""
        assert metadata["unreadable"].replace("_", "").islower()
        metadata["detail"].encode()


def check_file(path, draw):
    try:
        files = list_sources([str(path)])
    except InputError:
        return
    reader = FileReader(make_tasks(files), settings_for(draw))
    done = []
    reader.progress = done.append
    ids = []
    with time_limit(SECONDS):
        for document in reader.run():
            check(document)
            ids.append(document.id)
    assert len(set(ids)) == len(ids)
    assert sum(done) == path.stat().st_size


def check_seeds(folder, seeds):
    for seed in seeds:
        suffix, data = damaged_file(seed)
        path = folder / f"case{seed}{'' if suffix[0] == '.' else '-'}{suffix}"
        path.write_bytes(data)
        try:
            check_file(path, random.Random(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}: {path}")
            raise
        path.unlink()


def test_damaged_files_end_as_documents(tmp_path):
    check_seeds(tmp_path, range(CASES))


@pytest.mark.slow
def test_ten_thousand_damaged_files_end_as_documents(tmp_path):
    check_seeds(tmp_path, range(CASES, CASES + MANY_CASES))


def test_whole_samples_hold_their_texts(tmp_path):
    for number, (suffix, data) in enumerate(SAMPLES.items()):
        path = tmp_path / f"{number}-{suffix}"
        path.write_bytes(data)
        files = list_sources([str(path)])
        found = list(FileReader([files], CorpusSettings()).run())
        reasons = {d.metadata.get("unreadable") for d in found}
        expected = {"nested_archive"} if "nested" in suffix else {None}
        assert reasons == expected, suffix
        if "nested" not in suffix:
            text = "".join(document.text for document in found)
            assert "quick brown fox" in text, suffix


LONG_LINE = """
import resource, sys
from pathlib import Path
from keras_llm.corpus.sources import list_sources
from keras_llm.corpus.sources.reader import FileReader, make_tasks
from keras_llm.recipes.corpus_settings import CorpusSettings

path = Path(sys.argv[1])
tasks = make_tasks(list_sources([str(path)]))
reader = FileReader(tasks, CorpusSettings())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = [
    (document.metadata.get("unreadable"), len(document.text))
    for rank in range(len(tasks))
    for document in reader.run(rank)
]
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("RESULT", (most - before) // 1024, len(tasks), found[:3], found[-1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt", ".warc"])
def test_a_line_of_two_gigabytes_does_not_fill_the_memory(tmp_path, suffix):
    path = tmp_path / f"long{suffix}"
    with path.open("wb") as file:
        file.write(
            {".csv": b"text\n", ".jsonl": b'{"text": "'}.get(suffix, b"")
        )
        for _ in range(2**11):
            file.write(b"x" * 2**20)
        file.write(b'"}\n' + json_lines(["the end"]))
    printed = run_python(LONG_LINE, path)
    most = int(printed.split("RESULT ")[1].split()[0])
    assert most < MOST_MEBIBYTES, printed
    assert "too_large" in printed or suffix in (".txt", ".warc")
    path.unlink()
