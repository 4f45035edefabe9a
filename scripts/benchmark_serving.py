"""What `keras-llm serve` does for one client and for many.

Usage: python scripts/benchmark_serving.py [--clients 64] [--seconds 60]

A `mini` of the recipe with random weights is served. Each client streams
answers of 64 tokens one after the other, to prompts that begin differently.
Beside them, in the same run: one client alone, `TextGenerator.stream` in this
process, and the time to a first token with and without a prefix of 200 tokens
that was asked before. Clients and server share the machine's cores.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import httpx
import numpy as np
from text_tokens import make_tokens

from keras_llm.generation import TextGenerator
from keras_llm.models import ScratchCausalLM, build_model, save_preset
from keras_llm.recipes import load_recipe
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers import ScratchTokenizer

NEW = 64
PREFIX = 200
ROUNDS = 7


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clients", type=int, default=64)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--json", action="store_true")
    values = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = mini(Path(folder))
        save_preset(model, Path(folder, "preset"))
        alone = stream_speed(model)
        preset = Path(folder, "preset")
        with Server("keras-llm", "serve", preset, "--port", "PORT") as url:
            figures = asyncio.run(measure(url, values.clients, values.seconds))
    figures["TextGenerator.stream"] = alone
    figures["one client, of TextGenerator.stream"] = (
        figures["one client"]["tokens a second"] / alone["tokens a second"]
    )
    if values.json:
        print(json.dumps(figures, indent=1))
        return
    for name, found in figures.items():
        print(f"{name}: {found}")


def mini(folder: Path) -> ScratchCausalLM:
    """The recipe's model and tokenizer; weights as they are initialised."""
    recipe = load_recipe("mini")
    make_tokens("tinyshakespeare", folder, recipe)
    tokenizer = ScratchTokenizer.from_file(folder / "tokenizer")
    model = build_model(recipe.model, tokenizer)
    model.compile(sampler="greedy", jit_compile=False)
    return model


class Server:
    """A server in a process, on a free port.

    Args:
        line: Its command, with `PORT` in it.
    """

    def __init__(self, *line: str | Path):
        self.line = [str(word) for word in line]

    def __enter__(self) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        line = [port if word == "PORT" else word for word in self.line]
        self.process = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        url = f"http://127.0.0.1:{port}"
        while self.process.poll() is None:
            try:
                httpx.get(url)
                return url
            except httpx.TransportError:
                time.sleep(0.5)
        sys.exit(f"{line[0]} did not start.")

    def __exit__(self, *args) -> None:
        self.process.terminate()
        self.process.wait(60)


def stream_speed(model) -> dict[str, float]:
    """One answer after the other in this process."""
    generator = TextGenerator(model)
    settings = GenerationSettings(max_new_tokens=NEW, temperature=1.0)
    prompt = "The people of the city"
    speeds = []
    for seed in range(-1, ROUNDS):  # the first compiles
        begin = time.perf_counter()
        for _ in generator.stream(prompt, settings, seed):
            pass
        seconds = time.perf_counter() - begin
        [found] = generator.generate([prompt], settings, seed)
        speeds.append(found.num_tokens / seconds)
    return {"tokens a second": median(speeds[1:])}


async def measure(url: str, clients: int, seconds: float) -> dict:
    """All figures of a server."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=url, timeout=600, limits=limits
    ) as client:
        for count in (1, clients):  # compiles, allocates
            await load(client, count, 2)
        one = await load(client, 1, seconds / 4)
        many = await load(client, clients, seconds)
        prefix = await first_tokens(client)
    return {
        "one client": one,
        f"{clients} clients": many,
        "tokens a second, of one client's": (
            many["tokens a second"] / one["tokens a second"]
        ),
        "first token, of one client's": (
            many["first token, ms"] / one["first token, ms"]
        ),
        "shared prefix": prefix,
    }


async def load(
    client: httpx.AsyncClient, clients: int, seconds: float
) -> dict[str, float]:
    """Clients that ask again as soon as they are answered."""
    end = time.perf_counter() + seconds
    tokens, firsts, errors = [], [], []

    async def ask(number):
        count = 0
        while time.perf_counter() < end:
            prompt = f"{number} {count} and the people of the city"
            try:
                first, new = await streamed(client, prompt, number + count)
            except Exception as error:
                errors.append(repr(error))
                await asyncio.sleep(1)
                continue
            firsts.append(first)
            tokens.append(new)
            count += 1

    begin = time.perf_counter()
    await asyncio.gather(*map(ask, range(clients)))
    took = time.perf_counter() - begin
    if not firsts:
        raise SystemExit(f"Nothing was answered: {errors[:1]}")
    return {
        "tokens a second": sum(tokens) / took,
        "first token, ms": 1e3 * median(firsts),
        "answers": len(firsts),
        "errors": len(errors),
    }


async def streamed(
    client: httpx.AsyncClient,
    prompt: str | list[int],
    seed: int,
    new: int = NEW,
) -> tuple[float, int]:
    """Seconds to the first token, and how many came.

    A server that does not tell how many is taken to send one at a time.
    """
    body = {
        "prompt": prompt,
        "max_tokens": new,
        "temperature": 1.0,
        "seed": seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    begin, first, count, pieces = time.perf_counter(), None, 0, 0
    async with client.stream("POST", "/v1/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            first = first or time.perf_counter() - begin
            event = json.loads(line.removeprefix("data: "))
            pieces += any(choice["text"] for choice in event.get("choices", []))
            if event.get("usage"):
                count = event["usage"]["completion_tokens"]
    return first, count or pieces


async def first_tokens(client: httpx.AsyncClient) -> dict[str, float]:
    """Milliseconds to a first token after long prompts, known or new."""
    rng = np.random.default_rng(0)
    known = rng.integers(10, 1000, PREFIX).tolist()
    await streamed(client, known, 0, 1)
    times = {"known": [], "new": []}
    for _ in range(ROUNDS):
        new = rng.integers(10, 1000, PREFIX).tolist()
        for name, prefix in (("known", known), ("new", new)):
            end = rng.integers(10, 1000, 8).tolist()
            first, _ = await streamed(client, [*prefix, *end], 0, 1)
            times[name].append(1e3 * first)
    found = {f"{name}, ms": median(each) for name, each in times.items()}
    return found | {"ratio": found["known, ms"] / found["new, ms"]}


if __name__ == "__main__":
    main()
