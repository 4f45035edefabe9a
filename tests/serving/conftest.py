"""A browser, and a server with a model that writes without an end."""

import keras
import pytest
from served_here import models_of, on_a_port
from testing import tiny_model

from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.engine import Engine
from keras_llm.serving.served import TokenModel
from keras_llm.tokenizers.token_bytes import token_bytes

# The model never ends then, and repeats itself.
GREEDY = GenerationSettings(sampler="greedy")


@pytest.fixture(scope="module")
def feedback(tmp_path_factory):
    return tmp_path_factory.mktemp("feedback") / "feedback.jsonl"


def talkative_model():
    """Writes letters and words without an end."""
    model = tiny_model(["gru", "attention"], max_sequence_length=4096)
    tokenizer = model.preprocessor.tokenizer
    embedding = model.backbone.embedding.weights[0]
    values = keras.ops.convert_to_numpy(embedding).copy()
    for token, written in enumerate(token_bytes(tokenizer)):
        is_control = token in tokenizer.control_tokens.values()
        if is_control or not written.decode("utf-8", "replace").isalpha():
            values[token] = 0
    embedding.assign(values)
    return model


@pytest.fixture(scope="module")
def address(feedback):
    def open_it(name, source, settings):
        return TokenModel(name, "v1", Engine(talkative_model()), GREEDY)

    with (
        models_of("tiny", open=open_it) as models,
        on_a_port(models, feedback=feedback) as url,
    ):
        yield url


@pytest.fixture(scope="module")
def browser():
    from browsing import ARGUMENTS, CHROMIUM, playwright

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    from browsing import opened

    with opened(browser, address) as page:
        yield page
