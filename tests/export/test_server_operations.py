"""What servers refuse is found in a graph, however deep, and left out of it."""

import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from stock_classifiers import FAMILIES, stock_classifier

from keras_llm.errors import InputError
from keras_llm.export.classifier_graph import ClassifierGraph
from keras_llm.export.server_operations import (
    LATER_OPERATIONS,
    check_operations,
    later_operations,
    server_versions,
    text_operations,
)
from keras_llm.export.without_xla import without_xla


def updated(x):
    """What caches are written with."""
    return keras.ops.slice_update(x, [0], keras.ops.ones([1]))


@tf.function(jit_compile=True)
def compiled(x):
    return x * 2.0


def in_python(x):
    return tf.py_function(lambda y: y * 2.0, [x], tf.float32)


def in_numpy(x):
    return tf.numpy_function(lambda y: y * 2.0, [x], tf.float32)


def at_the_top(function):
    return function


def in_a_function(function):
    return tf.function(function, autograph=False)


def in_a_loop(function):
    def body(x):
        return [tf.ensure_shape(function(x), [2])]

    def loop(x):
        return tf.while_loop(lambda x: x[0] < 9.0, body, [x])

    return in_a_function(loop)


def graph(function):
    traced = tf.function(function, autograph=False)
    concrete = traced.get_concrete_function(tf.TensorSpec([2], tf.float32))
    return concrete.graph.as_graph_def()


@pytest.mark.parametrize("place", [at_the_top, in_a_function, in_a_loop])
@pytest.mark.parametrize(
    ("function", "found"),
    [
        (updated, "XlaDynamicUpdateSlice"),
        (compiled, "which XLA has to compile"),
        (in_python, "EagerPyFunc"),
        (in_numpy, "PyFunc"),
    ],
)
def test_what_a_server_refuses_is_found(function, found, place):
    with pytest.raises(InputError, match=f"No stock .* has {found}|{found}"):
        check_operations(graph(place(function)))


def test_what_a_server_runs_passes():
    with without_xla():
        operations = check_operations(graph(in_a_loop(updated)))
    assert text_operations(operations) == set()
    assert server_versions(operations) == "TensorFlow Serving 2.12 or later"


def lowered(x):
    import tensorflow_text as tf_text

    return tf_text.case_fold_utf8(tf.strings.as_string(x))


def trimmed(x):
    import tensorflow_text as tf_text

    rows = tf.RaggedTensor.from_tensor(x[None])
    return tf_text.RoundRobinTrimmer(1).trim([rows])[0].to_tensor()


def transformed(x):
    return tf.raw_ops.FFTND(
        input=tf.cast(x, tf.complex64), fft_length=[2], axes=[0]
    )


def test_operations_of_tensorflow_text_are_known():
    operations = check_operations(graph(in_a_function(lowered)))
    assert text_operations(operations) == {"CaseFoldUTF8"}
    assert later_operations(operations) == []


@pytest.mark.parametrize(
    ("function", "name"),
    [(trimmed, "TFText>RoundRobinTrim"), (transformed, "FFTND")],
)
def test_what_old_servers_lack_is_told(function, name):
    operations = check_operations(graph(in_a_function(function)))
    assert later_operations(operations) == [name]
    told = server_versions(operations)
    assert f"that has {name}, which 2.12 to 2.19 have not" in told


def test_what_is_not_listed_as_later_was_there():
    # Of the sorted names that `tf.raw_ops` has here and TensorFlow 2.12.1 had
    # registered: another number says that this TensorFlow has others.
    names = {name for name in dir(tf.raw_ops) if not name.startswith("_")}
    names = {name for name in names if not name.startswith("Xla")}
    earlier = "\n".join(sorted(names - LATER_OPERATIONS))
    assert hashlib.sha256(earlier.encode()).hexdigest() == (
        "1ee89aadeb1f0cccf9450b8d790cbd694a173001c111d4c67982e94dc3ac30a8"
    )


# As packed into sixteen tokens, and cut there.
TEXTS = ["The people of, the union!", "", "é日本 treaty", " war " * 40]


@pytest.mark.parametrize("name", FAMILIES)
def test_classifiers_load_everywhere_and_give_equal_scores(name):
    model = stock_classifier(name)
    classify = ClassifierGraph(model).signatures["classify"]
    operations = check_operations(classify.graph.as_graph_def())
    assert later_operations(operations) == []
    assert model.preprocessor.packer.truncate == "round_robin"
    expected = model.predict(TEXTS, verbose=0)
    outputs = classify(text=tf.constant(TEXTS))
    np.testing.assert_allclose(outputs["scores"], expected, atol=1e-5)
    labels = [str(best).encode() for best in expected.argmax(1)]
    assert outputs["label"].numpy().tolist() == labels


def test_a_failed_export_leaves_a_packer_as_it_was(monkeypatch):
    model = stock_classifier("Roberta")
    tokenizer = model.preprocessor.tokenizer

    def fail(*args, **kwargs):
        raise RuntimeError("no memory")

    monkeypatch.setattr(type(model), "__call__", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        ClassifierGraph(model)
    assert model.preprocessor.packer.truncate == "round_robin"
    assert model.preprocessor.tokenizer is tokenizer
