"""What a sweep has asked, and what its trials came to: an Optuna study.

Knows nothing of processes. The study is in SQLite: a writer that is killed
leaves it whole, and the next is not kept waiting. (Of Optuna's journal, tried
the same way, a killed writer left a lock for 30 seconds, and half a line that
no later trial could be added after.)
"""

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError
from keras_llm.experiments.space import AnyRecipe, Axis, own_value
from keras_llm.recipes.loading import with_values
from keras_llm.recipes.settings import Recipe, to_dict
from keras_llm.run_folder import flat

STORAGE, NAME, ASKED = "study.db", "sweep", "asked"
FIRST_AT_RANDOM = 8  # trials before those found are learned from
FIRST_UNPRUNED = 5
SHARE_UNPRUNED = 0.3  # of a trial's steps
MESSAGES = {
    "files": "the text or data has changed",
    "preset": "the model that is tuned has changed",
    "over": "--over was {}, now {}",
}


def require_optuna() -> None:
    """Raises `InputError` if it is not installed."""
    if not all(map(find_spec, ("optuna", "sklearn"))):
        raise InputError('A sweep needs Optuna: pip install "keras-llm[sweep]"')


@dataclass(frozen=True)
class Asked:
    """What decides the trials of a sweep, but for their number.

    Args:
        kind: Of its runs.
        recipe: As nested values; that of the first trial.
        over: The axes, as values.
        files: A hash of text or data.
        preset: A hash of what is tuned; empty if nothing is.
    """

    kind: str
    recipe: dict[str, Any]
    over: list[dict[str, Any]]
    files: str
    preset: str


