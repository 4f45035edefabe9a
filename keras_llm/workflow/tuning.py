"""Composes the stages of tuning: from records or text to a tuned preset."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_llm.recipes.loading import load_recipe
from keras_llm.recipes.settings import to_dict
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.run_folder import Run
from keras_llm.workflow.pretraining import tokens_digest
from keras_llm.workflow.tuning_stages import Tuning


def tune_instructions(
    preset: str | Path,
    data: str | Sequence[str],
    out: Path,
    recipe: TuningRecipe | None = None,
    redo: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Tunes a language model to answer, or finishes what was begun.

    Args:
        preset: A preset, a run, or a name that KerasHub downloads.
        data: Sources of records: conversations, or prompts and answers.
        out: Folder of the run.
        recipe: All settings; the recipe `instructions` if omitted.
        redo: A stage to do again.
        console: Where progress is shown; the terminal if omitted.

    Returns:
        The reports of the stages, and where the preset is.

    Raises:
        InputError: The preset, the data or the settings cannot be used, or
            `out` is no run, or another one.
        Interrupted: Ctrl-C, after a checkpoint.
    """
    from keras_llm.datasets.shapes import ANSWERS
    from keras_llm.tuning.instructions import (
        evaluate_instructions,
        instruction_run,
    )

    recipe = recipe or load_recipe("instructions")
    run = Run(out, console)
    with run.opened(recipe, redo):
        tuning = Tuning(run, preset, recipe, "instructions")
        tuning.make_data(data, ANSWERS)
        tuning.tune(
            {},
            lambda model, template: instruction_run(
                model, tuning.data, recipe, template
            ),
        )
        tuning.evaluate(
            {"generation": to_dict(recipe.generation)},
            lambda model, template: evaluate_instructions(
                model, tuning.data, recipe, template
            ),
        )
        return tuning.reports()


def tune_preferences(
    preset: str | Path,
    data: str | Sequence[str],
    out: Path,
    recipe: TuningRecipe | None = None,
    redo: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Tunes a language model to prefer better answers to worse ones.

    Args:
        data: Sources of records: prompts with a better and a worse answer, or
            answers with a label (`preferences.loss` is `"kto"` then).

    The other arguments, what is returned and the errors are those of
    `tune_instructions`.
    """
    from keras_llm.datasets.shapes import JUDGED, PAIRS
    from keras_llm.tuning.preferences import (
        evaluate_preferences,
        preference_run,
        score_reference,
    )

    recipe = recipe or load_recipe("preferences")
    settings = recipe.preferences
    run = Run(out, console)
    reference = run.out / "reference"
    with run.opened(recipe, redo):
        tuning = Tuning(run, preset, recipe, "preferences")
        loss = {"loss": settings.loss}
        shapes = JUDGED if settings.loss == "kto" else PAIRS
        tuning.make_data(data, shapes, preferences=loss)
        if settings.loss != "simpo":
            run.stage(
                "reference",
                {"preferences": loss},
                {"data": run.digest("data")},
                lambda: score_reference(
                    tuning.load(), tuning.data, reference, recipe
                ),
            )
        tuning.tune(
            {"preferences": to_dict(settings)},
            lambda model, template: preference_run(
                model, tuning.data, reference, recipe, template
            ),
        )
        tuning.evaluate(
            {},
            lambda model, _: (
                evaluate_preferences(model, tuning.data, reference, recipe),
                [],
            ),
        )
        return tuning.reports()


def tune_domain(
    preset: str | Path,
    source: str | Sequence[str],
    out: Path,
    recipe: TuningRecipe | None = None,
    redo: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Goes on pretraining a language model on new text.

    What it was trained on before is replayed: the tokens at `replay.tokens`,
    or those of the run that `preset` is.

    Args:
        source: Sources of text, as `train` takes them.

    The other arguments, what is returned and the errors are those of
    `tune_instructions`.
    """
    from keras_llm.tuning.domain import domain_run, evaluate_domain

    recipe = _with_replay(recipe or load_recipe("domain"), preset)
    run = Run(out, console)
    tokens, old = run.out / "tokens", recipe.replay.tokens
    with run.opened(recipe, redo):
        tuning = Tuning(run, preset, recipe, "domain")
        inputs = {"old_tokens": tokens_digest(Path(old))} if old else {}
        tuning.make_tokens(source)
        tuning.tune(
            {"replay": to_dict(recipe.replay)},
            lambda model, _: domain_run(model, tokens, recipe),
            inputs,
        )
        tuning.evaluate(
            {}, lambda model, _: (evaluate_domain(model, tokens, recipe), [])
        )
        return tuning.reports()


def _with_replay(recipe: TuningRecipe, preset: str | Path) -> TuningRecipe:
    """The recipe with the folder of token shards that is replayed, if any."""
    from keras_llm.datasets.tokens import MANIFEST_NAME

    given = recipe.replay.tokens
    folder = Path(given or preset)
    if not (folder / MANIFEST_NAME).is_file():
        folder = folder / "tokens"
    if not given and not (folder / MANIFEST_NAME).is_file():
        return recipe
    return replace(recipe, replay=replace(recipe.replay, tokens=str(folder)))
