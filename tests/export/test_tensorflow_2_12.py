"""The oldest server's TensorFlow loads what is exported, and answers alike.

Stock servers 2.12 to 2.19 link TensorFlow Text 2.12.1. In a Python of its own:

    python3.11 -m venv old
    old/bin/pip install tensorflow-cpu==2.12.1 tensorflow-hub==0.13.0
    old/bin/pip install --no-deps tensorflow-text==2.12.1
    KERAS_LLM_TENSORFLOW_2_12=old/bin/python scripts/test --slow
"""

import functools
import json
import os
import subprocess

import numpy as np
import pytest
from served import Served, mixed_model, model_of, serve
from stock_classifiers import stock_classifier
from stock_models import stock_model

from keras_llm.export.server_operations import (
    LATER_OPERATIONS,
    TEXT_OPERATIONS,
)

PYTHON = os.environ.get("KERAS_LLM_TENSORFLOW_2_12")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON,
        reason="needs a Python with TensorFlow 2.12: see the docstring",
    ),
]

REGISTERED = """
import json
from tensorflow.core.framework.op_def_pb2 import OpList
from tensorflow.python.client import pywrap_tf_session as session

def names():
    listed = session.TF_GetBuffer(session.TF_GetAllOpList())
    return {each.name for each in OpList.FromString(listed).op}

core = names()
import tensorflow_text
print(json.dumps([sorted(core), sorted(names() - core)]))
"""

# In a session, as a server does it.
ANSWERS = """
import json
import sys
import tensorflow as tf
import tensorflow_text

v1 = tf.compat.v1
answers = {}
with tf.Graph().as_default(), v1.Session() as session:
    loaded = v1.saved_model.load(session, ["serve"], sys.argv[1])
    for name, inputs in json.loads(sys.argv[2]).items():
        signature = loaded.signature_def[name]
        outputs = session.run(
            {key: each.name for key, each in signature.outputs.items()},
            {signature.inputs[key].name: x for key, x in inputs.items()},
        )
        answers[name] = {
            key: [x.decode() if isinstance(x, bytes) else x for x in rows]
            for key, rows in ((k, each.tolist()) for k, each in outputs.items())
        }
print(json.dumps(answers))
"""

ROWS = 2
TEXTS = ["the people of", "é 😀 <s>"]
VALUES = {
    "max_new_tokens": [8, 5],
    "temperature": [0.0, 1.0],
    "top_k": [0, 40],
    "top_p": [1.0, 0.9],
    "repetition_penalty": [1.0, 1.2],
    "seed": [0, 7],
}


def old_python(code, *arguments):
    done = subprocess.run(
        [PYTHON, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_operations_are_listed_as_they_are():
    core, text = old_python(REGISTERED)
    assert set(text) == TEXT_OPERATIONS
    assert not LATER_OPERATIONS & {*core, *text}


def in_dtype(dtype):
    return model_of(["gru", "attention"], dtype=dtype)


def in_int8():
    from keras.layers import Dense

    model = model_of(["gru", "attention"])
    model.quantize("int8", filters=lambda layer: isinstance(layer, Dense))
    return model


MODELS = {
    "ours": mixed_model,
    "ours, bfloat16": functools.partial(in_dtype, "bfloat16"),
    "ours, float16": functools.partial(in_dtype, "float16"),
    "ours, int8": in_int8,
    "GPT2": functools.partial(stock_model, "GPT2"),
    "Gemma": functools.partial(stock_model, "Gemma"),
    "Bert": functools.partial(stock_classifier, "Bert"),
    "Roberta": functools.partial(stock_classifier, "Roberta"),
    "DebertaV3": functools.partial(stock_classifier, "DebertaV3"),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_answers_there_as_here(name):
    here = serve(MODELS[name]())
    assert isinstance(here, Served)
    requests = {
        signature: {
            key: VALUES.get(key, TEXTS)
            for key in function.structured_input_signature[1]
        }
        for signature, function in here.model.signatures.items()
    }
    there = old_python(ANSWERS, str(here.folder), json.dumps(requests))
    for signature, inputs in requests.items():
        for key, expected in here.call(signature, **inputs).items():
            found = there[signature][key]
            if isinstance(np.ravel(expected)[0], float):
                np.testing.assert_allclose(found, expected, rtol=1e-2)
            else:
                assert found == expected, (signature, key)