class Study:
    """The trials of a sweep, in a folder.

    Args:
        out: The folder; must exist.
        asked: What decides them.
        recipe: That of the first trial.
        axes: What is tried.

    Raises:
        InputError: The folder has another sweep, or a damaged one.
    """

    def __init__(
        self, out: Path, asked: Asked, recipe: AnyRecipe, axes: Sequence[Axis]
    ):
        self.recipe, self.axes = recipe, axes
        with _quiet():
            self._study = _open(out, asked)

    def unfinished(self) -> list[Any]:
        """The trials that were begun and have not ended."""
        import optuna

        return [
            optuna.trial.Trial(self._study, trial._trial_id)
            for trial in self._study.trials
            if not trial.state.is_finished() and trial.state.name != "WAITING"
        ]

    def __len__(self) -> int:
        """Trials that were begun."""
        return sum(t.state.name != "WAITING" for t in self._study.trials)

    def begin(self) -> Any:
        """A new trial; the first has the recipe's own settings."""
        from optuna.samplers import TPESampler

        number = len(self)
        with _quiet():
            if number == 0 and not self._study.trials:
                self._study.enqueue_trial(self._own())
            # What is tried is a function of the seed and of what was found,
            # and so the same after a kill.
            text = json.dumps([self.recipe.seed, number])
            digest = hashlib.sha256(text.encode()).digest()
            self._study.sampler = TPESampler(
                n_startup_trials=FIRST_AT_RANDOM,
                seed=int.from_bytes(digest[:4], "little"),
            )
            trial = self._study.ask()
            self.values(trial)
            return trial

    def values(self, trial: Any) -> dict[str, Any]:
        """What a trial tries, by dotted name."""
        with _quiet():
            if trial.number:
                return {axis.name: axis.draw(trial) for axis in self.axes}
            own = self._own()
            for axis in self.axes:
                if axis.name in own:
                    axis.draw(trial)
        return {
            axis.name: own_value(self.recipe, axis.name) for axis in self.axes
        }

    def recipe_of(self, trial: Any) -> AnyRecipe:
        """The recipe of a trial.

        Raises:
            InputError: Its values cannot be together.
        """
        values = self.values(trial)
        if not trial.number:
            return self.recipe
        return with_values(self.recipe, values, f"trial {trial.number}")

    def report(self, trial: Any, step: int, loss: float) -> bool:
        """Notes a validation; returns whether the trial should end."""
        with _quiet():
            trial.report(loss, step)
            return trial.should_prune()

    def end(
        self, trial: Any, loss: float | None, error: str | None = None
    ) -> None:
        """Notes how a trial ended; without a loss, it was cut short.

        One that failed is taken for one that is not worth more: its settings
        are not tried again.
        """
        from optuna.trial import TrialState

        with _quiet():
            if error is not None:
                trial.set_user_attr("error", error)
            if loss is None:
                self._study.tell(trial, state=TrialState.PRUNED)
            else:
                self._study.tell(trial, loss)

    def rows(self) -> list[dict[str, Any]]:
        """The trials in order: number, state, loss, values, error."""
        own = {a.name: own_value(self.recipe, a.name) for a in self.axes}
        rows = []
        for trial in self._study.trials:
            values = own if trial.number == 0 else trial.params
            error = trial.user_attrs.get("error")
            state = "failed" if error else trial.state.name.lower()
            row = {"trial": trial.number, "state": state, "error": error}
            row["values"] = {a.name: values.get(a.name) for a in self.axes}
            row["loss"] = trial.value if state == "complete" else None
            rows.append(row)
        return rows

    def importance(self) -> dict[str, float]:
        """Share of the losses' variance that each field explains (fANOVA).

        Hutter et al. 2014, https://proceedings.mlr.press/v32/hutter14.html.
        Empty if there are too few trials to say, or all came to the same.
        """
        import optuna

        names = [axis.name for axis in self.axes]
        usable = [
            trial.value
            for trial in self._study.trials
            if trial.state.name == "COMPLETE" and {*names} <= {*trial.params}
        ]
        if len(usable) < 4 or len({*usable}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(
            seed=self.recipe.seed
        )
        with _quiet():
            return optuna.importance.get_param_importances(
                self._study, evaluator=evaluator, params=names
            )

    def _own(self) -> dict[str, Any]:
        """The recipe's own values, as far as they are among those tried."""
        own = {a: own_value(self.recipe, a.name) for a in self.axes}
        return {a.name: value for a, value in own.items() if a.contains(value)}


def asked_of(
    kind: str,
    recipe: AnyRecipe,
    axes: Sequence[Axis],
    sources: Sequence[str],
    preset: str | None,
) -> Asked:
    """What decides the trials; reads all of the text or data."""
    from keras_llm.corpus.sources import fingerprint

    digest = ""
    if preset is not None:
        from keras_llm.models.loading import check_preset, preset_digest

        check_preset(preset)
        digest = preset_digest(preset)
    over = [asdict(axis) for axis in axes]
    include = recipe.corpus.include if isinstance(recipe, Recipe) else []
    files = fingerprint(sources, include=include)
    return Asked(kind, to_dict(recipe), over, files, digest)


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, Optuna says nothing but what it raises."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(out: Path, asked: Asked):
    import optuna
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import SQLAlchemyError

    path = out / STORAGE
    steps = asked.recipe["training"]["steps"]
    is_counted = asked.recipe["training"]["epochs"] is None
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=FIRST_UNPRUNED,
        n_warmup_steps=round(SHARE_UNPRUNED * steps) if is_counted else 0,
    )
    try:
        url = URL.create("sqlite", database=str(path.absolute()))
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(url.render_as_string(False)),
            study_name=NAME,
            pruner=pruner,
            load_if_exists=True,
        )
        known = study.user_attrs.get(ASKED)
        if known is None and not study.trials:
            study.set_user_attr(ASKED, asdict(asked))
            return study
    except (SQLAlchemyError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} must be the study of a sweep: {reason}. Pass another "
            "--out."
        ) from error
    _check_same(out, known or {}, json.loads(json.dumps(asdict(asked))))
    return study


def _check_same(out: Path, known: dict, asked: dict) -> None:
    before, now = flat(known), flat(asked)
    for field in dict.fromkeys([*before, *now]):
        was, received = before.get(field), now.get(field)
        if was == received:
            continue
        if field == "over":
            was, received = (
                ", ".join(axis["name"] + _shown(axis) for axis in each or [])
                for each in (was, received)
            )
        if field in MESSAGES:
            what = MESSAGES[field].format(was, received)
        else:
            what = f"{field} was {was!r}, now {received!r}"
        raise InputError(
            f"{out} holds another sweep: {what}. Pass another --out."
        )


def _shown(axis: dict[str, Any]) -> str:
    if axis["choices"]:
        return "=" + ",".join(map(str, axis["choices"]))
    return f"={axis['low']}..{axis['high']}" + ":log" * axis["log"]
