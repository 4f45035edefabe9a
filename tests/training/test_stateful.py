"""A state that goes on from window to window, in training and evaluation."""

import dataclasses
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from testing import randomize, tiny_backbone, tiny_tokenizer
from training_run import MODEL, make_tokens, train

from keras_llm.datasets import EvaluationStreams, TrainingStreams, open_tokens
from keras_llm.errors import InputError
from keras_llm.evaluation.loss import StatefulEvaluator
from keras_llm.models import ScratchCausalLM, build_model
from keras_llm.recipes import load_recipe
from keras_llm.recipes.settings import TrainingSettings
from keras_llm.training import TrainingInterrupted, compile_for_training
from keras_llm.training.checkpoints import checkpoint_paths
from keras_llm.training.log import TIMINGS, read_log
from keras_llm.training.stateful import StatefulCausalLM

RECURRENT = ["gru", "lstm", "rnn", "min_gru", "gated_delta", "mlstm"]
LENGTH, ROWS = 6, 2
RUN = dataclasses.replace(MODEL, block_types="gru", num_layers=1)
IDS = np.random.default_rng(0).integers(5, 40, (ROWS, 3 * LENGTH + 1))
IDS = IDS.astype("int32")


def numpy(x):
    return keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stateful")
    make_tokens(folder)
    return folder


def windows(ids):
    for start in range(0, 3 * LENGTH, LENGTH):
        part = ids[:, start : start + LENGTH]
        labels = ids[:, start + 1 : start + 1 + LENGTH]
        mask = np.ones_like(part)
        yield {"token_ids": part, "padding_mask": mask}, labels


@pytest.mark.parametrize("kind", RECURRENT)
def test_windows_are_one_long_text(kind):
    model = ScratchCausalLM(tiny_backbone(kind, position_embedding="none"))
    carried = StatefulCausalLM(model, ROWS)
    found = [numpy(carried(inputs)) for inputs, _ in windows(IDS)]
    whole = IDS[:, :-1]
    mask = np.ones_like(whole)
    expected = numpy(model({"token_ids": whole, "padding_mask": mask}))
    np.testing.assert_allclose(
        np.concatenate(found, axis=1), expected, rtol=1e-4, atol=2e-5
    )
    alone = model(next(iter(windows(IDS[:, LENGTH:])))[0])
    assert np.abs(numpy(alone) - found[1]).max() > 0.01


class Tutorial:
    """PyTorch's word language model: the hidden state, detached."""

    def __init__(self, model):
        import torch

        self.torch = torch
        size, width = model.backbone.vocabulary_size, model.backbone.hidden_dim
        embedding = model.backbone.embedding
        layer = model.backbone.blocks[0].mixer
        self.encoder = torch.nn.Embedding(size, width)
        self.rnn = torch.nn.GRU(width, width, batch_first=True)
        self.decoder = torch.nn.Linear(width, size)
        self.hidden = torch.zeros(1, ROWS, width)
        table = embedding.token_embedding
        self._set(self.encoder.weight, table.embeddings)
        self._set(self.decoder.weight, table.reverse_embeddings, True)
        self._set(self.decoder.bias, embedding.output_bias)
        projections = layer.input_projection, layer.cell.recurrent
        for name, dense in zip("ih", projections, strict=True):
            for kind in ("kernel", "bias"):
                gates = np.split(numpy(getattr(dense, kind)), 3, axis=-1)
                update, reset, new = gates
                value = np.concatenate([reset, update, new], axis=-1)
                torch_kind = "weight" if kind == "kernel" else "bias"
                parameter = getattr(self.rnn, f"{torch_kind}_{name}h_l0")
                self._set(parameter, value, kind == "kernel")
        modules = [self.encoder, self.rnn, self.decoder]
        self.weights = [w for m in modules for w in m.parameters()]
        self.optimizer = torch.optim.SGD(self.weights, lr=0.1)

    def _set(self, parameter, value, is_transposed=False):
        value = numpy(value)
        value = self.torch.tensor(value.T if is_transposed else value)
        parameter.data.copy_(value)

    def step(self, inputs, labels):
        torch = self.torch
        x = self.encoder(torch.tensor(inputs["token_ids"]).long())
        x, hidden = self.rnn(x, self.hidden)
        self.hidden = hidden.detach()
        logits = self.decoder(x).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(
            logits, torch.tensor(labels).long().flatten()
        )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        return float(loss.detach())


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_trains_as_the_word_model_of_pytorch(jit_compile):
    pytest.importorskip("torch")
    settings = load_recipe("classic-gru", {"model.hidden_dim": 16}).model
    model = build_model(settings, tiny_tokenizer())
    randomize(model.backbone)
    tutorial = Tutorial(model)
    carried = StatefulCausalLM(model, ROWS)
    plain = TrainingSettings(
        optimizer="sgd",
        learning_rate=0.1,
        beta_1=0.0,
        weight_decay=0.0,
        schedule="constant",
        warmup_steps=0,
        jit_compile=jit_compile,
    )
    compile_for_training(carried, plain)
    batches = [*windows(IDS)] * 2
    expected = [tutorial.step(*batch) for batch in batches]
    found = [float(carried.train_on_batch(*batch)) for batch in batches]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert len(set(np.round(found, 3))) == len(found)


