"""The command line as a process: interrupts, noise and its own defects."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from tiny_corpus import sample_text
from tiny_run import finished_run

from keras_llm import cli, quiet
from keras_llm.cli import main
from keras_llm.errors import InputError

AS_COMMAND = (
    "import sys; sys.argv[0] = 'keras-llm'; from keras_llm.cli import main; "
    "sys.exit(main())"
)


def test_a_defect_keeps_its_traceback(monkeypatch):
    def defect(values, console):
        raise ValueError("ours")

    monkeypatch.setitem(
        cli.COMMANDS, "recipes", replace(cli.COMMANDS["recipes"], run=defect)
    )
    with pytest.raises(ValueError, match="ours"):
        main(["recipes"])


def test_interrupts_leave_with_130(monkeypatch, capsys):
    def interrupt(values, console):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setitem(
        cli.COMMANDS, "recipes", replace(cli.COMMANDS["recipes"], run=interrupt)
    )
    assert main(["recipes"]) == 130
    assert capsys.readouterr().err == "keras-llm: interrupted\n"


def test_interrupts_of_the_start_leave_with_130():
    code = """
import signal, sys
sys.argv[0] = "keras-llm"

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "jsonargparse":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
from keras_llm.entry import main
sys.exit(main())
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "keras-llm: interrupted\n")


def test_an_interrupt_that_a_library_swallows_is_not_lost():
    with pytest.raises(KeyboardInterrupt):
        with quiet._remembered_interrupts():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                pass
    with quiet._remembered_interrupts():
        pass


def test_native_noise_is_dropped_and_errors_are_not(capfd):
    with pytest.raises(InputError):
        with quiet.quiet_native_code():
            os.write(2, b"noise")
            raise InputError("heard")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


@pytest.mark.slow
def test_the_command_says_nothing_but_its_own_lines(tmp_path):
    (tmp_path / "text.txt").write_text(sample_text(400))
    shutil.copy(finished_run() / "recipe.yaml", tmp_path)
    command = [sys.executable, "-c", AS_COMMAND]
    command += "train text.txt --out run --recipe recipe.yaml".split()
    process = subprocess.Popen(
        [*command, "--training.steps", "100000"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stderr:
        lines.append(line.rstrip())
        if line.startswith("step 4/"):
            process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert lines[:4] == ["prepare", "tokenizer", "encode", "pretrain"]
    assert lines[4].endswith(" parameters")
    assert all(line.startswith("step ") for line in lines[5:-1]), lines
    assert lines[-1].startswith("keras-llm: stopped at step ")
    step = int(lines[-1].split()[-1])
    checkpoints = tmp_path / "run" / "training" / "checkpoints"
    assert (checkpoints / f"{step:08d}").is_dir()


@pytest.mark.parametrize(
    "program",
    [
        "import keras_llm",
        "import sys; sys.argv[0] = 'keras-llm'; "
        "from keras_llm.quiet import import_keras; import_keras()",
    ],
)
def test_triton_is_there_before_tensorflow(program, tmp_path):
    # The other way round PyTorch's optimizers end the process.
    (tmp_path / "triton.py").touch()
    says = "import sys; print('triton' in sys.modules); sys.exit()"
    (tmp_path / "tensorflow.py").write_text(says)
    paths = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    said = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert said.stdout == "True\n", said.stderr
