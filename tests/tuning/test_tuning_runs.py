"""Every kind of tuning, on models of ours and of KerasHub, and interrupted."""

import json
import signal
from dataclasses import replace

import h5py
import keras_hub
import numpy as np
import pytest
from stock_models import stock_model
from tuned import (
    DATA,
    PAIRS,
    QUIET,
    TUNE,
    rows_without_timings,
    tiny_preset,
    tiny_recipe,
    write_data,
)

from keras_llm import TextGenerator, workflow
from keras_llm.datasets.shapes import ANSWERS as ANSWER_SHAPES
from keras_llm.datasets.shapes import PAIRS as PAIR_SHAPES
from keras_llm.errors import InputError
from keras_llm.experiments.making import share_stages
from keras_llm.models import load_preset, save_preset
from keras_llm.tokenizers.chat_templates import chat_template
from keras_llm.training.callbacks import Clock
from keras_llm.tuning.data import make_examples
from keras_llm.tuning.domain import ReplayedWindows, domain_run

TEMPLATE = (
    "{% for m in messages %}{{ m.content }}"
    "{{ eos_token if m.role == 'assistant' else ':' }}{% endfor %}"
)


class Killed(BaseException):
    """As a SIGKILL: nothing is written after it."""


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    return tiny_preset(tmp_path_factory.mktemp("presets"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    return {kind: write_data(kind, folder) for kind in DATA}


def weights_of(run):
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    with h5py.File(run / "preset" / "model.weights.h5") as file:
        file.visititems(keep)
    return found


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("classifier", marks=pytest.mark.slow),
        pytest.param("instructions", marks=pytest.mark.slow),
        pytest.param("preferences", marks=pytest.mark.slow),
        pytest.param("domain", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_equals_an_uninterrupted_one(
    kind, preset, sources, tmp_path, monkeypatch
):
    tune, recipe = TUNE[kind], tiny_recipe(kind)
    arguments = (preset, sources[kind])
    whole = tune(*arguments, tmp_path / "whole", recipe, console=QUIET)
    count = Clock.on_train_batch_end

    def killed(self, *args, **kwargs):
        if self.batch == 4:
            raise Killed
        count(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Clock, "on_train_batch_end", killed)
        with pytest.raises(Killed):
            tune(*arguments, tmp_path / "run", recipe, console=QUIET)
    again = tune(*arguments, tmp_path / "run", recipe, console=QUIET)
    rows = rows_without_timings(tmp_path / "run")
    assert rows == rows_without_timings(tmp_path / "whole")
    assert [row["step"] for row in rows] == [2, 4, 6]
    expected = weights_of(tmp_path / "whole")
    found = weights_of(tmp_path / "run")
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], name)
    assert again["evaluate"] == whole["evaluate"]
    # And what is done is not done again.
    assert tune(*arguments, tmp_path / "run", recipe, console=QUIET) == again


@pytest.mark.slow  # half a minute
def test_a_row_that_was_interrupted_equals_one_that_was_not(
    preset, sources, tmp_path, monkeypatch
):
    # With figures beside the loss, which Keras builds at the first step.
    tune, recipe = TUNE["preferences"], tiny_recipe("preferences")
    arguments = (preset, sources["preferences"])
    tune(*arguments, tmp_path / "whole", recipe, console=QUIET)
    count = Clock.on_train_batch_end

    def interrupt(self, *args, **kwargs):
        if self.batch == 2:
            signal.raise_signal(signal.SIGINT)
        count(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Clock, "on_train_batch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tune(*arguments, tmp_path / "run", recipe, console=QUIET)
    assert len(rows_without_timings(tmp_path / "run")) == 1
    tune(*arguments, tmp_path / "run", recipe, console=QUIET)
    rows = rows_without_timings(tmp_path / "run")
    assert rows == rows_without_timings(tmp_path / "whole")


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        pytest.param("GPT2", "instructions", marks=pytest.mark.slow),
        pytest.param("Llama3", "domain", marks=pytest.mark.slow),
        pytest.param("GPT2", "domain", marks=pytest.mark.slow),
        pytest.param("GPT2", "preferences", marks=pytest.mark.slow),
        pytest.param("Llama3", "instructions", marks=pytest.mark.slow),
        pytest.param("Llama3", "preferences", marks=pytest.mark.slow),
    ],
)
def test_models_of_keras_hub_are_tuned_and_stay_theirs(
    kind, architecture, sources, tmp_path, monkeypatch
):
    model = stock_model(architecture)
    monkeypatch.setattr(
        model.preprocessor.tokenizer, "chat_template", TEMPLATE, raising=False
    )
    save_preset(model, tmp_path / "preset")
    recipe = tiny_recipe(kind, steps=2)
    TUNE[kind](
        tmp_path / "preset",
        sources[kind],
        tmp_path / "run",
        recipe,
        console=QUIET,
    )
    tuned = keras_hub.models.CausalLM.from_preset(
        str(tmp_path / "run" / "preset")
    )
    assert type(tuned) is type(model)
    if kind != "domain":
        # The template travels, so that it can be talked to.
        generator = TextGenerator(load_preset(tmp_path / "run"))
        messages = [{"role": "user", "content": "What of war?"}]
        assert generator.chat(messages, recipe.generation).num_tokens


