"""A small training run, in a process of its own so that it can be killed.

Usage: python training_run.py FOLDER [NAME=VALUE …]
"""

import dataclasses
import functools
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from testing import trace_alone

from keras_llm.recipes.settings import (
    GenerationSettings,
    ModelSettings,
    TokenizerSettings,
    TrainingSettings,
)

MODEL = ModelSettings(
    block_types=["attention", "gru"],
    num_layers=2,
    num_heads=2,
    hidden_dim=16,
    max_sequence_length=16,
    dropout=0.2,
)
ENCODER = dataclasses.replace(MODEL, block_types="attention", causal=False)
TRAINING = TrainingSettings(
    steps=24,
    batch_size=4,
    gradient_accumulation_steps=2,
    learning_rate=1e-2,
    schedule="linear",
    warmup_steps=4,
    log_interval=3,
    validation_interval=6,
    sample_prompt="a",
    sample_tokens=8,
)
GENERATION = GenerationSettings(temperature=0.5)


def make_tokens(folder: Path) -> None:
    """Writes corpus, tokenizer and tokens of a text with some order."""
    from keras_llm.corpus.prepare import prepare
    from keras_llm.datasets import encode
    from keras_llm.recipes.corpus_settings import CorpusSettings
    from keras_llm.tokenizers.training import train_tokenizer

    rng = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta"]
    lines = [" ".join(rng.choice(words, 6)) for _ in range(200)]
    source = folder / "text.txt"
    folder.mkdir(parents=True, exist_ok=True)
    source.write_text("\n".join(lines))
    prepare(str(source), folder / "corpus", CorpusSettings())
    train_tokenizer(
        folder / "corpus",
        folder / "tokenizer",
        TokenizerSettings(model_type="char", mask_token=True),
    )
    encode(folder / "corpus", folder / "tokenizer", folder / "tokens")


def train(folder: Path, out: Path, model=MODEL, **changes):
    """Trains in this process; returns the result and the model."""
    from keras_llm.models import build_model
    from keras_llm.tokenizers import ScratchTokenizer
    from keras_llm.training import pretrain

    settings = dataclasses.replace(TRAINING, **changes)
    tokenizer = ScratchTokenizer.from_file(folder / "tokenizer")
    causal_lm = build_model(model, tokenizer, settings.dtype, seed=1)
    result = pretrain(
        causal_lm, folder / "tokens", out, settings, GENERATION, seed=1
    )
    return result, causal_lm


def kill_at(batch: int) -> None:
    """Kills this process a moment after a batch, whatever it is at then."""
    from keras_llm.training.callbacks import Clock

    count = Clock.on_train_batch_end

    def counted(self, *args, **kwargs):
        if self.batch == batch:
            moment = random.random() * 0.05
            kill = functools.partial(os.kill, os.getpid(), signal.SIGKILL)
            threading.Timer(moment, kill).start()
        if self.batch == batch + 9:
            time.sleep(60)  # it does not come to its end
        count(self, *args, **kwargs)

    Clock.on_train_batch_end = counted


if __name__ == "__main__":
    trace_alone()
    kill_at(int(os.environ.get("KILL_AT", "-1")))
    changes = dict(each.split("=") for each in sys.argv[3:])
    changes = {name: json.loads(value) for name, value in changes.items()}
    train(Path(sys.argv[1]), Path(sys.argv[2]), **changes)
