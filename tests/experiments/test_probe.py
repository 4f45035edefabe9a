"""Which rates diverge, by what is known of quadratics; what fits, by limits."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from tiny_run import RECIPE, finished_run

from keras_llm.cli import main
from keras_llm.datasets.batches import ArraySpec
from keras_llm.errors import InputError
from keras_llm.experiments.batch_sizes import (
    BatchSize,
    suggested,
    try_batch_sizes,
)
from keras_llm.experiments.rates import rate_range
from keras_llm.recipes.settings import TrainingSettings
from keras_llm.training import TrainingRun

CURVATURES = (4.0, 1.0, 0.25)  # of the loss, along each weight
SGD = TrainingSettings(
    optimizer="sgd", beta_1=0.0, weight_decay=0.0, global_clipnorm=0.0
)


class Quadratic:
    """The same batch for ever: least squares, with noise that no fit ends."""

    signature = (ArraySpec((64, 3), np.float32), ArraySpec((64, 1), np.float32))

    def __init__(self):
        draw = np.random.default_rng(0)
        columns = np.linalg.qr(draw.normal(size=(64, 4)))[0] * 8.0
        # The second derivative of the mean square is twice x'x / n.
        x = columns[:, :3] * np.sqrt(np.array(CURVATURES) / 2)
        y = x.sum(axis=1, keepdims=True) + columns[:, 3:]
        self._batch = x.astype(np.float32), y.astype(np.float32)

    def batch(self, k):
        return self._batch

    def num_tokens(self, k):
        return 64


def quadratic_run():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"),
        ]
    )
    return TrainingRun(model, Quadratic(), keras.losses.MeanSquaredError())


def test_a_quadratic_diverges_above_two_over_its_curvature():
    found = rate_range(quadratic_run(), SGD, low=1e-3, high=1e2, steps=200)
    threshold = 2 / max(CURVATURES)
    # Beyond it, what is only rounding grows until the loss is above its
    # beginning: sevenfold a step at four times as much.
    assert threshold < found.diverges < 4 * threshold
    assert found.lowest < found.diverges
    assert found.suggested == found.lowest / 10
    expected = 1e-3 * 1e5 ** (np.arange(len(found.rates)) / 199)
    np.testing.assert_allclose(found.rates, expected, rtol=1e-4)
    assert found.losses[0] == pytest.approx(1 + sum(CURVATURES) / 2, rel=1e-4)


def test_a_range_without_divergence_has_none():
    found = rate_range(quadratic_run(), SGD, low=1e-3, high=0.1, steps=20)
    assert found.diverges is None and len(found.rates) == 20


@pytest.mark.parametrize(
    "low, high, steps, line",
    [
        (0.0, 1.0, 20, "--low must be above 0"),
        (2.0, 1.0, 20, "below 1.0"),
        (1e-3, 1.0, 2, "--steps"),
        (1e4, 1e6, 20, "at a rate of 10000 already"),
    ],
)
def test_a_range_that_is_none_is_refused(low, high, steps, line):
    with pytest.raises(InputError, match=line):
        rate_range(quadratic_run(), SGD, low, high, steps)


def test_the_smallest_batch_that_is_nearly_the_fastest_is_suggested():
    speeds = {1: 100.0, 2: 190.0, 4: 297.0, 8: 300.0, 16: 250.0}
    sizes = [BatchSize(size, speed) for size, speed in speeds.items()]
    assert suggested([*sizes, BatchSize(32, trouble="too large")]) == 4


@pytest.mark.slow
def test_a_process_that_memory_does_not_hold_ends_alone():
    run = finished_run()
    with pytest.raises(InputError, match="Not even one .* more than 0.0 GiB"):
        try_batch_sizes(run / "tokens", run / "tokenizer", RECIPE, 2, memory=1)


@pytest.mark.slow
def test_a_run_is_probed_and_drawn(tmp_path, capsys):
    words = ["probe", str(finished_run()), "--steps", "12", "--largest", "0"]
    words += ["--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "out/report.json").read_text()) == printed
    vocabulary = json.loads(
        (finished_run() / "tokens/manifest.json").read_text()
    )["vocabulary_size"]
    first = printed["rates"]["losses"][0]
    assert first == pytest.approx(np.log(vocabulary), rel=0.1)
    assert (tmp_path / "out/probe.png").read_bytes()[1:4] == b"PNG"
    assert main(["probe", str(tmp_path)]) == 2
    assert "must be a run of `keras-llm train`" in capsys.readouterr().err


@pytest.mark.slow
def test_sizes_are_tried_until_one_does_not_fit():
    run = finished_run()
    model = replace(RECIPE.model, hidden_dim=128, num_layers=4)
    recipe = replace(RECIPE, model=model)
    limit = 2 * 2**30  # several times what importing takes
    sizes = try_batch_sizes(
        run / "tokens", run / "tokenizer", recipe, 65_536, limit
    )
    *fitting, last = sizes
    assert [each.batch_size for each in sizes] == [
        2**i for i in range(len(sizes))
    ]
    assert "more than 2.0 GiB" in last.trouble or "at most" in last.trouble
    assert len(fitting) > 3 and all(each.trouble is None for each in fitting)
    memory = [each.memory for each in fitting]
    assert memory == sorted(memory) and memory[-1] <= limit
    assert all(each.tokens_per_second > 0 for each in fitting)
