"""Recipes hold what they say, and wrong ones are refused in clear words."""

from dataclasses import replace

import pytest
import yaml

from keras_llm.errors import InputError
from keras_llm.recipes import (
    Recipe,
    TuningRecipe,
    load_recipe,
    recipe_names,
)
from keras_llm.recipes.loading import recipe_from_dict
from keras_llm.recipes.parameters import count_parameters
from keras_llm.recipes.settings import (
    GenerationSettings,
    ModelSettings,
    TrainingSettings,
    field_types,
    to_dict,
)

SMALL = {"num_layers": 3, "num_heads": 4, "hidden_dim": 16}


def test_the_recipes_of_the_issue_are_there():
    assert set(recipe_names()) >= {
        "nano",
        "mini",
        "llama-mini",
        "gru-mini",
        "lstm-mini",
        "lstm-words",
        "rnn-mini",
        "min-gru-mini",
        "gated-delta-mini",
        "mlstm-mini",
        "hybrid-mini",
        "gpt2-small",
        "quickstart",
        "bert-mini",
    }


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_describes_itself(name):
    recipe = load_recipe(name)
    assert recipe.description
    assert recipe.expected_minutes
    assert recipe_from_dict(to_dict(recipe), name) == recipe


def test_a_recipe_survives_yaml(tmp_path):
    path = tmp_path / "recipe.yaml"
    recipe = load_recipe("hybrid-mini")
    path.write_text(yaml.safe_dump(to_dict(recipe)), encoding="utf-8")
    assert load_recipe(str(path)) == recipe


def built_parameters(settings, vocabulary_size):
    from keras_llm.models import (
        ScratchBackbone,
        ScratchCausalLM,
        ScratchMaskedLM,
    )

    backbone = ScratchBackbone(vocabulary_size, **to_dict(settings))
    kind = ScratchCausalLM if settings.causal else ScratchMaskedLM
    return kind(backbone).count_params()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name == "gpt2-small"  # half a gigabyte; counted below
        else name
        for name in recipe_names()
    ],
)
def test_listed_parameters_are_those_of_the_model(name):
    recipe = load_recipe(name)
    size = recipe.tokenizer.vocabulary_size
    counted = count_parameters(recipe.model, size)
    assert counted == built_parameters(recipe.model, size)


@pytest.mark.parametrize(
    "options",
    [
        {"use_bias": True, "normalization": "layer"},
        {"use_bias": True, "normalization": "rms", "activation": "swiglu"},
        {"tie_word_embeddings": False, "position_embedding": "learned"},
        {"num_key_value_heads": 2, "query_key_norm": True},
        {"intermediate_dim": 0, "block_types": "gru"},
        {"intermediate_dim": 24, "block_types": ["lstm", "attention"]},
        {"block_types": "rnn,gru", "use_bias": True},
        {"block_types": "min_gru,gated_delta,mlstm", "num_layers": 3},
        {"causal": False, "tie_word_embeddings": False},
        {"normalization": "none", "residual": False, "output_bias": True},
    ],
)
def test_parameters_are_counted_with_mixed_options(options):
    settings = ModelSettings(**SMALL | options)
    assert count_parameters(settings, 50) == built_parameters(settings, 50)


def test_gpt2_has_as_many_parameters_as_published():
    recipe = load_recipe("gpt2-small")
    assert recipe.tokenizer.vocabulary_size == 50257
    assert count_parameters(recipe.model, 50257) == 124_439_808


