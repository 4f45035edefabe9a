"""Keeps native libraries from talking over our own lines."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_native_code() -> Iterator[None]:
    """Within, what C++ code writes to standard error is dropped.

    TensorFlow announces its processor features before any setting can stop
    it, and TensorFlow Text every tokenizer that it builds. Python's exceptions
    are not affected.
    """
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
