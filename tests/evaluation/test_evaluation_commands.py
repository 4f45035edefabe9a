"""`keras-llm ask` and the four ways of `keras-llm evaluate`."""

import json
import re
from pathlib import Path

import pytest
from harness_tasks import write_tasks
from taught import FACTS, taught_preset
from testing import code_blocks

from keras_llm.cli import main
from keras_llm.evaluation.questions import prompt_of


@pytest.fixture
def call(capsys):
    """Calls the command line; returns its code, and what it printed."""

    def call(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out if code == 0 else printed.err

    return call


def test_ask(call, tmp_path):
    fact = FACTS[1]
    choices = [each.completion for each in FACTS] + ["[/x]"]
    question = ["ask", taught_preset(), fact.prompt]
    code, printed = call(*question, "--choices", *choices)
    assert code == 0
    assert printed.splitlines()[0] == fact.completion
    assert re.search(rf"{re.escape(fact.completion)}.*100.0%", printed)
    code, printed = call(*question, "--show_prompt")
    assert printed == f"{prompt_of(fact.prompt)}\n\n{fact.completion}\n"
    shots = tmp_path / "shots.csv"
    shots.write_text("question,answer\nA?,B.\n")
    code, printed = call(
        *question, "--shots", shots, "--instruction", "Be brief.", "--json"
    )
    answer = json.loads(printed)
    expected = prompt_of(fact.prompt, [("A?", "B.")], "Be brief.")
    assert answer["prompt"] == expected
    assert answer["choices"] == []


def test_the_example_of_the_guide(capsys):
    page = Path(__file__).parents[2] / "docs/evaluation.md"
    [source] = code_blocks(page, "python")
    source = source.replace("runs/assessed", str(taught_preset()))
    exec(compile(source, page.name, "exec"), {})
    printed = capsys.readouterr().out
    probabilities = re.fullmatch(r"(Madrid|Oslo) \[(.*), (.*)\]\n", printed)
    total = float(probabilities[2]) + float(probabilities[3])
    assert total == pytest.approx(1)


@pytest.mark.slow
def test_tasks(call, tmp_path):
    tasks, out = write_tasks(tmp_path / "tasks"), tmp_path / "results"
    arguments = ["evaluate", taught_preset(), "--include_path", tasks]
    arguments += ["--tasks", "sums_choice", "--limit", 3, "--num_fewshot", 1]
    code, printed = call(*arguments, "--out", out, "--json")
    assert code == 0
    rows = json.loads(printed)["tasks"]
    assert [row["metric"] for row in rows] == ["acc", "acc_norm"]
    assert {(row["num_fewshot"], row["num_questions"]) for row in rows} == {
        (1, 3)
    }
    written = json.loads((out / "results.json").read_text())
    accuracy = written["results"]["sums_choice"]["acc,none"]
    assert accuracy == rows[0]["value"]
    samples = (out / "samples_sums_choice.jsonl").read_text().splitlines()
    right = [json.loads(line)["acc"] for line in samples]
    assert sum(right) / len(right) == accuracy
    code, printed = call(*arguments)
    assert re.search(r"sums_choice +│ 1 +│ 3 +│ acc_norm +│", printed)
    code, printed = call(*arguments, "--out", out)
    assert code == 2
    assert "must be a new or empty folder" in printed


def test_references(call, tmp_path):
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "answers"
    rows = [
        {"q": prompt_of(fact.prompt), "a": fact.completion} for fact in FACTS
    ]
    pairs.write_text("\n".join(map(json.dumps, rows)))
    arguments = ["evaluate", taught_preset(), "--references", pairs]
    arguments += ["--prompt", "q", "--completion", "a", "--stop", "\n"]
    code, printed = call(
        *arguments, "--max_new_tokens", 24, "--out", out, "--json"
    )
    assert code == 0, printed
    scores = json.loads(printed)
    assert scores["exact_match"] == scores["rouge1"] == 1
    assert scores["bleu"] == pytest.approx(100)
    assert json.loads((out / "results.json").read_text()) == scores
    lines = (out / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["answer"] for line in lines] == [
        fact.completion for fact in FACTS
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("evaluate x", "One of TOKENS, --tasks, --references.*none"),
        ("evaluate x y --tasks z", "Received: TOKENS and --tasks"),
        ("evaluate x y --limit 3", "--limit needs --tasks"),
        ("evaluate x --tasks a --split b", "--split needs TOKENS"),
        ("evaluate x --tasks a --stop b", "--stop needs --references"),
        ("evaluate x y --out o", "--out needs --tasks, --references or"),
        ("evaluate x y --data.columns a b", "--data.columns needs --labelled"),
        ("evaluate x --labelled y", "x must be a preset"),
        ("evaluate x --tasks a", "x must be a preset"),
        ("evaluate x --references nowhere.jsonl", "does not exist"),
        ("evaluate x --references pairs.csv", "x must be a preset"),
        ("ask x", "QUESTION must be given. Usage: keras-llm ask PRESET QUEST"),
        ("ask x why --shots nowhere.csv", "'nowhere.csv', which does not"),
        ("ask x why", "x must be a preset"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    line, expected, call, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.csv").write_text("prompt,completion\na,b\n")
    code, printed = call(*line.split())
    assert code == 2
    assert re.fullmatch(f"keras-llm: .*{expected}.*", printed.splitlines()[-1])
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]
