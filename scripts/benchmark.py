"""Speed and memory beside PyTorch: training, reading a batch, writing.

Usage: python scripts/benchmark.py [WORKLOAD …] [--tasks train] [--out FOLDER]

Each workload is a recipe's model with new weights, in float32. Every side runs
in a process of its own with all cores; its rounds alternate with rounds of
PyTorch eager, which what is called a ratio is to. Medians of the rounds, after
three calls that warm up. Training is one AdamW step with the norm clipped. The
ceiling is the rate of products of two matrices of 2048 x 2048, in the same run.
"""

import argparse
import json
import math
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SCRIPT = (sys.executable, __file__, "--contender")
WORKLOADS = {
    # name: recipe, size of the vocabulary, rows a batch
    "nano": ("nano", 65, 12),
    "mini-65": ("mini", 65, 16),
    "mini-4096": ("mini", 4096, 16),
    "mini-8192": ("mini", 8192, 16),
    "llama-mini": ("llama-mini", 4096, 16),
    "gru-mini": ("gru-mini", 4096, 32),
    "lstm-mini": ("lstm-mini", 4096, 32),
    "hybrid-mini": ("hybrid-mini", 4096, 16),
    "gpt2-small": ("gpt2-small", 50_257, 1),
}
PEERS = ("torch", "torch-compile", "transformers")
OURS = ("keras-tensorflow", "keras-tensorflow-xla")
SIZE = 2048  # of the matrices that the ceiling is measured with


def main() -> None:
    """Measures, prints a table, and writes figures and picture."""
    if sys.argv[1:2] == ["--contender"]:
        contend(json.loads(sys.argv[2]))
        return
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("workloads", nargs="*", metavar="WORKLOAD")
    options.add_argument("--tasks", nargs="+", default=["train"])
    options.add_argument("--sides", nargs="+", default=[*PEERS, *OURS])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=3)
    options.add_argument("--out", type=Path)
    values = options.parse_args()
    unknown = set(values.workloads) - set(WORKLOADS)
    if unknown:
        options.error(
            f"WORKLOAD must be of {', '.join(WORKLOADS)}. "
            f"Received: {', '.join(sorted(unknown))}"
        )
    rows = []
    ceiling = measure_ceiling(values.rounds, values.seconds)
    for name in values.workloads or WORKLOADS:
        for task in values.tasks:
            rows += measure(name, task, ceiling, values)
            show([row for row in rows if row["workload"] == name])
    report = {"machine": machine(), "ceiling": ceiling, "rows": rows}
    if values.out:
        save(report, values.out)


def measure(name: str, task: str, ceiling: float, values) -> list[dict]:
    """What each side did of one workload at one task."""
    from keras_llm.pytorch.sides import alternate, jobs_of

    recipe, vocabulary_size, batch_size = WORKLOADS[name]
    config = config_of(recipe, vocabulary_size)
    length = config["max_sequence_length"]
    jobs = jobs_of(task, config, batch_size, length, values.sides)
    say(f"{name}, {task}")
    found = alternate(jobs, values.rounds, values.seconds, say, SCRIPT)
    return [row_of(name, config, each, ceiling) for each in found]


def row_of(name: str, config: dict, found, ceiling: float) -> dict:
    """A measurement with its medians, as a row of the report."""
    row = {"workload": name, **asdict(found)}
    if found.tokens_per_second:
        speed = median(found.tokens_per_second)
        row["speed"] = speed
        row["memory"] = found.peak_bytes - found.library_bytes
        if found.task == "train":
            row["share_of_ceiling"] = speed * flops(config) / ceiling
    if found.times_first:
        row["ratio"] = median(found.times_first)
        row["ratio_range"] = [min(found.times_first), max(found.times_first)]
    return row


def flops(config: dict) -> float:
    """Floating-point operations of training on a token.

    Six a weight that is multiplied by, and 12 of each pair of positions for
    each unit of width (Chowdhery et al. 2022, appendix B,
    https://arxiv.org/abs/2204.02311), causal attention counted whole.
    """
    from keras_llm.models import ScratchBackbone

    backbone = ScratchBackbone(**config)
    weights = sum(
        math.prod(each.shape)
        for each in backbone.trainable_variables
        if len(each.shape) > 1 and "position" not in each.path
    )
    if not config["tie_word_embeddings"]:
        weights -= config["vocabulary_size"] * config["hidden_dim"]
    pairs = sum(
        block.num_heads * (block.mixer.head_dim)
        for block in backbone.blocks
        if block.block_type == "attention"
    )
    return 6.0 * weights + 12 * pairs * config["max_sequence_length"]


def config_of(recipe: str, vocabulary_size: int) -> dict:
    """Arguments of `ScratchBackbone`."""
    from keras_llm.models import ScratchBackbone
    from keras_llm.recipes import load_recipe

    known = signature(ScratchBackbone.__init__).parameters
    settings = asdict(load_recipe(recipe).model)
    config = {key: settings[key] for key in settings if key in known}
    return config | {"vocabulary_size": vocabulary_size}


def measure_ceiling(rounds: int, seconds: float) -> float:
    """Operations a second of the faster library's products of matrices."""
    from keras_llm.pytorch.sides import alternate

    jobs = {
        side: {"side": side, "task": "product"}
        for side in ("torch", "keras-tensorflow")
    }
    say("ceiling")
    found = alternate(jobs, rounds, seconds, say, SCRIPT)
    rates = {each.side: median(each.tokens_per_second) for each in found}
    for side, rate in rates.items():
        say(f"    {side}: {rate / 1e9:.0f} GFLOP/s")
    return max(rates.values())


