"""Corrections become the next version, or are refused with the reason."""

import errno
import json
from dataclasses import replace

import pytest
from tuned import QUIET, tiny_preset, tiny_recipe, write_data

from keras_llm import workflow
from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.recipes import load_recipe
from keras_llm.tuning.feedback import Event, add_feedback
from keras_llm.tuning.improvement import (
    Judgement,
    judge,
    objections,
    says_the_same,
)
from keras_llm.workflow import improvement

QUESTIONS = {
    "Where is the cat?": "On the mat.",
    "Who rules?": "The people.",
    "Why so late?": "Ask the army.",
}


@pytest.fixture(scope="module")
def assistant(tmp_path_factory):
    """A run of a model that has learned to answer."""
    folder = tmp_path_factory.mktemp("assistant")
    source = write_data("instructions", folder)
    recipe = tiny_recipe("instructions", steps=40, validation_interval=40)
    workflow.tune_instructions(
        tiny_preset(folder, ["attention"] * 2, hidden_dim=48, dropout=0.0),
        source,
        folder / "run",
        recipe,
        console=QUIET,
    )
    return folder / "run"


@pytest.fixture
def feedback(tmp_path):
    path = tmp_path / "feedback.jsonl"
    for prompt, chosen in QUESTIONS.items():
        # It may have said nothing.
        rejected = "" if prompt == "Who rules?" else "No."
        add_feedback(path, Event(prompt, chosen=chosen, rejected=rejected))
    return path


def recipe_of(**training):
    recipe = load_recipe("improve")
    settings = {"learning_rate": 1e-2, "epochs": 150.0} | training
    return replace(
        recipe,
        training=replace(recipe.training, **settings),
        generation=replace(recipe.generation, max_new_tokens=12),
    )


def improve(assistant, feedback, out, recipe=None, **options):
    return workflow.improve(
        assistant,
        feedback,
        out,
        recipe=recipe or recipe_of(),
        console=QUIET,
        max_loss_rise=options.pop("max_loss_rise", 50.0),
        **options,
    )


class Killed(BaseException):
    """As a SIGKILL: nothing is written after it."""


def killed(*args, **kwargs):
    raise Killed


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def check_improved(result, served, out):
    assert result["improved"], result["objections"]
    assert result["answered_as_corrected"] == {"before": 0, "after": 3, "of": 3}
    assert result["exported"] == str(served / "1")
    card = served / "1" / "assets.extra" / "model_card.md"
    assert "Be brief." in card.read_text()
    page = (out / "report.html").read_text()
    assert "On the mat." in page and "Better: exported" in page


def test_a_better_model_is_the_next_version(assistant, feedback, tmp_path):
    served, out = tmp_path / "saved" / "cat", tmp_path / "out"
    options = {"export": served, "held_back": 0.0, "system": "Be brief."}
    result = improve(assistant, feedback, out, **options)
    check_improved(result, served, out)
    pairs = (out / "records/pairs/train.jsonl").read_text()
    assert pairs.count("No.") == len(pairs.splitlines()) == 2
    # The same call exports nothing twice.
    assert improve(assistant, feedback, out, **options) == result
    assert [p.name for p in served.iterdir() if p.name.isdigit()] == ["1"]


@pytest.mark.slow
def test_it_is_wherever_it_was_killed(
    assistant, feedback, tmp_path, monkeypatch
):
    served, out = tmp_path / "saved" / "cat", tmp_path / "out"
    options = {"export": served, "held_back": 0.0, "system": "Be brief."}
    stages = {
        "tune_preferences": improvement,
        "judge": improvement._Improvement,
        "_export": improvement._Improvement,
    }
    for name, owner in stages.items():
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killed)
            with pytest.raises(Killed):
                improve(assistant, feedback, out, **options)
        assert not served.exists()
    with monkeypatch.context() as patch:
        patch.setattr(improvement._Improvement, "_export", full_disk)
        with pytest.raises(InputError, match="No space left.*goes on from"):
            improve(assistant, feedback, out, **options)
    assert not served.exists()
    check_improved(improve(assistant, feedback, out, **options), served, out)


