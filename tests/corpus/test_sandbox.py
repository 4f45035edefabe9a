"""What hostile files are read in: limited, and never left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from keras_llm.corpus import sandbox
from keras_llm.corpus.sandbox import Sandbox

PARENT = """
import time
from keras_llm.corpus.sandbox import Sandbox

idle, busy = (Sandbox(time.sleep, 60, warm_up=0) for _ in range(2))
idle.call(0), busy.call(0)
print(idle.process.pid, busy.process.pid, flush=True)
busy.call(60)
"""


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_no_process_outlives_a_parent_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env=os.environ | {"KERAS_LLM_WORKER": "1"},  # without Keras
        stdout=subprocess.PIPE,
        text=True,
    )
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2 and all(map(is_running, children))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 60
    while any(map(is_running, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_running, children))


def misbehave(how):
    if how == "hang":
        time.sleep(60)
    if how == "die":
        os._exit(1)
    if how == "fill":
        return len(bytearray(2**28))
    if how == "fail":
        raise KeyError(how)
    if how == "fail oddly":
        raise type("Odd", (Exception,), {})(how)
    return how.upper()


@pytest.mark.parametrize(
    "how, error",
    [
        ("hang", TimeoutError),
        ("die", EOFError),
        ("fill", MemoryError),
        ("fail", KeyError),
        ("fail oddly", RuntimeError),
    ],
)
def test_what_goes_wrong_is_told_and_the_next_call_works(
    monkeypatch, how, error
):
    monkeypatch.setattr(sandbox, "MOST_BYTES", 2**27)
    # As long as a busy machine may take for what takes no time.
    seconds = 2 if how == "hang" else 60
    box = Sandbox(misbehave, seconds, warm_up="")
    try:
        assert box.call("fine") == "FINE"
        with pytest.raises(error):
            box.call(how)
        assert box.call("again") == "AGAIN"
    finally:
        box.close()
    assert box.process is None
