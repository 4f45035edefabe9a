"""What recipes learn, beside what the PyTorch tutorials teach.

Usage: python scripts/benchmark_quality.py [ROW …] [--seeds 3] [--steps N]
           [--out FILE.json] [--picture FILE.png] [--runs FOLDER]

Each row trains as `keras-llm train` does and is judged by a whole split that it
has not seen. Rows take turns, seed by seed, so that their times compare. The
peers are in scripts/peers.py.

With `--runs` the same command goes on with what an earlier one left, but peers,
which begin again.

`loss` is in nats per token. `word_perplexity` is `exp` of all nats over the
words and line ends of the published text, whatever the tokens are. Rows called
`block-…` are of 5 million weights each, within 4%, and see 614,400 tokens.
"""

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from peers import BATCH, LENGTH, TutorialRun, WordRun
from rich.console import Console
from text_tokens import make_tokens

from keras_llm import workflow
from keras_llm.corpus.documents import read_documents
from keras_llm.datasets import open_tokens
from keras_llm.models import load_preset
from keras_llm.pictures import picture
from keras_llm.recipes import load_recipe
from keras_llm.training.log import read_log

# As many tokens a batch, with the context of the tutorials.
SHORTER = {"model.max_sequence_length": LENGTH, "training.batch_size": BATCH}
ADAMW = {"training.optimizer": "adamw", "training.weight_decay": 0.1}
# Ten million weights see a million characters some six times.
LARGER = {
    "model.num_layers": 6,
    "model.num_heads": 6,
    "model.hidden_dim": 384,
    "model.dropout": 0.2,
    "training.dtype": "mixed_bfloat16",
    "training.jit_compile": None,
    "training.batch_size": 16,
    "training.steps": 1500,
    "training.weight_decay": 0.1,
}
# As many tokens a batch.
LONGER = {"model.max_sequence_length": 512, "training.batch_size": 8}
# As many weights as the LSTM has.
ATTENTION = {
    "model.block_types": "attention",
    "model.num_heads": 4,
    "model.intermediate_dim": 400,
    "model.max_sequence_length": 140,
    "model.position_embedding": "rotary",
    "training.stateful": False,
    "training.batch_size": 5,
}
# Block types, repeated to 6 layers (8 of the mixture), and the width with which
# they have 5 million weights.
BLOCKS = {
    "attention": (["attention"], 264),
    "rnn": (["rnn"], 288),
    "gru": (["gru"], 244),
    "lstm": (["lstm"], 228),
    "min_gru": (["min_gru"], 288),
    "gated_delta": (["gated_delta"], 252),
    "mlstm": (["mlstm"], 252),
    "hybrid": (["gated_delta"] * 3 + ["attention"], 224),
}
BLOCK_STEPS = {
    "model.max_sequence_length": 128,
    "training.batch_size": 16,
    "training.steps": 300,
    "training.validation_interval": 50,
}
SHAKESPEARE = ("tinyshakespeare", "validation", "loss")
WORDS = ("wikitext2", "test", "word_perplexity")
ROWS = {
    # name: recipe, its changes, text, split and metric
    "nano": ("nano", {}, *SHAKESPEARE),
    "nano-64": ("nano", SHORTER, *SHAKESPEARE),
    "mini": ("nano", LARGER, *SHAKESPEARE),
    "mini-512": ("nano", LARGER | LONGER, *SHAKESPEARE),
    "nano-64-adamw": ("nano", SHORTER | ADAMW, *SHAKESPEARE),
    "quickstart": ("quickstart", {}, "sotu", "test", "bits_per_byte"),
    "lstm-words": ("lstm-words", {}, *WORDS),
    "attention-words": ("lstm-words", ATTENTION, *WORDS),
    **{
        f"block-{name}": (
            "nano",
            {
                "model.block_types": types,
                "model.num_layers": 6 if len(types) == 1 else 8,
                "model.hidden_dim": width,
            }
            | BLOCK_STEPS,
            *SHAKESPEARE,
        )
        for name, (types, width) in BLOCKS.items()
    },
}
PEERS = {
    # name: what trains, the recipe whose tokens it takes, text, split, metric
    "pytorch": (TutorialRun, "nano", *SHAKESPEARE),
    "pytorch-words": (WordRun, "lstm-words", *WORDS),
}


