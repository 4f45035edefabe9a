"""From corrections to the next version, if it is a better one."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_llm.corpus.sources import as_sources, fingerprint
from keras_llm.errors import InputError
from keras_llm.files import file_digest, write_json_lines, written_beside
from keras_llm.recipes.checks import check
from keras_llm.recipes.loading import load_recipe
from keras_llm.recipes.settings import to_dict
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.run_folder import Run
from keras_llm.workflow.first_checks import check_conversations
from keras_llm.workflow.tuning import tune_instructions, tune_preferences

MOST_HELD_OUT = 200  # general conversations that a model is judged by


def improve(
    preset: str | Path,
    feedback: Path,
    out: Path,
    export: Path | None = None,
    recipe: TuningRecipe | None = None,
    general: str | Sequence[str] | None = None,
    held_back: float = 0.1,
    max_loss_rise: float = 0.02,
    system: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Tunes a model on corrections, and exports it if that made it better.

    The corrections are learned as answers, beside general conversations, and
    then preferred to the answers that they correct. Some are held back. The
    same call goes on where an earlier one was interrupted.

    Args:
        preset: A preset, a run, or a name that KerasHub downloads.
        feedback: A file, as `add_feedback` writes it.
        out: Folder of this improvement; `out/preset` is the tuned model, and
            `out/report.html` shows what has changed.
        export: Folder of versions, such as `saved_models/NAME`, that gets the
            next one; none is made if omitted.
        recipe: All settings; the recipe `improve` if omitted. Its epochs are
            how often each correction is learned.
        general: Sources of conversations, as `tune_instructions` takes them,
            that it should not forget. Those that the run was tuned on if
            omitted.
        held_back: Share of the corrections that are not learned.
        max_loss_rise: By which share the loss on general conversations may
            rise.
        system: What the exported model is told before every conversation, as
            `to_saved_model` takes it.
        console: Where progress is shown; the terminal if omitted.

    Returns:
        `improved`, the `objections`, the figures before and after, and what
        was `exported`.

    Raises:
        InputError: No correction, no general conversations, or as
            `tune_instructions`.
    """
    check(0 <= held_back < 1, "held_back", "in [0, 1)", held_back)
    check(max_loss_rise >= 0, "max_loss_rise", "at least 0", max_loss_rise)
    recipe = recipe or load_recipe("improve")
    if export is not None:
        from keras_llm.export.saved_model import next_version

        next_version(export)  # says that it is none before it takes minutes
    run = Run(out, console)
    with run.opened(recipe):
        made = _Improvement(run, preset, Path(feedback), recipe)
        made.make_records(general, held_back)
        made.tune()
        report = made.judge(max_loss_rise)
        return made.export(report, export, system)


