"""What tests of several stages share."""

import os
from pathlib import Path

import pytest

DATA = Path(
    os.environ.get("KERAS_LLM_DATA")
    or Path(__file__).parents[2] / "shared/data/language_modelling"
)

needs_data = pytest.mark.skipif(
    not (DATA / "tinyshakespeare.txt").is_file(),
    reason="needs the folder of published texts: set KERAS_LLM_DATA",
)
