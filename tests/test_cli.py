"""The command line: what it prints, and what it says of what it cannot use."""

import json
import re

import pytest
from testing import run_python
from tiny_run import copied_run, files_of, finished_run

from keras_llm import __version__, cli
from keras_llm.cli import main
from keras_llm.corpus.sources.catalogue import CATALOGUE

FEW = "--generation.max_new_tokens=4"


@pytest.fixture
def run():
    return finished_run()


@pytest.fixture
def call(capsys):
    """Calls the command line; returns what it printed, parsed if JSON."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return (
            json.loads(captured.out) if "--json" in arguments else captured.out
        )

    return call


@pytest.fixture
def refused(capsys):
    """Calls the command line; returns the one line that it refuses with."""

    def refused(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == 2
        assert captured.out == ""
        *progress, line = captured.err.splitlines()
        assert line.startswith("keras-llm: ")
        assert not any("keras-llm" in other for other in progress)
        return line.removeprefix("keras-llm: ")

    return refused


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "The command must be one of train, prepare"),
        ("trian x", "Received: 'trian'. Did you mean train?"),
        ("--foo", "unrecognized arguments: --foo"),
        ("train", "SOURCE and --out must be given. Usage: keras-llm train"),
        ("train x", "--out must be given. Usage: keras-llm train SOURCE"),
        ("train x --out", "--out: expected one argument"),
        ("train text.txt y --out o", "'y', which does not exist"),
        ("train x --ot o", "Did you mean --out?"),
        ("train x --out o --training.steps many", "whole number.* many"),
        ("train x --out o --training.steps 0", "steps must be at least 1"),
        ("train x --out o --training.step 3", "mean --training.steps?"),
        ("train x --out o --steps 3", "Did you mean --training.steps?"),
        ("train x --out o --training.optimizer adamm", "adamw, adam, sgd"),
        ("train x --out o --training.jit_compile x", "true or false or null"),
        ("train x --out o --training 3", "pass --training.NAME"),
        ("train x --out o --model.num_heads 5", r"hidden_dim \(384\)"),
        ("train x --out o --model.block_types x", "attention, gru, lstm"),
        ("train x --out o --generation.stop [1]", 'such as \\["a", "b"\\]'),
        ("train x --out o --generation.sampler x", "sample, greedy, beam"),
        ("train x --out o --redo x", "invalid choice: 'x'"),
        ("train x --out o --seed x", "--seed must be a whole number"),
        ("train x --out o --seed -1", "seed must be in"),
        ("train x --out o --recipe nanno", "Did you mean nano?"),
        ("train x --out o", "one of sotu, tinyshakespeare.*'x'"),
        ("train tinyshakespear --out o", "Did you mean tinyshakespeare?"),
        ("prepare empty --out o", "empty must hold files. Received: none"),
        ("prepare nul.txt --out o", "nul.txt, not_text: .*NUL"),
        ("prepare blank.txt --out o", "blank.txt, only_whitespace"),
        ("prepare text.txt --out o --cleaning x", "--cleaning.*'x'"),
        ("prepare text.txt --out o --workers 0", "workers must be at least 1"),
        ("prepare text.txt --out o --executor x", "local, ray, slurm"),
        (
            "prepare text.txt --out o --corpus.rules [gopher]",
            r"rules\[0\] must be one of newlines.*'gopher'. Did you mean",
        ),
        ("prepare text.txt --out empty/../text.txt", "text.txt must be a new"),
        ("tokenizer empty --out o", "empty must be a corpus"),
        ("encode empty empty --out o", "empty must be a corpus"),
        ("pretrain empty empty --out o", "empty must be a token folder"),
        ("pretrain nothing empty --out o", "nothing must be a token folder"),
        ("evaluate empty empty", "empty must be a token folder"),
        ("generate empty", "empty must be a preset"),
        ("generate nothing", "nothing must be a preset"),
        ("generate x --batch_size 3", "unrecognized arguments: --batch_size"),
        ("export empty o", "empty must be a preset"),
        ("export nothing o", "nothing must be a preset.*KerasHub downloads"),
        ("export gpt2_base_e o", "Did you mean gpt2_base_en?"),
        ("export empty o --format onxx", "invalid choice: 'onxx'"),
        ("export empty o --format onnx", "empty must be a preset"),
        ("export empty o --format onnx --labels a", "--labels is of a Saved"),
        (
            "export empty o --format litert --allow_control_tokens",
            "--allow_control_tokens is of a SavedModel.*--format litert",
        ),
        ("export empty o --format onnx --system a", "--system is of a Saved"),
        ("export empty o --format huggingface", "empty must be a preset"),
        ("import empty --out o", "empty must be a model folder of Hugging"),
        ("import text.txt --out o", "text.txt must be a model folder of"),
        ("import text.txt --out o --tokenizer x", "a model of llama2.c"),
        ("import empty --out text.txt", "text.txt must be a new or empty"),
        ("inspect empty", "none of the files of one"),
        ("inspect nothing", "nothing does not exist"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    line, expected, tmp_path, monkeypatch, refused
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("some text")
    (tmp_path / "nul.txt").write_bytes(b"a\0\1\0" * 20)
    (tmp_path / "blank.txt").write_text("\n \n")
    before = sorted(tmp_path.rglob("*"))
    message = refused(*line.split())
    assert re.search(expected, message), message
    assert sorted(tmp_path.rglob("*")) == before


def test_help_errors_recipes_and_servers_do_not_wait_for_keras():
    printed = run_python(
        """
