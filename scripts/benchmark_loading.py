"""CPU seconds from a model on disk to its first answers.

Usage: python scripts/benchmark_loading.py FOLDER... [--rounds 5]

A FOLDER is a preset, whose `TextGenerator` answers by 16 tokens, or one version
of an export, such as `saved_models/mini/1`. That is loaded by
`tf.saved_model.load` and as a server does it (one session), and asked the
warm-up requests, one a signature. Each has a process of its own, and they take
turns; the median counts, imports do not.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WAYS = ("python", "session")  # of an export
PRESET = "preset"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folders", nargs="+", type=Path)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument(
        "--way", choices=(*WAYS, PRESET), help=argparse.SUPPRESS
    )
    values = options.parse_args()
    if values.way:
        print(seconds(values.folders[0], values.way))
        return
    cases = [(folder, way) for folder in values.folders for way in ways(folder)]
    times = {case: [] for case in cases}
    for _ in range(values.rounds):
        for folder, way in cases:
            times[folder, way].append(in_a_process(folder, way))
    for folder in values.folders:
        found = {way: median(times[folder, way]) for way in ways(folder)}
        print(f"{folder}: {size(folder)}")
        for way, each in found.items():
            print(f"  {way:<8} {each:.2f} s")


def ways(folder: Path) -> tuple[str, ...]:
    """How it is loaded."""
    return WAYS if (folder / "saved_model.pb").is_file() else (PRESET,)


def in_a_process(folder: Path, way: str) -> float:
    command = [sys.executable, __file__, str(folder), "--way", way]
    output = subprocess.run(command, check=True, capture_output=True)
    return float(output.stdout.split()[-1])


def seconds(folder: Path, way: str) -> float:
    """CPU seconds, after imports, of loading and all first answers."""
    if way == PRESET:
        return seconds_of_preset(folder)
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers its operations

    begin = cpu()
    if way == "python":
        loaded = tf.saved_model.load(str(folder))
        for name, inputs in requests(folder):
            tensors = {key: tf.constant(x) for key, x in inputs.items()}
            loaded.signatures[name](**tensors)
        return cpu() - begin
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        loaded = v1.saved_model.load(session, ["serve"], str(folder))
        for name, inputs in requests(folder):
            signature = loaded.signature_def[name]
            session.run(
                [output.name for output in signature.outputs.values()],
                {signature.inputs[key].name: x for key, x in inputs.items()},
            )
    return cpu() - begin


def seconds_of_preset(folder: Path) -> float:
    from keras_llm.generation import TextGenerator
    from keras_llm.models import load_task
    from keras_llm.recipes.settings import GenerationSettings

    settings = GenerationSettings(sampler="greedy", max_new_tokens=16)
    begin = cpu()
    TextGenerator(load_task(str(folder))).generate(["Once upon"], settings)
    return cpu() - begin


def requests(folder: Path):
    """The signature and inputs of each warm-up request."""
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    file = str(folder / "assets.extra" / "tf_serving_warmup_requests")
    for record in tf.compat.v1.io.tf_record_iterator(file):
        request = PredictionLog.FromString(record).predict_log.request
        inputs = {
            name: tf.make_ndarray(proto)
            for name, proto in request.inputs.items()
        }
        yield request.model_spec.signature_name, inputs


def size(folder: Path) -> str:
    """Parameters, or how many nodes the graph and its functions have."""
    if ways(folder) == (PRESET,):
        count = json.loads((folder / "metadata.json").read_text())
        return f"{count['parameter_count']:,} parameters"
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    functions = graph.library.function
    count = len(graph.node) + sum(len(each.node_def) for each in functions)
    return f"{count:,} nodes"


def cpu() -> float:
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    main()
