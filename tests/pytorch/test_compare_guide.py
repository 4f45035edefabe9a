"""The guide's Python runs, and its table of tolerances is the code's."""

import re
import shutil
from pathlib import Path

import pytest
from testing import code_blocks
from tiny_run import finished_run

from keras_llm.pytorch.certificate import TOLERANCES

GUIDE = Path(__file__).parents[2] / "docs" / "compare.md"


@pytest.mark.slow
def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run() / "preset", "runs/compared/preset")
    (code,) = code_blocks(GUIDE, "python")
    names = {}
    exec(compile(code, "compare.md", "exec"), names)
    size = names["model"].backbone.vocabulary_size
    assert names["logits"].shape == (1, 3, size)


def test_tolerances_are_those_of_the_code():
    text = GUIDE.read_text(encoding="utf-8")
    found = re.findall(r"^\| (\w+) \| .* \| ([\d.e-]+)(?:,| nats)", text, re.M)
    assert {name: float(value) for name, value in found} == TOLERANCES