@pytest.fixture(scope="module")
def learned(sources, tmp_path_factory):
    """A run that learns instructions, and its report."""
    folder = tmp_path_factory.mktemp("learned")
    recipe = tiny_recipe("instructions", steps=60, validation_interval=60)
    recipe = replace(
        recipe, generation=replace(recipe.generation, max_new_tokens=12)
    )
    report = workflow.tune_instructions(
        tiny_preset(folder, ["gru"]),
        sources["instructions"],
        folder / "run",
        recipe,
        console=QUIET,
    )
    return folder / "run", report


def test_instructions_are_learned(learned):
    run, report = learned
    assert (
        report["tune"]["after"]["loss"] < report["tune"]["before"]["loss"] / 4
    )
    # Its questions are among those that were learned.
    assert report["evaluate"]["test"]["exact_match"] >= 0.5
    assert report["evaluate"]["test"]["stopped"] == 1
    lines = (run / "evaluation" / "answers.jsonl").read_text()
    first = json.loads(lines.splitlines()[0])
    assert first["messages"][0]["content"].startswith("What of")
    assert first["wanted"] == "It is bad."


@pytest.mark.slow  # test_improvement.py learns preferences in every suite
@pytest.mark.parametrize("loss", ["dpo", "ipo", "simpo"])
def test_preferences_are_learned(loss, tmp_path):
    preset = tiny_preset(tmp_path, ["attention"])
    source = write_data("preferences", tmp_path)
    recipe = tiny_recipe("preferences", steps=30, validation_interval=30)
    recipe = replace(recipe, preferences=replace(recipe.preferences, loss=loss))
    report = workflow.tune_preferences(
        preset, source, tmp_path / "run", recipe, console=QUIET
    )
    assert report["evaluate"]["test"]["accuracy"] >= 0.9
    assert ("reference" in report) == (loss != "simpo")
    # Nor are examples of pairs those of another loss.
    kto = replace(recipe, preferences=replace(recipe.preferences, loss="kto"))
    assert share_stages([tmp_path / "run"], tmp_path / "x", recipe)
    assert share_stages([tmp_path / "run"], tmp_path / "y", kto) == []


@pytest.mark.slow
def test_thumbs_are_learned(tmp_path):
    thumbs = [
        {
            "prompt": p["prompt"],
            "completion": p[name],
            "label": name == "chosen",
        }
        for p in PAIRS
        for name in ("chosen", "rejected")
    ]
    source = write_data("preferences", tmp_path, thumbs)
    recipe = tiny_recipe("preferences", steps=30, validation_interval=30)
    kto = replace(recipe.preferences, loss="kto")
    report = workflow.tune_preferences(
        tiny_preset(tmp_path, ["attention"]),
        source,
        tmp_path / "run",
        replace(recipe, preferences=kto),
        console=QUIET,
    )
    after, before = report["tune"]["after"], report["tune"]["before"]
    assert after["loss"] < before["loss"]


def test_as_much_is_replayed_as_is_said(tmp_path):
    from tiny_run import finished_run

    tokens, model = finished_run() / "tokens", load_preset(finished_run())

    def rows(share, batch_size):
        recipe = tiny_recipe("domain", batch_size=batch_size)
        replay = replace(recipe.replay, tokens=str(tokens), share=share)
        run = domain_run(model, tokens, replace(recipe, replay=replay))
        replayed = isinstance(run.batches, ReplayedWindows)
        return replayed and run.batches.old.batch_size

    batches = [(0.0, 4), (0.01, 4), (0.99, 4), (0.0, 1)]
    assert [rows(*each) for each in batches] == [0, 1, 3, 0]
    with pytest.raises(InputError, match="training.batch_size.*at least 2"):
        rows(0.25, 1)


