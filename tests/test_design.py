"""The rules of the design that the code itself can break."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from testing import NO_TENSORFLOW, ragged_batch, run_python, tiny_model
from tiny_corpus import sample_tokenizer

import keras_llm
from keras_llm.models import save_preset

PACKAGE = Path(keras_llm.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
# Imports go down this list only; a line is one level.
LEVELS = """
entry
cli
commands
inspection
experiments
workflow
run_folder
serving
export
pytorch
tuning
training
evaluation
generation
models
layers
datasets
tokenizers
corpus
executors
artifacts
pages
registration recipes files pictures quiet
errors lazy
""".strip().splitlines()
LEVEL = {name: i for i, line in enumerate(LEVELS) for name in line.split()}
TENSORFLOW = {
    "datasets/pipeline.py",
    "tokenizers/byte_pair.py",
    "tokenizers/byte_pair_merging.py",
    "tokenizers/byte_pair_nfc.py",
    "tokenizers/byte_pair_splitting.py",
    "tokenizers/byte_pair_text.py",
    "tokenizers/byte_pair_written.py",
    "tokenizers/sentence_piece_lifetime.py",
    "compilation.py",
    "inspection.py",
    "export",
    "serving",
}
# All folders and modules of the package.
THERE = {
    path.stem
    for path in PACKAGE.iterdir()
    if path.suffix == ".py" or any(path.glob("*.py"))
} - {"__init__"}
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60


def name_of(module):
    return module.relative_to(PACKAGE).as_posix()


def part_of(dotted_name):
    """The folder or module of the package that a dotted name is in."""
    return dotted_name.split(".")[1]


def imported(module):
    """Dotted names of all modules that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module == "keras_llm":
                yield from (f"keras_llm.{alias.name}" for alias in node.names)


def definitions(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


inner = [
    path for path in MODULES if path.parent != PACKAGE or path.stem in LEVEL
]


@pytest.mark.parametrize("module", inner, ids=name_of)
def test_imports_go_down_only(module):
    here = module.relative_to(PACKAGE).with_suffix("").parts[0]
    assert here in LEVEL, f"{here} has no place in the design's list"
    for name in imported(module):
        if name.startswith("keras_llm.") and part_of(name) in LEVEL:
            there = part_of(name)
            assert there == here or LEVEL[there] > LEVEL[here], name


def test_the_map_has_a_line_for_each_module_in_this_order():
    page = PACKAGE.parent / "CONTRIBUTING.md"
    text = page.read_text(encoding="utf-8")
    table = text.partition("| module |")[2].partition("| folder |")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.M)
    named = [re.findall(r"`(\w+)(?:/|\.py)`", row) for row in rows]
    assert sorted(sum(named, [])) == sorted(THERE)
    levels = [
        max(LEVEL[name] for name in row if name in LEVEL) for row in named
    ]
    assert levels == sorted(levels)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_tensorflow_is_imported_where_it_may_be(module):
    names = {name.split(".")[0] for name in imported(module)}
    name = name_of(module)
    if names & {"tensorflow", "tensorflow_text"}:
        assert {name, name.split("/")[0]} & TENSORFLOW


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_files_and_functions_are_short(module):
    lines = module.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    for node in definitions(module):
        if isinstance(node, ast.ClassDef):
            continue
        if module.parent.name == "models" and node.name == "__init__":
            continue  # layers, functional model and config: read as one
        body = node.body
        is_documented = ast.get_docstring(node) and len(body) > 1
        start = body[1].lineno if is_documented else body[0].lineno
        length = node.end_lineno - start + 1
        assert length <= MOST_LINES_OF_A_FUNCTION, node.name


def undocumented(tree):
    """Public functions and classes of a module without a docstring."""
    for node in tree.body:
        is_definition = isinstance(node, ast.ClassDef | ast.FunctionDef)
        if is_definition and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_what_is_public_has_a_docstring(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    if name_of(module) != "__init__.py":
        assert ast.get_docstring(tree)
    assert list(undocumented(tree)) == []


def test_public_names_are_those_of_the_package():
    assert keras_llm.__all__ == [
        "ScratchBackbone",
        "ScratchCausalLM",
        "ScratchCausalLMPreprocessor",
        "ScratchMaskedLM",
        "ScratchMaskedLMPreprocessor",
        "ScratchTextClassifier",
        "ScratchTextClassifierPreprocessor",
        "ScratchTokenizer",
        "TextGenerator",
        "add_adapter",
        "improve",
        "load_adapter",
        "load_preset",
        "load_recipe",
        "merge_adapter",
        "pretrain",
        "save_adapter",
        "set_adapter",
        "to_saved_model",
        "train",
        "tune_classifier",
        "tune_domain",
        "tune_instructions",
        "tune_preferences",
    ]
    for name in keras_llm.__all__:
        assert getattr(keras_llm, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        keras_llm.nothing  # noqa: B018


WITHOUT_TENSORFLOW = (
    NO_TENSORFLOW
    + """
from pathlib import Path
import keras
import keras_llm

assert keras.config.backend() == "jax"
from tiny_run import QUIET, RECIPE
from tiny_corpus import sample_text, sample_tokenizer
source = Path(sys.argv[1]) / "text.txt"
source.write_text(sample_text(200), encoding="utf-8")
run = source.parent / "run"
result = keras_llm.train(str(source), RECIPE, run, console=QUIET)
model = keras_llm.load_preset(run)
tokenizer = keras_llm.ScratchTokenizer.from_file(
    sample_tokenizer(source.parent)
)
text = "the people\\n\\tof  the \U0001f600\\0"
assert tokenizer.detokenize(tokenizer(text)) == text
print(*tokenizer(text))
answer = keras_llm.TextGenerator(model).generate(["The"], RECIPE.generation)
import keras_hub
import numpy as np
preset = keras_hub.models.CausalLM.from_preset(sys.argv[2])
rows = dict(np.load(sys.argv[2] + "/rows.npz"))
np.save(sys.argv[2] + "/logits.npy", preset(rows))
print(result["validation"]["loss"], answer[0].num_tokens)
"""
)


@pytest.mark.slow
def test_all_but_the_export_works_without_tensorflow(tmp_path):
    pytest.importorskip("jax")
    pytest.importorskip("grain")
    preset = tmp_path / "preset"
    model = tiny_model()
    save_preset(model, preset)
    rows = ragged_batch([[5, 6, 7], [8]], 4)
    np.savez(preset / "rows.npz", **rows)
    printed = run_python(
        WITHOUT_TENSORFLOW,
        tmp_path,
        preset,
        KERAS_BACKEND="jax",
        PYTHONPATH=str(Path(__file__).parent),
    )
    *_, ids, figures = printed.splitlines()
    here = keras_llm.ScratchTokenizer.from_file(
        sample_tokenizer(tmp_path / "here")
    )
    assert ids.split() == [str(id) for id in here("the people\n\tof  the 😀\0")]
    loss, num_tokens = figures.split()
    assert 0 < float(loss) < 10
    assert 1 <= int(num_tokens) <= 8
    logits = np.load(preset / "logits.npy")[rows["padding_mask"]]
    expected = model(rows).numpy()[rows["padding_mask"]]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
