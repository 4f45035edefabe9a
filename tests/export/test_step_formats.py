"""The step function in each format, run where it is meant to run."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from stock_models import stock_model, stock_tokenizer
from testing import BLOCK_TYPES, tiny_backbone, tiny_model

from keras_llm.errors import InputError
from keras_llm.export.step_formats import FORMATS, to_step_function
from keras_llm.generation import TextGenerator
from keras_llm.models import ScratchCausalLM, ScratchCausalLMPreprocessor
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers import ScratchBytePairTokenizer
from keras_llm.tokenizers.byte_pair_files import from_keras_hub

CONTEXT = 32
MIXED = ["gru", "attention"]
# The options of attention, and the layers around it, that differ.
OPTIONS = {
    "num_heads": 4,
    "num_key_value_heads": 2,
    "position_embedding": "learned",
    "normalization": "layer",
    "activation": "swiglu",
    "query_key_norm": True,
    "sliding_window": 5,
    "tie_word_embeddings": False,
    "use_bias": True,
}
PROMPTS = [[2, 5, 9], [2, 44, 7, 300, 17, 8], [2]]
NEW_TOKENS = 12
# The program that runs a step has none of these.
BLOCKED = """
import sys
for name in ("keras", "keras_hub", "keras_llm", "tensorflow"):
    sys.modules[name] = None
"""


@functools.cache
def model_of(block_types, **options):
    return tiny_model(list(block_types), max_sequence_length=CONTEXT, **options)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports a model once."""

    @functools.cache
    def exported(format, block_types, **options):
        folder = tmp_path_factory.mktemp(format) / "step"
        model = model_of(block_types, **options)
        return to_step_function(model, folder, format)

    return exported


class Step:
    """The step function of a folder in the runtime of its format."""

    def __init__(self, folder, slots):
        self.about = json.loads((folder / "step.json").read_text())
        self.run = RUNTIMES[self.about["format"]](folder / self.about["model"])
        self.sizes = {"slots": slots}

    def first_cache(self, rows):
        sizes = self.sizes | {"batch": rows}
        return {
            each["name"]: np.zeros(
                [sizes.get(size, size) for size in each["shape"]], each["dtype"]
            )
            for each in self.about["inputs"]
            if each["name"] in self.about["next_cache"]
        }

    def __call__(self, tokens, positions, cache):
        """Logits, and the next cache; outputs are as `step.json` says."""
        token_ids = np.array(tokens, "int32")[:, None]
        index = np.array(positions, "int32")
        inputs = {"token_ids": token_ids, "cache_update_index": index, **cache}
        outputs = self.run(inputs)
        sizes = self.sizes | {"batch": len(tokens)}
        for each in self.about["outputs"]:
            expected = [sizes.get(size, size) for size in each["shape"]]
            received = outputs[each["name"]]
            assert list(received.shape) == expected
            assert received.dtype == each["dtype"]
        names = self.about["next_cache"].items()
        return outputs["logits"], {old: outputs[new] for old, new in names}


def litert(file):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    runner = interpreter.Interpreter(str(file)).get_signature_runner()
    return lambda inputs: runner(**inputs)


def onnx(file):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(file))
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(
        zip(names, session.run(None, inputs), strict=True)
    )


def openvino(file):
    core = pytest.importorskip("openvino").Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = core.compile_model(str(file), "CPU", exact)
    return lambda inputs: {
        output.any_name: value for output, value in model(inputs).items()
    }


RUNTIMES = {"litert": litert, "onnx": onnx, "openvino": openvino}


def decoded_together(step, prompts):
    """Each row's tokens, and the logits after each but the last.

    Prompts are read alone; then all rows go on together.
    """
    rows, logits, caches = [list(prompt) for prompt in prompts], [], []
    for row in rows:
        cache, seen = step.first_cache(1), []
        for position, token in enumerate(row):
            after, cache = step([token], [position], cache)
            seen.append(after[0])
        logits.append(seen)
        caches.append(cache)
    cache = {
        name: np.concatenate([each[name] for each in caches])
        for name in caches[0]
    }
    for _ in range(NEW_TOKENS):
        for row, seen in zip(rows, logits, strict=True):
            row.append(int(np.argmax(seen[-1])))
        newest, positions = [r[-1] for r in rows], [len(r) - 1 for r in rows]
        after, cache = step(newest, positions, cache)
        for seen, each in zip(logits, after, strict=True):
            seen.append(each)
    return rows, logits


def check_against_model(model, prompt, row, logits):
    """Equal to the model without a cache, which is what chooses tokens."""
    token_ids = np.array([row], "int32")
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    expected = keras.ops.convert_to_numpy(model(inputs))[0]
    np.testing.assert_allclose(np.stack(logits), expected, atol=1e-4)
    chosen = expected.argmax(axis=-1)[len(prompt) - 1 : -1]
    assert row == prompt + chosen.tolist()
    assert len(row) == len(prompt) + NEW_TOKENS
    assert np.ptp(expected, axis=0).max() > 0.1  # its input matters


