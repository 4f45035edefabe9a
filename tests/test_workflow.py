"""A run does what is left to do, and never more than it was told to."""

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from tiny_corpus import sample_text
from tiny_run import (
    QUIET,
    RECIPE,
    changed,
    copied_run,
    files_of,
    finished_run,
    train_again,
    write_times,
)

from keras_llm import workflow
from keras_llm.errors import InputError
from keras_llm.inspection import inspect_artifact
from keras_llm.recipes import load_recipe, memory
from keras_llm.recipes.settings import TokenizerSettings
from keras_llm.run_folder import RECORDS, STAGES, read_records
from keras_llm.workflow import pretraining

BPE = changed("tokenizer", TokenizerSettings("bpe", vocabulary_size=320))


def test_each_stage_writes_its_folders():
    run = finished_run()
    stages = list(read_records(run / RECORDS))
    assert stages == ["prepare", "tokenizer", "encode", "pretrain", "evaluate"]
    for folders in map(STAGES.get, stages):
        assert all(any((run / folder).iterdir()) for folder in folders)
    for name in ("log.csv", "curves.png", "samples.txt"):
        assert (run / "training" / name).stat().st_size > 0
    assert load_recipe(str(run / "recipe.yaml")) == RECIPE


@pytest.mark.slow
def test_pages_records_archives_and_text_train_one_model(tmp_path):
    paragraphs = sample_text(60).replace("\n", "</p><p>")
    pages = f"<html><body><article><p>{paragraphs}</p></article></body></html>"
    (tmp_path / "page.html").write_text(pages)
    record = json.dumps({"text": sample_text(60, 1)})
    (tmp_path / "records.jsonl").write_text(record)
    (tmp_path / "notes.txt.gz").write_bytes(
        gzip.compress(sample_text(60, 2).encode())
    )
    (tmp_path / "plain.txt").write_text(sample_text(60, 3))
    kinds = ("page.html", "records.jsonl", "notes.txt.gz", "plain.txt")
    sources = [str(tmp_path / kind) for kind in kinds]
    run = tmp_path / "run"
    metrics = workflow.train(sources, RECIPE, run, console=QUIET)
    report = json.loads((run / "corpus/report.json").read_text("utf-8"))
    assert report["kept"]["documents"] == 4
    assert 0 < metrics["validation"]["loss"] < 10
    assert (run / "preset").is_dir()


def test_a_rerun_changes_no_file_and_returns_the_same():
    before = write_times(finished_run())
    first, second = (train_again(finished_run()) for _ in range(2))
    assert write_times(finished_run()) == before
    assert first == second


def test_metrics_are_those_of_the_evaluation_at_any_batch_size():
    run = finished_run()
    metrics = train_again(run)["validation"]
    again = workflow.evaluate_preset(
        run, run / "tokens", ["validation"], QUIET, batch_size=3
    )
    assert metrics == pytest.approx(again["validation"], rel=1e-5)
    report = (run / "evaluation" / "report.json").read_text("utf-8")
    assert json.loads(report)["validation"] == metrics


@pytest.mark.parametrize(
    ("field", "value", "stage"),
    [
        ("corpus.split.validation", 0.2, "prepare"),
        ("tokenizer.model_type", "bpe", "tokenizer"),
        ("model.hidden_dim", 32, "pretrain"),
        ("training.steps", 6, "pretrain"),
        ("seed", 1, "pretrain"),
    ],
)
def test_another_setting_is_named_and_nothing_changed(field, value, stage):
    before = write_times(finished_run())
    with pytest.raises(InputError) as error:
        train_again(finished_run(), changed(field, value))
    assert field in str(error.value)
    assert repr(value) in str(error.value)
    assert f"--redo {stage}" in str(error.value)
    assert write_times(finished_run()) == before


def test_how_samples_are_drawn_may_change():
    before = write_times(finished_run())
    train_again(finished_run(), changed("generation.top_k", 3))
    assert write_times(finished_run()) == before


def test_another_text_is_refused(tmp_path):
    source = tmp_path / "text.txt"
    source.write_text(sample_text(400, seed=1), encoding="utf-8")
    before = write_times(finished_run())
    with pytest.raises(InputError, match="text has changed.*--redo prepare"):
        workflow.train(str(source), RECIPE, finished_run(), console=QUIET)
    assert write_times(finished_run()) == before


def test_a_text_that_changed_is_refused(tmp_path):
    run = copied_run(tmp_path)
    records = json.loads((run / "stages.json").read_text("utf-8"))
    records["prepare"]["input"]["files"] = "as it was"
    (run / "stages.json").write_text(json.dumps(records), encoding="utf-8")
    with pytest.raises(InputError, match="text has changed.*--redo prepare"):
        train_again(run)


