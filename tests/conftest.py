"""Settings of every test process, made before TensorFlow is imported."""

import gc
import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# One process a core: threads within each would only wait for each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Sets aside what a module leaves: models, graphs and compiled functions.

    They are a gigabyte and more at the end, and each collection of Python's
    would walk through all of it: a seventh of the time.
    """
    result = yield
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()
    return result
