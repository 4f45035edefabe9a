"""Settings of every test process, made before TensorFlow is imported."""

import gc
import os
import sys

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# One process a core: threads within each would only wait for each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
# XLA would optimise for longer than these models run.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true",
)
# Each collection of Python's walks through all models and graphs there are.
gc.set_threshold(50_000, 50, 50)


def pytest_configure(config):
    """Lets graphs run as they are traced, but where the slow tests run too.

    Tests run each a few times: TensorFlow optimises them for longer.
    """
    distributes = config.getoption("numprocesses", None)
    if config.option.markexpr == "not slow" and not distributes:
        from testing import trace_alone

        os.environ["KERAS_LLM_TESTS_GRAPHS"] = "as traced"
        trace_alone()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Sets aside what a module leaves: models, graphs and compiled functions.

    They are a gigabyte and more at the end, and each collection of Python's
    would walk through all of it: a seventh of the time.
    """
    result = yield
    if nextitem is None or nextitem.path != item.path:
        _forget_gradients()
        gc.collect()
        gc.freeze()
    return result


def _forget_gradients():
    """Lets go of graphs that were trained.

    TensorFlow keeps every graph that has a gradient of its own in it, and
    Keras's optimizers put one into each: 40 MB a model, however small.
    """
    if "tensorflow" not in sys.modules:
        return
    from tensorflow.python.framework import ops

    known = ops.gradient_registry._registry
    for name in [name for name in known if name.startswith("CustomGradient-")]:
        del known[name]
