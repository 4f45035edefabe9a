"""The comparison of a model with its twin: rows, each with a verdict."""

import datetime
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from keras_llm.pytorch.agreement import (
    Difference,
    Training,
    compare_gradients,
    compare_outputs,
    compare_training,
)
from keras_llm.pytorch.large_weights import draw_large_weights
from keras_llm.pytorch.sides import SIDES, Measurement, measure_sides
from keras_llm.pytorch.subject import Subject
from keras_llm.pytorch.weights import config_of, make_twin

# What a row may be at most. Outputs, gradients and parameters are relative:
# the norm of the difference over the norm of PyTorch's. Losses are in nats.
TOLERANCES = {
    "outputs": 1e-5,
    "loss": 1e-5,
    "gradients": 1e-4,
    "training": 1e-3,
    "parameters": 1e-3,
}
LEAST_SHARE = 1e-3  # see `compare_gradients`
ONLY_ROUNDING = 1e-6  # share of all gradients, below which Adam scales noise
HOLDS, FAILS, MEASURED, NOT_HERE = "holds", "fails", "measured", "not here"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One thing that was compared or measured.

    Args:
        section: `"outputs"`, `"loss"`, `"gradients"`, `"training"`,
            `"parameters"`, `"speed"` or `"memory"`.
        name: What it is of.
        value: What is judged, or was measured; `None` if it cannot be.
        unit: Of the value.
        tolerance: The greatest value that holds; `None` if not judged.
        verdict: `"holds"`, `"fails"`, `"measured"` or `"not here"`.
        details: Further numbers, by name.
        note: What else there is to say.
    """

    section: str
    name: str
    value: float | None
    unit: str
    tolerance: float | None
    verdict: str
    details: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Certificate:
    """All rows, and what they are about.

    Args:
        subject: Name, weights, text and sizes.
        environment: Versions, processor and load.
        config: Arguments of `ScratchBackbone`.
        training: Settings of each training, by optimizer.
        rows: In the order of the report.
        curves: Losses of both sides, by optimizer.
    """

    subject: dict[str, Any]
    environment: dict[str, Any]
    config: dict[str, Any]
    training: dict[str, dict[str, Any]]
    rows: list[Row]
    curves: dict[str, dict[str, list[float]]]

    @property
    def holds(self) -> bool:
        """Whether no row fails."""
        return not any(row.verdict == FAILS for row in self.rows)

    def section(self, name: str) -> list[Row]:
        """The rows of a section."""
        return [row for row in self.rows if row.section == name]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {"holds": self.holds, **asdict(self)}


def certify(
    subject: Subject,
    rounds: int = 5,
    seconds: float = 2.0,
    sides: Sequence[str] = tuple(SIDES),
    say: Say = lambda line: None,
) -> Certificate:
    """Compares a model with its twin, and measures both.

    Args:
        subject: What is compared.
        rounds: Rounds of each measurement of speed; 0 leaves speed and memory
            out. They are not measured of an encoder.
        seconds: Of a round, at least.
        sides: Keys of `SIDES`.
        say: Told what is being done.
    """
    model, (*batches, last) = subject.model, subject.batches
    environment = _environment()
    settings = {name: subject.training(name) for name in ("adamw", "sgd")}
    twin, trainings = make_twin(model), {}
    for name in settings:
        say(f"training both sides with {name}")
        trainings[name] = compare_training(model, twin, settings[name], batches)
    if not subject.is_trained:
        draw_large_weights(model)
        twin = make_twin(model)
    say("comparing outputs and gradients")
    outputs = compare_outputs(model, twin, last[0])
    losses, gradients = compare_gradients(model, twin, last, LEAST_SHARE)
    rows = [
        *_output_rows(outputs),
        _loss_row(losses),
        *_gradient_rows(gradients),
        *_training_rows(trainings),
        *_parameter_rows(trainings, gradients),
    ]
    shape = last[0].shape
    # What is measured is a decoder's: training and continuing texts.
    if rounds and model.backbone.causal:
        found = measure_sides(
            config_of(model), *shape, rounds, seconds, sides, say
        )
        rows += _measured_rows(found)
    return Certificate(
        _described(subject, shape),
        environment,
        config_of(model),
        {name: asdict(settings[name]) for name in settings},
        rows,
        {
            name: {"keras": training.ours, "pytorch": training.theirs}
            for name, training in trainings.items()
        },
    )


def _judged(section, name, value, unit, details, note="") -> Row:
    tolerance = TOLERANCES[section]
    # Not `value > tolerance`: what is no number does not hold.
    verdict = HOLDS if value <= tolerance else FAILS
    return Row(section, name, value, unit, tolerance, verdict, details, note)


def _apart(section, name, found: Difference, note="") -> Row:
    return _judged(
        section, name, found.relative, "relative", asdict(found), note
    )


def _output_rows(outputs: dict[str, Difference]) -> list[Row]:
    return [_apart("outputs", name, each) for name, each in outputs.items()]


def _loss_row(losses: tuple[float, float]) -> Row:
    ours, theirs = losses
    details = {"keras": ours, "pytorch": theirs}
    return _judged("loss", "loss", abs(ours - theirs), "nats", details)


def _gradient_rows(gradients: dict[str, Difference]) -> list[Row]:
    return [_apart("gradients", name, each) for name, each in gradients.items()]


def _training_rows(trainings: dict[str, Training]) -> list[Row]:
    rows = []
    for name, each in trainings.items():
        apart = [
            abs(a - b) for a, b in zip(each.ours, each.theirs, strict=True)
        ]
        details = {
            "keras": each.ours[-1],
            "pytorch": each.theirs[-1],
            "first": each.ours[0],
            "greatest": max(apart),
        }
        steps = f"loss after {len(apart)} steps of {name}"
        rows.append(_judged("training", steps, apart[-1], "nats", details))
    return rows


def _parameter_rows(
    trainings: dict[str, Training], gradients: dict[str, Difference]
) -> list[Row]:
    whole = sum(each.norm**2 for each in gradients.values()) ** 0.5
    rows = []
    for optimizer, training in trainings.items():
        together = training.all_parameters
        rows.append(_apart("parameters", f"all, {optimizer}", together))
        for name, found in training.parameters.items():
            row = _apart("parameters", f"{name}, {optimizer}", found)
            if gradients[name].norm < ONLY_ROUNDING * whole:
                row = Row(
                    "parameters",
                    row.name,
                    row.value,
                    row.unit,
                    None,
                    MEASURED,
                    row.details,
                    "its gradient is rounding errors only, which no output "
                    "depends on",
                )
            rows.append(row)
    return rows


def _measured_rows(found: list[Measurement]) -> list[Row]:
    # Each is measured beside the first side.
    beside_eager = found[0].side == "torch"
    return [
        _measured(section, each, beside_eager)
        for section in ("speed", "memory")
        for each in found
    ]


def _measured(section: str, each: Measurement, beside_eager: bool) -> Row:
    unit = "tokens per second" if section == "speed" else "bytes"
    names = section, f"{each.task}, {SIDES[each.side][0]}"
    details = {"side": each.side, "task": each.task}
    if each.unavailable:
        note = each.unavailable
        return Row(*names, None, unit, None, NOT_HERE, details, note)
    if each.error:
        return Row(*names, None, unit, None, FAILS, details, each.error)
    if section == "memory":
        details["libraries"] = each.library_bytes
        return Row(*names, each.peak_bytes, unit, None, MEASURED, details)
    value = median(each.tokens_per_second)
    details["rounds"] = list(each.tokens_per_second)
    if each.times_first and beside_eager:
        details["times_eager"] = median(each.times_first)
    return Row(*names, value, unit, None, MEASURED, details)


def _described(subject: Subject, shape: tuple[int, int]) -> dict[str, Any]:
    return {
        "name": subject.name,
        "weights": (
            "weights of the preset"
            if subject.is_trained
            else "new weights, large ones for outputs and gradients"
        ),
        "parameters": int(subject.model.count_params()),
        "text": subject.text,
        "batch_size": shape[0],
        "sequence_length": shape[1],
        "steps": len(subject.batches) - 1,
    }


def _environment() -> dict[str, Any]:
    import keras

    packages = ("keras", "keras-llm", "tensorflow", "jax", "torch")
    return {
        "date": datetime.date.today().isoformat(),
        "backend": keras.config.backend(),
        "versions": {name: _version(name) for name in packages},
        "python": platform.python_version(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_at_first": _load(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The name of this machine's processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _load() -> float | None:
    """Processes that wanted a core in the last minute; `None` on Windows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
