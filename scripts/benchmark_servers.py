"""`keras-llm serve` beside the servers of Hugging Face and of llama.cpp.

Usage: python scripts/benchmark_servers.py [--clients 8] [--seconds 15]

All three serve SmolLM2-135M-Instruct, of the wheel that scripts/smollm2.py
takes: ours and `transformers serve` in float32, llama.cpp the file as it is.
They are asked in turn, while the others idle: answers of up to 64 tokens,
streamed, one after the other by one client, and then by several.

Needs `pip install "keras-llm[benchmark,huggingface,serve]"
"transformers[serving]" "llama-cpp-python[server]" gguf`.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import httpx
from benchmark_serving import Server, load
from smollm2 import hugging_face_folder

ROUNDS = 3


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clients", type=int, default=8)
    options.add_argument("--seconds", type=float, default=15)
    options.add_argument("--json", action="store_true")
    values = options.parse_args()
    with tempfile.TemporaryDirectory() as made, ExitStack() as running:
        servers = {
            name: running.enter_context(server)
            for name, server in servers_of(Path(made)).items()
        }
        figures = asyncio.run(measure(servers, values.clients, values.seconds))
    if values.json:
        print(json.dumps(figures, indent=1))
        return
    for name, found in figures.items():
        print(f"{name}: {found}")


def servers_of(folder: Path) -> dict[str, Server]:
    """What is compared, with the same weights."""
    source, preset = hugging_face_folder(folder), folder / "preset"
    command = ["keras-llm", "import", source, "--out", preset]
    subprocess.run(command, check=True, stdout=sys.stderr)
    port = ("--port", "PORT")
    llama = (sys.executable, "-m", "llama_cpp.server", "--n_ctx", "2048")
    # Or a new request would end the one that is being answered.
    llama += ("--interrupt_requests", "false")
    # Half of the cores, unless told.
    for option in ("--n_threads", "--n_threads_batch"):
        llama += (option, str(os.cpu_count()))
    return {
        "keras-llm serve": Server("keras-llm", "serve", preset, *port),
        "transformers serve": Server("transformers", "serve", source, *port),
        "llama_cpp.server": Server(
            *llama, "--model", folder / "model.gguf", *port
        ),
    }


async def measure(
    servers: dict[str, str], clients: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Medians over rounds in which each server is asked in turn."""
    counts = (1, clients)
    found = {(name, count): [] for name in servers for count in counts}
    for number in range(-1, ROUNDS):  # the first warms up
        for name, url in servers.items():
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(
                base_url=url, timeout=600, limits=limits
            ) as client:
                for count in counts:
                    figures = await load(client, count, seconds)
                    if number >= 0:
                        found[name, count].append(figures)
    return {
        f"{name}, {count} clients": {
            figure: median(each[figure] for each in rounds)
            for figure in rounds[0]
        }
        for (name, count), rounds in found.items()
    }


if __name__ == "__main__":
    main()
