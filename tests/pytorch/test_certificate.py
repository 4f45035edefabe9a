"""`keras-llm compare-pytorch`: what it finds, writes and refuses."""

import json
import math
import re
import sys

import numpy as np
import pytest
import torch
import yaml
from testing import run_python
from tiny_run import finished_run
from twin_cases import batches, model_of

from keras_llm.cli import main
from keras_llm.commands import COMMANDS
from keras_llm.errors import InputError
from keras_llm.pytorch import certificate as certificates
from keras_llm.pytorch import sides as measuring
from keras_llm.pytorch.agreement import difference
from keras_llm.pytorch.certificate import Row, certify
from keras_llm.pytorch.report import save_certificate, summary
from keras_llm.pytorch.sides import SIDES, measure_sides
from keras_llm.pytorch.subject import Sizes, Subject, open_subject
from keras_llm.pytorch.weights import make_twin, weights_of
from keras_llm.recipes.settings import TrainingSettings

QUICK = ["--steps=6", "--rounds=0"]
TINY = {
    "vocabulary_size": 40,
    "num_layers": 1,
    "num_heads": 1,
    "hidden_dim": 8,
    "max_sequence_length": 8,
}


def compare(subject, out, *options):
    return main(["compare-pytorch", str(subject), "--out", str(out), *options])


@pytest.fixture
def broken_twin(monkeypatch):
    """Twins with one weight that is off by a little."""

    def broken(model):
        twin = make_twin(model)
        with torch.no_grad():
            twin.final_norm.weight[0] += 1e-2
        return twin

    monkeypatch.setattr(certificates, "make_twin", broken)


def test_a_run_is_certified(tmp_path, capsys):
    out = tmp_path / "out"
    assert compare(finished_run(), out, *QUICK, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert result["holds"] is report["holds"] is True
    assert {each.name for each in out.iterdir()} == {
        "gradients.png",
        "layers.png",
        "loss.png",
        "report.html",
        "report.json",
    }
    assert report["subject"]["weights"] == "weights of the preset"
    assert report["subject"]["text"].endswith("tokens")
    assert report["subject"]["steps"] == 6
    model = open_subject(str(finished_run()), Sizes(1)).model
    names = [weight.name for weight in weights_of(model)]
    rows = [Row(**row) for row in report["rows"]]
    found = {}
    for row in rows:
        found.setdefault(row.section, []).append(row.name)
        assert row.verdict == "holds" and row.value <= row.tolerance
    assert found["outputs"] == ["embedding", "blocks.0", "final_norm", "logits"]
    assert found["gradients"] == names
    assert found["training"] == [
        "loss after 6 steps of adamw",
        "loss after 6 steps of sgd",
    ]
    assert len(found["parameters"]) == 2 * (1 + len(names))
    for curves in report["curves"].values():
        assert len(curves["keras"]) == len(curves["pytorch"]) == 6
        assert curves["keras"][0] == pytest.approx(curves["pytorch"][0])
    assert result["gradients"]["rows"] == len(names)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.count("data:image/png;base64,") == 3
    assert all(row.name in page for row in rows)
    assert compare(finished_run(), out, *QUICK) == 2  # not written over
    assert "must be a new or empty folder" in capsys.readouterr().err


@pytest.mark.slow  # a certificate of another model
def test_what_is_only_rounding_is_told_and_not_judged(tmp_path):
    draw = batches(4)
    settings = TrainingSettings(learning_rate=1e-2)
    subject = Subject("a <b>", True, model_of("gpt2"), settings, draw, "text")
    found = certify(subject, rounds=0)
    assert found.holds
    worst = max(row.value for row in found.section("gradients"))
    assert summary(found)["gradients"]["greatest"] == worst
    save_certificate(found, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a &lt;b&gt;" in page and "<b>a" not in page
    blind = [row for row in found.rows if row.verdict == "measured"]
    assert {row.name.split(", ")[0] for row in blind} == {
        "blocks.0.mixer.key.bias",
        "blocks.1.mixer.key.bias",
    }


@pytest.mark.slow
def test_what_does_not_hold_is_told_by_the_exit_code(
    tmp_path, capsys, broken_twin
):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        compare(finished_run(), out, "--steps=1", "--rounds=0", "--json")
    assert ended.value.code == 1
    result = json.loads(capsys.readouterr().out)
    assert result["holds"] is False
    assert "final_norm" in result["fails"] and "logits" in result["fails"]
    assert "blocks.0" not in result["fails"]
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["holds"] is False
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Not every row holds" in page


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e-3])
def test_what_is_no_number_does_not_hold(value):
    row = certificates._judged("outputs", "logits", value, "relative", {})
    assert row.verdict == "fails"


def test_differences():
    found = difference([1.0, 2.0, 5.0], [1.0, 4.0, 5.0])
    assert (found.greatest, found.mean) == (2.0, pytest.approx(2 / 3))
    assert found.norm == pytest.approx(math.sqrt(42))
    assert found.relative == pytest.approx(2 / math.sqrt(42))
    assert difference([1.0], [0.0]).relative == math.inf
    assert difference([0.0], [0.0]).relative == 0
    assert difference([1.0], [0.0], least_norm=10.0).relative == 0.1
    with pytest.raises(ValueError, match="not the shape"):
        difference([1.0], [1.0, 2.0])