class _Improvement:
    """The stages, in an open run."""

    def __init__(
        self, run: Run, preset: str | Path, feedback: Path, recipe: TuningRecipe
    ):
        from keras_llm.models.loading import check_preset
        from keras_llm.tuning.feedback import read_feedback

        check_preset(preset)
        self.run, self.preset, self.recipe = run, preset, recipe
        self.path = feedback
        self.feedback = read_feedback(feedback)
        self.corrections = self.feedback.corrections()
        if not self.corrections:
            raise InputError(
                f"{feedback} must have at least one correction, or one answer "
                f"with a thumb up. Received: {len(self.feedback.events)} other "
                f"events and {len(self.feedback.damaged)} damaged lines."
            )
        self.repeats = max(1, round(recipe.training.epochs or 1))
        self.records = run.out / "records"
        self.data = run.out / "instructions" / "data"

    def make_records(
        self, general: str | Sequence[str] | None, held_back: float
    ) -> None:
        """What is learned, and what the model is judged by."""
        from keras_llm.models.loading import preset_digest
        from keras_llm.tuning.improvement import divide

        sources = self._general(general)
        if self.run.is_due("records"):
            self._check_first()
        seed = self.recipe.seed
        self.learned, self.held = divide(self.corrections, held_back, seed)
        self.run.stage(
            "records",
            {
                "held_back": held_back,
                "repeats": self.repeats,
                "replay": to_dict(self.recipe.replay),
                "seed": seed,
            },
            {
                "feedback": file_digest(self.path),
                "base": preset_digest(self.preset),
                "files": fingerprint(sources),
            },
            lambda: self._write_records(sources),
        )

    def _check_first(self) -> None:
        from keras_llm.models.loading import load_causal_lm
        from keras_llm.tokenizers.chat_templates import chat_template

        model, recipe = load_causal_lm(self.preset), self.recipe
        tokenizer = model.preprocessor.tokenizer
        template = chat_template(tokenizer, recipe.data.template)
        check_conversations(model, recipe, template)

    def _general(self, given) -> list[str]:
        """Sources of general conversations."""
        if given:
            return as_sources(given)
        for name in ("data", "records/general"):
            folder = Path(self.preset) / name
            if (folder / "train").is_dir():
                return [str(folder / "*" / "conversations.jsonl")]
        raise InputError(
            f"{self.preset} must be a run of `tune instructions`, whose "
            "conversations it should not forget. Pass others with --general."
        )

    def _write_records(self, sources: list[str]) -> dict[str, Any]:
        from keras_llm.datasets.shapes import ANSWERS
        from keras_llm.tuning.data import conversations_of, write_conversations
        from keras_llm.tuning.improvement import replayed

        general = conversations_of(sources, self.recipe.data, ANSWERS)
        held_out = general.get("validation") or general.get("test")
        if not held_out or "train" not in general:
            raise InputError(
                "Of the general conversations some must be for training and "
                f"some for validation. Received: {', '.join(general)} only. "
                "Pass more with --general."
            )
        held_out = held_out[:MOST_HELD_OUT]
        # A correction is learned again beside other conversations: a few of
        # them, learned as often, would be all that the model remembers.
        learned = [*map(_answered, self.learned)] * self.repeats
        replay = replayed(
            general["train"],
            len(learned),
            self.recipe.replay.share,
            self.recipe.seed,
        )
        splits = {
            "train": [*learned, *replay],
            "validation": held_out,
            "test": [*map(_answered, self.held)],
        }
        with written_beside(self.records) as folder:
            for name, conversations in splits.items():
                if conversations:
                    write_conversations(folder / f"{name}.jsonl", conversations)
            for name in ("train", "validation"):
                inner = folder / "general" / name
                inner.mkdir(parents=True)
                rows = held_out if name == "validation" else general[name]
                write_conversations(inner / "conversations.jsonl", rows)
            pairs = [
                {
                    "prompt": e.messages(),
                    "chosen": e.chosen,
                    "rejected": e.rejected,
                }
                for e in self.learned
                # No answer at all is nothing to learn a preference from.
                if e.chosen is not None and e.rejected.strip()
            ]
            if pairs:
                (folder / "pairs").mkdir()
                write_json_lines(folder / "pairs" / "train.jsonl", pairs)
        return {
            "learned": len(self.learned),
            "held_back": len(self.held),
            "replayed": len(replay),
            "pairs": len(pairs),
            "not_used": len(self.feedback.events) - len(self.corrections),
            "damaged_lines": [
                f"line {number}: {reason}"
                for number, reason in self.feedback.damaged.items()
            ],
        }

    def tune(self) -> None:
        """Corrections as answers, then as preferences where there are any."""
        given = replace(self.recipe.data, shape="messages", split="given")
        once = self.recipe.training
        if once.epochs is not None:
            once = replace(once, epochs=1.0)
        recipe = replace(self.recipe, data=given, training=once)
        out, console = self.run.out, self.run.console
        files = [str(self.records / "*.jsonl")]
        tune_instructions(
            self.preset, files, out / "instructions", recipe, None, console
        )
        self.tuned = out / "instructions"
        pairs = self.records / "pairs" / "train.jsonl"
        if not pairs.is_file():
            return
        training = replace(
            once,
            learning_rate=recipe.training.learning_rate / 10,
            warmup_steps=0,
        )
        data = replace(given, shape="prompt_chosen_rejected")
        tune_preferences(
            self.tuned,
            [str(pairs.with_name("*.jsonl"))],
            out / "preferences",
            replace(recipe, data=data, training=training),
            None,
            console,
        )
        self.tuned = out / "preferences"

    def judge(self, max_loss_rise: float) -> dict[str, Any]:
        """The model as it was and as it is, side by side."""
        from keras_llm.models.loading import preset_digest

        return self.run.stage(
            "judge",
            {
                "max_loss_rise": max_loss_rise,
                "generation": to_dict(self.recipe.generation),
            },
            {
                "records": self.run.digest("records"),
                "tune": preset_digest(self.tuned),
            },
            lambda: self._judge(max_loss_rise),
        )

    def _judge(self, max_loss_rise: float) -> dict[str, Any]:
        from keras_llm.models.loading import load_causal_lm
        from keras_llm.tokenizers.chat_templates import chat_template
        from keras_llm.tuning.improvement import judge, objections

        def judged(preset):
            # Its model is let go of before the next is loaded.
            model = load_causal_lm(preset)
            tokenizer = model.preprocessor.tokenizer
            return judge(
                model,
                chat_template(tokenizer, self.recipe.data.template),
                self.data,
                self.corrections,
                self.recipe.generation,
                self.recipe.training.batch_size,
            )

        before, after = judged(self.preset), judged(self.tuned)
        against = objections(before, after, max_loss_rise)
        preset = self.run.out / "preset"
        shutil.rmtree(preset, ignore_errors=True)
        with written_beside(preset) as folder:
            shutil.copytree(self.tuned / "preset", folder, dirs_exist_ok=True)
        return {
            "improved": not against,
            "objections": against,
            "before": asdict(before),
            "after": asdict(after),
        }

    def export(
        self, report: dict[str, Any], export: Path | None, system: str | None
    ) -> dict[str, Any]:
        """The next version, if it is better; and the page."""
        from keras_llm.tuning.improvement import PAGE, Judgement, write_page

        exported = None
        if report["improved"] and export is not None:
            found = self.run.stage(
                "export",
                {"export": str(export), "system": system},
                {"judge": self.run.digest("judge")},
                lambda: self._export(export, system),
            )
            exported = found["saved_model"]
        page = self.run.out / PAGE
        result = {
            "improved": report["improved"],
            "objections": report["objections"],
            "exported": exported,
        }
        before, after = (
            Judgement(**report[name]) for name in ("before", "after")
        )
        write_page(page, self.corrections, self.held, before, after, result)
        return {
            **self.run.records["records"]["report"],
            **result,
            "answered_as_corrected": {
                "before": sum(before.right),
                "after": sum(after.right),
                "of": len(after.right),
            },
            "general_loss": {
                "before": before.general_loss,
                "after": after.general_loss,
            },
            "preset": str(self.run.out / "preset"),
            "report": str(page),
        }

    def _export(self, export: Path, system: str | None) -> dict[str, Any]:
        from keras_llm.export import to_saved_model
        from keras_llm.models.loading import load_causal_lm

        model = load_causal_lm(self.run.out / "preset")
        path = to_saved_model(
            model,
            export,
            self.recipe.generation,
            self.recipe.seed,
            source=self.run.out,
            template=self.recipe.data.template,
            system=system,
        )
        return {"saved_model": str(path)}


def _answered(event) -> list[dict[str, str]]:
    answer = {"role": "assistant", "content": event.good_answer}
    return [*event.messages(), answer]
