"""The benchmark counts operations as published, and measures what it says."""

import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import finished_run

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


def test_an_unknown_task_is_refused(benchmark, monkeypatch, capsys):
    words = ["benchmark.py", "mini-65", "--tasks", "sing"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as raised:
        benchmark.main()
    assert raised.value.code == 2
    assert "'sing'" in capsys.readouterr().err


def test_without_a_gpu_its_script_says_what_it_would_run(
    benchmark, monkeypatch
):
    script = SCRIPT.with_name("benchmark_gpu.sh")
    nowhere = {"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([script], env=nowhere, capture_output=True, text=True)
    assert done.returncode == 0
    environment, _, *words = shlex.split(done.stdout.splitlines()[-1])
    assert environment == "KERAS_BACKEND=jax"

    # That command is one.
    asked = []

    def measure(name, task, ceiling, values, folder):
        asked.append((name, task, values.device, values.batch_size))
        return []

    monkeypatch.setattr(benchmark, "measure_ceiling", lambda values: 1.0)
    monkeypatch.setattr(benchmark, "measure", measure)
    monkeypatch.setattr(benchmark, "save", lambda rows, folder: None)
    monkeypatch.setattr(sys, "argv", words)
    benchmark.main()
    assert ("gpt2-small", "train-bfloat16", "gpu", 16) in asked
    assert ("gpt2-small", "decode-1", "gpu", 16) in asked


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
    words += ["decode-1", "--sides", *SIDES, "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *words])
    benchmark.main()
    rows = json.loads((tmp_path / "benchmark.json").read_text())
    assert len(rows) == 6
    for row in rows:
        assert row["error"] is None
        assert row["ceiling"] > 1e9 and row["machine"]["cores"]
        if row["side"] == "transformers":
            assert "has no such model" in row["unavailable"]
            continue
        assert len(row["tokens_per_second"]) == 2 * (
            2 if row["side"] == "torch" else 1
        )
        assert row["memory"] > 0
    ours = [x for x in rows if x["side"] == "keras-tensorflow"]
    assert all(len(row["times_first"]) == 2 for row in ours)
    assert (tmp_path / "benchmark.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "task"),
    [
        ("transformers", "train"),
        ("transformers", "prefill"),
        ("transformers", "decode"),
        ("keras-hub", "train"),
        ("keras-hub", "decode"),
        ("torch", "decode"),
        ("keras-tensorflow", "decode"),
        ("text-generator", "decode"),
        ("saved-model", "decode"),
        ("saved-model-int8", "decode"),
        ("saved-model-bfloat16", "decode"),
        ("keras-jax", "train-bfloat16"),
        ("keras-jax", "decode"),
        ("torch", "train-bfloat16"),
        ("transformers", "train-bfloat16"),
        ("sentencepiece", "tokenize"),
        ("encode", "tokenize"),
        ("input-pipeline", "input"),
    ],
)
def test_a_side_does_its_task(benchmark, side, task):
    from keras_llm.pytorch.sides import alternate, jobs_of
    from keras_llm.tokenizers import ScratchTokenizer

    run = finished_run()
    tokenizer = ScratchTokenizer.from_file(run / "tokenizer")
    config = benchmark.config_of("mini", tokenizer.vocabulary_size())
    config |= {"num_layers": 1, "num_heads": 2, "hidden_dim": 16}
    config |= {"max_sequence_length": 32}
    task, _, dtype = task.partition("-")
    jobs = jobs_of(task, config, 3, 32, [side])
    for job in jobs.values():
        job |= {"rows": 3, "dtype": "mixed_bfloat16" if dtype else "float32"}
        for name in ("corpus", "tokenizer", "tokens"):
            job[name] = str(run / name)
    [found] = alternate(jobs, 1, 0.01, command=benchmark.SCRIPT)
    assert (found.error, found.unavailable) == (None, None)
    [rate] = found.tokens_per_second
    assert rate > 1
