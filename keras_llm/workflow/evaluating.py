"""What a model makes of text that was held out, and the report of it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_llm.errors import InputError
from keras_llm.files import write_json_lines, write_text
from keras_llm.recipes.checks import check


def evaluate_preset(
    preset: Path,
    tokens: Path,
    splits: list[str],
    console: Console,
    batch_size: int | None = None,
    stride: int | None = None,
    stateful: bool = False,
) -> dict[str, Any]:
    """What a decoder or an encoder makes of whole splits.

    Args:
        preset: A preset, or the run that has one.
        tokens: Folder of token shards.
        splits: Names of splits.
        console: Where progress is shown.
        batch_size: Rows a batch.
        stride: See `EvaluationWindows`.
        stateful: Whether a recurrent state is carried from window to window;
            see `EvaluationStreams`.

    Returns:
        Loss, perplexity, bits per byte and accuracy of each split, of a
        decoder; see `MaskedEvaluation` of an encoder.

    Raises:
        InputError: Tokens of another tokenizer, or an option that this model
            does not take.
    """
    from keras_llm.models.loading import MaskedLM, load_language_model

    valid = batch_size is None or batch_size >= 1
    check(valid, "batch_size", "at least 1", batch_size)
    model = load_language_model(preset)
    check_tokenizer(tokens, model.preprocessor.tokenizer, str(preset))
    if isinstance(model, MaskedLM):
        name, given = ("stateful", True) if stateful else ("stride", stride)
        check(given is None, name, "left out for an encoder", given)
        evaluate = _of_encoder(model, tokens)
    elif stateful:
        evaluate = _of_streams(model, tokens)
    else:
        evaluate = _of_decoder(model, tokens, stride)
    report = {}
    for split in splits:
        with console.status(f"evaluating {split}"):
            report[split] = evaluate(split, batch_size).to_dict()
    return report


def _of_encoder(model, tokens: Path) -> Callable:
    from keras_llm.evaluation.masked_words import MaskedEvaluator

    return MaskedEvaluator(model, tokens).evaluate


def _of_decoder(model, tokens: Path, stride: int | None) -> Callable:
    from keras_llm.datasets import EvaluationWindows, open_tokens
    from keras_llm.evaluation import Evaluator
    from keras_llm.models.loading import context_length

    length, evaluator = context_length(model), Evaluator(model)

    def evaluate(split, batch_size):
        held = open_tokens(tokens, split)
        # More rows would only be filled up.
        most = len(EvaluationWindows(held, length, 1, stride))
        rows = batch_size and min(batch_size, most)
        windows = EvaluationWindows(held, length, rows, stride)
        return evaluator.evaluate(windows)

    return evaluate


def _of_streams(model, tokens: Path) -> Callable:
    from keras_llm.datasets import EvaluationStreams, open_tokens
    from keras_llm.evaluation.loss import StatefulEvaluator
    from keras_llm.models.loading import context_length

    length, evaluator = context_length(model), StatefulEvaluator(model)

    def evaluate(split, batch_size):
        held = open_tokens(tokens, split)
        return evaluator.evaluate(EvaluationStreams(held, length, batch_size))

    return evaluate


def held_out_splits(tokens: Path) -> list[str]:
    """The splits that were not trained on."""
    from keras_llm.datasets import TokenManifest

    splits = TokenManifest.load(tokens).splits
    return [name for name in splits if name != "train"]


def evaluate_run(out: Path, stateful: bool, console: Console) -> dict:
    """Evaluates the preset of a run on what was held out; writes a report."""
    tokens = out / "tokens"
    report = evaluate_preset(
        out / "preset",
        tokens,
        held_out_splits(tokens),
        console,
        stateful=stateful,
    )
    save_evaluation(out, report)
    return report


def save_evaluation(
    out: Path, report: dict[str, Any], answers: Sequence[dict] = ()
) -> None:
    """Writes `evaluation/report.json` of a run, and what was answered."""
    folder = out / "evaluation"
    folder.mkdir(exist_ok=True)
    if answers:
        write_json_lines(folder / "answers.jsonl", answers)
    write_text(folder / "report.json", json.dumps(report, indent=1))


def check_tokenizer(tokens: Path, tokenizer: Any, name: str) -> None:
    """Raises `InputError` if tokens are those of another tokenizer."""
    from keras_llm.datasets import TokenManifest
    from keras_llm.tokenizers.stock import tokenizer_digest

    received = tokenizer_digest(tokenizer)
    expected = TokenManifest.load(tokens).tokenizer_sha256
    if received != expected:
        raise InputError(
            f"{tokens} was encoded with another tokenizer than that of {name}: "
            f"expected sha256 {expected[:12]}…. Received: {received[:12]}…. "
            "Encode the text again with `keras-llm encode`."
        )
