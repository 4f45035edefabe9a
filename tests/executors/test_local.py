"""Executors: every task once, whatever is killed in between."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import tiny_tasks
from tiny_tasks import (
    BYTES,
    be_killed,
    fail,
    fill_the_disk,
    notes,
    refuse,
    run,
    run_out_of_memory,
    start,
    wait_until,
    written,
)

from keras_llm.errors import InputError, Interrupted
from keras_llm.executors import TaskError, advance, base
from keras_llm.executors import progress as progress_module

WORKERS = [1, 2]


def is_running(process):
    """Whether a process runs, and is not only waiting to be buried."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def workers_of(folder):
    """Processes that tasks have been started in so far."""
    folder = Path(folder) / "notes"
    lines = [path.read_text() for path in folder.glob("*")]
    return {int(number) for line in lines for number in line.split()}


def completed(folder):
    """Names of the tasks that are marked as finished."""
    return {path.name for path in (folder / "stage/completions").glob("*")}


def test_workers_do_not_show(tmp_path, capfd):
    alone = run(tmp_path / "alone", workers=1)
    assert len(alone) == 6
    assert run(tmp_path / "pair", workers=2, seconds=0.2) == alone
    assert workers_of(tmp_path / "alone") == {os.getpid()}
    others = workers_of(tmp_path / "pair")
    assert len(others) == 2 and os.getpid() not in others
    run(tmp_path / "next", workers=2, seconds=0.2)
    assert workers_of(tmp_path / "next") == others
    assert capfd.readouterr() == ("", "")
    for name in ("alone", "pair"):
        logs = sorted((tmp_path / name / "stage/logs").iterdir())
        assert len(logs) == 6
        texts = [log.read_text() for log in logs]
        assert all("loguru speaks" in text for text in texts)
        assert all("logging speaks" in text for text in texts)
        assert any("warnings speak" in text for text in texts)


def test_one_task_stays_in_this_process(tmp_path):
    run(tmp_path, tasks=1, workers=4)
    assert workers_of(tmp_path) == {os.getpid()}


def imports_of(folder):
    from keras_llm.executors import run_tasks
    from keras_llm.recipes.corpus_settings import ExecutionSettings

    pipeline = [tiny_tasks.Environment(folder)]
    run_tasks(pipeline, 2, folder / "stage", ExecutionSettings(workers=2))
    return json.loads((folder / "00001").read_text())


def test_workers_import_no_keras_and_take_a_core_each(tmp_path):
    found = imports_of(tmp_path)
    assert not {"keras", "keras_hub", "tensorflow"} & set(found["modules"])
    assert found["environment"]["KERAS_LLM_WORKER"] == "1"
    assert found["environment"]["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("workers", WORKERS)
def test_errors_arrive_and_the_tasks_go_on(tmp_path, capfd, workers):
    with pytest.raises(InputError, match="^the text is no text$"):
        run(tmp_path, workers=workers, trouble=refuse)
    assert "00002" not in written(tmp_path)
    with pytest.raises(TaskError, match="ZeroDivisionError: by zero") as error:
        run(tmp_path, workers=workers, trouble=fail)
    log = tmp_path / "stage" / "logs" / "task_00002.log"
    assert str(log) in str(error.value)
    assert "Traceback" in log.read_text()
    # How far the others come, of two workers, is up to the machine.
    finished = completed(tmp_path)
    assert "00002" not in finished
    assert workers > 1 or finished == {"00000", "00001"}
    before = notes(tmp_path)
    assert len(run(tmp_path, workers=workers)) == 6
    for name, started in notes(tmp_path).items():
        again = len(started) - len(before.get(name, []))
        assert again == (name not in finished)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (run_out_of_memory, "probably for want of memory. Pass fewer --work"),
        (fill_the_disk, "No space left on device: 'out/00002'. Make room"),
    ],
)
def test_want_of_room_is_no_defect(tmp_path, trouble, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, workers=1, trouble=trouble)


@pytest.mark.parametrize("workers", WORKERS)
def test_a_disk_too_full_for_logs_and_reasons_is_told(tmp_path, capfd, workers):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no device that is always full")
    log = tmp_path / "stage" / "logs" / "task_00002.log"
    reason = tmp_path / "stage" / "errors" / ".00002.json.partial"
    for path in (log, reason):
        path.parent.mkdir(parents=True)
        path.symlink_to("/dev/full")
    with pytest.raises(Interrupted, match="No space left .*'out/00002'. Make"):
        run(tmp_path, workers=workers, trouble=fill_the_disk)
    assert capfd.readouterr() == ("", "")
    assert not list((tmp_path / "stage" / "errors").glob("*.json"))
    log.unlink()
    assert len(run(tmp_path, workers=workers)) == 6


