"""Keeps libraries from talking over our own lines."""

import logging
import os
import signal
import threading
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


def import_keras() -> None:
    """Imports KerasHub, which takes seconds, without a word.

    Raises:
        KeyboardInterrupt: Ctrl-C within; the libraries may swallow it, and
            it is raised again at the end.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _remembered_interrupts(), quiet_native_code():
        import keras_hub  # noqa: F401
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def _remembered_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # where no Ctrl-C arrives
        return
    interrupts = []

    def interrupt(*args):
        interrupts.append(args)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if interrupts:
            raise KeyboardInterrupt
