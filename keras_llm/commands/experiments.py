"""The subcommands that find good settings: compare, sweep, probe."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_llm.commands.command import OUT, PRESET, SOURCE, Command
from keras_llm.errors import InputError
from keras_llm.files import check_free
from keras_llm.recipes.tuning_settings import TuningRecipe


def compare(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows runs as columns, and what of them cannot be compared."""
    from keras_llm.experiments.comparison import compare, save_comparison

    if values.out is not None:
        check_free(values.out)
    comparison = compare([Path(run) for run in values.run])
    if values.out is not None:
        save_comparison(comparison, values.out)
    if not values.json:
        _show_comparison(comparison)
        if values.out is not None:
            print(f"\nThe page: {values.out / 'report.html'}")
    return comparison.to_dict()


def _show_comparison(comparison) -> None:
    from keras_llm.experiments.comparison import shown

    table = Table("", *(escape(run.name) for run in comparison.runs))
    table.add_row("kind", *(run.kind for run in comparison.runs))
    for name, values in comparison.settings.items():
        table.add_row(name, *(escape(shown(value)) for value in values))
    table.add_section()
    for name, values in comparison.figures.items():
        cells = [shown(value) for value in values]
        if name in comparison.best:
            best = comparison.best[name]
            cells[best] = f"[bold]{cells[best]} ✓[/bold]"
        mark = " ≠" if name in comparison.not_comparable else ""
        table.add_row(name + mark, *cells)
    Console().print(table)
    for warning in comparison.warnings:
        print(f"! {warning}")
    if comparison.not_comparable:
        print("≠ not comparable")


