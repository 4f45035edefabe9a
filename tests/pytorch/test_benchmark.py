"""The benchmark counts operations as published, and measures what it says."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/benchmark.py"
SIDES = ["torch", "transformers", "keras-tensorflow"]


@pytest.fixture
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_unknown_workload_is_refused(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "mini-7"])
    with pytest.raises(SystemExit) as raised:
        benchmark.main()
    assert raised.value.code == 2
    assert "Received: mini-7" in capsys.readouterr().err


@pytest.mark.slow
def test_operations_of_gpt2_are_those_of_nanogpt(benchmark):
    # 6 N + 12 L H Q T of nanoGPT's estimate_mfu, of its 123.65M weights
    # without positions.
    expected = 6 * 123.65e6 + 12 * 12 * 12 * 64 * 1024
    config = benchmark.config_of("gpt2-small", 50_257)
    assert benchmark.flops(config) == pytest.approx(expected, rel=2e-3)


@pytest.mark.slow
def test_every_kind_of_side_takes_its_turns(benchmark, monkeypatch, tmp_path):
    words = ["nano", "--rounds", "2", "--seconds", "0.1", "--tasks", "train"]
    words += ["decode", "--sides", *SIDES, "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *words])
    benchmark.main()
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert len(report["rows"]) == 6 and report["ceiling"] > 1e9
    for row in report["rows"]:
        assert row["error"] is None
        if row["side"] == "transformers":
            assert "has no such model" in row["unavailable"]
            continue
        assert len(row["tokens_per_second"]) == 2 * (
            2 if row["side"] == "torch" else 1
        )
        assert row["memory"] > 0
    ours = [x for x in report["rows"] if x["side"] == "keras-tensorflow"]
    assert all(len(row["times_first"]) == 2 for row in ours)
    assert (tmp_path / "benchmark.png").read_bytes()[1:4] == b"PNG"
