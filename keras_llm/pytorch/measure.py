"""Speed and memory of one side at one task: a process of its own.

    python -m keras_llm.pytorch.measure '{"side": "torch", "task": "train", …}'

prints a line of JSON when it has warmed up, and one for each line that it
reads: how many seconds a round takes at least. Only what the side needs is
imported, so that its peak memory is its own.
"""

import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TASKS = ("train", "prefill", "decode")
WARM_UP = 3  # calls before the first round


def main() -> None:
    """Measures what the argument describes."""
    job = json.loads(sys.argv[1])
    make = _torch_task if job["side"].startswith("torch") else _keras_task
    take_turns(lambda: make(job, ids_of(job)), job)


def ids_of(job: dict[str, Any]) -> np.ndarray:
    """int32 `(batch_size, length + 1)`: random tokens of its vocabulary."""
    draw = np.random.default_rng(0)
    size = job["config"]["vocabulary_size"]
    shape = (job["batch_size"], job["length"] + 1)
    return draw.integers(0, size, shape, dtype="int32")


class Unavailable(Exception):
    """A side that cannot run on this machine, and why."""


def take_turns(
    make: Callable[[], tuple[Callable[[], object], int]], job: dict[str, Any]
) -> None:
    """Warms up, then measures a round for each line of standard input.

    Args:
        make: Makes a function that does the task once, and its tokens.
        job: Where `make` leaves `library_bytes`.
    """
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print, too

    def say(**found: Any) -> None:
        lines.write(json.dumps(found) + "\n")
        lines.flush()

    try:
        run, tokens = make()
        started = time.perf_counter()
        run()
    except Unavailable as reason:
        say(unavailable=str(reason))
        return
    first = time.perf_counter() - started
    for _ in range(WARM_UP - 1):
        run()
    say(first_seconds=first, library_bytes=job["library_bytes"])
    for line in sys.stdin:
        rate = _rate(run, tokens, float(line))
        say(tokens_per_second=rate, peak_bytes=peak_bytes())


def _rate(run: Callable[[], object], tokens: int, seconds: float) -> float:
    """Tokens a second of a round."""
    calls, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or not calls:
        run()
        calls += 1
    passed = time.perf_counter() - started
    return tokens * calls / passed


def peak_bytes() -> int | None:
    """The most memory that this process has had, where the system says it."""
    status = Path("/proc/self/status")
    if status.exists():
        # What `getrusage` says begins with the parent's memory on Linux.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _torch_task(job, ids):
    """A function that does the task once, and the tokens of it."""
    import torch

    from keras_llm.pytorch.generate import generate
    from keras_llm.pytorch.twins import Backbone, CausalLM

    job["library_bytes"] = peak_bytes()
    is_compiled = job["side"] == "torch-compile"
    if is_compiled and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise Unavailable("torch.compile needs a C++ compiler")
    device = "cuda" if job.get("device") == "gpu" else "cpu"
    twin = CausalLM(**job["config"]).to(device)
    token_ids = torch.from_numpy(ids).long().to(device)
    inputs, labels = token_ids[:, :-1], token_ids[:, 1:]

    def maybe_compiled(function):
        return torch.compile(function) if is_compiled else function

    if job["task"] == "train":
        forward = maybe_compiled(twin.train())
        step = torch_step(twin, forward, inputs, labels, dtype_of(job))
        return step, inputs.numel()
    twin.eval()
    if job["task"] == "prefill":
        last = maybe_compiled(
            lambda ids: twin.logits(Backbone.forward(twin, ids)[:, -1])
        )

        def prefill():
            with torch.no_grad():
                return last(inputs).cpu()  # which waits for a GPU

        return prefill, inputs.numel()
    prompt, new = split(job)
    twin.next_logits = maybe_compiled(twin.next_logits)
    rows = inputs[: job.get("rows", 1), :prompt]
    return lambda: generate(twin, rows, new).cpu(), len(rows) * new


def dtype_of(job: dict[str, Any]) -> str:
    """A name of Keras' dtype policies."""
    return job.get("dtype", "float32")


def torch_step(model, forward, inputs, labels, dtype) -> Callable[[], float]:
    """A step of AdamW, with the norm clipped, that returns the loss.

    What one writes in PyTorch.
    """
    import torch

    is_mixed, device = dtype == "mixed_bfloat16", inputs.device.type
    weights = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, weight_decay=0.1)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=is_mixed):
            logits = forward(inputs)
            loss = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten()
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def _keras_task(job, ids):
    """A function that does the task once, and the tokens of it."""
    backend = os.environ["KERAS_BACKEND"]
    if importlib.util.find_spec(backend) is None:
        raise Unavailable(f"{backend} is not installed")
    from keras_llm.models import ScratchBackbone, ScratchCausalLM

    job["library_bytes"] = peak_bytes()
    backbone = ScratchBackbone(**job["config"], dtype=dtype_of(job))
    return task_of(ScratchCausalLM(backbone), job, ids)


def task_of(model, job: dict[str, Any], ids: np.ndarray):
    """A function that does the task once, and the tokens of it.

    Args:
        model: a `keras_hub.models.CausalLM`.
        job: What to do with it.
        ids: As `ids_of` makes them.
    """
    import keras

    from keras_llm.recipes.settings import TrainingSettings
    from keras_llm.training import compile_for_training

    backbone = model.backbone
    is_compiled = job["side"] in ("keras-tensorflow-xla", "keras-jax")
    token_ids, labels = ids[:, :-1], ids[:, 1:]
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    if job["task"] == "train":
        settings = TrainingSettings(
            learning_rate=1e-4, schedule="constant", jit_compile=is_compiled
        )
        compile_for_training(model, settings)
        return lambda: model.train_on_batch(inputs, labels), token_ids.size
    if job["task"] == "prefill":
        hidden = backbone.output[:, -1:]
        head = getattr(backbone, "embedding", backbone.token_embedding)
        logits = head(hidden, reverse=True)
        last = keras.Model(backbone.input, logits)
        last.compile(jit_compile=is_compiled)
        return lambda: last.predict_on_batch(inputs), token_ids.size
    token_ids = token_ids[: job.get("rows", 1)]
    return _keras_decoding(model, token_ids, is_compiled, *split(job))


def _keras_decoding(model, token_ids, is_compiled, prompt, new):
    from keras import ops

    model.compile(sampler="greedy", jit_compile=is_compiled)
    generate = model.make_generate_function()
    length = prompt + new
    token_ids = token_ids[:, :length]
    mask = np.broadcast_to(np.arange(length) < prompt, token_ids.shape)
    inputs = {
        "token_ids": ops.convert_to_tensor(token_ids * mask, "int32"),
        "padding_mask": ops.convert_to_tensor(mask),
    }

    def run():
        answer = generate(inputs, stop_token_ids=None)
        return ops.convert_to_numpy(answer["token_ids"])

    return run, len(token_ids) * new


def split(job: dict[str, Any]) -> tuple[int, int]:
    """Tokens of a prompt and of its answer; together the length."""
    prompt = max(1, job["length"] // 4)
    return prompt, job["length"] - prompt


if __name__ == "__main__":
    main()
