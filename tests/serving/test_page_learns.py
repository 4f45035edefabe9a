"""A correction on the page is what the next version answers there."""

from dataclasses import replace

import pytest
from browsing import (
    answers,
    needs_chromium,
    opened,
    playwright,
    send,
    wait_until_answered,
)
from served_here import models_of, on_a_port
from tuned import QUIET, tiny_preset, tiny_recipe, write_data

from keras_llm import workflow
from keras_llm.export import to_saved_model
from keras_llm.models import load_preset
from keras_llm.recipes import load_recipe
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.models import open_model

pytestmark = [needs_chromium, pytest.mark.slow]
QUESTION, BETTER = "Where is the cat?", "On the mat."
GREEDY = GenerationSettings(sampler="greedy", max_new_tokens=12)


@pytest.fixture(scope="module")
def assistant(tmp_path_factory):
    """A run of a model that has learned to answer something else."""
    folder = tmp_path_factory.mktemp("assistant")
    recipe = tiny_recipe("instructions", steps=40, validation_interval=40)
    workflow.tune_instructions(
        tiny_preset(folder, ["attention"], hidden_dim=48, dropout=0.0),
        write_data("instructions", folder),
        folder / "run",
        recipe,
        console=QUIET,
    )
    return folder / "run"


def improve(assistant, feedback, saved, out):
    recipe = load_recipe("improve")
    training = {"learning_rate": 1e-2, "epochs": 150.0}
    workflow.improve(
        assistant,
        feedback,
        out,
        export=saved,
        recipe=replace(
            recipe,
            training=replace(recipe.training, **training),
            generation=GREEDY,
        ),
        held_back=0.0,
        max_loss_rise=50.0,
        console=QUIET,
    )


def correct(page):
    page.get_by_role("button", name="Write the better answer").click()
    page.get_by_label("The better answer").fill(BETTER)
    page.get_by_role("button", name="Write it down").click()
    page.get_by_text("Written down").first.wait_for()


def test_a_correction_is_answered_by_the_next_version(
    assistant, browser, tmp_path
):
    saved, feedback = tmp_path / "cat", tmp_path / "feedback.jsonl"
    to_saved_model(load_preset(assistant), saved, GREEDY)

    def open_it(name, source, settings):
        return open_model(name, source, GREEDY)

    with (
        models_of(str(saved), open=open_it) as models,
        on_a_port(models, feedback=feedback) as url,
        opened(browser, url) as page,
    ):
        send(page, QUESTION)
        wait_until_answered(page)
        assert answers(page).inner_text() != BETTER
        correct(page)
        improve(assistant, feedback, saved, tmp_path / "out")
        models.look()
        page.get_by_role("button", name="New conversation").click()
        send(page, QUESTION)
        wait_until_answered(page)
        assert answers(page).inner_text() == BETTER
        facts = page.locator(".message.assistant .facts")
        playwright.expect(facts).to_contain_text("version 2")
