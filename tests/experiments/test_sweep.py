"""Sweeps: exactly as many trials, the same after every kill, the best found."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_corpus import sample_text
from tiny_run import QUIET, RECIPE, changed, finished_run, train_again

from keras_llm import workflow
from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.experiments import study as study_module
from keras_llm.experiments import sweep as sweep_module
from keras_llm.experiments.comparison import compare
from keras_llm.experiments.making import share_stages
from keras_llm.experiments.results import result_of, save_result
from keras_llm.experiments.space import parse_space
from keras_llm.experiments.sweep import (
    VALIDATION_BATCHES,
    Sweep,
    run_sweep,
    shortened,
)
from keras_llm.recipes import load_recipe
from keras_llm.run_folder import RECORDS, read_records
from keras_llm.training.log import read_log
from keras_llm.training.watching import watched

pytest.importorskip("optuna")
OVER = ["training.learning_rate=1e-5..1:log", "model.dropout=0,0.1,0.2"]


class Killed(BaseException):
    """The process that decides is gone."""


class FakeProcess:
    """A trial without a process: a bowl around a learning rate of 0.01."""

    kill_at = math.inf  # messages, of all trials together
    said = 0

    def __init__(self, sweep, recipe, out, threads):
        self.recipe, self.reports, self.answers = recipe, 0, []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def stop(self, patience):
        pass

    def failure(self):
        raise AssertionError("it says how it ends")

    def answer(self, text):
        self.answers.append(text)

    def messages(self):
        rate = self.recipe.training.learning_rate
        if rate > 0.5:
            yield self._say({"state": "failed", "error": "diverged"})
            return
        loss = 1 + abs(math.log10(rate / 0.01))
        loss += 0.02 * self.recipe.model.dropout
        for step in range(1, 5):
            self.reports += 1
            yield self._say({"step": step, "loss": loss + 1 / step})
            if self.answers[-1] == "stop":
                yield self._say({"state": "pruned"})
                return
        yield self._say({"state": "complete", "loss": loss})

    def _say(self, message):
        FakeProcess.said += 1
        if FakeProcess.said >= FakeProcess.kill_at:
            raise Killed
        return message


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(sweep_module, "TrialProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "said", 0)
    monkeypatch.setattr(FakeProcess, "kill_at", math.inf)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("Something to read.")
    return str(tmp_path / "text.txt")


def sweep_of(text, out, over=OVER, recipe=RECIPE):
    return Sweep(recipe, parse_space(over, recipe), [text], Path(out))


def test_it_finds_what_is_better_and_cuts_short_what_is_worse(
    fake, text, tmp_path
):
    sweep = sweep_of(text, tmp_path / "out")
    found = result_of(sweep, run_sweep(sweep, 20, 1, QUIET))
    assert len(found["trials"]) == 20
    assert found["own"]["values"] == {
        "training.learning_rate": RECIPE.training.learning_rate,
        "model.dropout": RECIPE.model.dropout,
    }
    assert found["best"]["loss"] < found["own"]["loss"] == pytest.approx(2)
    assert found["gain"] > 0.5
    states = [row["state"] for row in found["trials"]]
    assert states.count("pruned") > 2 and states.count("complete") > 5
    importance = found["importance"]
    assert sum(importance.values()) == pytest.approx(1)
    assert max(importance, key=importance.get) == "training.learning_rate"
    losses = [row["loss"] for row in found["trials"] if row["loss"]]
    assert losses == sorted(losses)


def test_killed_anywhere_it_ends_with_the_same_trials(fake, text, tmp_path):
    whole = run_sweep(sweep_of(text, tmp_path / "whole"), 9, 1, QUIET).rows()
    sweep = sweep_of(text, tmp_path / "killed")
    kills = 0
    while True:  # after every seventh message
        FakeProcess.kill_at = FakeProcess.said + 7
        try:
            rows = run_sweep(sweep, 9, 1, QUIET).rows()
            break
        except Killed:
            kills += 1
    assert kills >= 2
    assert rows == whole and len(rows) == 9


def test_more_trials_go_on_and_as_many_do_nothing(fake, text, tmp_path):
    sweep = sweep_of(text, tmp_path / "out")
    first = run_sweep(sweep, 4, 1, QUIET).rows()
    FakeProcess.kill_at = 0
    assert run_sweep(sweep, 4, 1, QUIET).rows() == first
    FakeProcess.kill_at = math.inf
    assert run_sweep(sweep, 6, 2, QUIET).rows()[:4] == first


def test_own_settings_that_are_beyond_what_is_tried_come_first(
    fake, text, tmp_path
):
    over = ["training.learning_rate=2e-3..1e-2:log", "model.dropout=0.1,0.2"]
    sweep = sweep_of(text, tmp_path / "out", over)
    result = result_of(sweep, run_sweep(sweep, 8, 1, QUIET))
    own = result["own"]["values"]
    assert own == {"training.learning_rate": 1e-3, "model.dropout": 0.0}
    others = [r["values"] for r in result["trials"] if r["trial"]]
    rates = [each["training.learning_rate"] for each in others]
    assert 2e-3 <= min(rates) and max(rates) <= 1e-2
    save_result(result, sweep.axes, tmp_path)
    assert (tmp_path / "parallel.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("types", "own"), [("gru", "gru"), ("gru,attention", ["gru", "attention"])]
)
def test_own_settings_that_no_choice_and_no_logarithm_has_are_drawn(
    types, own, fake, text, tmp_path
):
    over = ["model.block_types=attention,gru", "model.dropout=0.01..0.3:log"]
    recipe = load_recipe("nano", {"model.block_types": types})
    sweep = sweep_of(text, tmp_path / "out", over, recipe)
    result = result_of(sweep, run_sweep(sweep, 4, 1, QUIET))
    values = {"model.block_types": own, "model.dropout": 0.0}
    assert result["own"]["values"] == values
    save_result(result, sweep.axes, tmp_path)
    assert (tmp_path / "parallel.png").stat().st_size > 5000


def test_settings_that_cannot_be_together_are_a_trial_that_failed(
    fake, text, tmp_path
):
    over = ["model.hidden_dim=16,24", "model.num_heads=2,8"]
    recipe = changed("model.position_embedding", "rotary")
    sweep = sweep_of(text, tmp_path / "out", over[:1], recipe)
    axes = [
        *sweep.axes,
        *parse_space(over[1:], changed("model.hidden_dim", 16)),
    ]
    sweep = Sweep(recipe, axes, [text], tmp_path / "out")
    rows = run_sweep(sweep, 12, 1, QUIET).rows()
    wrong = [
        r
        for r in rows
        if r["values"] == {"model.hidden_dim": 24, "model.num_heads": 8}
    ]
    assert wrong and all(r["state"] == "failed" for r in wrong)
    assert "even multiple" in wrong[0]["error"]


def test_another_sweep_is_refused(fake, text, tmp_path):
    out = tmp_path / "out"
    run_sweep(sweep_of(text, out), 2, 1, QUIET)
    other_recipe = changed("training.steps", 8)
    other_text = changed("corpus.template", "{text}")
    for sweep, line in (
        (sweep_of(text, out, recipe=other_text), "template was None, now '{te"),
        (sweep_of(text, out, OVER[:1]), "--over was .*dropout=0.0,0.1,0.2"),
        (sweep_of(text, out, recipe=other_recipe), "steps was 4, now 8"),
    ):
        with pytest.raises(InputError, match=f"another sweep: .*{line}"):
            run_sweep(sweep, 2, 1, QUIET)
    Path(text).write_text("Something else.")
    with pytest.raises(InputError, match="the text or data has changed"):
        run_sweep(sweep_of(text, out), 2, 1, QUIET)
    (out / "study.db").write_text("no database")
    with pytest.raises(InputError, match="must be the study of a sweep"):
        run_sweep(sweep_of(text, out), 2, 1, QUIET)
    with pytest.raises(InputError, match="a new or empty folder"):
        run_sweep(sweep_of(text, tmp_path), 2, 1, QUIET)


def test_what_is_missing_is_said(fake, text, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="--preset must be given"):
        sweep_of(text, tmp_path / "out", OVER[:1], load_recipe("classifier"))
    monkeypatch.setattr(study_module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install .*keras-llm\[sweep\]"):
        run_sweep(sweep_of(text, tmp_path / "out"), 2, 1, QUIET)
    assert not (tmp_path / "out").exists()


def test_a_shorter_trial_warms_up_as_long_and_validates_ten_times():
    nano, mini = load_recipe("nano"), load_recipe("mini")
    assert shortened(nano, None) == nano
    training = shortened(mini, 200).training
    share = mini.training.warmup_steps / mini.training.steps
    assert training.warmup_steps == round(200 * share)
    assert (training.steps, training.validation_interval) == (200, 20)
    assert shortened(nano, 3).training.validation_interval == 1


def test_a_shorter_trial_validates_on_a_part():
    for name, expected in {
        "nano": VALIDATION_BATCHES,
        "quickstart": 20,
    }.items():
        training = shortened(load_recipe(name), 200).training
        assert training.validation_batches == expected


@pytest.mark.slow
def test_a_run_begins_with_what_another_has_made(tmp_path):
    source = finished_run().parent / "text.txt"
    recipe = changed("training.learning_rate", 0.02)
    shared = share_stages([tmp_path, finished_run()], tmp_path / "run", recipe)
    assert shared == ["prepare", "tokenizer", "encode"]
    of_both = [
        r / "tokens/manifest.json" for r in (finished_run(), tmp_path / "run")
    ]
    assert os.path.samefile(*of_both)
    before = read_records(finished_run() / RECORDS)
    workflow.train(str(source), recipe, tmp_path / "run", console=QUIET)
    after = read_records(tmp_path / "run" / RECORDS)
    assert {k: after[k] for k in shared} == {k: before[k] for k in shared}
    assert read_records(finished_run() / RECORDS) == before
    assert not compare([finished_run(), tmp_path / "run"]).warnings
    other = changed("tokenizer.vocabulary_size", 999)
    assert share_stages([finished_run()], tmp_path / "x", other) == ["prepare"]


@pytest.mark.slow
def test_a_run_that_is_cut_short_goes_on_as_if_it_had_not_been(tmp_path):
    told = []

    def watch(step, loss):
        told.append((step, loss))
        raise KeyboardInterrupt

    source = str(finished_run().parent / "text.txt")
    with pytest.raises(KeyboardInterrupt), watched(watch):
        workflow.train(source, RECIPE, tmp_path / "run", console=QUIET)
    train_again(tmp_path / "run")
    rows, whole = (
        read_log(run / "training/log.csv")
        for run in (tmp_path / "run", finished_run())
    )
    assert told == [(2, whole[0]["val_loss"])]
    assert [r["loss"] for r in rows] == [r["loss"] for r in whole]


def small_sweep(folder, out, *more):
    """The command of a sweep of runs of seconds."""
    return [
        *("sweep", "nano", str(folder / "text.txt"), "--out", str(out)),
        *("--over", "training.learning_rate=1e-3..1e-1:log"),
        "model.dropout=0,0.3",
        *("--model.hidden_dim", "16", "--model.num_layers", "1"),
        *("--steps", "30", "--training.validation_batches", "1"),
        *("--training.steps", "60"),
        *("--training.sample_tokens", "2", "--trials", "5", *more),
    ]


@pytest.mark.slow
def test_a_sweep_that_is_killed_twice_ends_as_one_that_is_not(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(sample_text(2000), encoding="utf-8")
    code = "import sys; from keras_llm.cli import main; sys.exit(main())"
    for _ in range(2):
        begun = len(list((tmp_path / "killed/trials").glob("*")))
        process = subprocess.Popen(
            [sys.executable, "-c", code]
            + small_sweep(tmp_path, tmp_path / "killed"),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        newest = tmp_path / f"killed/trials/{begun + 1:04d}/training/log.csv"
        end = time.monotonic() + 300
        while not newest.exists() and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert newest.exists()
    rows = {}
    for name in ("killed", "whole"):
        arguments = small_sweep(tmp_path, tmp_path / name)
        best = tmp_path / f"best-{name}"
        assert main([*arguments, "--best", str(best), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        rows[name] = [
            {k: row[k] for k in ("trial", "state", "loss", "values")}
            for row in result["trials"]
        ]
        assert read_log(best / "training/log.csv")[-1]["step"] == 60
    assert rows["killed"] == rows["whole"] and len(rows["whole"]) == 5
    page = (tmp_path / "killed/report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 3 and "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    trial = tmp_path / "killed/trials/0001"
    assert main(["evaluate", str(trial), str(trial / "tokens")]) == 0


@pytest.mark.slow
def test_tuning_is_swept_in_two_processes(tmp_path, capsys):
    from tuned import tiny_preset, write_data

    preset, data = tiny_preset(tmp_path), write_data("classifier", tmp_path)
    words = ["sweep", "classifier", data, "--preset", str(preset)]
    words += ["--over", "training.learning_rate=1e-4..1e-1:log"]
    words += ["classifier.trained_blocks=0,1,2", "--steps", "6"]
    words += ["--data.split", "position", "--data.validation", "0.2"]
    words += ["--trials", "4", "--jobs", "2", "--out", str(tmp_path / "out")]
    assert main([*words, "--best", str(tmp_path / "best"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["trials"]) == 4
    trials = sorted((tmp_path / "out/trials").iterdir())
    assert {run.kind for run in compare(trials).runs} == {"classifier"}
    manifests = [each / "data/validation/texts.jsonl" for each in trials]
    assert all(os.path.samefile(manifests[0], each) for each in manifests)
    assert (tmp_path / "best/evaluation/report.json").is_file()