@pytest.mark.parametrize(
    ("section", "settings", "expected"),
    [
        ("adapter", {"rank": 2, "targets": ["x"]}, "adapter.targets must"),
        ("training", {"sample_prompt": "a" * 999}, "training.sample_prompt"),
        ("data", {"template": "nothing"}, "nothing must be a file"),
    ],
)
def test_what_cannot_be_tuned_leaves_nothing(
    section, settings, expected, assistant, feedback, tmp_path
):
    recipe, out = recipe_of(), tmp_path / "out"
    changed = replace(getattr(recipe, section), **settings)
    with pytest.raises(InputError, match=expected):
        improve(assistant, feedback, out, replace(recipe, **{section: changed}))
    assert not out.exists()


@pytest.mark.parametrize("name", ["held_back", "max_loss_rise"])
def test_shares_are_numbers(name, assistant, feedback, tmp_path):
    with pytest.raises(InputError, match=f"{name} must be .* Received: nan"):
        improve(assistant, feedback, tmp_path / "o", **{name: float("nan")})


def test_what_is_no_better_is_told_by_the_exit_code(
    feedback, tmp_path, capsys, monkeypatch
):
    result = {"improved": False, "objections": ["The loss rose."]}
    monkeypatch.setattr(workflow, "improve", lambda *_: result)
    line = ["improve", "run", "--feedback", str(feedback), "--json"]
    with pytest.raises(SystemExit) as exit:
        main([*line, "--out", str(tmp_path / "out")])
    assert exit.value.code == 3
    assert json.loads(capsys.readouterr().out) == result


@pytest.mark.slow
def test_a_model_that_is_no_better_is_refused_with_3(
    assistant, feedback, tmp_path, capsys
):
    served, out = tmp_path / "saved" / "cat", tmp_path / "out"
    with feedback.open("a") as file:
        file.write('{"prompt": "Who is to')
    line = (
        f"improve {assistant} --feedback {feedback} --out {out} --json "
        f"--export {served} --training.learning_rate 1e-7 --training.epochs 1 "
        "--generation.max_new_tokens 4"
    )
    with pytest.raises(SystemExit) as exit:
        main(line.split())
    assert exit.value.code == 3
    result = json.loads(capsys.readouterr().out)
    assert not result["improved"] and result["exported"] is None
    assert "answered as corrected" in result["objections"][0]
    assert result["held_back"] == 1 and result["learned"] == 2
    [damaged] = result["damaged_lines"]
    assert damaged.startswith("line 4: ")
    assert not served.exists()
    assert "Not better" in (out / "report.html").read_text()


def test_what_is_missing_is_named(assistant, feedback, tmp_path):
    out = tmp_path / "out"
    bare = tiny_preset(tmp_path)
    with pytest.raises(InputError, match="--general"):
        improve(bare, feedback, out)
    thumbs = tmp_path / "thumbs.jsonl"
    add_feedback(thumbs, Event("Who?", completion="Me.", label=False))
    with pytest.raises(InputError, match="at least one correction"):
        improve(assistant, thumbs, out)
    with pytest.raises(InputError, match="must be a file of feedback"):
        improve(assistant, tmp_path / "none", out)
    with pytest.raises(InputError, match="must be a new folder, or one of v"):
        improve(assistant, feedback, out, export=tmp_path)
    assert not out.exists()


def test_general_conversations_must_fit_the_context(tmp_path):
    with pytest.raises(InputError, match="none fits the model's context"):
        judge(None, None, tmp_path, [], None, 1)


def test_objections_name_what_got_worse():
    before = Judgement(2.0, 1.0, ["a", "b"], [False, True])
    better = Judgement(2.02, 0.5, ["a", "b"], [True, True])
    assert objections(before, better, 0.02) == []
    knows = replace(before, general_loss=2e-4)
    assert objections(knows, replace(better, general_loss=2e-3), 0.02) == []
    [worse] = objections(knows, replace(better, general_loss=0.02), 0.02)
    assert "from 0.0002 to 0.0200" in worse
    [worse] = objections(before, replace(better, general_loss=2.1), 0.02)
    assert "rose from 2.0000 to 2.1000; a rise by 2.0%" in worse
    [worse] = objections(before, replace(better, right=[False, True]), 0.02)
    assert "1 of 2" in worse
    [worse] = objections(before, replace(better, held_back_loss=1.2), 0.02)
    assert "held back" in worse


def test_answers_are_compared_by_their_words():
    assert says_the_same("The cat sat, on the mat", "the cat sat on the mat.")
    assert not says_the_same(
        "the cat sat on the moon", "the cat sat on the mat"
    )
