"""The `nano` lesson beside the well-known PyTorch recipe, on the same tokens.

Usage: python scripts/benchmark_nano.py [--steps 2000] [--json]

Both train 2000 steps of 12 x 64 characters of Tiny Shakespeare at 4 layers,
4 heads, 128 wide, and are judged by the loss over all of the last tenth of the
text. The peer is what the PyTorch tutorials teach: learned positions, layer
norm, GELU, AdamW at 1e-3 with a warm-up of 100 and a cosine to a tenth, on
windows drawn at random. Steps are timed in alternating rounds, because a
machine's speed drifts.
"""

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import torch
from rich.console import Console
from torch import nn

from keras_llm import workflow
from keras_llm.datasets import EvaluationWindows, TrainingWindows, open_tokens
from keras_llm.models import build_model, load_preset
from keras_llm.recipes import load_recipe
from keras_llm.tokenizers import ScratchTokenizer
from keras_llm.training import compile_for_training

LENGTH, BATCH, WIDTH = 64, 12, 128


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

    def __init__(self, tokens, steps: int):
        torch.manual_seed(0)
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


def time_steps(recipe, run: Path, steps: int = 100, rounds: int = 5) -> dict:
    """Median seconds a step of each side, in alternating rounds."""
    tokens = open_tokens(run / "tokens", "train")
    tokenizer = ScratchTokenizer.from_file(run / "tokenizer")
    model = build_model(recipe.model, tokenizer)
    compile_for_training(model, recipe.training)
    model.preprocessor = None
    windows = TrainingWindows(tokens, LENGTH, BATCH, seed=0)
    peer = PeerRun(tokens, steps=10**9)

    def ours(step):
        model.train_on_batch(*windows.batch(step))

    def theirs(step):
        peer.train_step()

    times = {"keras_llm": [], "pytorch": []}
    for one_round in range(rounds + 1):
        for name, train_step in (("keras_llm", ours), ("pytorch", theirs)):
            started = time.perf_counter()
            for step in range(steps if one_round else 3):
                train_step(step)
            if one_round:  # the first warms up and compiles
                times[name].append((time.perf_counter() - started) / steps)
    return {name: median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    recipe = load_recipe("nano", {"training.steps": arguments.steps})
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "nano"
        console = Console(stderr=True)
        ours = workflow.train("tinyshakespeare", recipe, run, console=console)
        tokens = open_tokens(run / "tokens", "train")
        peer = PeerRun(tokens, arguments.steps)
        for _ in range(arguments.steps):
            peer.train_step()
        validation = open_tokens(run / "tokens", "validation")
        seconds = time_steps(recipe, run)
        result = {
            "keras_llm": {
                "validation_loss": ours["validation"]["loss"],
                "parameters": load_preset(run).count_params(),
                "ms_per_step": 1000 * seconds["keras_llm"],
            },
            "pytorch": {
                "validation_loss": peer.validation_loss(validation),
                "parameters": sum(p.numel() for p in peer.model.parameters()),
                "ms_per_step": 1000 * seconds["pytorch"],
            },
        }
    if arguments.json:
        print(json.dumps(result))
        return
    for name, row in result.items():
        print(
            f"{name:10} validation loss {row['validation_loss']:.3f}  "
            f"{row['parameters']:,} parameters  "
            f"{row['ms_per_step']:.1f} ms a step"
        )


if __name__ == "__main__":
    main()
