"""What a recipe bears on some tokens: learning rates, and batch sizes."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError
from keras_llm.experiments.batch_sizes import (
    BatchSize,
    suggested,
    try_batch_sizes,
)
from keras_llm.experiments.rates import RateRange, rate_range
from keras_llm.files import write_text, written_beside
from keras_llm.pictures import picture
from keras_llm.recipes.settings import Recipe
from keras_llm.run_folder import RECORDS

REPORT, PICTURE = "report.json", "probe.png"
MEGABYTE = 2**20


def run_of(tokens: Path, tokenizer: Path, recipe: Recipe):
    """The training that a recipe describes, with a new model."""
    from keras_llm.models import build_model
    from keras_llm.tokenizers import ScratchTokenizer
    from keras_llm.training.pretrain import pretraining_run

    loaded = ScratchTokenizer.from_file(tokenizer)
    dtype = recipe.training.dtype
    model = build_model(recipe.model, loaded, dtype, recipe.seed)
    return pretraining_run(
        model, tokens, recipe.training, recipe.generation, recipe.seed
    )


def probe(
    run: Path,
    recipe: Recipe,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    largest: int = 64,
) -> dict[str, Any]:
    """Tests learning rates, then batch sizes.

    Args:
        run: A run, or a folder with its `tokens/` and `tokenizer/`.
        recipe: Model and training.
        low: Learning rate of the first step of the range test.
        high: That of the last.
        steps: Of the range test; 0 leaves it out.
        largest: Greatest batch size; 0 leaves them out.

    Returns:
        `rates` (a `RateRange` as a dictionary), `batch_sizes` (those of
        `BatchSize`) and `batch_size` (the suggested one).

    Raises:
        InputError: There are no tokens, or they cannot be trained on.
    """
    tokens, tokenizer = _folders(run)
    result: dict[str, Any] = {}
    if steps:
        training = run_of(tokens, tokenizer, recipe)
        found = rate_range(training, recipe.training, low, high, steps)
        result["rates"] = found.to_dict()
    if largest:
        sizes = try_batch_sizes(tokens, tokenizer, recipe, largest)
        result["batch_sizes"] = [asdict(size) for size in sizes]
        result["batch_size"] = suggested(sizes)
    return result


def save_probe(result: dict[str, Any], out: Path) -> None:
    """Writes `report.json` and one picture, `probe.png`, into a new folder."""
    with written_beside(out) as folder:
        write_text(folder / REPORT, json.dumps(result, indent=1))
        _draw(result, folder / PICTURE)


def _folders(run: Path) -> tuple[Path, Path]:
    from keras_llm.datasets.tokens import MANIFEST_NAME

    tokens, tokenizer = run / "tokens", run / "tokenizer"
    if (tokens / MANIFEST_NAME).is_file() and tokenizer.is_dir():
        return tokens, tokenizer
    what = "a tuned model" if (run / RECORDS).is_file() else "no run"
    raise InputError(
        f"{run} must be a run of `keras-llm train`, or a folder with tokens/ "
        "and tokenizer/, as `encode` and `tokenizer` make them. Received: "
        + what
    )


def _draw(result: dict[str, Any], out: Path) -> None:
    drawings = []
    if "rates" in result:
        rates = RateRange(**result["rates"])
        drawings.append(lambda axes: _draw_rates(axes, rates))
    if "batch_sizes" in result:
        sizes = [BatchSize(**size) for size in result["batch_sizes"]]
        drawings.append(lambda axes: _draw_sizes(axes, sizes))
    with picture(out, 8, 0.4 + 3.4 * len(drawings)) as figure:
        all_axes = figure.subplots(len(drawings), 1, squeeze=False)[:, 0]
        for axes, draw in zip(all_axes, drawings, strict=True):
            draw(axes)
            axes.grid(alpha=0.3)


def _draw_rates(axes: Any, found: RateRange) -> None:
    axes.semilogx(found.rates, found.losses, color="#9bb7d4", linewidth=1)
    axes.semilogx(found.rates, found.smoothed, color="#2c6e91")
    marks = {
        "suggested": (found.suggested, "#2f7d4f"),
        "lowest loss": (found.lowest, "#777777"),
        "diverges": (found.diverges, "#a12a14"),
    }
    for name, (rate, color) in marks.items():
        if rate is not None:
            label = f"{name} {rate:.2g}"
            axes.axvline(rate, color=color, linestyle="--", label=label)
    axes.set_xlabel("learning rate, growing from step to step")
    axes.set_ylabel("loss of the batch")
    axes.legend(frameon=False, fontsize=9)


def _draw_sizes(axes: Any, sizes: Sequence[BatchSize]) -> None:
    fitting = [size for size in sizes if size.trouble is None]
    bars = axes.bar(
        [str(size.batch_size) for size in fitting],
        [size.tokens_per_second for size in fitting],
        color="#2c6e91",
    )
    labels = [
        f"{size.memory / MEGABYTE:,.0f} MB" if size.memory else ""
        for size in fitting
    ]
    axes.bar_label(bars, labels, padding=3, fontsize=8)
    for size in sizes:
        if size.trouble is not None:
            axes.bar([str(size.batch_size)], [0])
            axes.annotate(
                "does not fit",
                (str(size.batch_size), 0),
                color="#a12a14",
                rotation=90,
                ha="center",
                fontsize=9,
            )
    axes.set_xlabel("windows a batch")
    axes.set_ylabel("tokens a second")
