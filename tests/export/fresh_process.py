"""A process with TensorFlow and TensorFlow Text, where Keras is not."""

import json

from testing import run_python

# TensorFlow Text's Python imports Keras; its operations, all that is needed,
# are in libraries of their own.
CODE = """
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

[text] = find_spec("tensorflow_text").submodule_search_locations
for name in ("keras", "keras_hub", "keras_nlp", "keras_llm"):
    sys.modules[name] = None  # cannot be imported
import tensorflow as tf

if os.environ.get("KERAS_LLM_TESTS_GRAPHS") == "as traced":
    off = {"disable_meta_optimizer": True}
    tf.config.optimizer.set_experimental_options(off)
for library in sorted(Path(text).glob("python/ops/_*.so")):
    tf.load_op_library(str(library))


def plain(rows):
    if isinstance(rows, list):
        return [plain(row) for row in rows]
    return rows.decode() if isinstance(rows, bytes) else rows


model = tf.saved_model.load(sys.argv[1])
answers = []
for signature, inputs in json.loads(sys.argv[2]):
    serve = model.signatures[signature]
    _, specs = serve.structured_input_signature
    inputs = {
        name: tf.constant(rows, specs[name].dtype)
        for name, rows in inputs.items()
    }
    outputs = serve(**inputs)
    lists = {name: value.numpy().tolist() for name, value in outputs.items()}
    answers.append({name: plain(rows) for name, rows in lists.items()})
print(json.dumps(answers))
"""


def answers_without_keras(folder, requests):
    """What a SavedModel answers there.

    Args:
        folder: of one version.
        requests: pairs of a signature and a dict of its inputs, as lists.

    Returns:
        A dict of lists for each.
    """
    return json.loads(run_python(CODE, folder, json.dumps(requests)))
