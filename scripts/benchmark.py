"""Speed and memory, in turns: training, reading, writing, text, input.

Usage: python scripts/benchmark.py [WORKLOAD …] [--tasks train] [--out FOLDER]

Each workload is a recipe's model with new weights, in float32 unless said.
Every side runs in a process of its own with all cores; its rounds alternate
with rounds of the task's first side, which what is called a ratio is to.
Medians of the rounds, after three calls that warm up. The tasks:

train       one AdamW step with the norm clipped, beside PyTorch eager
train-bfloat16
            the same, all in mixed bfloat16
prefill     reading a batch, logits of the last token, beside PyTorch eager
decode-N    N rows at once, three quarters of the context, greedy, with a
            cache, beside the twin in PyTorch
tokenize    documents to ids, beside SentencePiece's own call on all cores
input       batches of training without a model, beside training

The ceiling is the rate of products of two matrices in the same run: 2048 x 2048
in float32, on a GPU 8192 x 8192 in bfloat16. The other sides are in
scripts/contender.py.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SCRIPT = (sys.executable, str(Path(__file__).with_name("contender.py")))
WORKLOADS = {
    # name: recipe, size of the vocabulary, rows a batch
    "nano": ("nano", 65, 3),
    "mini-65": ("mini", 65, 16),
    "mini-4096": ("mini", 4096, 16),
    "mini-8192": ("mini", 8192, 16),
    "llama-mini": ("llama-mini", 4096, 16),
    "gru-mini": ("gru-mini", 4096, 32),
    "lstm-mini": ("lstm-mini", 4096, 32),
    "hybrid-mini": ("hybrid-mini", 4096, 16),
    "gpt2-small": ("gpt2-small", 50_257, 1),
}
PEERS = ("torch", "torch-compile", "transformers", "keras-hub")
OURS = ("keras-tensorflow", "keras-tensorflow-xla", "keras-jax")
WRITING = (
    "text-generator",
    "saved-model",
    "saved-model-int8",
    "saved-model-bfloat16",
)
TASKS = {
    # name: sides, of which ratios are to the first one
    "train": (*PEERS, *OURS),
    "train-bfloat16": (*PEERS, *OURS),
    "prefill": (*PEERS, *OURS),
    **{
        f"decode-{rows}": (*PEERS, "keras-tensorflow", "keras-jax", *WRITING)
        for rows in (1, 8, 32)
    },
    "tokenize": ("sentencepiece", "encode"),
    "input": ("keras-tensorflow", "input-pipeline"),
}
SIDES = {side for sides in TASKS.values() for side in sides}
OF_TEXT = {*WRITING, *TASKS["tokenize"], "input-pipeline"}
TEXT = "wikitext2"  # that tokenizers are trained on, and that is encoded


def main() -> None:
    """Measures, prints a table, and writes figures and picture."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("workloads", nargs="*", metavar="WORKLOAD")
    options.add_argument(
        "--tasks", nargs="+", default=["train"], choices=TASKS, metavar="TASK"
    )
    options.add_argument(
        "--sides", nargs="+", default=[], choices=SIDES, metavar="SIDE"
    )
    options.add_argument("--device", default="cpu", choices=("cpu", "gpu"))
    options.add_argument("--batch_size", type=int, help="other rows a batch")
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
    os.environ["JAX_PLATFORMS"] = "cpu"  # here; a GPU is for the sides
    ceiling = measure_ceiling(values)
    with tempfile.TemporaryDirectory() as folder:
        for name in values.workloads or WORKLOADS:
            for task in values.tasks:
                rows = measure(name, task, ceiling, values, Path(folder))
                show(rows)
                if values.out:
                    save(rows, values.out)


def measure(
    name: str, task: str, ceiling: float, values, folder: Path
) -> list[dict]:
    """What each side did of one workload at one task."""
    from keras_llm.pytorch.sides import alternate, jobs_of

    recipe, vocabulary_size, batch_size = WORKLOADS[name]
    batch_size = values.batch_size or batch_size
    config = config_of(recipe, vocabulary_size)
    length = config["max_sequence_length"]
    kind, _, how = task.partition("-")
    rows = int(how) if kind == "decode" else batch_size
    first, *others = TASKS[task]
    sides = [
        side
        for side in (first, *others)
        if side == first or not values.sides or side in values.sides
    ]
    say(f"{name}, {task}")
    jobs = jobs_of(kind, config, rows, length, sides)
    text = text_of(folder, vocabulary_size) if OF_TEXT & {*sides} else {}
    for job in jobs.values():
        job |= text | {"device": values.device}
        if kind == "decode":
            job["rows"] = rows
        if how == "bfloat16":
            job["dtype"] = "mixed_bfloat16"
    if task == "input":
        jobs[first]["task"] = "train"
    found = alternate(jobs, values.rounds, values.seconds, say, SCRIPT)
    least_seconds = None  # in the ceiling's dtype only
    if task == ("train" if values.device == "cpu" else "train-bfloat16"):
        least_seconds = flops(config) / ceiling
    about = {"task": task, "ceiling": ceiling, "machine": machine(values)}
    return [row_of(name, each, least_seconds) | about for each in found]


