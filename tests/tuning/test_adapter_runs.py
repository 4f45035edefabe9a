"""A run that tunes an adapter leaves it, and a preset like any other."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from adapted import KINDS, outputs
from testing import NO_TENSORFLOW, run_python
from tiny_run import QUIET

from keras_llm.export.huggingface import load_adapter
from keras_llm.inspection import inspect_artifact
from keras_llm.models import load_preset, save_preset, set_adapter
from keras_llm.models.adapters import weights_digest
from keras_llm.recipes.settings import TrainingSettings
from keras_llm.recipes.tuning_settings import (
    AdapterSettings,
    DataSettings,
    TuningRecipe,
)
from keras_llm.workflow import tune_instructions

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}Q: {{ message['content'] }}\n"
    "{% else %}A: {{ message['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}A: {% endif %}"
)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    (folder / "template.jinja").write_text(TEMPLATE)
    rows = [
        {"prompt": f"the {n}", "completion": f" people of {n % 3}"}
        for n in range(20)
    ]
    lines = "\n".join(map(json.dumps, rows))
    (folder / "records.jsonl").write_text(lines)
    return folder


def recipe_of(records):
    return TuningRecipe(
        data=DataSettings(template=str(records / "template.jinja")),
        adapter=AdapterSettings(rank=2, norms=True),
        training=TrainingSettings(
            steps=4,
            batch_size=4,
            learning_rate=1e-2,
            warmup_steps=0,
            log_interval=2,
            validation_interval=2,
        ),
    )


def check_run(base, run, report):
    """That adapter, base and preset of a run are of one model."""
    assert 0 < report["trained"] < report["parameters"] / 2
    assert report["after"]["loss"] < report["before"]["loss"]
    tuned, model = load_preset(run), load_preset(base)
    plain = outputs(model)
    load_adapter(model, run / "adapter")
    assert np.abs(outputs(model) - plain).max() > 5e-3
    np.testing.assert_allclose(outputs(model), outputs(tuned), atol=1e-5)
    set_adapter(model, None)
    np.testing.assert_array_equal(outputs(model), plain)
    assert [w.path for w in tuned.weights] == [w.path for w in model.weights]
    saved = sum(file.stat().st_size for file in (run / "adapter").iterdir())
    assert saved < 8 * report["trained"] + 20_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixed", "GPT2"])
def test_a_tuned_run_holds_the_adapter_alone_and_a_merged_preset(
    kind, records, tmp_path
):
    base, run = tmp_path / "base", tmp_path / "run"
    save_preset(KINDS[kind](), base)
    recipe = recipe_of(records)
    source = str(records / "records.jsonl")
    report = tune_instructions(base, source, run, recipe, console=QUIET)["tune"]
    check_run(base, run, report)
    explained = inspect_artifact(run / "adapter")
    assert explained["kind"] == "adapter"
    assert explained["r"] == 2
    assert explained["base_sha256"] == weights_digest(load_preset(base))
    again = tune_instructions(base, source, run, recipe, console=QUIET)
    assert again["tune"] == report


WITHOUT_TENSORFLOW = (
    NO_TENSORFLOW
    + """
import json, pickle
from pathlib import Path
from keras_llm.workflow import tune_instructions
from tiny_run import QUIET

base, records, run = map(Path, sys.argv[1:])
recipe = pickle.loads((records / "recipe").read_bytes())
report = tune_instructions(
    base, str(records / "records.jsonl"), run, recipe, console=QUIET
)
print(json.dumps(report["tune"]))
"""
)


@pytest.mark.slow
def test_without_tensorflow(records, tmp_path):
    pytest.importorskip("jax")
    base, run = tmp_path / "base", tmp_path / "run"
    save_preset(KINDS["mixed"](), base)
    (records / "recipe").write_bytes(pickle.dumps(recipe_of(records)))
    printed = run_python(
        WITHOUT_TENSORFLOW,
        base,
        records,
        run,
        KERAS_BACKEND="jax",
        PYTHONPATH=str(Path(__file__).parents[1]),
    )
    check_run(base, run, json.loads(printed.splitlines()[-1]))