def sweep(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the trials from the best to the worst, and what was gained."""
    from keras_llm.experiments import results
    from keras_llm.experiments.space import parse_space
    from keras_llm.experiments.study import require_optuna
    from keras_llm.experiments.sweep import (
        Sweep,
        continue_best,
        run_sweep,
        shortened,
    )

    require_optuna()
    recipe = shortened(values.recipe, values.steps)
    axes = parse_space(values.over, recipe)
    asked = Sweep(
        recipe, axes, values.source, values.out, _kind(values), values.preset
    )
    study = run_sweep(asked, values.trials, values.jobs, console)
    result = results.result_of(asked, study)
    results.save_result(result, axes, values.out)
    if not values.json:
        _show_trials(result, [axis.name for axis in axes])
        print(f"\nThe page: {values.out / results.PAGE}")
    if values.best is not None:
        result["run"] = continue_best(
            asked, study, values.recipe, values.best, console
        )
        if not values.json:
            print(f"The best, continued: {values.best}")
    return result


def _kind(values: Namespace) -> str:
    """What kind of runs a recipe makes."""
    if not isinstance(values.recipe, TuningRecipe):
        if values.kind is not None:
            raise InputError("--kind needs a recipe of tuning.")
        return "pretraining"
    from keras_llm.workflow import TUNINGS

    name = values.kind or values.recipe_name
    if name not in TUNINGS:
        raise InputError(
            f"--kind must be given for a recipe of your own: one of "
            f"{', '.join(TUNINGS)}. Received: {name!r}"
        )
    return name


def _show_trials(result: dict[str, Any], names: list[str]) -> None:
    from keras_llm.experiments.comparison import shown

    table = Table("trial", *names, "validation loss", "steps", "ended")
    for row in result["trials"]:
        ended = row["state"] + (" (the recipe's own)" * (not row["trial"]))
        cells = [row["values"][name] for name in names]
        loss = "–" if row["loss"] is None else f"{row['loss']:.4f}"
        cells = [escape(shown(cell)) for cell in cells]
        table.add_row(
            str(row["trial"]), *cells, loss, shown(row["steps"]), ended
        )
    Console().print(table)
    if not result["best"]["trial"]:
        print("No trial was better than the recipe's own settings.")
    elif result["gain"] is not None:
        print(
            f"The best is {result['gain']:.4f} below the recipe's own "
            f"settings: {result['best']['run']}"
        )
    for name, share in result["importance"].items():
        print(f"{share:>5.0%} of the differences: {name}")


def probe(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows which learning rates and batch sizes a recipe bears."""
    from keras_llm.experiments.probe import probe, save_probe

    if values.out is not None:
        check_free(values.out)
    with console.status("probing"):
        result = probe(
            values.run,
            values.recipe,
            values.low,
            values.high,
            values.steps,
            values.largest,
        )
    if values.out is not None:
        save_probe(result, values.out)
    if not values.json:
        _show_probe(result)
        if values.out is not None:
            print(f"\nThe picture: {values.out / 'probe.png'}")
    return result


def _show_probe(result: dict[str, Any]) -> None:
    if rates := result.get("rates"):
        diverges = rates["diverges"]
        print(
            f"Loss is lowest at a learning rate of {rates['lowest']:.2g}"
            + (f", and diverges at {diverges:.2g}" if diverges else "")
            + f". Begin with {rates['suggested']:.2g}."
        )
    if "batch_sizes" not in result:
        return
    table = Table("windows a batch", "tokens a second", "ms a step", "memory")
    for size in result["batch_sizes"]:
        name = str(size["batch_size"])
        if size["trouble"]:
            table.add_row(name, "–", "–", escape(size["trouble"]))
            continue
        memory = size["memory"]
        table.add_row(
            name,
            f"{size['tokens_per_second']:,.0f}",
            f"{1000 * size['seconds_per_step']:.1f}",
            f"{memory / 2**20:,.0f} MB" if memory else "–",
        )
    Console().print(table)
    print(f"The smallest that is nearly the fastest: {result['batch_size']}.")


PROBE_OPTIONS = {
    "--low": {
        "type": float,
        "default": 1e-6,
        "help": "Learning rate of the first step.",
    },
    "--high": {
        "type": float,
        "default": 10.0,
        "help": "Learning rate of the last.",
    },
    "--steps": {
        "type": int,
        "default": 100,
        "help": "Steps from the one to the other; 0 tests no rates.",
    },
    "--largest": {
        "type": int,
        "default": 64,
        "help": "Greatest batch size; 0 tests none.",
    },
    "--out": {
        "type": Path | None,
        "metavar": "DIR",
        "help": "Folder for a picture and the figures.",
    },
}
SWEEP_OPTIONS = {
    **OUT,
    "--over": {
        "nargs": "+",
        "required": True,
        "metavar": "NAME=…",
        "help": "Fields of the recipe and what is tried of each: "
        "training.learning_rate=1e-4..3e-3:log, model.num_layers=2..6, "
        "model.dropout=0,0.1,0.2.",
    },
    "--trials": {
        "type": int,
        "default": 20,
        "help": "How many there are in the end, the recipe's own first.",
    },
    "--jobs": {
        "type": int,
        "default": 1,
        "help": "Trials at once, each with its share of the cores.",
    },
    "--steps": {
        "type": int | None,
        "help": "Steps of a trial, instead of the recipe's; warm-up in "
        "proportion, and ten validations at least.",
    },
    "--best": {
        "type": Path | None,
        "metavar": "DIR",
        "help": "Then make a run of the whole recipe, with the best settings.",
    },
    "--preset": {"type": str | None, "help": "What is tuned: " + PRESET},
    "--kind": {
        "type": str | None,
        "help": "Kind of tuning, for a recipe of your own: what stands after "
        "`keras-llm tune`.",
    },
}


COMMANDS = {
    "compare": Command(
        compare,
        "Curves and figures of runs side by side.",
        [("run", list[str], "Runs, of training or tuning: two or more.")],
        {
            "--out": {
                "type": Path | None,
                "metavar": "DIR",
                "help": "Folder for a page, a picture and the figures.",
            },
        },
    ),
    "sweep": Command(
        sweep,
        "Tries values of a recipe's fields, and shows which are best.",
        [
            ("recipe_name", str, "A recipe's name, or a YAML file."),
            ("source", list[str], SOURCE + " Or records, for tuning."),
        ],
        SWEEP_OPTIONS,
        recipe_first=True,
    ),
    "probe": Command(
        probe,
        "Which learning rates diverge, which batch sizes fit, and how fast.",
        [
            (
                "run",
                Path,
                "A run, or a folder with the tokens/ and tokenizer/ of one.",
            )
        ],
        PROBE_OPTIONS,
        ["model", "training"],
    ),
}