def test_a_chain_can_be_learned_and_is_the_same_again():
    first, again = (open_subject("nano", Sizes(2, 3, 9)) for _ in range(2))
    other = open_subject("nano", Sizes(2, 3, 9), seed=1)
    for one, two in zip(first.batches, again.batches, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.batches[0], other.batches[0])
    token_ids, labels = first.batches[0]
    assert token_ids.shape == (3, 9)
    np.testing.assert_array_equal(token_ids[:, 1:], labels[:, :-1])
    assert len(first.batches) == 3
    assert first.model.backbone.dropout == 0


def test_settings_are_the_recipes_as_far_as_both_have_them():
    subject = open_subject("llama-mini", Sizes(20, 1, 4))
    adamw, sgd = subject.training("adamw"), subject.training("sgd")
    assert (adamw.learning_rate, adamw.warmup_steps) == (1e-3, 2)
    assert (sgd.optimizer, sgd.learning_rate) == ("sgd", 0.05)
    assert adamw.steps == sgd.steps == 20
    muon = open_subject("nano", Sizes(20, 1, 4)).training("adamw")
    assert muon.learning_rate == 1e-3  # not that of Muon's AdamW


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["nanno"], "PRESET_OR_RECIPE must be a preset.*Received: 'nanno'"),
        (["."], "must be a preset"),
        (["nano", "--steps=0"], "steps must be at least 1"),
        (["nano", "--rounds=-1"], "rounds must be in"),
        (["nano", "--seconds=0"], "seconds above 0"),
        (["nano", "--sequence_length=257"], "max_sequence_length, 256"),
        (["nano", "--sides", "mxnet"], "invalid choice: 'mxnet'"),
        (["nano", "--tokens", "."], "must be a token folder"),
        (["small.yaml", "--tokens", "TOKENS"], "Received: a model of 16"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, line, expected):
    monkeypatch.chdir(tmp_path)
    recipe = {
        "tokenizer": {"vocabulary_size": 16},
        "model": {"num_layers": 1, "num_heads": 1, "hidden_dim": 8},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe))
    tokens = str(finished_run() / "tokens")
    line = [tokens if word == "TOKENS" else word for word in line]
    assert compare(line[0], "out", *line[1:]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(expected, captured.err.splitlines()[-1]), captured.err
    assert not (tmp_path / "out").exists()


def test_sides_of_the_line_are_those_that_there_are():
    choices = COMMANDS["compare-pytorch"].options["--sides"]["choices"]
    assert tuple(choices) == tuple(SIDES)


@pytest.fixture
def one_task(monkeypatch):
    monkeypatch.setattr(measuring, "TASKS", ("prefill",))


@pytest.mark.slow
def test_a_side_that_cannot_run_here_says_so(monkeypatch, one_task):
    monkeypatch.setenv("PATH", "")
    said = []
    found = measure_sides(
        TINY, 2, 8, 1, 0.01, ["torch", "torch-compile"], said.append
    )
    assert len(found) == 2 and len(said) == 3
    rows = certificates._measured_rows(found)
    for row in rows:
        if row.details["side"] == "torch":
            assert row.verdict == "measured" and row.value > 0
        else:
            assert (row.verdict, row.value) == ("not here", None)
            assert "needs a C++ compiler" in row.note
    memory = [row for row in rows if row.section == "memory"]
    assert all(
        row.details["libraries"] <= row.value
        for row in memory
        if row.value is not None
    )


def test_a_side_that_breaks_fails(one_task):
    (found, *_) = measure_sides(TINY | {"sliding": 3}, 2, 8, 1, 0.01, ["torch"])
    (row, *_) = certificates._measured_rows([found])
    assert row.verdict == "fails"
    assert "unexpected keyword argument 'sliding'" in row.note


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
def test_every_side_is_measured(side):
    types = ["attention", "gru", "lstm"]
    config = TINY | {"block_types": types, "num_layers": 3}
    for each in measure_sides(config, 2, 8, 2, 0.01, [side]):
        assert (each.error, each.unavailable) == (None, None)
        assert len(each.tokens_per_second) == 2
        assert min(each.tokens_per_second) > 0
        assert each.peak_bytes > each.library_bytes > 2**26


ON_JAX = """
import json
import sys
from pathlib import Path
from keras_llm.pytorch.certificate import certify
from keras_llm.pytorch.report import summary
from keras_llm.pytorch.subject import Sizes, open_subject

sizes = Sizes(30, 4, 16)
print(json.dumps(summary(certify(open_subject(sys.argv[1], sizes), rounds=0))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_agree_too(tmp_path, backend):
    recipe = {
        "tokenizer": {"vocabulary_size": 64},
        "model": {
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 16,
            "block_types": ["attention", "lstm"],
            "tie_word_embeddings": False,
        },
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    printed = run_python(
        ON_JAX, tmp_path / "recipe.yaml", KERAS_BACKEND=backend
    )
    result = json.loads(printed.splitlines()[-1])
    assert result["holds"] is True, result


def test_a_model_of_another_class_is_refused(tmp_path, monkeypatch):
    import keras_hub

    from keras_llm.pytorch import subject

    backbone = keras_hub.models.GPT2Backbone(40, 1, 2, 8, 16)
    stock = keras_hub.models.GPT2CausalLM(backbone)
    monkeypatch.setattr(subject, "load_language_model", lambda path: stock)
    with pytest.raises(InputError, match="Received: a GPT2CausalLM"):
        open_subject(str(tmp_path), Sizes(1))


def test_without_torch_one_line_says_what_to_install(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert compare("nano", tmp_path / "out", *QUICK) == 2
    message = capsys.readouterr().err
    assert 'pip install "keras-llm[pytorch]"' in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()