def test_a_disk_too_full_to_begin_or_end_a_task_is_told(tmp_path, monkeypatch):
    def fill(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("mark_rank_as_completed", "_logged"):
        with monkeypatch.context() as patch:
            patch.setattr(base.TaskExecutor, name, fill, raising=False)
            with pytest.raises(Interrupted, match="No space left .* Make room"):
                run(tmp_path, workers=1)
    assert len(run(tmp_path, workers=1)) == 6


def test_tasks_without_a_reason_look_at_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_llm.executors.local.attempt", leave)
    with pytest.raises(TaskError, match="6 of 6 .* left no reason"):
        run(tmp_path, workers=1)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(Interrupted, match="The disk of .*stage is full. Make"):
        run(tmp_path, workers=1)


def leave(folder, rank):
    """Does nothing of a task."""


def test_killed_worker_is_told_of(tmp_path, capfd):
    with pytest.raises(InputError, match="worker processes was killed") as got:
        run(tmp_path, workers=2, trouble=be_killed)
    assert "fewer --workers" in str(got.value)
    assert "goes on" in str(got.value)
    assert capfd.readouterr().out == ""
    assert len(run(tmp_path, workers=2)) == 6


@pytest.mark.parametrize("workers", WORKERS)
def test_progress_is_told(tmp_path, workers, monkeypatch):
    monkeypatch.setattr(progress_module, "SECONDS", 0.05)
    totals = []
    run(tmp_path, seconds=0.2, workers=workers, progress=totals.append)
    assert totals == sorted(totals)
    assert totals[-1] == 6 * BYTES
    assert any(0 < total < 6 * BYTES for total in totals)


def test_progress_counts_what_was_finished_before(tmp_path, monkeypatch):
    monkeypatch.setattr(progress_module, "SECONDS", 0.05)
    with pytest.raises(TaskError):
        run(tmp_path, workers=1, trouble=fail)
    totals = []
    run(tmp_path, seconds=0.2, workers=1, progress=totals.append)
    assert 2 * BYTES <= totals[0] < 6 * BYTES
    assert totals[-1] == 6 * BYTES
    run(tmp_path, workers=1, progress=totals.append)
    assert totals[-1] == 6 * BYTES


def test_without_a_task_there_is_no_progress():
    advance(10)


def test_killed_run_goes_on(tmp_path):
    whole = run(tmp_path / "whole", tasks=12, workers=1)
    killed = start(tmp_path / "killed", 12, 2, 0.3)
    wait_until(lambda: list((tmp_path / "killed/out").glob("00003")))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    finished = completed(tmp_path / "killed")
    assert 3 <= len(finished) < 12
    before = notes(tmp_path / "killed")
    assert run(tmp_path / "killed", tasks=12, workers=2) == whole
    for name, started in notes(tmp_path / "killed").items():
        again = len(started) - len(before.get(name, []))
        assert again == (name not in finished)


@pytest.mark.parametrize("workers", WORKERS)
def test_ctrl_c_stops_at_once_and_leaves_no_process(tmp_path, workers):
    stopped = start(tmp_path, 4, workers, 30)
    wait_until(lambda: len(workers_of(tmp_path)) == workers)
    os.killpg(stopped.pid, signal.SIGINT)  # as a terminal does
    said = stopped.communicate(timeout=25)
    assert stopped.returncode not in (0, -signal.SIGKILL)
    assert said[1].count("KeyboardInterrupt") == 1, said[1]
    wait_until(lambda: not any(map(is_running, workers_of(tmp_path))), 25)


def test_workers_ignore_ctrl_c_and_end_with_a_killed_command(tmp_path):
    killed = start(tmp_path, 4, 2, 30)
    wait_until(lambda: len(workers_of(tmp_path)) == 2)
    for worker in workers_of(tmp_path):
        status = Path(f"/proc/{worker}/status")
        if status.is_file():
            lines = status.read_text().splitlines()
            masks = dict(line.split(":", 1) for line in lines)
            assert int(masks["SigIgn"], 16) & 1 << signal.SIGINT - 1
    os.kill(killed.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, workers_of(tmp_path))), 25)
    killed.communicate()
