"""What a run remembers of its stages, and what it compares."""

import json

import pytest
from rich.console import Console

from keras_llm.errors import InputError
from keras_llm.recipes.settings import Recipe, to_dict
from keras_llm.run_folder import RECORDS, Run


def pretrained(out, settings):
    """Whether the stage was done, which it is not a second time."""
    done = []

    def work():
        for name in ("training", "preset"):
            (out / name).mkdir(exist_ok=True)
        done.append(True)
        return {}

    with Run(out, Console(quiet=True)).opened(Recipe()) as run:
        run.stage("pretrain", settings, {}, work)
    return bool(done)


def test_a_setting_that_is_newer_than_the_run_was_as_it_is_by_default(
    tmp_path,
):
    out, settings = tmp_path / "run", {"model": to_dict(Recipe().model)}
    assert pretrained(out, settings)
    assert not pretrained(out, settings)
    records = json.loads((out / RECORDS).read_text())
    del records["pretrain"]["settings"]["model"]["causal"]
    (out / RECORDS).write_text(json.dumps(records))
    assert not pretrained(out, settings)
    settings["model"]["causal"] = False
    with pytest.raises(InputError, match="model.causal was True, now False"):
        pretrained(out, settings)