def test_another_spelling_of_a_source_is_the_same_text(tmp_path):
    source = finished_run().parent / "." / "run" / ".." / "text.txt"
    before = write_times(finished_run())
    workflow.train(str(source), RECIPE, finished_run(), console=QUIET)
    assert write_times(finished_run()) == before


def test_a_damaged_shard_is_encoded_again_and_no_training_lost(tmp_path):
    run = copied_run(tmp_path)
    before = write_times(run)
    tokens = files_of(run / "tokens")
    (run / "tokens" / "train" / "00000.bin").write_bytes(b"")
    train_again(run, redo="encode")
    assert files_of(run / "tokens") == tokens
    again = ("tokens/", "stages.json")
    for name, time in write_times(run).items():
        assert (before[name] == time) != name.startswith(again), name
    records = json.loads((run / "stages.json").read_text("utf-8"))
    assert not any("follows" in record for record in records.values())


@pytest.mark.slow
def test_what_comes_after_a_stage_that_is_another_follows(tmp_path):
    run = copied_run(tmp_path)
    before = write_times(run)
    train_again(run, BPE, redo="tokenizer")
    after = write_times(run)
    for name in before.keys() & after.keys():
        assert (before[name] == after[name]) == name.startswith("corpus/")
    train_again(run, BPE)
    assert write_times(run) == after


@pytest.mark.slow
def test_what_follows_is_remembered_and_settings_are_still_watched(tmp_path):
    run = copied_run(tmp_path)
    with pytest.raises(InputError, match="seed was 0, now 1.*--redo pretrain"):
        train_again(run, replace(BPE, seed=1), redo="tokenizer")
    assert any((run / "training" / "checkpoints").iterdir())
    train_again(run, BPE)  # goes on, without --redo


def test_redo_does_a_stage_and_what_was_made_of_it(tmp_path):
    run = copied_run(tmp_path)
    before = write_times(run)
    train_again(run, changed("training.steps", 2), redo="pretrain")
    after = write_times(run)
    kept = ("corpus/", "tokenizer/", "tokens/")
    for name, time in before.items():
        assert (after.get(name) == time) == name.startswith(kept), name
    log = (run / "training" / "log.csv").read_text("utf-8")
    assert log.splitlines()[-1].startswith("2,")


def test_redo_forgets_nothing_when_an_earlier_stage_is_refused(tmp_path):
    run = copied_run(tmp_path)
    before = files_of(run)
    with pytest.raises(InputError, match="--redo tokenizer"):
        train_again(run, changed("tokenizer.model_type", "bpe"), "evaluate")
    with pytest.raises(InputError, match="does not exist"):
        workflow.train("no such text", RECIPE, run, "prepare", QUIET)
    assert files_of(run) == before


@pytest.mark.parametrize("left", [[], ["train/00000.bin"]])
def test_a_half_finished_stage_is_done_again(tmp_path, left):
    run = copied_run(tmp_path)
    tokens = files_of(run / "tokens")
    records = json.loads((run / "stages.json").read_text("utf-8"))
    records["encode"]["finished"] = False
    (run / "stages.json").write_text(json.dumps(records), encoding="utf-8")
    for name in tokens.keys() - set(left):
        (run / "tokens" / name).unlink()
    train_again(run)
    assert files_of(run / "tokens") == tokens


def test_a_folder_that_was_deleted_is_made_again(tmp_path):
    run = copied_run(tmp_path)
    tokens = files_of(run / "tokens")
    shutil.rmtree(run / "tokens")
    train_again(run)
    assert files_of(run / "tokens") == tokens


@pytest.mark.parametrize("is_file", [False, True])
def test_a_folder_of_something_else_is_refused_and_untouched(tmp_path, is_file):
    out = tmp_path / "holiday"
    photo = out
    if not is_file:
        out.mkdir()
        photo = out / "photo.txt"
    photo.write_text("a beach", encoding="utf-8")
    with pytest.raises(InputError, match="holiday must be a new or empty"):
        train_again(out)
    assert photo.read_text(encoding="utf-8") == "a beach"
    assert len(list(tmp_path.rglob("*"))) == (1 if is_file else 2)


