"""Runs side by side, and what of them is not comparable."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from tiny_corpus import sample_text
from tiny_run import QUIET, RECIPE, changed, finished_run

from keras_llm import workflow
from keras_llm.cli import main
from keras_llm.experiments.comparison import compare, save_comparison
from keras_llm.run_folder import RECORDS
from keras_llm.training.log import read_log


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def other(folder):
    """The same text at another learning rate, made in its own folder."""
    shutil.copytree(finished_run(), folder / "other")
    source = str(finished_run().parent / "text.txt")
    recipe = changed("training.learning_rate", 0.02)
    workflow.train(source, recipe, folder / "other", "pretrain", QUIET)
    return folder / "other"


@pytest.fixture(scope="module")
def elsewhere(folder):
    """Another text."""
    (folder / "text.txt").write_text(sample_text(401), encoding="utf-8")
    source = str(folder / "text.txt")
    workflow.train(source, RECIPE, folder / "elsewhere", console=QUIET)
    return folder / "elsewhere"


def test_what_differs_is_shown_and_the_best_is_that_of_the_logs(other):
    found = compare([finished_run(), other])
    assert found.settings == {"training.learning_rate": [1e-3, 0.02]}
    assert not found.warnings and not found.not_comparable
    losses = [
        min(r["val_loss"] for r in read_log(run / "training/log.csv"))
        for run in (finished_run(), other)
    ]
    assert found.figures["val_loss"] == losses
    assert found.best["val_loss"] == losses.index(min(losses))
    reports = [
        json.loads((run / "evaluation/report.json").read_text())
        for run in (finished_run(), other)
    ]
    for name in ("loss", "bits_per_byte"):
        expected = [report["validation"][name] for report in reports]
        assert found.figures[f"validation.{name}"] == expected
    assert "seconds" not in found.best  # of a busy machine, say


@pytest.mark.slow
def test_other_held_out_text_is_flagged(elsewhere):
    found = compare([finished_run(), elsewhere])
    assert "different validation splits" in found.warnings[0]
    assert {"val_loss", "validation.loss", "validation.bits_per_byte"} <= {
        *found.not_comparable
    }
    assert not {"val_loss", "validation.loss"} & {*found.best}


@pytest.mark.slow
def test_other_tokens_of_the_same_text_compare_by_bits_per_byte(folder):
    shutil.copytree(finished_run(), folder / "tokens")
    source = str(finished_run().parent / "text.txt")
    recipe = changed("tokenizer.model_type", "bpe")
    recipe = _with_vocabulary(recipe, 320)
    workflow.train(source, recipe, folder / "tokens", "tokenizer", QUIET)
    found = compare([finished_run(), folder / "tokens"])
    assert "bits per byte" in found.warnings[0]
    assert "val_loss" in found.not_comparable
    assert "validation.bits_per_byte" in found.best


def _with_vocabulary(recipe, size):
    tokenizer = replace(recipe.tokenizer, vocabulary_size=size)
    return replace(recipe, tokenizer=tokenizer)


@pytest.mark.slow
def test_runs_of_two_kinds_are_told_apart(folder):
    from tuned import TUNE, tiny_preset, tiny_recipe, write_data

    made, preset = {}, tiny_preset(folder, ("attention",))
    for kind in ("instructions",):
        recipe = tiny_recipe(kind, steps=2, sample_prompt="")
        data = write_data(kind, folder)
        made[kind] = folder / kind
        TUNE[kind](preset, data, made[kind], recipe, console=QUIET)
    found = compare([finished_run(), *made.values()])
    assert [run.kind for run in found.runs] == ["pretraining", *made]
    assert all(kind in found.warnings[0] for kind in made)
    assert "val_loss" in found.not_comparable
    assert "steps" not in found.not_comparable
    save_comparison(found, folder / "kinds")


def test_the_page_needs_nothing_else_and_says_the_same(other, tmp_path, capsys):
    runs = [str(finished_run()), str(other)]
    assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert main(["compare", *runs, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert printed == report
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page and "<script" not in page
    outside = re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert not outside and "http" not in page.replace("http-equiv", "")
    for run in runs:
        assert run in page
    assert (tmp_path / "out/curves.png").read_bytes()[1:4] == b"PNG"


def test_what_is_no_run_is_one_line(other, tmp_path, capsys):
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    (untrained / RECORDS).write_text("{}")
    for runs, line in (
        ([other], "two runs or more"),
        ([other, other], "each once"),
        ([other, tmp_path], "must be the folder of a run"),
        ([other, untrained], "whose training has begun"),
    ):
        out = tmp_path / "out"
        code = main(["compare", *map(str, runs), "--out", str(out)])
        printed = capsys.readouterr().err
        assert code == 2 and line in printed and printed.count("\n") == 1
        assert not out.exists()
