"""Composes the stages of tuning: from records or text to a tuned preset."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_llm.corpus.sources import fingerprint
from keras_llm.recipes.settings import to_dict
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.run_folder import Run
from keras_llm.workflow.pretraining import (
    encode_corpus,
    prepare_corpus,
    tokens_digest,
)


def tune_instructions(
    preset: str | Path,
    data: str | Sequence[str],
    out: Path,
    recipe: TuningRecipe,
    redo: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Tunes a language model to answer, or finishes what was begun.

    Args:
        preset: A preset, a run, or a name that KerasHub downloads.
        data: Sources of records: conversations, or prompts and answers.
        out: Folder of the run.
        recipe: All settings.
        redo: A stage to do again.
        console: Where progress is shown; the terminal if omitted.

    Returns:
        The reports of the stages.

    Raises:
        InputError: The preset, the data or the settings cannot be used, or
            `out` is no run, or another one.
        Interrupted: Ctrl-C, after a checkpoint.
    """
    from keras_llm.datasets.shapes import ANSWERS
    from keras_llm.tuning.instructions import instruction_run

    with Run(Path(out), console).opened(recipe, redo) as run:
        tuning = _Tuning(run, preset, recipe)
        tuning.make_data(data, ANSWERS)
        tuning.tune(
            {}, lambda model: instruction_run(model, tuning.data, recipe)
        )
        return tuning.reports()


def tune_preferences(
    preset: str | Path,
    data: str | Sequence[str],
    out: Path,
    recipe: TuningRecipe,
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
    from keras_llm.tuning.preferences import preference_run, score_reference

    settings = recipe.preferences
    with Run(Path(out), console).opened(recipe, redo) as run:
        tuning = _Tuning(run, preset, recipe)
        tuning.make_data(data, JUDGED if settings.loss == "kto" else PAIRS)
        if settings.loss != "simpo":
            run.stage(
                "reference",
                {"loss": settings.loss},
                {"data": run.digest("data")},
                lambda: score_reference(
                    tuning.load(), tuning.data, run.out / "reference", recipe
                ),
            )
        tuning.tune(
            {"preferences": to_dict(settings)},
            lambda model: preference_run(
                model, tuning.data, run.out / "reference", recipe
            ),
        )
        return tuning.reports()


def tune_domain(
    preset: str | Path,
    source: str | Sequence[str],
    out: Path,
    recipe: TuningRecipe,
    redo: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Goes on pretraining a language model on new text.

    Args:
        source: Sources of text, as `train` takes them.

    The other arguments, what is returned and the errors are those of
    `tune_instructions`.
    """
    from keras_llm.tuning.domain import domain_run

    with Run(Path(out), console).opened(recipe, redo) as run:
        tuning = _Tuning(run, preset, recipe)
        tuning.make_tokens(source)
        replay = recipe.replay
        old = (
            {"replay": tokens_digest(Path(replay.tokens))}
            if (replay.tokens)
            else {}
        )
        tuning.tune(
            {"replay": to_dict(replay)},
            lambda model: domain_run(model, run.out / "tokens", recipe),
            old,
        )
        return tuning.reports()


class _Tuning:
    """The stages that kinds of tuning share.

    Args:
        run: Where they are done.
        preset: What is tuned.
        recipe: All settings.
    """

    def __init__(self, run: Run, preset: str | Path, recipe: TuningRecipe):
        from keras_llm.models.loading import preset_digest

        self.run = run
        self.preset = preset
        self.recipe = recipe
        self.data = run.out / "data"
        self._base = preset_digest(preset)
        self._made = ""  # the stage whose output is trained on

    def load(self):
        """The model that is tuned, as it is."""
        import keras

        from keras_llm.models.loading import load_causal_lm

        # The seeds of dropout are drawn while it is made.
        keras.utils.set_random_seed(self.recipe.seed)
        dtype = self.recipe.training.dtype
        return load_causal_lm(self.preset, dtype=dtype)

    def make_data(self, sources, shapes) -> None:
        """Records to examples."""
        from keras_llm.models.loading import context_length
        from keras_llm.tokenizers.chat_templates import chat_template
        from keras_llm.tuning.data import make_examples

        sources = [sources] if isinstance(sources, str) else list(sources)
        settings = self.recipe.data

        def work():
            model = self.load()
            template = chat_template(
                model.preprocessor.tokenizer, settings.template
            )
            longest = context_length(model)
            return make_examples(
                sources, self.data, settings, shapes, template, longest
            )

        self._made = "data"
        self.run.stage(
            "data",
            {"data": to_dict(settings)},
            {"files": fingerprint(sources), "base": self._base},
            work,
        )

    def make_tokens(self, sources) -> None:
        """Text to token shards of the model's tokenizer."""
        from keras_llm.models.loading import preset_folder

        run, recipe = self.run, self.recipe
        sources = [sources] if isinstance(sources, str) else list(sources)
        corpus, tokens = run.out / "corpus", run.out / "tokens"
        run.stage(
            "prepare",
            {"corpus": to_dict(recipe.corpus)},
            {"files": fingerprint(sources)},
            lambda: prepare_corpus(sources, corpus, recipe, run.console),
        )
        self._made = "encode"
        run.stage(
            "encode",
            {},
            {"prepare": run.digest("prepare"), "base": self._base},
            lambda: encode_corpus(
                corpus, preset_folder(Path(self.preset)), tokens, run.console
            ),
        )

    def tune(
        self,
        settings: dict[str, Any],
        make_run: Callable,
        inputs: dict[str, str] | None = None,
    ) -> None:
        """Trains, and leaves a preset; with an adapter, that too."""
        recipe = self.recipe
        self.run.stage(
            "tune",
            {
                "adapter": to_dict(recipe.adapter),
                "training": to_dict(recipe.training),
                "seed": recipe.seed,
                **settings,
            },
            {
                "base": self._base,
                self._made: self.run.digest(self._made),
                **(inputs or {}),
            },
            lambda: self._train(make_run),
        )

    def _train(self, make_run: Callable) -> dict[str, Any]:
        from keras_llm.models import save_preset

        recipe, out = self.recipe, self.run.out
        model = self.load()
        training = make_run(model)
        before = training.validate() if training.validate else {}
        result = training.train(
            out / "training", recipe.training, self.run.console
        )
        after = training.validate() if training.validate else {}
        shutil.rmtree(out / "preset", ignore_errors=True)
        save_preset(model, out / "preset")
        return {
            "parameters": model.count_params(),
            **result.to_dict(),
            "before": before,
            "after": after,
        }

    def reports(self) -> dict[str, Any]:
        """What the stages have reported, and where the preset is."""
        records = self.run.records
        return {
            **{name: record["report"] for name, record in records.items()},
            "preset": str(self.run.out / "preset"),
        }