def contend(job: dict) -> None:
    """One contender: a process of its own."""
    import numpy as np

    from keras_llm.pytorch import measure

    if job["task"] == "product":
        measure.take_turns(lambda: product(job), job)
    elif job["side"] != "transformers":
        sys.argv[1:] = [json.dumps(job)]
        measure.main()
    else:
        size = job["config"]["vocabulary_size"]
        shape = job["batch_size"], job["length"] + 1
        ids = np.random.default_rng(0).integers(0, size, shape)
        measure.take_turns(lambda: hugging_face(job, ids), job)


def product(job: dict):
    """A product of two matrices, and its floating-point operations."""
    import numpy as np

    job["library_bytes"] = 0
    matrix = np.random.default_rng(0).normal(size=(SIZE, SIZE))
    if job["side"] == "torch":
        import torch

        a = torch.tensor(matrix, dtype=torch.float32)
        return lambda: a @ a, 2 * SIZE**3
    import tensorflow as tf

    b = tf.constant(matrix, "float32")
    return lambda: (b @ b).numpy(), 2 * SIZE**3


def hugging_face(job: dict, ids):
    """A model of transformers of the same shape, where it has one."""
    import torch
    import transformers

    from keras_llm.pytorch.measure import Unavailable, peak_bytes, torch_step

    job["library_bytes"] = peak_bytes()
    if job["task"] != "train":
        raise Unavailable("only its training is measured")
    config = job["config"]
    shape = {
        "vocab_size": config["vocabulary_size"],
        "hidden_size": config["hidden_dim"],
        "num_hidden_layers": config["num_layers"],
        "num_attention_heads": config["num_heads"],
        "max_position_embeddings": config["max_sequence_length"],
        "tie_word_embeddings": config["tie_word_embeddings"],
        "use_cache": False,
    }
    if set(config["block_types"]) != {"attention"}:
        raise Unavailable("transformers has no such blocks")
    if config["normalization"] == "layer":
        drop = config["dropout"]
        settings = transformers.GPT2Config(
            **shape, resid_pdrop=drop, embd_pdrop=drop, attn_pdrop=drop
        )
        model = transformers.GPT2LMHeadModel(settings)
    elif config["activation"] == "swiglu":
        settings = transformers.LlamaConfig(
            **shape,
            num_key_value_heads=config["num_key_value_heads"],
            intermediate_size=config["intermediate_dim"],
        )
        model = transformers.LlamaForCausalLM(settings)
    else:
        raise Unavailable("transformers has no such model")
    tokens = torch.from_numpy(ids).long()
    step = torch_step(
        model.train(), lambda x: model(x).logits, tokens[:, :-1], tokens[:, 1:]
    )
    return step, tokens[:, :-1].numel()


def machine() -> dict:
    """What the figures are of."""
    from keras_llm.pytorch.certificate import processor

    packages = ("keras", "tensorflow", "torch", "transformers")
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def show(rows: list[dict]) -> None:
    """The table of some rows."""
    for row in rows:
        where = f"{row['workload']:<12} {row['task']:<8} {row['side']:<21}"
        trouble = row["error"] or row["unavailable"]
        if trouble:
            print(where, trouble)
            continue
        low, high = row.get("ratio_range", (1, 1))
        share = row.get("share_of_ceiling")
        print(
            f"{where} {row['speed']:>9,.0f} tokens/s "
            f"{row.get('ratio', 1):5.2f} ({low:.2f} to {high:.2f}) "
            f"{row['memory'] / 2**20:6,.0f} MB "
            f"first {row['first_seconds']:5.1f} s"
            + (f" {share:4.0%} of the ceiling" if share else ""),
            flush=True,
        )


def save(report: dict, folder: Path) -> None:
    """`benchmark.json` and `benchmark.png`, of training.

    Rows of other workloads and tasks that are there already stay.
    """
    from keras_llm.pictures import picture

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "benchmark.json").exists():
        before = json.loads((folder / "benchmark.json").read_text())["rows"]
        new = {(row["workload"], row["task"]) for row in report["rows"]}
        stay = [x for x in before if (x["workload"], x["task"]) not in new]
        report = report | {"rows": stay + report["rows"]}
        report["rows"].sort(key=lambda x: list(WORKLOADS).index(x["workload"]))
    (folder / "benchmark.json").write_text(json.dumps(report, indent=1) + "\n")
    rows = [row for row in report["rows"] if row["task"] == "train"]
    names = list(dict.fromkeys(row["workload"] for row in rows))
    with picture(folder / "benchmark.png", 8, 0.8 + 0.5 * len(names)) as figure:
        axes = figure.subplots()
        for color, sides in (("#9bb7d4", PEERS), ("#2c6e91", OURS)):
            best = [best_of(rows, name, sides) for name in names]
            shift = 0.2 if sides == OURS else -0.2
            label = "Keras" if sides == OURS else "the best of PyTorch"
            places = [index + shift for index in range(len(names))]
            axes.barh(places, best, 0.38, color=color, label=label)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("tokens a second of training, PyTorch eager = 1")
        axes.legend(
            frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2
        )


def best_of(rows: list[dict], name: str, sides) -> float:
    """The highest ratio of some sides."""
    return max(
        (
            row.get("ratio", 1)
            for row in rows
            if row["workload"] == name
            and row["side"] in sides
            and row["tokens_per_second"]
        ),
        default=0,
    )


def say(line: str) -> None:
    """Progress goes to standard error."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
