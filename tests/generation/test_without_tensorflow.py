import json

import pytest
from testing import run_python, tiny_model

from keras_llm.generation import TextGenerator
from keras_llm.models import save_preset
from keras_llm.recipes.settings import GenerationSettings

PROMPTS = ["the people", ""]
WITHOUT_TENSORFLOW = """
import sys

for name in ("tensorflow", "tensorflow_text"):
    sys.modules[name] = None  # importing it fails
"""
GENERATE = """
import json
from pathlib import Path

import keras
import keras_llm
from keras_llm.recipes.settings import (GenerationSettings)

prompts = json.loads(sys.argv[2])
model = keras_llm.load_preset(Path(sys.argv[1]))
model.compile(sampler="greedy", jit_compile=False)
generator = keras_llm.TextGenerator(model)
options = {"max_new_tokens": 9}
answers = {
    "backend": keras.config.backend(),
    "model": model.generate(prompts, max_length=12),
}
for sampler in ("greedy", "sample", "beam"):
    settings = GenerationSettings(sampler=sampler, **options)
    answers[sampler] = [
        answer.text for answer in generator.generate(prompts, settings, seed=3)
    ]
print(json.dumps(answers))
"""


@pytest.mark.slow  # a process without TensorFlow; test_design has another
def test_jax_without_tensorflow_generates_the_same(tmp_path):
    model = tiny_model(["attention", "lstm"])
    save_preset(model, tmp_path / "preset")
    printed = run_python(
        WITHOUT_TENSORFLOW + GENERATE,
        tmp_path,
        json.dumps(PROMPTS),
        KERAS_BACKEND="jax",
    )
    answers = json.loads(printed.splitlines()[-1])
    assert answers["backend"] == "jax"
    assert answers["model"] == model.generate(PROMPTS, max_length=12)
    generator = TextGenerator(model)
    for sampler in ("greedy", "sample", "beam"):
        settings = GenerationSettings(sampler=sampler, max_new_tokens=9)
        expected = generator.generate(PROMPTS, settings, seed=3)
        assert answers[sampler] == [answer.text for answer in expected]
