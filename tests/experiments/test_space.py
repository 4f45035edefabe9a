"""What `--over` may say, and that the rest is refused before anything."""

import pytest

from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.experiments.space import Axis, parse_space
from keras_llm.recipes import load_recipe

NANO = load_recipe("nano")


def test_ranges_and_values_have_the_types_of_their_fields():
    assert parse_space(
        [
            "training.learning_rate=1e-4..3e-3:log",
            "model.num_layers=2..6",
            "model.dropout=0,0.1,2e-1",
            "training.optimizer=adamw,muon",
            "model.use_bias=true,false",
            "training.early_stopping_patience=null,5",
            "seed=0..9",
        ],
        NANO,
    ) == [
        Axis("training.learning_rate", low=1e-4, high=3e-3, log=True),
        Axis("model.num_layers", low=2, high=6),
        Axis("model.dropout", (0.0, 0.1, 0.2)),
        Axis("training.optimizer", ("adamw", "muon")),
        Axis("model.use_bias", (True, False)),
        Axis("training.early_stopping_patience", (None, 5)),
        Axis("seed", low=0, high=9),
    ]


@pytest.mark.parametrize(
    "over, line",
    [
        ("training.learning_rat=1..2", "mean training.learning_rate?"),
        ("dropout=0,0.1", "mean model.dropout?"),
        ("model.dropout", "must be NAME=LOW..HIGH"),
        ("model.dropout=0.1", "pass --model.dropout VALUE"),
        ("model.dropout=0.1,0.1", "each once"),
        ("model.dropout=0..1.5", "model.dropout must be in [0, 1)"),
        ("model.num_layers=1.5..3", "a range of whole numbers"),
        ("model.num_layers=2,two", "model.num_layers must be a whole number"),
        ("training.optimizer=adam..sgd", "values separated by commas"),
        ("training.optimizer=adam,adamx", "must be one of adamw, adam"),
        ("training.learning_rate=0..1:log", "both above 0"),
        ("training.learning_rate=1..1", "LOW below HIGH"),
        ("model.num_heads=3..4", "a divisor of model.hidden_dim"),
        ("tokenizer=1,2", "has no value of its own"),
    ],
)
def test_what_cannot_be_tried_is_one_line(over, line, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["sweep", "nano", "no-such-text", "--out", str(out)]
    assert main([*words, "--over", over]) == 2
    printed = capsys.readouterr().err
    assert line in printed and printed.count("\n") == 1
    assert not out.exists()


def test_a_field_is_named_once():
    over = ["model.dropout=0,0.1", "model.dropout=0,0.2"]
    with pytest.raises(InputError, match="a field once"):
        parse_space(over, NANO)
