"""`lm_eval`'s `local-completions` scores a served model as in process."""

import hugging_face_models as theirs
import lm_eval
import pytest
from harness_tasks import write_tasks
from lm_eval.tasks import TaskManager
from served_here import models_of, on_a_port

from keras_llm.evaluation.harness import run_tasks
from keras_llm.export.huggingface import from_hugging_face
from keras_llm.serving.engine import Engine
from keras_llm.serving.served import TokenModel

# Not the one of whole texts: where these are longer than the context, windows
# of `local-completions` are a token shorter than those of other models.
TASKS = ["sums_choice", "sums_reply"]


@pytest.mark.slow  # half a minute
def test_scores_are_those_in_process(tmp_path, monkeypatch):
    tasks = write_tasks(tmp_path / "tasks")
    folder = tmp_path / "model"
    theirs.save(theirs.model("llama 3"), folder)
    model = from_hugging_face(folder)
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    expected = run_tasks(model, TASKS, 2, include_path=tasks, batch_size=4)[
        "results"
    ]

    def open(name, source, settings):
        return TokenModel(name, "1", Engine(model), settings)

    with models_of("tiny", open=open) as models, on_a_port(models) as url:
        options = {
            "model": "tiny",
            "base_url": f"{url}/v1/completions",
            "tokenizer": str(folder),
            "max_length": model.backbone.max_sequence_length,
        }
        found = lm_eval.simple_evaluate(
            "local-completions",
            model_args=options,
            tasks=TASKS,
            num_fewshot=2,
            task_manager=TaskManager(
                include_path=str(tasks), include_defaults=False
            ),
            log_samples=False,
        )["results"]
    assert {*found} == {*expected} == {*TASKS}
    for task, figures in expected.items():
        for name, value in figures.items():
            if isinstance(value, float):
                assert found[task][name] == pytest.approx(value, rel=1e-4)
