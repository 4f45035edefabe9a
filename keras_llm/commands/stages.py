"""From raw text to a preset: all stages, or each alone."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console

from keras_llm.commands.command import ASKED, CLEANING, OUT, SOURCE, Command
from keras_llm.commands.showing import show
from keras_llm.run_folder import PRETRAINING


def train(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the metrics, a sample, and what to do next."""
    from keras_llm import workflow

    result = workflow.train(
        values.source,
        values.recipe,
        values.out,
        values.redo,
        console,
        values.execution,
    )
    show(result, values)
    if not values.json:
        samples = Path(result["samples"])
        if samples.exists():
            last = samples.read_text(encoding="utf-8").rstrip()
            print(last[last.rfind("=== step") :])
        ask = ASKED["generate" if values.recipe.model.causal else "fill"]
        print(
            f"\nNext: keras-llm {ask.format(values.out)}\n"
            f"      keras-llm inspect {values.out}\n"
            f"      keras-llm export {values.out} saved_models/NAME"
        )
    return result


def prepare(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows what each rule did, what looks wrong, and what came out."""
    from keras_llm.corpus.report.corpus_report import load_report
    from keras_llm.corpus.report.table import funnel_table
    from keras_llm.workflow import prepare_corpus

    result = prepare_corpus(
        values.source, values.out, values.recipe, console, values.execution
    )
    if not values.json:
        report = load_report(values.out)
        Console().print(funnel_table(report))
        print(f"{report.files}\n")
        for warning in report.warnings:
            print(f"! {warning}")
        show({"splits": result["splits"]}, values)
        print(f"\nThe whole report: {values.out / 'report.html'}")
    return result


def tokenizer(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the report of the tokenizer."""
    from keras_llm.workflow import make_tokenizer

    result = make_tokenizer(values.corpus, values.out, values.recipe, console)
    return show(result, values)


def encode(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the manifest of the tokens."""
    from keras_llm.workflow import encode_corpus

    result = encode_corpus(
        values.corpus, values.tokenizer, values.out, console, values.execution
    )
    return show(result, values)


def pretrain(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows how the training ended."""
    from keras_llm.workflow import pretrain_run

    result = pretrain_run(
        values.tokens,
        values.tokenizer,
        values.out,
        values.recipe,
        values.redo,
        console,
    )
    return show(result, values)


COMMANDS = {
    "train": Command(
        train,
        "All stages, from raw text to an evaluated preset.",
        [("source", list[str], SOURCE)],
        {
            **OUT,
            **CLEANING,
            "--redo": {
                "choices": PRETRAINING,
                "help": "A stage to do again; those after it follow "
                "where it comes out differently.",
            },
        },
        ["corpus", "tokenizer", "model", "training", "generation"],
        has_tasks=True,
    ),
    "prepare": Command(
        prepare,
        "Raw text to clean, split documents, with a report.",
        [("source", list[str], SOURCE + " - is standard input.")],
        {**OUT, **CLEANING},
        ["corpus"],
        needs_keras=False,
        has_tasks=True,
    ),
    "tokenizer": Command(
        tokenizer,
        "Documents to a SentencePiece tokenizer.",
        [("corpus", Path, "Folder that `prepare` wrote.")],
        OUT,
        ["tokenizer"],
    ),
    "encode": Command(
        encode,
        "Documents to token shards.",
        [
            ("corpus", Path, "Folder that `prepare` wrote."),
            ("tokenizer", Path, "Folder that `tokenizer` wrote, or a .model."),
        ],
        OUT,
        has_tasks=True,
    ),
    "pretrain": Command(
        pretrain,
        "Token shards to a trained preset.",
        [
            ("tokens", Path, "Folder that `encode` wrote."),
            ("tokenizer", Path, "The tokenizer it was encoded with."),
        ],
        {
            **OUT,
            "--redo": {
                "choices": ["pretrain"],
                "help": "Train again from the beginning.",
            },
        },
        ["model", "training", "generation"],
    ),
}