import sys
sys.argv[0] = "keras-llm"
from keras_llm.cli import main
for line in ("--help", "train --help", "train", "recipes", "recipes --json"):
    try:
        main(line.split())
    except SystemExit as end:
        assert end.code == 0
assert main(["chat", "http://127.0.0.1:1"]) == 2  # where nobody answers
print(sorted({"keras", "tensorflow", "keras_hub", "jax"} & set(sys.modules)))
"""
    )
    assert printed.splitlines()[-1] == "[]"
    assert "From text to a language model" in printed
    assert "gpt2-small" in printed
    assert "<class" not in printed
    for command in cli.COMMANDS:
        assert f"    {command} " in printed


def test_help_names_the_catalogue(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in CATALOGUE)


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"keras-llm {__version__}\n"


def test_a_recipe_gives_the_defaults_and_the_line_wins(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("training: {steps: 7, learning_rate: 3e-4}\nseed: 5\n")
    line = f"train x --out o --recipe {file} --training.steps 8"
    _, values = cli._parse(line.split())
    assert values.recipe.training.steps == 8
    assert values.recipe.training.learning_rate == 3e-4
    assert values.recipe.seed == 5
    _, values = cli._parse(["generate", "x", f"--recipe={file}", "--seed=6"])
    assert values.recipe.seed == 6


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["1", "2"], ["1", "2"]),
        (["null", "a b"], ["null", "a b"]),
        (["[a,b]"], ["a", "b"]),
    ],
)
def test_lists_are_words_or_one_list(given, expected):
    line = "tune instructions preset records --out o --data.columns".split()
    line += given
    _, values = cli._parse([*line, "--generation.stop", "x", "--json"])
    assert values.recipe.data.columns == expected
    assert values.recipe.generation.stop == ["x"]
    assert values.records == ["records"] and values.json


@pytest.mark.slow
def test_every_stage_alone_gives_what_train_gives(tmp_path, run, call):
    source = run.parent / "text.txt"
    recipe = f"--recipe={run / 'recipe.yaml'}"
    corpus, tokenizer, tokens = (
        tmp_path / name for name in ("corpus", "tokenizer", "tokens")
    )
    report = call("prepare", source, "--out", corpus, recipe, "--json")
    assert report["read"]["documents"] == 1
    report = call("tokenizer", corpus, "--out", tokenizer, recipe, "--json")
    assert report["model_type"] == "char"
    report = call("encode", corpus, tokenizer, "--out", tokens, "--json")
    assert set(report["splits"]) == {"train", "validation"}
    for folder in (corpus, tokens):
        expected = files_of(run / folder.name)
        # How long it took, and the page that tells it.
        for name in ("timings.json", "report.html"):
            expected.pop(name, None)
        assert expected.items() <= files_of(folder).items()
    out = tmp_path / "run"
    report = call("pretrain", tokens, tokenizer, "--out", out, recipe, "--json")
    assert report["steps"] == 4
    alone = call("evaluate", out, tokens, "--json")
    whole = call("train", source, "--out", run, recipe, "--json")
    assert alone["validation"] == pytest.approx(whole["validation"])


def test_train_shows_metrics_a_sample_and_what_is_next(run, call):
    source, recipe = run.parent / "text.txt", run / "recipe.yaml"
    shown = call("train", source, "--out", run, "--recipe", recipe)
    assert "bits_per_byte" in shown
    assert "=== step 4" in shown
    assert f"keras-llm generate {run} --prompt TEXT" in shown


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "run"),
        ("corpus", "corpus"),
        ("tokenizer", "tokenizer"),
        ("tokenizer/tokenizer.model", "tokenizer"),
        ("tokens", "tokens"),
        ("preset", "preset"),
    ],
)
def test_every_artifact_is_explained(path, kind, run, call):
    assert call("inspect", run / path, "--json")["kind"] == kind
    assert call("inspect", run / path).startswith("kind")


def test_prompts_are_continued(run, call):
    alone = call("generate", run, "--prompt", "the", FEW)
    assert alone.startswith("the")
    answers = call("generate", run, "--prompt", "the", "", FEW, "--json")
    assert [answer["prompt"] for answer in answers] == ["the", ""]
    assert "the" + answers[0]["text"] == alone.removesuffix("\n")
    assert answers[0]["num_tokens"] == 4


@pytest.mark.slow
def test_seed_and_sampler_decide_the_text(run, call):
    def text(*options):
        arguments = ("--prompt", "the", FEW, "--json", *options)
        return call("generate", run, *arguments)[0]["text"]

    first = text("--seed", 1)
    assert first != text("--seed", 2)
    cut = text("--seed", 1, "--generation.stop+", first[1])
    assert cut == first[: first.index(first[1])]
    greedy = text("--generation.sampler", "greedy")
    assert greedy == text("--generation.temperature", 0)


def test_a_long_prompt_is_refused_before_it_is_shown(run, refused):
    message = refused("generate", run, "--prompt", "the people " * 9)
    assert "100 tokens" in message
    assert "32" in message


@pytest.mark.slow
def test_a_saved_model_is_written_explained_and_asked(run, tmp_path, call):
    out = tmp_path / "saved" / "tiny"
    report = call("export", run, out, FEW, "--json")
    assert report == {"saved_model": str(out / "1")}
    explained = call("inspect", out, "--json")
    assert explained["kind"] == "SavedModel"
    assert "serving_default" in explained["signatures"]
    answer = call("generate", out, "--prompt", "the", "--json")
    again = call("generate", run, "--prompt", "the", FEW, "--json")
    assert answer[0]["text"] == again[0]["text"]


def test_a_saved_model_is_not_put_into_a_run(tmp_path, refused):
    run = copied_run(tmp_path)
    before = files_of(run)
    assert "must be a new folder" in refused("export", run, run)
    assert files_of(run) == before


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("stages.json", "inspect {}", "stages.json .* damaged"),
        ("corpus/report.json", "inspect {}/corpus", "report.json .* damaged"),
        ("tokenizer/tokenizer.model", "inspect {}/tokenizer", "not load"),
        ("tokens/manifest.json", "inspect {}/tokens", "manifest.json .* dam"),
        ("tokens/manifest.json", "evaluate {} {}/tokens", "manifest.json"),
        ("training/log.csv", "inspect {}", "log.csv is damaged"),
        ("preset/config.json", "generate {}", "preset cannot be read"),
        ("preset/task.json", "inspect {}/preset", "preset cannot be read"),
        ("preset/model.weights.h5", "generate {}", "preset cannot be read"),
        (
            "preset/assets/tokenizer/vocabulary.spm",
            "generate {}",
            "preset cannot be read",
        ),
    ],
)
def test_damaged_files_are_named(file, line, expected, tmp_path, refused):
    run = copied_run(tmp_path)
    (run / file).write_text("step\n3\n")
    message = refused(*line.replace("{}", str(run)).split())
    assert re.search(expected, message), message


def test_a_damaged_shard_is_named(tmp_path, refused):
    run = copied_run(tmp_path)
    damage(run / "tokens" / "validation" / "00000.bin")
    message = refused("evaluate", run, run / "tokens")
    assert "validation/00000.bin is damaged" in message
    assert "validation/00000.bin" in refused("inspect", run / "tokens")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--split", "tests"], "no tests split. It has: train, validation"),
        (["--batch_size", "0"], "batch_size must be at least 1"),
        (["--stride", "33"], "stride must be in [1, 32]"),
        (["--stateful"], "false with attention, which has no state"),
        (["--stateful", "--stride", "4"], "--stride must be left out with"),
    ],
)
def test_evaluation_of_what_there_is_not(options, expected, run, refused):
    assert expected in refused("evaluate", run, run / "tokens", *options)


def test_a_prompt_too_long_for_samples_is_found_before_training(
    tmp_path, run, refused
):
    message = refused(
        "pretrain",
        run / "tokens",
        run / "tokenizer",
        f"--out={tmp_path / 'out'}",
        f"--recipe={run / 'recipe.yaml'}",
        f"--training.sample_prompt={'people ' * 9}",
    )
    assert message.startswith("training.sample_prompt: ")
    assert not (tmp_path / "out" / "training" / "log.csv").exists()


def test_tuning_on_text_shows_what_it_did_and_not_its_corpus(
    monkeypatch, tmp_path, capsys
):
    from keras_llm import workflow

    result = {
        "prepare": {"rules": {"newlines": 1}},
        "encode": {"dtype": "uint16"},
        "tune": {"steps": 3},
    }
    monkeypatch.setitem(workflow.TUNINGS, "domain", lambda *given: result)
    line = ["tune", "domain", "model", "text.txt", "--out", str(tmp_path)]
    main(line)
    assert capsys.readouterr().out.startswith("tune\n  steps  3\n")
    main([*line, "--json"])
    assert json.loads(capsys.readouterr().out) == result