@pytest.mark.slow
def test_an_interrupted_run_equals_an_uninterrupted_one(
    folder, tmp_path, monkeypatch
):
    from keras_llm.training.callbacks import Clock

    options = {"model": RUN, "stateful": True, "steps": 6}
    options |= {"validation_interval": 3}
    result, model = train(folder, tmp_path / "whole", **options)
    count = Clock.on_train_batch_end

    def interrupt(self, *args, **kwargs):
        if self.batch + 1 == 7:  # in the middle of an update
            signal.raise_signal(signal.SIGINT)
        count(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Clock, "on_train_batch_end", interrupt)
        with pytest.raises(TrainingInterrupted):
            train(folder, tmp_path / "run", **options)
    train(folder, tmp_path / "run", **options)
    newest, expected = (
        np.load(
            checkpoint_paths(tmp_path / run / "checkpoints")[-1]
            / "variables.npz"
        )
        for run in ("run", "whole")
    )
    assert newest.files == expected.files
    states = [name for name in newest.files if name.startswith("states/")]
    assert len(states) == 1 and all(expected[name].any() for name in states)
    for name in newest.files:
        np.testing.assert_array_equal(newest[name], expected[name], name)
    logs = [read_log(tmp_path / run / "log.csv") for run in ("run", "whole")]
    for row in (row for log in logs for row in log):
        for name in TIMINGS:
            del row[name]
    assert logs[0] == logs[1]
    # Validation carries the state, too.
    held = open_tokens(folder / "tokens", "validation")
    streams = EvaluationStreams(held, RUN.max_sequence_length)
    best = {row["step"]: row["val_loss"] for row in logs[0]}[result.best_step]
    found = StatefulEvaluator(model).evaluate(streams)
    assert found.loss == pytest.approx(best, rel=1e-6)


def test_the_state_knows_what_a_window_cannot(folder):
    # Batches of training, as `fit` reads them, against one long text.
    tokens = open_tokens(folder / "tokens", "train")
    streams = TrainingStreams(tokens, LENGTH, ROWS, seed=3)
    backbone = tiny_backbone("gru", position_embedding="none")
    model = ScratchCausalLM(backbone)
    carried = StatefulCausalLM(model, ROWS)
    found = [numpy(carried(streams.batch(k)[0])) for k in range(4)]
    ids = [streams.batch(k)[0]["token_ids"] for k in range(4)]
    ids = np.concatenate(ids, axis=1)
    mask = np.ones_like(ids)
    expected = numpy(model({"token_ids": ids, "padding_mask": mask}))
    np.testing.assert_allclose(
        np.concatenate(found, axis=1), expected, rtol=1e-4, atol=2e-5
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "false with attention, which has no state to carry"),
        (
            {"block_types": "gru", "position_embedding": "learned"},
            "false with learned positions",
        ),
    ],
)
def test_a_model_without_such_a_state_is_refused(changes, expected):
    with pytest.raises(InputError, match=expected):
        StatefulCausalLM(ScratchCausalLM(tiny_backbone(**changes)), ROWS)
    settings = {f"model.{name}": value for name, value in changes.items()}
    with pytest.raises(InputError, match=f"training.stateful .*{expected}"):
        load_recipe("mini", settings | {"training.stateful": True})


def test_tuning_carries_no_state():
    from keras_llm.recipes.tuning_settings import TuningRecipe

    with pytest.raises(InputError, match="false, but for pretraining"):
        TuningRecipe(training=TrainingSettings(stateful=True))


def test_half_precision_keeps_the_state_in_its_dtype():
    policy = keras.dtype_policies.get("mixed_bfloat16")
    for kind, dtype in [("gru", "bfloat16"), ("min_gru", "float32")]:
        backbone = tiny_backbone(kind, position_embedding="none", dtype=policy)
        carried = StatefulCausalLM(ScratchCausalLM(backbone), ROWS)
        inputs, _ = next(windows(IDS))
        assert np.isfinite(numpy(carried(inputs))).all()
        assert {state.dtype for state in carried.states} == {dtype}
        assert all(numpy(state).any() for state in carried.states)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_same_on_another_backend(backend):
    pytest.importorskip(backend)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow", __file__],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "failed" not in done.stdout