@pytest.mark.parametrize(
    "text", ['{"prepare": ', "[]", '{"prepare": {"finished": true}}']
)
def test_damaged_records_are_named(tmp_path, text):
    (tmp_path / "stages.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"stages\.json .* damaged"):
        train_again(tmp_path)


@pytest.mark.parametrize(
    ("redo", "field", "value", "expected"),
    [
        ("pretrain", "training.batch_size", 10**6, "needs at least"),
        ("tokenizer", "tokenizer.model_path", "nothing", "nothing must be"),
        ("prepare", "model.max_sequence_length", 10**7, "needs at least"),
    ],
)
def test_redo_with_what_cannot_be_done_loses_nothing(
    redo, field, value, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "physical_memory", lambda: 8 * 2**30)
    run = copied_run(tmp_path)
    before = write_times(run)
    with pytest.raises(InputError, match=expected):
        train_again(run, changed(field, value), redo)
    assert write_times(run) == before


HOLD = """
import sys, time
from pathlib import Path
from rich.console import Console
from keras_llm.recipes.settings import Recipe
from keras_llm.run_folder import Run

with Run(Path(sys.argv[1]), Console(quiet=True)).opened(Recipe()):
    print("here", flush=True)
    time.sleep(100)
"""


def test_a_second_command_is_told_of_the_first_until_it_is_dead(tmp_path):
    run = copied_run(tmp_path)
    before = write_times(run)
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run), "a word"],
        env=os.environ | {"KERAS_LLM_WORKER": "1"},
        stdout=subprocess.PIPE,
    )
    assert first.stdout.readline() == b"here\n"
    parts = run / "tokens", run / "tokenizer"
    for command in (
        train_again,
        lambda run: train_again(run, redo="prepare"),
        lambda run: workflow.pretrain_run(*parts, run, RECIPE, console=QUIET),
    ):
        with pytest.raises(InputError, match="one command at a time") as error:
            command(run)
        told = f"`-c {run} 'a word'`, process {first.pid} on "
        assert told + socket.gethostname() in str(error.value)
    report = inspect_artifact(run)
    first.kill()
    first.communicate()
    assert inspect_artifact(run) == report
    train_again(run)
    assert write_times(run) == before


@pytest.mark.slow
def test_of_two_commands_at_once_one_trains(tmp_path):
    source = finished_run().parent / "text.txt"
    run = tmp_path / "run"
    main = "import sys; from keras_llm.entry import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "train", str(source)]
    command += ["--recipe", str(finished_run() / "recipe.yaml")]
    command += ["--out", str(run)]
    both = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = {
        process.returncode: error
        for process in both
        for error in [process.communicate()[1]]
    }
    assert sorted(told) == [0, 2]
    assert "another that is writing it: `" in told[2]
    log = (run / "training" / "log.csv").read_text("utf-8").splitlines()
    assert [row.split(",")[0] for row in log] == ["step", "2", "4"]
    assert not any(path.name.startswith(".") for path in run.rglob("*"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "run"
    with pytest.raises(InputError, match="run cannot be written"):
        train_again(out)


@pytest.mark.slow
def test_pretrain_alone_is_the_stage_of_a_run(tmp_path):
    run = finished_run()
    before = write_times(run)
    parts = run / "tokens", run / "tokenizer"
    report = workflow.pretrain_run(*parts, run, RECIPE, console=QUIET)
    assert report["steps"] == RECIPE.training.steps
    assert write_times(run) == before
    out = tmp_path / "alone"
    alone = workflow.pretrain_run(*parts, out, RECIPE, console=QUIET)
    assert alone["best_loss"] == report["best_loss"]
    with pytest.raises(InputError, match="seed was 0, now 1"):
        workflow.pretrain_run(*parts, out, changed("seed", 1), console=QUIET)


def test_tokens_and_tokenizer_must_belong_together(tmp_path):
    from keras_llm.tokenizers import train_tokenizer

    run = finished_run()
    settings = changed("tokenizer.vocabulary_size", 20).tokenizer
    other = tmp_path / "other"
    train_tokenizer(run / "corpus", other, settings)
    with pytest.raises(InputError, match="another tokenizer than that of"):
        workflow.pretrain_run(
            run / "tokens", other, tmp_path / "out", RECIPE, console=QUIET
        )
    tokens = tmp_path / "tokens"
    workflow.encode_corpus(run / "corpus", other, tokens, QUIET)
    with pytest.raises(InputError, match="another tokenizer than that of"):
        workflow.evaluate_preset(run, tokens, ["validation"], QUIET)


def test_a_given_tokenizer_is_watched(tmp_path):
    given = tmp_path / "given.model"
    shutil.copy(finished_run() / "tokenizer" / "tokenizer.model", given)
    recipe = changed("tokenizer.model_path", str(given))
    before = pretraining._given_tokenizer(recipe)
    given.write_bytes(given.read_bytes() + b"\0")
    assert pretraining._given_tokenizer(recipe) != before
    assert pretraining._given_tokenizer(RECIPE) == {}
