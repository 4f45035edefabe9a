"""The stages that kinds of tuning share. Knows no kind."""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_llm.corpus.sources import as_sources, fingerprint
from keras_llm.errors import InputError
from keras_llm.recipes.settings import to_dict
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.run_folder import Run
from keras_llm.workflow.evaluating import save_evaluation
from keras_llm.workflow.first_checks import check_conversations, check_texts
from keras_llm.workflow.pretraining import (
    encode_corpus,
    prepare_corpus,
)


class Tuning:
    """The stages of one tuning, in an open run.

    Args:
        run: Where they are done.
        preset: What is tuned.
        recipe: All settings.
        kind: What the command is called.

    Raises:
        InputError: There is no such preset, or the run is of another kind.
    """

    def __init__(
        self, run: Run, preset: str | Path, recipe: TuningRecipe, kind: str
    ):
        from keras_llm.models.loading import check_preset, preset_digest

        check_preset(preset)
        for name in ("data", "prepare"):
            begun = run.records.get(name, {}).get("settings", {})
            if begun and begun.get("kind") != kind:
                raise InputError(
                    f"{run.out} was begun by `keras-llm tune {begun['kind']}`. "
                    "Pass another --out."
                )
        self.kind = kind
        self.run = run
        self.preset = preset
        self.recipe = recipe
        self.data = run.out / "data"
        self._base = preset_digest(preset)
        self._made = ""  # the stage whose output is trained on

    def load(self, preset: str | Path | None = None):
        """The model that is tuned, as it is; or that of another preset."""
        import keras

        from keras_llm.models.loading import load_causal_lm

        # The seeds of dropout are drawn while it is made.
        keras.utils.set_random_seed(self.recipe.seed)
        dtype = self.recipe.training.dtype
        return load_causal_lm(preset or self.preset, dtype=dtype)

    def template(self, model):
        """How conversations become token ids."""
        from keras_llm.tokenizers.chat_templates import chat_template

        return chat_template(
            model.preprocessor.tokenizer, self.recipe.data.template
        )

    def make_data(
        self, sources, shapes: Sequence[str], **depends: dict[str, Any]
    ) -> None:
        """Records to examples.

        Args:
            sources: Of the records.
            shapes: What the records may be.
            **depends: Settings that decide what they are.
        """
        from keras_llm.models.loading import context_length
        from keras_llm.tuning.data import make_examples

        sources = as_sources(sources)
        settings = self.recipe.data

        self._made = "data"
        model = template = None
        if self.run.is_due("data"):
            model = self.load()
            template = self.template(model)
            check_conversations(model, self.recipe, template)

        def work():
            nonlocal model
            model = model or self.load()
            return make_examples(
                sources,
                self.data,
                settings,
                shapes,
                template or self.template(model),
                context_length(model),
            )

        report = self.run.stage(
            "data",
            {"data": to_dict(settings), "kind": self.kind, **depends},
            {"files": fingerprint(sources), "base": self._base},
            work,
        )
        kept = ", ".join(
            f"{n:,} {split}" for split, n in report["kept"].items()
        )
        self.run.console.print(f"{report['shape']}: {kept}")

    def make_tokens(self, sources) -> None:
        """Text to token shards of the model's tokenizer."""
        run, recipe = self.run, self.recipe
        sources = as_sources(sources)
        corpus, tokens = run.out / "corpus", run.out / "tokens"
        if run.is_due("prepare"):
            check_texts(self.load(), recipe)
        run.stage(
            "prepare",
            {"corpus": to_dict(recipe.corpus), "kind": self.kind},
            {"files": fingerprint(sources)},
            lambda: prepare_corpus(sources, corpus, recipe, run.console),
        )
        self._made = "encode"
        run.stage(
            "encode",
            {},
            {"prepare": run.digest("prepare"), "base": self._base},
            lambda: encode_corpus(
                corpus, self._tokenizer(), tokens, run.console
            ),
        )

    def _tokenizer(self) -> Path:
        """A folder with the preset's tokenizer, which may be a name only."""
        from keras_llm.models.loading import preset_folder

        folder = preset_folder(Path(self.preset))
        if folder is None:
            folder = self.run.out / "tokenizer"
            shutil.rmtree(folder, ignore_errors=True)
            model = self.load()
            model.preprocessor.tokenizer.save_to_preset(str(folder))
        return folder

    def tune(
        self,
        settings: dict[str, Any],
        make_run: Callable,
        inputs: dict[str, str] | None = None,
    ) -> None:
        """Trains, and leaves a preset; with an adapter, that too.

        Args:
            settings: What else the result depends on.
            make_run: From the model and its template, if the kind has one, to
                a `TrainingRun`.
            inputs: Hashes of what else it is made from.
        """
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

        recipe, out, console = self.recipe, self.run.out, self.run.console
        model = self.load()
        self._choose_weights(model)
        template = self._template_of_kind(model)
        training = make_run(model, template)
        report = {"parameters": model.count_params()}
        report["trained"] = sum(
            math.prod(variable.shape) for variable in model.trainable_variables
        )
        if hasattr(training.batches, "padding_share"):
            share = training.batches.padding_share()
            report["padding_share"] = round(share, 4)
            console.print(f"{share:.1%} of positions are padding")
        console.print(
            f"{report['parameters']:,} parameters, "
            f"{report['trained'] / report['parameters']:.1%} of them trained"
        )
        before = training.validate() if training.validate else {}
        result = training.train(out / "training", recipe.training, console)
        after = training.validate() if training.validate else {}
        if template is not None:
            model.preprocessor.tokenizer.chat_template = template.source
        for folder in ("adapter", "preset"):
            shutil.rmtree(out / folder, ignore_errors=True)
        if recipe.adapter.rank:
            self._merge_adapter(model)
        save_preset(model, out / "preset")
        return {**report, **result.to_dict(), "before": before, "after": after}

    def _choose_weights(self, model) -> None:
        """Freezes what is not trained."""
        from keras_llm.models import add_adapter

        if self.recipe.adapter.rank:
            add_adapter(model, **to_dict(self.recipe.adapter))

    def _merge_adapter(self, model) -> None:
        """Writes the adapter, and puts it into the weights."""
        from keras_llm.export.huggingface import save_adapter
        from keras_llm.models import merge_adapter

        save_adapter(model, self.run.out / "adapter")
        merge_adapter(model)

    def _template_of_kind(self, model):
        return self.template(model) if self._made == "data" else None

    def evaluate(
        self,
        settings: dict[str, Any],
        work: Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]],
    ) -> None:
        """Judges the tuned preset by what was held out.

        Args:
            settings: What the result depends on.
            work: From the model and its template to a report, and rows of
                `answers.jsonl`, if any.
        """

        def judge():
            model = self.load(self.run.out / "preset")
            report, rows = work(model, self._template_of_kind(model))
            save_evaluation(self.run.out, report, rows)
            return report

        if self._made == "data":
            from keras_llm.tuning.data import held_out

            if held_out(self.data) is None:
                return
        tune = {"tune": self.run.digest("tune")}
        self.run.stage("evaluate", settings, tune, judge)

    def reports(self) -> dict[str, Any]:
        """What the stages have reported, and where the preset is."""
        records = self.run.records
        return {
            **{name: record["report"] for name, record in records.items()},
            "preset": str(self.run.out / "preset"),
        }