def text_of(folder: Path, vocabulary_size: int) -> dict:
    """Where a text is, its tokenizer and its tokens; nothing for few tokens."""
    folder = folder / str(vocabulary_size)
    paths = {name: folder / name for name in ("corpus", "tokenizer", "tokens")}
    if vocabulary_size < 512:  # bytes alone are half of it
        return dict.fromkeys(paths)
    if not folder.exists():
        from text_tokens import make_tokens

        from keras_llm.recipes import load_recipe

        size = {"tokenizer.vocabulary_size": vocabulary_size}
        make_tokens(TEXT, folder, load_recipe("mini", size))
    return {name: str(path) for name, path in paths.items()}


def row_of(name: str, found, least_seconds: float | None) -> dict:
    """A measurement with its medians, as a row of the report.

    Args:
        name: The workload.
        found: The measurement.
        least_seconds: What a token would take at the ceiling.
    """
    row = {"workload": name, **asdict(found)}
    if found.tokens_per_second:
        speed = median(found.tokens_per_second)
        row["speed"] = speed
        row["memory"] = found.peak_bytes - found.library_bytes
        if least_seconds:
            row["share_of_ceiling"] = speed * least_seconds
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


def measure_ceiling(values) -> float:
    """Operations a second of the faster library's products of matrices."""
    from keras_llm.pytorch.sides import alternate

    sides = ["torch"] + ["keras-tensorflow"] * (values.device == "cpu")
    jobs = {
        side: {"side": side, "task": "product", "device": values.device}
        for side in sides
    }
    say("ceiling")
    found = alternate(jobs, values.rounds, values.seconds, say, SCRIPT)
    for each in found:
        if not each.tokens_per_second:
            raise SystemExit(f"{each.side}: {each.error or each.unavailable}")
    rates = {each.side: median(each.tokens_per_second) for each in found}
    for side, rate in rates.items():
        say(f"    {side}: {rate / 1e9:.0f} GFLOP/s")
    return max(rates.values())


def machine(values) -> dict:
    """What the figures are of."""
    from keras_llm.pytorch.certificate import processor

    about = {
        "processor": processor() if values.device == "cpu" else gpu(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
    }
    for name in ("keras", "tensorflow", "jax", "torch", "transformers"):
        with suppress(PackageNotFoundError):
            about[name] = version(name)
    return about


def gpu() -> str:
    """The name of the first one."""
    command = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return subprocess.check_output(command, text=True).splitlines()[0]


def show(rows: list[dict]) -> None:
    """The table of some rows."""
    for row in rows:
        where = f"{row['workload']:<12} {row['task']:<14} {row['side']:<21}"
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


def save(rows: list[dict], folder: Path) -> None:
    """`benchmark.json` and `benchmark.png`, of training.

    Rows of other workloads, tasks, sides and processors stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "benchmark.json").exists():
        before = json.loads((folder / "benchmark.json").read_text())
        new = {what_of(row) for row in rows}
        rows = [row for row in before if what_of(row) not in new] + rows
        rows.sort(key=lambda row: list(WORKLOADS).index(row["workload"]))
    (folder / "benchmark.json").write_text(json.dumps(rows, indent=1) + "\n")
    draw(rows, folder / "benchmark.png")


def what_of(row: dict) -> tuple[str, str, str, str]:
    """What a row of another run takes the place of."""
    processor = row["machine"]["processor"]
    return row["workload"], row["task"], row["side"], processor


def draw(rows: list[dict], path: Path) -> None:
    """The best of each side at training, one panel a processor."""
    from keras_llm.pictures import picture

    panels = {}
    for row in rows:
        if row["task"] == "train":
            panels.setdefault(row["machine"]["processor"], []).append(row)
    if not panels:
        return
    most = max(len({row["workload"] for row in x}) for x in panels.values())
    with picture(path, 4.5 * len(panels), 1 + 0.5 * most) as figure:
        axes = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
        for panel, processor in zip(axes, sorted(panels), strict=True):
            draw_panel(panel, panels[processor])
            panel.set_title(processor, fontsize="medium")
        figure.supxlabel("tokens a second of training, PyTorch eager = 1")
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            frameon=False,
            loc="outside upper center",
            ncols=2,
        )


def draw_panel(axes, rows: list[dict]) -> None:
    """Two bars a workload."""
    names = list(dict.fromkeys(row["workload"] for row in rows))
    for color, sides in (("#9bb7d4", PEERS), ("#2c6e91", OURS)):
        best = [best_of(rows, name, sides) for name in names]
        shift = 0.2 if sides == OURS else -0.2
        label = "ours" if sides == OURS else "the best of the others"
        places = [index + shift for index in range(len(names))]
        axes.barh(places, best, 0.38, color=color, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


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
