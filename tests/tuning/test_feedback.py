"""Feedback is never lost, and what is damaged is named."""

import json
import os
import subprocess
import sys

import pytest

from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.tuning.feedback import (
    Event,
    add_feedback,
    export_feedback,
    read_feedback,
)

CORRECTION = Event("Where?", chosen="On the mat.", rejected="On the moon.")
THUMB = Event("Who?", completion="The cat.", label=False)


def test_events_come_back_in_their_order_with_times(tmp_path):
    path = tmp_path / "deep" / "feedback.jsonl"
    for event in (CORRECTION, THUMB):
        add_feedback(path, event)
    first, second = read_feedback(path).events
    assert first.chosen == "On the mat." and second.label is False
    assert first.time.endswith("+00:00")


def test_a_torn_line_is_named_and_lost_alone(tmp_path):
    path = tmp_path / "feedback.jsonl"
    add_feedback(path, CORRECTION)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole + whole[:length])
        add_feedback(path, THUMB)
        found = read_feedback(path)
        assert [event.label for event in found.events] == [None, False]
        assert list(found.damaged) == ([2] if length else [])


def test_processes_may_write_at_the_same_time(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from keras_llm.tuning.feedback import Event, add_feedback\n"
        "for n in range(20):\n"
        "    text = sys.argv[2] * 3000\n"
        "    event = Event('Who?', completion=text, label=True)\n"
        "    add_feedback(Path(sys.argv[1]), event)\n"
    )
    path = tmp_path / "feedback.jsonl"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), letter],
            env=os.environ | {"KERAS_LLM_WORKER": "1"},  # without Keras
        )
        for letter in "ab"
    ]
    assert [process.wait() for process in processes] == [0, 0]
    found = read_feedback(path)
    assert len(found.events) == 40 and not found.damaged


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[]", "JSON object"),
        ("{}", "no prompt"),
        ('{"prompt": "a"}', "neither"),
        ('{"prompt": "", "completion": "a", "label": 1}', "true or false"),
        ('{"prompt": "a", "chosen": "b"}', "Received: chosen"),
        ('{"prompt": "a", "chosen": "b", "rejected": "b"}', "for both"),
        ('{"prompt": "a", "completion": " ", "label": true}', "not empty"),
        ('{"prompt": [3], "completion": "b", "label": true}', "role"),
        ('{"prompt": 3, "completion": "b", "label": true}', "list"),
        ('{"messages": [], "completion": "b", "label": true}', "at least one"),
        ("[" * 100_000, ""),
        ('{"prompt": "a", "chosen": "b", "rejected": 5}', "rejected must be"),
        (
            '{"prompt": "a", "completion": "b", "label": true, "time": 7}',
            "time must be a text. Received: 7",
        ),
        (
            r'{"prompt": "a", "completion": "\ud83d", "label": true}',
            "completion must be Unicode text",
        ),
        (
            r'{"prompt": "\ud83d", "completion": "b", "label": true}',
            "must be Unicode text",
        ),
    ],
)
def test_lines_that_are_no_event_are_named(line, expected, tmp_path):
    path = tmp_path / "feedback.jsonl"
    path.write_text(line + "\n")
    found = read_feedback(path)
    assert found.events == [] and expected in found.damaged[1]


def test_of_one_prompt_the_last_correction_counts(tmp_path):
    path = tmp_path / "feedback.jsonl"
    newer = Event("Where?", completion="On the sofa.", label=True)
    for event in (CORRECTION, THUMB, newer):
        add_feedback(path, event)
    answers = [e.good_answer for e in read_feedback(path).corrections()]
    assert answers == ["On the sofa."]


def test_exported_files_have_the_columns_of_trl(tmp_path):
    path = tmp_path / "feedback.jsonl"
    for event in (CORRECTION, THUMB):
        add_feedback(path, event)
    export_feedback(read_feedback(path), tmp_path / "out")
    rows = {
        name: json.loads((tmp_path / "out" / f"{name}.jsonl").read_text())
        for name in ("corrections", "thumbs")
    }
    assert {"prompt", "chosen", "rejected"} <= rows["corrections"].keys()
    assert {"prompt", "completion", "label"} <= rows["thumbs"].keys()


def test_the_command_writes_and_lists(tmp_path, capsys):
    path = str(tmp_path / "feedback.jsonl")
    line = ["feedback", "add", path, "--prompt", "Where?", "--answer", "Moon"]
    assert main([*line, "--better", "Mat"]) == 0
    assert main([*line, "--thumb", "down"]) == 0
    assert main([*line[:-1], "What is [/INST]?", "--thumb", "down"]) == 0
    assert main(["feedback", "list", path]) == 0
    assert "[/INST]" in capsys.readouterr().out
    assert main([*line[:-1], "\udcff", "--thumb", "down"]) == 2
    assert main(["feedback", "list", path, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row.get("chosen") for row in printed] == ["Mat", None, None]
    assert main([*line, "--better", "Mat", "--thumb", "up"]) == 2
    assert main(line) == 2
    assert (
        main(["feedback", "add", path, "--prompt", "a", "--thumb", "up"]) == 2
    )
    assert main(["feedback", "list", path + "x"]) == 2
    assert len(read_feedback(path).events) == 3


def test_an_empty_answer_is_listed(tmp_path, capsys):
    path = str(tmp_path / "feedback.jsonl")
    add_feedback(path, Event("Where?", chosen="Mat", rejected=""))
    assert main(["feedback", "list", path]) == 0
    assert "Where?" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        add_feedback(tmp_path, CORRECTION)
