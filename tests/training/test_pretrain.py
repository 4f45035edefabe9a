"""What a training run leaves behind, and how it ends."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from training_run import MODEL, TRAINING, make_tokens, train

from keras_llm.datasets import EvaluationWindows, open_tokens
from keras_llm.errors import InputError
from keras_llm.evaluation import Evaluator
from keras_llm.recipes.settings import ModelSettings
from keras_llm.training.callbacks import TrainingDiverged
from keras_llm.training.checkpoints import checkpoint_paths
from keras_llm.training.log import read_log

# A recurrence is no other run, and takes thrice as long to trace.
train = functools.partial(
    train,
    model=dataclasses.replace(MODEL, block_types="attention", num_layers=1),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    make_tokens(folder)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    result, model = train(folder, folder / "run")
    return folder / "run", result, model


def test_log_has_a_row_an_interval(run):
    rows = read_log(run[0] / "log.csv")
    assert [row["step"] for row in rows] == list(range(3, 25, 3))
    assert list(rows[0]) == [
        "step",
        "tokens",
        "loss",
        "val_loss",
        "val_accuracy",
        "learning_rate",
        "tokens_per_second",
        "seconds",
    ]
    tokens_a_step = TRAINING.batch_size * MODEL.max_sequence_length * 2
    assert rows[-1]["tokens"] == 24 * tokens_a_step
    validated = [row["step"] for row in rows if row["val_loss"] is not None]
    assert validated == [6, 12, 18, 24]
    assert all(row["tokens_per_second"] > 0 for row in rows)


def test_learns(run):
    rows = read_log(run[0] / "log.csv")
    assert rows[0]["loss"] < math.log(25) + 0.5
    assert rows[-1]["val_loss"] < rows[1]["val_loss"] - 0.2


def test_curves_are_a_picture_and_samples_a_text(run):
    assert (run[0] / "curves.png").read_bytes().startswith(b"\x89PNG")
    samples = (run[0] / "samples.txt").read_text()
    headings = [s for s in samples.split("\n") if s.startswith("=== ")]
    assert headings == [f"=== step {step}" for step in (6, 12, 18, 24)]


def test_last_two_checkpoints_and_the_best_stay(run):
    kept = {int(p.name) for p in checkpoint_paths(run[0] / "checkpoints")}
    assert kept == {18, 24, run[1].best_step}


@pytest.fixture
def spoiled(monkeypatch):
    """Makes runs whose weights are bad after step 20."""
    from keras_llm.training import callbacks

    count = callbacks.Clock.on_train_batch_end

    def spoil(self, batch, logs=None):
        count(self, batch, logs)
        if self.batch == 40:
            weight = self.model.trainable_variables[0]
            weight.assign(-20 * weight)

    monkeypatch.setattr(callbacks.Clock, "on_train_batch_end", spoil)


def test_model_ends_with_the_weights_of_the_best_validation(
    folder, tmp_path, spoiled
):
    result, model = train(folder, tmp_path)
    rows = [r for r in read_log(tmp_path / "log.csv") if r["val_loss"]]
    best = min(rows, key=lambda row: row["val_loss"])
    assert result.best_step == best["step"] < 24
    tokens = open_tokens(folder / "tokens", "validation")
    evaluation = Evaluator(model).evaluate(EvaluationWindows(tokens, 16))
    assert evaluation.loss == pytest.approx(best["val_loss"], rel=1e-6)


@pytest.mark.slow
def test_stops_early(folder, tmp_path):
    result, _ = train(
        folder,
        tmp_path,
        learning_rate=1e-9,
        optimizer="sgd",
        early_stopping_patience=1,
        steps=60,
    )
    assert result.steps < 60
    again, _ = train(
        folder,
        tmp_path,
        learning_rate=1e-9,
        optimizer="sgd",
        early_stopping_patience=1,
        steps=60,
    )
    assert again.steps == result.steps


@pytest.mark.slow
def test_stops_when_the_loss_is_no_number(folder, tmp_path, monkeypatch):
    from keras_llm.training import callbacks

    poison = callbacks.Clock.on_train_batch_end

    def poisoned(self, batch, logs=None):
        poison(self, batch, logs)
        if self.batch == 26:  # the last of step 13
            weight = self.model.trainable_variables[0]
            weight.assign(np.full(weight.shape, np.nan))

    monkeypatch.setattr(callbacks.Clock, "on_train_batch_end", poisoned)
    with pytest.raises(TrainingDiverged) as error:
        train(folder, tmp_path)
    assert "at step 14" in str(error.value)
    assert str(tmp_path / "checkpoints" / "00000012") in str(error.value)
    assert isinstance(error.value, InputError)
    newest = checkpoint_paths(tmp_path / "checkpoints")[-1]
    assert newest.name == "00000012"


def test_text_shorter_than_a_window_is_refused(folder, tmp_path):
    long = ModelSettings(
        num_layers=1, num_heads=1, hidden_dim=8, max_sequence_length=50_000
    )
    with pytest.raises(InputError, match="max_sequence_length"):
        train(folder, tmp_path, model=long)


@pytest.mark.slow
def test_last_short_row_is_logged(folder, tmp_path):
    result, _ = train(folder, tmp_path, steps=8)
    rows = read_log(tmp_path / "log.csv")
    assert [row["step"] for row in rows] == [3, 6, 8]
    assert rows[-1]["val_loss"] is not None
    assert result.steps == 8


@pytest.mark.slow
def test_tensorboard_on_request(folder, tmp_path):
    train(folder, tmp_path, steps=6, tensorboard=True)
    assert list((tmp_path / "tensorboard").rglob("events.*"))


@pytest.mark.slow
def test_stops_when_the_last_update_of_a_row_spoils_the_weights(
    folder, tmp_path, monkeypatch
):
    from keras_llm.training import callbacks

    count = callbacks.Clock.on_train_batch_end

    def poisoned(self, batch, logs=None):
        count(self, batch, logs)
        if self.batch == 24:  # step 12, after its loss was taken
            weight = self.model.trainable_variables[0]
            weight.assign(np.full(weight.shape, np.nan))

    monkeypatch.setattr(callbacks.Clock, "on_train_batch_end", poisoned)
    with pytest.raises(TrainingDiverged, match="at step 12"):
        train(folder, tmp_path)
    newest = checkpoint_paths(tmp_path / "checkpoints")[-1]
    assert newest.name == "00000006"


@pytest.mark.slow
def test_damaged_best_checkpoint_does_not_strand_a_finished_run(
    folder, tmp_path, spoiled, capsys
):
    result, _ = train(folder, tmp_path)
    assert result.best_step < 24
    best = tmp_path / "checkpoints" / f"{result.best_step:08d}"
    (best / "variables.npz").write_bytes(b"damage")
    again, _ = train(folder, tmp_path)
    assert again.steps == 24
    assert "the weights of step 24 are kept" in capsys.readouterr().err


@pytest.mark.slow
def test_samples_by_beam_search(folder, tmp_path):
    from training_run import MODEL, TRAINING

    from keras_llm.models import build_model
    from keras_llm.recipes.settings import GenerationSettings
    from keras_llm.tokenizers import ScratchTokenizer
    from keras_llm.training import pretrain

    tokenizer = ScratchTokenizer.from_file(folder / "tokenizer")
    model = build_model(MODEL, tokenizer)
    settings = dataclasses.replace(TRAINING, steps=6)
    beam = GenerationSettings(sampler="beam", num_beams=2)
    pretrain(model, folder / "tokens", tmp_path, settings, beam)
    assert (tmp_path / "samples.txt").read_text().startswith("=== step 6\na")


def test_xla_with_too_long_a_recurrence_is_refused():
    from testing import tiny_model

    from keras_llm.training import compile_for_training

    settings = dataclasses.replace(TRAINING, jit_compile=True)
    model = tiny_model("min_gru", max_sequence_length=513)
    with pytest.raises(InputError, match="at most 512 .* min_gru.*: 513"):
        compile_for_training(model, settings)
    model = tiny_model("min_gru", max_sequence_length=512)
    compile_for_training(model, settings)
    assert model.jit_compile


@pytest.mark.parametrize(
    ("devices", "block_types", "expected"),
    [
        (["gpu:0"], ["attention"], True),
        (["gpu:0"], ["attention", "gru"], False),
        ([], ["attention"], False),
    ],
)
def test_compiles_where_it_helps(monkeypatch, devices, block_types, expected):
    import keras
    from testing import tiny_model

    from keras_llm.training import compile_for_training

    model = tiny_model(block_types)
    monkeypatch.setattr(
        keras.distribution, "list_devices", lambda kind=None: devices
    )
    compile_for_training(model, TRAINING)
    assert model.jit_compile == expected