def test_nano_is_within_the_budget_of_its_lesson():
    model = load_recipe("nano").model
    # Tiny Shakespeare has 65 characters, and there are 8 control tokens.
    assert count_parameters(model, 65 + 8) <= 0.81e6


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"training": {"steps": "many"}}, "training.steps .* whole number"),
        ({"training": {"steps": 3.0}}, "training.steps .* whole number"),
        ({"training": {"steps": True}}, "training.steps .* whole number"),
        ({"training": {"steps": 0}}, "training.steps .* at least 1"),
        ({"training": {"optimizer": "adamm"}}, "one of adamw, adam, sgd"),
        ({"training": {"learning_rate": 0}}, "learning_rate .* above 0"),
        ({"training": {"learning_rate": float("nan")}}, "finite.* nan"),
        ({"training": {"learning_rate": float("inf")}}, "finite.* inf"),
        ({"training": {"learning_rate": 10**400}}, "a finite number"),
        ({"training": {"jit_compile": "x"}}, "true or false or null"),
        ({"training": {"learning_rat": 1}}, "mean training.learning_rate"),
        ({"training": {"steps": 10**9}}, "steps must be at most 100,000,000"),
        ({"training": {"batch_size": 10**9}}, "batch_size must be at most"),
        ({"training": {"epochs": 1e300}}, "epochs must be at most"),
        ({"training": {"sample_tokens": 10**9}}, "sample_tokens must be at"),
        ({"model": {"hidden_dim": 6 * 10**9}}, "hidden_dim must be at most"),
        ({"model": {"num_layers": 0}}, "num_layers must be at least 1"),
        ({"model": {"num_layers": -1}}, "num_layers must be at least 1"),
        ({"model": {"num_layers": 10**9}}, "num_layers must be at most"),
        ({"model": {"max_sequence_length": 10**9}}, "length must be at most"),
        ({"tokenizer": {"vocabulary_size": 2**31}}, "size must be at most"),
        ({"generation": {"max_new_tokens": 10**9}}, "tokens must be at most"),
        ({"generation": {"temperature": float("inf")}}, "finite.* inf"),
        ({"training": {"beta_2": 1.0}}, r"training.beta_2 .* \[0, 1\)"),
        ({"steps": 3}, "unknown field steps. Did you mean training.steps"),
        ({"trainin": {}}, "unknown field trainin. Did you mean training"),
        ({1: 2}, "unknown field 1"),
        ({"model": 3}, "model must hold settings. Received: 3"),
        ({"model": {"num_heads": 5}}, r"divisor of model.hidden_dim \(384\)"),
        ({"model": {"num_key_value_heads": 4}}, "divisor of model.num_heads"),
        ({"model": {"hidden_dim": 18}}, "even multiple"),
        ({"model": {"hidden_dim": [1]}}, "model.hidden_dim .* whole number"),
        ({"model": {"block_types": []}}, "one of attention, gru, lstm, rnn"),
        ({"model": {"block_types": "gru,x"}}, "Received: 'x'"),
        (
            {"model": {"block_types": "gru", "causal": False}},
            "model.block_types must be attention where causal is false",
        ),
        (
            {"model": {"causal": False}},
            "tokenizer.mask_token must be true where model.causal is false",
        ),
        ({"corpus": {"split": 0.1}}, "corpus.split must hold settings"),
        ({"corpus": {"split": {"test": 1}}}, r"corpus.split.test .* \[0, 1\)"),
        ({"generation": {"stop": "x"}}, "generation.stop must be a list"),
        ({"generation": {"stop": [""]}}, "not empty"),
        ({"generation": {"sampler": "nucleus"}}, "sample, greedy, beam"),
        ({"seed": -1}, "seed must be in"),
    ],
)
def test_wrong_settings_are_named(settings, expected):
    with pytest.raises(InputError, match=expected):
        recipe_from_dict(settings, "my.yaml")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "must hold settings. Received: None"),
        (b"3", "must hold settings. Received: 3"),
        (b"a: [", "is not YAML"),
        (b"a: \xff", "is not YAML"),
        (b"a: 2026-13-45", "is not YAML.* month"),
        (b"a: " + b"9" * 5000, "is not YAML.* digits"),
        (b"a: &x [*x]", "is not YAML.* it has an alias"),
        (b"seed: 1\nseed: 2", "is not YAML.* it has seed twice"),
        (b"a: {b: 1, b: 2}", "is not YAML.* it has b twice"),
        (b"a: " + b"[" * 900, "is nested too deeply"),
        (b"a: " + b"{b: " * 900 + b"}" * 900, "is nested too deeply"),
        (b"#" * 2**21, "must hold settings. Received: a file of 2,097,152 b"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, content, expected):
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"my.yaml {expected}"):
        load_recipe(str(path))


def test_the_nearest_name_is_suggested():
    with pytest.raises(InputError, match="Did you mean nano?"):
        load_recipe("nanno")


def test_a_number_that_yaml_takes_for_text_is_a_number(tmp_path):
    path = tmp_path / "my.yaml"
    text = "training: {learning_rate: 3e-4, epochs: 5e-1, steps: 9}"
    path.write_text(text, encoding="utf-8")
    training = load_recipe(str(path)).training
    assert (training.learning_rate, training.epochs) == (3e-4, 0.5)


def test_a_field_of_another_kind_of_recipe_is_not_suggested_for_itself(
    tmp_path,
):
    path = tmp_path / "my.yaml"
    path.write_text("model: {}", encoding="utf-8")
    with pytest.raises(InputError, match="unknown field model.*") as error:
        load_recipe(str(path), base=TuningRecipe())
    assert "mean model?" not in str(error.value)


def test_overrides_are_checked_together():
    interval = {"log_interval": 12, "validation_interval": 24}
    overrides = {f"training.{name}": n for name, n in interval.items()}
    recipe = load_recipe("instructions", overrides | {"training.steps": 24})
    assert recipe.training.validation_interval == 24
    assert recipe.training.epochs is None
    with pytest.raises(InputError, match="unknown field training.step"):
        load_recipe("nano", {"training.step": 1})


def test_settings_check_themselves_wherever_they_are_made():
    with pytest.raises(InputError, match="training.schedule must be one of"):
        replace(TrainingSettings(), schedule="step")
    with pytest.raises(InputError, match="generation.top_k"):
        GenerationSettings(top_k=0.5)
    with pytest.raises(InputError, match="model must be of type"):
        Recipe(model={"num_layers": 2})


def test_fields_have_dotted_names_and_types():
    types = field_types(Recipe)
    assert types["training.steps"] is int
    assert types["corpus.split.validation"] is float
    assert "corpus.split" not in types