def train_peer(name: str, steps: int | None, seed: int, folder: Path) -> dict:
    """What a peer learns, and in how many seconds of training."""
    make, recipe, source, split, metric = PEERS[name]
    folder = folder / f"tokens-{recipe}"
    if not (folder / "tokens").exists():
        shutil.rmtree(folder, ignore_errors=True)  # of what was stopped
        make_tokens(source, folder, load_recipe(recipe))
    train, validation, judged = (
        open_tokens(folder / "tokens", each)
        for each in ("train", "validation", split)
    )
    run = make(train, validation, steps, seed)
    started = time.perf_counter()
    run.train()
    seconds = time.perf_counter() - started
    nats, count = run.nats(judged)
    found = {"loss": nats / count, "num_tokens": count}
    return {
        "value": value_of(found, metric, folder, split),
        "seconds": seconds,
        "parameters": sum(p.numel() for p in run.model.parameters()),
    }


def train_row(name: str, steps: int | None, seed: int, folder: Path) -> dict:
    """What a recipe learns, and in how many seconds of training."""
    recipe, changes, source, split, metric = ROWS[name]
    changes = changes | {"seed": seed}
    if steps:
        changes |= {"training.steps": steps, "training.epochs": None}
    run = folder / f"{name}-{seed}"
    metrics = workflow.train(
        source,
        load_recipe(recipe, changes),
        run,
        console=Console(stderr=True),
    )
    log = read_log(run / "training" / "log.csv")
    return {
        "value": value_of(metrics[split], metric, run, split),
        "seconds": log[-1]["seconds"],
        "parameters": load_preset(run).count_params(),
        "curve": [
            (each["tokens"], each["val_loss"])
            for each in log
            if each["val_loss"] is not None
        ],
    }


def value_of(found: dict, metric: str, folder: Path, split: str) -> float:
    """A metric of an evaluation of the split of a corpus in a folder."""
    if metric != "word_perplexity":
        return found[metric]
    words = sum(
        len(document.text.split()) + document.text.count("\n") + 1
        for document in read_documents(folder / "corpus", split)
    )
    return math.exp(found["loss"] * found["num_tokens"] / words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of every row")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path, help="of validation losses")
    parser.add_argument("--runs", type=Path, help="where runs are kept")
    values = parser.parse_args()
    names = values.rows or [*PEERS, *ROWS]
    unknown = {*names} - {*PEERS, *ROWS}
    if unknown:
        parser.error(
            f"ROW must be of {', '.join([*PEERS, *ROWS])}. "
            f"Received: {', '.join(sorted(unknown))}"
        )
    found = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        folder = values.runs or Path(temporary)
        for seed in range(values.seeds):
            for name in names:
                train = train_peer if name in PEERS else train_row
                row = train(name, values.steps, seed, folder)
                shown = {key: row[key] for key in row if key != "curve"}
                print(f"{name}, seed {seed}: {shown}", file=sys.stderr)
                found[name].append(row)
    for name, rows in found.items():
        show(name, rows)
    if values.out:
        values.out.write_text(json.dumps(found, indent=1) + "\n")
    if values.picture:
        draw(found, values.picture)


def draw(found: dict[str, list[dict]], path: Path) -> None:
    """Validation losses of the first seed, while training."""
    with picture(path, 7, 4.5) as figure:
        axes = figure.subplots()
        for name, (row, *_) in found.items():
            if "curve" in row:
                tokens, losses = zip(*row["curve"], strict=True)
                axes.plot(tokens, losses, label=name)
        axes.set_xlabel("tokens of training")
        axes.set_ylabel("validation loss, nats a token")
        axes.legend(frameon=False)


def show(name: str, rows: list[dict]) -> None:
    """A line of the table: mean and standard deviation over the seeds."""
    losses, seconds = (
        [row[key] for row in rows] for key in ("value", "seconds")
    )
    metric = (PEERS | ROWS)[name][-1].replace("_", " ")
    spread = stdev(losses) if len(losses) > 1 else math.nan
    print(
        f"{name:16} {metric} {mean(losses):.3f} ± {spread:.3f}  "
        f"{rows[0]['parameters']:,} parameters  {mean(seconds):.0f} s"
    )


if __name__ == "__main__":
    main()
