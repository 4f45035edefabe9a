"""`keras-llm export`: any preset, labels, and other formats."""

import json

import pytest
import tensorflow as tf
from stock_classifiers import stock_classifier
from stock_models import generated_ids, stock_model
from tiny_run import finished_run

from keras_llm.cli import main
from keras_llm.commands import COMMANDS
from keras_llm.export import load_saved_model
from keras_llm.export.step_formats import FORMATS


@pytest.fixture
def export(capsys):
    """Runs the command; returns its code, and what it printed to each."""

    def export(*arguments):
        code = main(["export", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return export


@pytest.mark.slow
def test_a_step_is_written_and_explained(tmp_path, export):
    out = tmp_path / "step"
    code, printed, errors = export(finished_run(), out, "--format=onnx")
    assert (code, errors) == (0, "")
    page = (out / "README.txt").read_text(encoding="utf-8")
    assert printed == f"onnx  {out}\n\n{page}"
    about = json.loads((out / "step.json").read_text(encoding="utf-8"))
    assert {each.name for each in out.iterdir()} == {
        "README.txt",
        "step.json",
        about["model"],
        about["tokenizer"],
    }
    code, printed, errors = export(finished_run(), out, "--format=litert")
    assert (code, printed) == (2, "")
    assert "must be a new or empty folder" in errors


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_json_is_all_that_is_printed(tmp_path, export, format):
    line = (finished_run(), tmp_path / "out", "--format", format, "--json")
    code, printed, errors = export(*line)
    assert (code, errors) == (0, "")
    assert json.loads(printed) == {format: str(tmp_path / "out")}


def test_every_format_can_be_asked_for():
    choices = COMMANDS["export"].options["--format"]["choices"]
    assert {"saved_model", "huggingface", *FORMATS} <= set(choices)


def test_labels_are_of_classifiers(tmp_path, export):
    line = (finished_run(), tmp_path / "out", "--labels", "bad", "good")
    code, printed, errors = export(*line)
    assert (code, printed) == (2, "")
    assert "labels name the classes of a TextClassifier" in errors
    assert not (tmp_path / "out").exists()


def test_a_step_has_no_bound_of_texts(tmp_path, export):
    line = (finished_run(), tmp_path / "out", "--format=onnx")
    code, printed, errors = export(*line, "--max_text_tokens=9")
    assert (code, printed) == (2, "")
    assert "--max_text_tokens is of a SavedModel" in errors
    code, _, errors = export(*line, "--max_text_tokens=some")
    assert code == 2
    assert "--max_text_tokens must be a whole number or null" in errors


def test_stock_models_have_no_step(tmp_path, export):
    stock_model("GPT2").save_to_preset(str(tmp_path / "preset"))
    line = (tmp_path / "preset", tmp_path / "out", "--format=onnx")
    code, printed, errors = export(*line)
    assert (code, printed) == (2, "")
    assert "Received: a GPT2CausalLM. Export it as a SavedModel" in errors


@pytest.mark.slow  # half a minute
def test_a_stock_model_answers(tmp_path, export):
    model = stock_model("GPT2")
    model.save_to_preset(str(tmp_path / "preset"))
    line = (tmp_path / "preset", tmp_path / "out", "--json")
    settings = ("--generation.sampler=greedy", "--generation.max_new_tokens=8")
    code, printed, _ = export(*line, *settings)
    assert code == 0
    assert json.loads(printed) == {"saved_model": str(tmp_path / "out" / "1")}
    tokenizer = model.preprocessor.tokenizer
    prompt = "people"  # one word, for KerasHub merges across words
    ids = [tokenizer.start_token_id, *tokenizer(prompt)]
    (expected,) = generated_ids(model, [ids], 8)
    assert len(set(expected)) > 1
    (answer,) = load_saved_model(tmp_path / "out")([prompt])
    assert answer == tokenizer.detokenize(expected)


@pytest.mark.slow  # half a minute
def test_a_classifier_tells_the_labels_of_the_line(tmp_path, export):
    model = stock_classifier("Roberta")
    model.save_to_preset(str(tmp_path / "preset"))
    line = (tmp_path / "preset", tmp_path / "out", "--labels")
    code, printed, errors = export(*line, "bad", "good")
    assert (code, printed) == (2, "")
    assert "each of the model's 3 classes. Received: 2 labels" in errors
    labels = ["bad", "so so", "good"]
    code, printed, _ = export(*line, *labels, "--format", "saved_model")
    assert code == 0
    assert "curl" in printed
    saved = tf.saved_model.load(str(tmp_path / "out" / "1"))
    texts = ["peace", "war and the army of the union"]
    outputs = saved.signatures["serving_default"](text=tf.constant(texts))
    best = model.predict(texts, verbose=0).argmax(1)
    received = [label.decode() for label in outputs["label"].numpy()]
    assert received == [labels[index] for index in best]