# Of these OpenVINO takes longest to compile a step.
cases = pytest.mark.parametrize(
    "format",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name == "openvino"
        else name
        for name in FORMATS
    ],
)
models = pytest.mark.parametrize(
    ("block_types", "options"),
    [
        pytest.param(MIXED, {}, id="mixed"),
        *(
            pytest.param([kind], {}, id=kind, marks=pytest.mark.slow)
            for kind in BLOCK_TYPES
            if kind != MIXED
        ),
        pytest.param(
            ["attention"], OPTIONS, id="options", marks=pytest.mark.slow
        ),
        pytest.param(
            ["min_gru", "gated_delta", "mlstm"],
            {},
            id="linear",
            marks=pytest.mark.slow,
        ),
    ],
)


@cases
@models
def test_steps_are_those_of_the_model(exported, format, block_types, options):
    folder = exported(format, tuple(block_types), **options)
    model = model_of(tuple(block_types), **options)
    # The formats of any shape with a cache that is shorter than the context.
    is_fixed = FORMATS[format].is_fixed
    step = Step(folder, slots=CONTEXT if is_fixed else 20)
    batches = [[each] for each in PROMPTS] if is_fixed else [PROMPTS]
    for prompts in batches:
        rows, logits = decoded_together(step, prompts)
        for prompt, row, seen in zip(prompts, rows, logits, strict=True):
            check_against_model(model, prompt, row, seen)


@cases
def test_the_page_beside_decodes_as_the_model_does(exported, format):
    folder = exported(format, tuple(MIXED))
    page = (folder / "README.txt").read_text(encoding="utf-8")
    _, code = page.split("```python\n")
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + code.removesuffix("```\n")],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    settings = GenerationSettings(sampler="greedy", max_new_tokens=32)
    prompt = "Once upon a time"
    generator = TextGenerator(model_of(tuple(MIXED)))
    (answer,) = generator.generate([prompt], settings)
    assert answer.num_tokens > 8
    assert done.stdout == f"{prompt}{answer.text}\n"


def test_a_folder_tells_all_that_decoding_needs(exported):
    folder = exported("onnx", tuple(MIXED))
    model = model_of(tuple(MIXED))
    about = json.loads((folder / "step.json").read_text(encoding="utf-8"))
    assert about["context_length"] == CONTEXT
    assert about["vocabulary_size"] == model.backbone.vocabulary_size
    tokenizer = model.preprocessor.tokenizer
    assert about["start_token_id"] == tokenizer.start_token_id
    assert about["end_token_ids"] == [tokenizer.end_token_id]
    assert (folder / about["tokenizer"]).read_bytes() == tokenizer.proto
    names = [each["name"] for each in about["inputs"]]
    assert names == [
        "token_ids",
        "cache_update_index",
        "cache_0_0",
        "cache_1_0",
        "cache_1_1",
    ]
    assert about["inputs"][3]["shape"] == ["batch", 2, "slots", 8]


def quantized():
    model = tiny_model(max_sequence_length=CONTEXT)
    model.quantize("int8", filters=["query"])
    return model


def without_preprocessor():
    return ScratchCausalLM(model_of(tuple(MIXED)).backbone)


def byte_pair_model():
    """Of ours, with the tokenizer of a published model."""
    vocabulary = from_keras_hub(stock_tokenizer("GPT2"))
    tokenizer = ScratchBytePairTokenizer.from_vocabulary(vocabulary)
    backbone = tiny_backbone(vocabulary_size=tokenizer.vocabulary_size())
    return ScratchCausalLM(backbone, ScratchCausalLMPreprocessor(tokenizer))


REFUSED = {
    "bfloat16": (
        functools.partial(tiny_model, dtype="bfloat16"),
        "in float32. Received: bfloat16",
    ),
    "mixed": (
        functools.partial(tiny_model, dtype="mixed_bfloat16"),
        "in float32. Received: mixed_bfloat16",
    ),
    "int8": (quantized, "in float32. Received: int8_from_float32"),
    "no tokenizer": (without_preprocessor, "needs a preprocessor"),
    "byte pairs": (
        byte_pair_model,
        "Received: a model with a ScratchBytePairTokenizer",
    ),
    "stock": (
        functools.partial(stock_model, "GPT2"),
        "that of a ScratchCausalLM. Received: a GPT2CausalLM",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_are_refused(tmp_path, name):
    make, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        to_step_function(make(), tmp_path / "out", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_too_large_for_one_file(tmp_path, monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(model, "count_params", lambda: 2**29)
    with pytest.raises(InputError, match="2 GiB at most. Received: .* 2.0 GiB"):
        to_step_function(model, tmp_path / "out", "litert")


@pytest.mark.parametrize(
    ("format", "package"), [("onnx", "tf2onnx"), ("openvino", "openvino")]
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, format, package):
    monkeypatch.setitem(sys.modules, package, None)
    model = model_of(tuple(MIXED))
    message = rf"needs {package}.*pip install 'keras-llm\[{format}\]'"
    with pytest.raises(InputError, match=message):
        to_step_function(model, tmp_path / "out", format)


def test_formats_folders_and_backends_that_are_refused(tmp_path, monkeypatch):
    model = model_of(tuple(MIXED))
    with pytest.raises(InputError, match="litert, onnx, openvino. .*'onxx'"):
        to_step_function(model, tmp_path / "out", "onxx")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="must be a new or empty folder"):
        to_step_function(model, tmp_path, "onnx")
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(InputError, match="KERAS_BACKEND=jax"):
        to_step_function(model, tmp_path / "out", "onnx")
    assert list(tmp_path.iterdir()) == [Path(tmp_path, "file")]