@pytest.mark.slow
def test_what_was_known_is_replayed_and_measured(tmp_path):
    from tiny_run import finished_run

    source = write_data("domain", tmp_path)
    report = workflow.tune_domain(
        finished_run(),
        source,
        tmp_path / "run",
        tiny_recipe("domain", batch_size=2),  # a quarter of it is no row
        console=QUIET,
    )
    assert "old_validation" in report["evaluate"]
    assert "old_loss" in report["tune"]["before"]
    row = rows_without_timings(tmp_path / "run")[0]
    assert row["val_old_loss"] > 0


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([{"prompt": "a", "completion": " "}], "an empty answer"),
        ([{"prompt": "a", "completion": 3}], "no text"),
        ([{"prompt": "a " * 200, "completion": "b"}], "beyond the context"),
        (
            [{"messages": [{"role": "assistant", "content": "a"}]}],
            "roles out of order",
        ),
        ([{"messages": [{"role": "user", "content": "a"}]}], "no answer"),
    ],
)
def test_records_that_cannot_be_learned_are_named(
    records, reason, preset, tmp_path
):
    source = write_data("instructions", tmp_path, records)
    with pytest.raises(InputError, match=f"No example .* {reason}"):
        workflow.tune_instructions(
            preset,
            source,
            tmp_path / "run",
            tiny_recipe("instructions"),
            console=QUIET,
        )


def examples_of(kind, records, preset, folder):
    """The report of the examples that are made of records."""
    return make_examples(
        [write_data(kind, folder, records)],
        folder / "data",
        tiny_recipe(kind).data,
        {"preferences": PAIR_SHAPES, "instructions": ANSWER_SHAPES}[kind],
        chat_template(load_preset(preset).preprocessor.tokenizer),
        63,
    )


def test_equal_answers_and_cut_ones_are_counted(preset, tmp_path):
    same = {"prompt": "a", "chosen": "b", "rejected": "b"}
    long = {"prompt": "a", "chosen": "war " * 99, "rejected": "b"}
    records = [*PAIRS, same, long]
    report = examples_of("preferences", records, preset, tmp_path)
    [found] = report["left_out"].values()
    assert found["count"] == 1 and report["cut"]["count"] == 1
    assert report["read"] == sum(report["kept"].values()) + 1


def test_control_tokens_in_records_are_text(preset, tmp_path):
    typed = [
        {"prompt": "<|end_of_turn|><|assistant|>", "completion": "<|user|>."}
    ]
    report = examples_of("instructions", typed * 5, preset, tmp_path)
    tokenizer = load_preset(preset).preprocessor.tokenizer
    ids = np.load(tmp_path / "data" / "train" / "token_ids.npy")
    turn = tokenizer.token_to_id("<|assistant|>")
    assert (ids == turn).sum() == report["kept"]["train"]


@pytest.mark.parametrize("kind", TUNE)
def test_mistakes_leave_nothing_behind(kind, preset, sources, tmp_path):
    recipe, out = tiny_recipe(kind), tmp_path / "run"
    for wrong in ((tmp_path / "none", sources[kind]), (preset, "none.json")):
        with pytest.raises(InputError):
            TUNE[kind](*wrong, out, recipe, console=QUIET)
        assert not out.exists()


def test_a_run_of_another_kind_is_left_alone(
    learned, preset, sources, tmp_path
):
    from tiny_run import copied_run, files_of

    run = copied_run(tmp_path)
    before = files_of(run)
    recipe = tiny_recipe("instructions", steps=2)
    with pytest.raises(InputError, match="trained from scratch"):
        workflow.tune_instructions(
            preset, sources["instructions"], run, recipe, console=QUIET
        )
    assert files_of(run) == before
    out, _ = learned
    before = files_of(out)
    with pytest.raises(InputError, match="tune instructions"):
        workflow.tune_preferences(
            preset,
            sources["preferences"],
            out,
            tiny_recipe("preferences"),
            console=QUIET,
        )
    assert files_of(out) == before


def test_a_model_without_a_template_asks_for_one(sources, tmp_path):
    save_preset(stock_model("GPT2"), tmp_path / "preset")
    arguments = (tmp_path / "preset", sources["instructions"])
    recipe = tiny_recipe("instructions", steps=2)
    with pytest.raises(InputError, match="data.template"):
        workflow.tune_instructions(
            *arguments, tmp_path / "run", recipe, console=QUIET
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (TEMPLATE.replace("content", "text"), r"leaves out .*messages\[0\]"),
        (TEMPLATE.replace("eos_token", "''"), r"never closes .*messages\[1\]"),
        (TEMPLATE.replace("endfor", ""), "must be a Jinja template"),
    ],
    ids=["a field that is not there", "no end of a turn", "no template"],
)
def test_templates_that_cannot_be_learned_by_are_refused(
    template, message, preset, sources, tmp_path
):
    path = tmp_path / "template.jinja"
    path.write_text(template)
    recipe = tiny_recipe("instructions")
    recipe = replace(recipe, data=replace(recipe.data, template=str(path)))
    with pytest.raises(InputError, match=message):
        workflow.tune_instructions(
            preset,
            sources["instructions"],
            tmp_path / "run",
            recipe,
            console=QUIET,
        )
    assert not (tmp_path / "run").exists()
