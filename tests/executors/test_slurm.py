"""Slurm: the job that is submitted, run by a scheduler of a few lines."""

import os
import signal
import stat
import sys
import time

import pytest
import tiny_tasks
from tiny_tasks import PATHS, fail, notes, refuse, run, start, wait_until

from keras_llm.errors import InputError
from keras_llm.executors import TaskError, on_slurm

# Runs every task of the array, one after another, as Slurm would; keeps the
# script, and what it was called with.
SBATCH = """
import json, os, re, subprocess, sys
from pathlib import Path

home = Path(os.environ["FAKE_SLURM"])
*options, script = sys.argv[1:]
text = Path(script).read_text()
number = len(list(home.glob("*.slurm")))
kept = home / f"{number}.slurm"
kept.write_text(text)
(home / f"{number}.json").write_text(json.dumps(options))
name = re.search("--job-name=(.*)", text)[1]
last = int(re.search("--array=0-([0-9]+)", text)[1])
commands = []
for index in range(last + 1):
    variables = f"SLURM_ARRAY_TASK_ID={index} RUN_OFFSET=0"
    commands.append(f"{variables} timeout -s KILL 20 bash {kept} || true")
commands.append(f"rm {home}/{name}.pid")
with (home / "output").open("a") as output:
    environment = {k: v for k, v in os.environ.items() if "LLM" not in k}
    job = subprocess.Popen(
        ["bash", "-c", "\\n".join(commands)],
        stdout=output, stderr=output, start_new_session=True, env=environment,
    )
(home / f"{name}.pid").write_text(str(job.pid))
print("Submitted batch job", 100 + number)
"""
SQUEUE = """
import os, sys
from pathlib import Path

assert sys.argv[1:3] == ["-h", "-n"], sys.argv
pid = Path(os.environ["FAKE_SLURM"]) / (sys.argv[3] + ".pid")
if pid.exists():
    print(" 100 cpu keras-llm R")
"""
SCANCEL = """
import os, signal, sys
from pathlib import Path

assert sys.argv[1] == "-n"
pid = Path(os.environ["FAKE_SLURM"]) / (sys.argv[2] + ".pid")
if pid.exists():
    os.killpg(int(pid.read_text()), signal.SIGKILL)
    pid.unlink()
"""
SRUN = """
import os, sys

assert sys.argv[1:4] == ["-l", "-n", "1"], sys.argv
os.execvp(sys.argv[4], sys.argv[4:])
"""
PROGRAMS = {
    "sbatch": SBATCH,
    "squeue": SQUEUE,
    "scancel": SCANCEL,
    "srun": SRUN,
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder in which the pretended Slurm keeps what it was told."""
    home, programs = tmp_path / "slurm", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    for name, code in PROGRAMS.items():
        program = programs / name
        program.write_text(f"#!{sys.executable} -S\n{code}")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(home))
    monkeypatch.setenv("PYTHONPATH", PATHS)
    monkeypatch.setattr(on_slurm, "SECONDS", 0.1)
    monkeypatch.setattr(on_slurm, "QUEUE_SECONDS", 0.2)
    yield home
    for pid in home.glob("*.pid"):
        os.killpg(int(pid.read_text()), signal.SIGKILL)


def directives(script):
    """The options that a script gives sbatch."""
    lines = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    return dict(
        line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines
    )


def test_job_writes_what_one_process_does(tmp_path, slurm, capfd):
    alone = run(tmp_path / "alone", tasks=3, workers=1)
    totals = []
    there = run(
        tmp_path / "there",
        tasks=3,
        executor="slurm",
        workers=2,
        slurm_partition="batch",
        slurm_time="00:10:00",
        progress=totals.append,
    )
    assert there == alone
    assert totals[-1] == 3000
    (script,) = slurm.glob("*.slurm")
    told = directives(script.read_text())
    assert told["array"] == "0-2%2"
    assert told["partition"] == "batch"
    assert told["time"] == "00:10:00"
    assert told["cpus-per-task"] == told["nodes"] == "1"
    assert "qos" not in told
    assert capfd.readouterr() == ("", "")


def test_errors_arrive(tmp_path, slurm, capfd):
    with pytest.raises(InputError, match="^the text is no text$"):
        run(tmp_path / "a", tasks=4, trouble=refuse, executor="slurm")
    with pytest.raises(TaskError, match="ZeroDivisionError.*task_00002.log"):
        run(tmp_path / "b", tasks=3, trouble=fail, executor="slurm")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_tasks_that_slurm_ends_are_told_of_and_go_on(tmp_path, slurm):
    settings = {"tasks": 3, "executor": "slurm"}
    with pytest.raises(
        InputError, match="1 of 3 tasks unfinished, e.g. task 2"
    ):
        run(tmp_path / "a", trouble=tiny_tasks.be_killed, **settings)
    assert len(run(tmp_path / "a", **settings)) == 3
    second = (slurm / "1.slurm").read_text()
    assert directives(second)["array"] == "0-0"
    assert [len(pids) for pids in notes(tmp_path / "a").values()] == [1, 1, 2]


@pytest.mark.slow
def test_killed_command_leaves_no_second_job(tmp_path, slurm):
    killed = start(tmp_path / "a", 3, 1, 30, "slurm")
    wait_until(lambda: list(slurm.glob("*.pid")))
    (job,) = slurm.glob("*.pid")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert len(run(tmp_path / "a", tasks=3, executor="slurm")) == 3
    assert len(list(slurm.glob("*.slurm"))) == 2


def test_ctrl_c_cancels_the_job(tmp_path, slurm):
    stopped = start(tmp_path / "a", 3, 1, 30, "slurm")
    wait_until(lambda: list(slurm.glob("*.pid")))
    time.sleep(0.5)
    os.killpg(stopped.pid, signal.SIGINT)
    stopped.communicate(timeout=25)
    assert not list(slurm.glob("*.pid"))


def test_without_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="sbatch is on PATH"):
        run(tmp_path, executor="slurm")


def test_path_with_blanks(tmp_path, slurm):
    with pytest.raises(InputError, match="without blanks"):
        run(tmp_path / "my run", executor="slurm")


def test_refused_job(tmp_path, slurm):
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(InputError, match=r"exit code 3\).*partition 'cpu'"):
        run(tmp_path / "a", executor="slurm")
