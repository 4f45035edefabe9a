"""Composes the stages of a classifier: from labelled texts to a preset."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_llm.corpus.sources import as_sources, fingerprint
from keras_llm.recipes.loading import load_recipe
from keras_llm.recipes.settings import to_dict
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.run_folder import Run
from keras_llm.workflow.evaluating import save_evaluation
from keras_llm.workflow.tuning_stages import Tuning

REPORTED = ("compare", "learning_curve")  # settings that change the report only


def tune_classifier(
    preset: str | Path,
    data: str | Sequence[str],
    out: Path,
    recipe: TuningRecipe | None = None,
    redo: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Makes a classifier of a language model, or finishes what was begun.

    Args:
        preset: A preset of any model of text, or the run that has one.
        data: Sources of records: texts and their labels.
        recipe: All settings; the recipe `classifier` if omitted.

    The other arguments, what is returned and the errors are those of
    `tune_instructions`.
    """
    from keras_llm.tuning.classifier import classifier_run

    recipe = recipe or load_recipe("classifier")
    run = Run(out, console)
    with run.opened(recipe, redo):
        tuning = _ClassifierTuning(run, preset, recipe, "classifier")
        tuning.make_texts(data)
        tuning.tune(
            {"classifier": _learned_by(recipe)},
            lambda model, _: classifier_run(model, tuning.data, recipe),
        )
        return tuning.report()


