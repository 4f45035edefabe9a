"""Tasks of `lm_eval`, against its own `hf` model on the same weights."""

import sys

import hugging_face_models as theirs
import lm_eval
import numpy as np
import pytest
from harness_tasks import DOCUMENTS, TASKS, write_tasks
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from testing import tiny_model

from keras_llm.errors import InputError
from keras_llm.evaluation.harness import run_tasks
from keras_llm.evaluation.harness_model import HarnessModel
from keras_llm.export.huggingface import from_hugging_face


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("harness") / "tasks")


@pytest.fixture(
    scope="module",
    params=["llama 3", pytest.param("gpt2", marks=pytest.mark.slow)],
)
def sides(request, tmp_path_factory):
    """A model imported here, and the same one as `lm_eval` loads it."""
    folder = tmp_path_factory.mktemp("model")
    theirs.save(theirs.model(request.param), folder)
    # Their sums in double precision, as ours: a thousand nats are more than
    # four digits after the point in single precision.
    reference = HFLM(
        str(folder), device="cpu", batch_size=3, softmax_dtype="float64"
    )
    return from_hugging_face(folder), reference


def requests(kind, *arguments):
    return [
        Instance(kind, {}, each, index) for index, each in enumerate(arguments)
    ]


@pytest.mark.slow
def test_results_are_those_of_their_model(sides, tasks, monkeypatch):
    model, reference = sides
    # Asks processes for seconds what machine this is.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    ours = run_tasks(model, list(TASKS), 2, include_path=tasks, batch_size=4)
    expected = lm_eval.simple_evaluate(
        reference,
        tasks=list(TASKS),
        num_fewshot=2,
        task_manager=TaskManager(
            include_path=str(tasks), include_defaults=False
        ),
        log_samples=False,
    )
    assert set(ours["results"]) == set(TASKS)
    assert ours["n-samples"]["sums_text"]["effective"] == len(DOCUMENTS)
    for name, metrics in expected["results"].items():
        for metric, value in metrics.items():
            found = ours["results"][name][metric]
            if isinstance(value, float):
                assert found == pytest.approx(value, rel=1e-5), (name, metric)
            else:
                assert found == value


LONG = "The owl counted the stars over the sea, one by one. " * 12
# No window is like another: of windows that are, theirs scores only one.
NUMBERS = " ".join(str(number * number) for number in range(200))
CONTINUATIONS = [
    ("Question: who?\nAnswer:", " the owl"),
    ("Question: who?\nAnswer: ", "the owl"),
    ("Two spaces  ", "and more"),
    ("", "The owl counted"),
    ("", " "),
    (LONG, " and the moon"),
    (LONG[:-1], " "),
    ("One", " " + LONG[:110]),
    ("Ünï", "cödé 🦉\n\n"),
]


def test_log_likelihoods_are_those_of_their_model(sides):
    model, reference = sides
    asked = requests("loglikelihood", *CONTINUATIONS)
    for word in LONG.split(" ")[:10]:
        rows = [reference.tok_encode(word)]
        [ids] = theirs.continued(reference.model, rows, 1)
        whole = reference.tok_decode(ids)
        if reference.tok_encode(whole) == ids:
            asked += requests("loglikelihood", (word, whole[len(word) :]))
    expected = reference.loglikelihood(asked, disable_tqdm=True)
    found = HarnessModel(model).loglikelihood(asked)
    for ours, each in zip(found, expected, strict=True):
        assert ours[0] == pytest.approx(each[0], abs=1e-4)
        assert ours[1] == each[1]
    assert {greedy for _, greedy in found} == {True, False}
    # One by one, by the parent's own encoding.
    model = HarnessModel(model, batch_size=1)
    alone = super(HarnessModel, model).loglikelihood(asked, disable_tqdm=True)
    np.testing.assert_allclose(
        [nats for nats, _ in alone], [nats for nats, _ in found], atol=1e-4
    )


def test_rolling_log_likelihoods_are_those_of_their_model(sides):
    model, reference = sides
    ids = reference.tok_encode(NUMBERS)
    longest = reference.max_length
    sizes = [1, longest - 1, longest, longest + 1, 2 * longest, 2 * longest + 9]
    texts = [reference.tok_decode(ids[:size]) for size in sizes]
    texts += [LONG, "Ünï 🦉"]
    asked = requests("loglikelihood_rolling", *[(text,) for text in texts])
    expected = reference.loglikelihood_rolling(asked, disable_tqdm=True)
    found = HarnessModel(model).loglikelihood_rolling(asked)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert HarnessModel(model).loglikelihood_rolling(
        requests("loglikelihood_rolling", ("",))
    ) == [0.0]


@pytest.mark.slow
def test_generated_text_is_that_of_their_model(sides):
    model, reference = sides
    short = {"until": ["\n", "e"], "max_gen_toks": 8}
    long = {"until": [], "max_gen_toks": 40, "do_sample": False}
    asked = requests(
        "generate_until",
        ("Question: who?\nAnswer:", short),
        (LONG, long),
        ("One", long),
        (LONG, short),
        ("Ünï", {"until": "the", "max_new_tokens": 20, "temperature": 0.0}),
    )
    expected = reference.generate_until(asked, disable_tqdm=True)
    found = HarnessModel(model, batch_size=2).generate_until(asked)
    assert found == expected
    assert any(found)


def test_what_cannot_be_run_is_one_line(tasks, tmp_path, monkeypatch):
    import lm_eval.tasks

    model = tiny_model()

    class Few(TaskManager):
        """Without all of theirs, which take seconds to read."""

        def __init__(self, include_path=None, include_defaults=False):
            super().__init__(None, include_path, include_defaults=False)

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", Few)
    with pytest.raises(InputError, match="sums_choise.*mean sums_choice"):
        run_tasks(model, ["sums_choise"], include_path=tasks)
    with pytest.raises(InputError, match="folder with YAML.*no"):
        run_tasks(model, ["sums_choice"], include_path=tmp_path / "no")
    with pytest.raises(InputError, match="limit must be at least 1"):
        run_tasks(model, ["sums_choice"], limit=0, include_path=tasks)
    lost = (tasks / "sums_text.yaml").read_text().replace("sums", "lost")
    (tmp_path / "lost.yaml").write_text(lost)
    with pytest.raises(InputError, match="downloaded: lost_text.*lost.jsonl"):
        run_tasks(model, ["lost_text"], include_path=tmp_path)
    asked = requests("generate_until", ("a", {"max_gen_toks": 64}))
    with pytest.raises(InputError, match="below 64, the model's context"):
        HarnessModel(model).generate_until(asked)
    with pytest.raises(InputError, match="at least one token.*of 0 tokens"):
        HarnessModel(model).loglikelihood(requests("loglikelihood", ("a", "")))


def test_without_lm_eval_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r"pip install 'keras-llm\[lm-eval\]"):
        run_tasks(tiny_model(), ["arc_easy"])
