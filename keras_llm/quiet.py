"""Imports of libraries that talk over our lines, or bear no other order."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


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
    import_triton()
    with _remembered_interrupts(), quiet_native_code():
        import keras_hub  # noqa: F401
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def import_triton() -> None:
    """Imports Triton, which PyTorch for GPUs brings, before TensorFlow.

    The other way round the process dies of a segmentation fault as soon as a
    PyTorch optimizer is made: Triton then calls the LLVM that TensorFlow 2.20
    and later shows to everybody (tensorflow #124205).
    """
    if "tensorflow" not in sys.modules:
        with suppress(ImportError):
            import triton  # noqa: F401


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