def evaluate_classifier(
    preset: str | Path,
    sources: str | Sequence[str],
    columns: Sequence[str] = (),
    console: Console | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How well a classifier tells texts that it was not tuned with.

    Args:
        preset: A preset of any classifier, or the run that has one: a linear
            model of the run's own texts is judged beside it.
        sources: Sources of records: texts and their labels.
        columns: Names of the two columns; known ones if omitted.
        console: Where the outcome is told; nowhere if omitted.

    Returns:
        What became of the records and the figures, as `tune_classifier` has
        them; and the texts that it is most wrong about.

    Raises:
        InputError: No classifier there, or texts that it cannot be judged by.
    """
    from keras_llm.evaluation.classification import judge_scores, wrong_texts
    from keras_llm.evaluation.linear_baseline import linear_scores
    from keras_llm.export.classifier_graph import labels_of
    from keras_llm.models.class_scores import (
        class_scores,
        count_cut,
        has_several,
    )
    from keras_llm.models.loading import load_classifier
    from keras_llm.tuning.labelled_data import read_judged, read_learned

    console = console or Console(quiet=True)
    model = load_classifier(preset)
    labels, several = labels_of(model), has_several(model)
    texts, classes, data = read_judged(
        as_sources(sources), columns, labels, several
    )
    data.cut.count = count_cut(model, texts)
    _tell_left_out(asdict(data), console)
    report = {"read": data.read, "texts": len(texts), "cut": data.cut.count}
    with console.status(f"evaluating {len(texts):,} texts"):
        scores = class_scores(model, texts)
        report |= judge_scores(scores, classes, labels, several).to_dict()
        learned = Path(preset) / "data" / "train"
        if learned.is_dir():
            known, of_known = read_learned(learned, labels)
            report["learned"] = len({*known}.intersection(texts))
            found = linear_scores(known, of_known, texts, several)
            found = judge_scores(found, classes, labels, several)
            report["linear"] = found.to_dict()
    console.print(_summary(report), markup=False)
    return report, wrong_texts(scores, classes, texts, labels, several)


def _learned_by(recipe: TuningRecipe) -> dict[str, Any]:
    """The settings that a classifier depends on, and not its report alone."""
    settings = to_dict(recipe.classifier)
    return {k: v for k, v in settings.items() if k not in REPORTED}


class _ClassifierTuning(Tuning):
    """The stages of a classifier, in an open run."""

    def load(self, preset: str | Path | None = None):
        """The classifier before it is tuned; or that of a preset."""
        from keras_llm.models.loading import load_classifier

        if preset is not None:
            return load_classifier(preset)
        return self._begun(self.run.records["data"]["report"]["classes"])

    def _begun(self, labels: list[str]):
        """A classifier that has learned nothing of these labels."""
        import keras

        from keras_llm.models.loading import load_backbone
        from keras_llm.tuning.classifier import classifier_of

        # The seeds of dropout are drawn while it is made.
        keras.utils.set_random_seed(self.recipe.seed)
        dtype = self.recipe.training.dtype
        found = load_backbone(self.preset, dtype=dtype)
        return classifier_of(*found, labels, self.recipe)

    def make_texts(self, sources: str | Sequence[str]) -> None:
        """Records to labelled texts."""
        from keras_llm.tuning.labelled_data import (
            make_labelled,
            read_labelled,
        )

        sources = as_sources(sources)
        settings = self.recipe.data
        multi_label = self.recipe.classifier.multi_label

        def work():
            found, report = read_labelled(sources, settings, multi_label)
            model = self._begun(report.classes)
            return make_labelled(found, report, model.preprocessor, self.data)

        self._made = "data"
        report = self.run.stage(
            "data",
            {
                "data": to_dict(settings),
                "kind": self.kind,
                "classifier": {"multi_label": multi_label},
            },
            {"files": fingerprint(sources), "base": self._base},
            work,
        )
        kept = ", ".join(f"{n:,} {name}" for name, n in report["kept"].items())
        classes = len(report["classes"])
        self.run.console.print(f"{classes} classes: {kept}")
        _tell_left_out(report, self.run.console)

    def _template_of_kind(self, model):
        return None

    def _choose_weights(self, model) -> None:
        from keras_llm.tuning.classifier import freeze

        super()._choose_weights(model)
        if self.recipe.adapter.rank:
            for weight in model.head.weights:
                weight.trainable = True
        else:
            freeze(model, self.recipe.classifier.trained_blocks)

    def _merge_adapter(self, model) -> None:
        """An adapter alone would be without the layer of the classes."""
        from keras_llm.models import merge_adapter

        merge_adapter(model)

    def report(self) -> dict[str, Any]:
        """Judges the classifier, compares it, and says how it does."""
        from keras_llm.evaluation.classification_pictures import (
            draw_classification,
        )

        if self._held_out is None:
            return self.reports()
        report = dict(self._judge())
        if self.recipe.classifier.compare:
            report["untrained"] = self._compare()
        if self.recipe.classifier.learning_curve:
            report["learning_curve"] = self._learning_curve(report)
        save_evaluation(self.run.out, report)
        draw_classification(report, self.run.out / "evaluation")
        self.run.console.print(_summary(report), markup=False)
        return {**self.reports(), "evaluate": report}

    def _judge(self) -> dict[str, Any]:
        """How well what was held out is told."""
        from keras_llm.tuning.classifier import evaluate_classifier

        def work():
            model = self.load(self.run.out / "preset")
            report, rows = evaluate_classifier(model, self.data, self.recipe)
            save_evaluation(self.run.out, report, rows)
            return report

        tune = {"tune": self.run.digest("tune")}
        return self.run.stage("evaluate", {}, tune, work)

    def _compare(self) -> dict[str, Any]:
        """How the same network does without what the preset knows."""
        recipe = replace(self.recipe, adapter=type(self.recipe.adapter)())
        return self._again(
            "untrained", recipe, lambda: self._train_untrained(recipe)
        )

    def _again(
        self, name: str, recipe: TuningRecipe, work: Callable
    ) -> dict[str, Any]:
        """A stage that trains as `tune` does, to compare with it."""
        return self.run.stage(
            name,
            {
                "adapter": to_dict(recipe.adapter),
                "classifier": _learned_by(recipe),
                "training": to_dict(recipe.training),
                "seed": recipe.seed,
            },
            {"base": self._base, "data": self.run.digest("data")},
            work,
        )

    def _learning_curve(self, report: dict[str, Any]) -> list[dict[str, Any]]:
        """How it does with less data, and with all of it."""
        from keras_llm.tuning.learning_curve import learning_curve, whole_point

        def make_model():
            model = self.load()
            self._choose_weights(model)
            return model

        def work():
            points = learning_curve(
                make_model,
                self.data,
                self.run.out / "learning_curve",
                self.recipe,
                self.run.console,
            )
            return {"points": points}

        found = self._again("learning_curve", self.recipe, work)["points"]
        texts = self.run.records["data"]["report"]["kept"]["train"]
        return [*found, whole_point(report, texts)]

    def _train_untrained(self, recipe: TuningRecipe) -> dict[str, Any]:
        from keras_llm.datasets.labelled import Labelled
        from keras_llm.tuning.classifier import (
            Scorer,
            classifier_run,
            untrained,
        )

        model = untrained(self.load())
        folder = self.run.out / "untrained"
        training = classifier_run(model, self.data, recipe)
        training.train(folder, recipe.training, self.run.console)
        texts = Labelled(self.data / self._held_out)
        return Scorer(model, recipe).judge(texts).to_dict()

    @property
    def _held_out(self) -> str | None:
        from keras_llm.tuning.data import held_out

        return held_out(self.data)


def _tell_left_out(report: dict[str, Any], console: Console) -> None:
    """Says which records are not seen, or not whole."""
    for reason, finding in report["left_out"].items():
        console.print(
            f"{finding['count']:,} records are left out: each {reason}."
        )
    if cut := report["cut"]["count"]:
        console.print(
            f"{cut:,} texts are longer than the context: their ends are not "
            "seen."
        )


def _summary(report: dict[str, Any]) -> str:
    """How the classifier compares with what costs less."""
    names = {
        "this classifier": report,
        "the same network, not pretrained": report.get("untrained"),
        "a linear model of word counts": report.get("linear"),
    }
    lines = [
        f"{found['accuracy']:.1%} accuracy, macro F1 {found['macro_f1']:.3f}: "
        f"{name}"
        for name, found in names.items()
        if found
    ]
    for point in report.get("learning_curve", [])[:-1]:
        linear = point["linear"]["accuracy"]
        lines.append(
            f"{point['accuracy']:.1%} with {point['texts']:,} texts to learn "
            f"from; the linear model {linear:.1%}"
        )
    if learned := report.get("learned"):
        lines.append(
            f"! It has learned from {learned:,} of these texts: leave them out "
            "to know how well it tells new ones."
        )
    linear = report.get("linear")
    if linear and report["accuracy"] <= linear["accuracy"]:
        lines.append(
            "! The linear model is as good, and much cheaper: use that, or "
            "try a better pretrained model, more texts or more epochs."
        )
    return "\n".join(lines)
