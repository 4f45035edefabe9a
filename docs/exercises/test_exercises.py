"""`pytest docs/exercises` compares what you have written with the package."""

import importlib.util
from pathlib import Path

import pytest
from checks import CHECKS

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", CHECKS)
def test_exercise(name, request):
    answers = request.config.getoption("--answers")
    folder = HERE / "answers" if answers else HERE
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    mine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mine)
    try:
        CHECKS[name](mine)
    except NotImplementedError:
        pytest.skip(f"docs/exercises/{name}.py is not written yet")
