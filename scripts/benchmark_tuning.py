"""Memory, time and loss of tuning: all weights, an adapter, one over int8.

Usage: python scripts/benchmark_tuning.py PRESET RECORDS [--steps 20]

PRESET has a chat template, RECORDS are instructions. Each way is tuned in a
process of its own; its peak of resident memory counts from its start, the
import of TensorFlow (1 GB) included. Over int8, Keras quantizes the kernels and
puts its own factors beside them: ours stand beside floats only.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WAYS = ("whole", "adapter", "int8")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("preset", type=Path)
    options.add_argument("records")
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--batch_size", type=int, default=4)
    options.add_argument("--rank", type=int, default=8)
    options.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    values = options.parse_args()
    if values.way:
        print(json.dumps(tuned(values)))
        return
    for way in values.ways:
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        found = json.loads(output.stdout.splitlines()[-1])
        print(f"{way}: " + ", ".join(f"{k} {v}" for k, v in found.items()))


def tuned(values: argparse.Namespace) -> dict:
    """Tunes in one way, and says what it took."""
    from keras_llm.datasets.shapes import ANSWERS
    from keras_llm.models.loading import context_length, load_causal_lm
    from keras_llm.recipes import load_recipe
    from keras_llm.tokenizers.chat_templates import chat_template
    from keras_llm.tuning.data import make_examples
    from keras_llm.tuning.instructions import instruction_run

    recipe = load_recipe(
        "instructions",
        {
            "training.epochs": None,
            "training.steps": values.steps,
            "training.batch_size": values.batch_size,
            "training.log_interval": values.steps,
            "training.validation_interval": values.steps,
            "training.sample_prompt": "",
        },
    )
    model = load_causal_lm(values.preset)
    begin = time.perf_counter()
    trained = prepare(model, values.way, values.rank)
    prepared = time.perf_counter() - begin
    template = chat_template(model.preprocessor.tokenizer)
    with TemporaryDirectory() as folder:
        data = Path(folder, "data")
        make_examples(
            [values.records],
            data,
            recipe.data,
            ANSWERS,
            template,
            context_length(model),
        )
        run = instruction_run(model, data, recipe, template)
        before = run.validate()
        result = run.train(Path(folder, "training"), recipe.training)
        after = run.validate()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "MB": round(peak * 1024 / 1e6),
        "trained": trained,
        "seconds to prepare": round(prepared, 1),
        "seconds a step": round(result.seconds / result.steps, 2),
        "loss before": round(before["loss"], 4),
        "loss after": round(after["loss"], 4),
    }


def prepare(model, way: str, rank: int) -> int:
    """Chooses what is trained; returns how many weights."""
    import keras

    from keras_llm.models import add_adapter

    if way == "adapter":
        add_adapter(model, rank)
    if way == "int8":
        kinds = keras.layers.Dense | keras.layers.EinsumDense
        model.backbone.quantize(
            "int8", filters=lambda layer: isinstance(layer, kinds)
        )
        for weight in model.weights:
            weight.trainable = False
        for layer in model.backbone._flatten_layers():
            if isinstance(layer, kinds):
                layer.enable_lora(rank, lora_alpha=2 * rank)
    return sum(
        weight.value.shape.num_elements() for weight in model.trainable_weights
    )


if __name__ == "__main__":
    main()
