"""Models of `transformers` become ours and go back, unchanged."""

import json
from pathlib import Path

import hugging_face_models as theirs
import keras
import keras_hub
import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from stock_models import stock_tokenizer
from testing import code_blocks, ragged_batch, run_python, tiny_model

from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.export.huggingface import from_hugging_face, to_hugging_face
from keras_llm.export.huggingface.architecture import BIASES
from keras_llm.export.huggingface.importing import ARCHITECTURES
from keras_llm.models import load_task, save_preset
from keras_llm.tokenizers.chat_templates import chat_template

IDS = np.random.default_rng(0).integers(1, 300, (2, 24), "int32")
LLAMA = {
    "num_layers": 2,
    "position_embedding": "rotary",
    "normalization": "rms",
    "activation": "swiglu",
}
QWEN2 = {
    "attention_bias": True,
    "attention_output_bias": False,
    "sliding_window": 4,
    "sliding_window_layers": [True, False],
}
QWEN3 = {
    "query_key_norm": True,
    "query_key_norm_epsilon": 1e-5,
    "head_dim": 12,
}
GPT2 = {
    "num_layers": 2,
    "position_embedding": "learned",
    "normalization": "layer",
    "activation": "gelu",
}


def logits_of(model, token_ids):
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    return keras.ops.convert_to_numpy(model(inputs))


def options_of(model):
    """The backbone's, as its layers take them."""
    options = model.backbone.get_config()
    block = model.backbone.blocks[0]
    options["num_key_value_heads"] = block.mixer.num_key_value_heads
    for name in BIASES:
        options[name] = getattr(block, name)
    del options["name"]
    return options


def weights_of(model):
    return [np.array(weight) for weight in model.get_weights()]


def continued(model, rows, new):
    """Rows of ids, each with the likeliest new ones after it."""
    model.compile(sampler="greedy", jit_compile=False)
    inputs = ragged_batch(rows, max(map(len, rows)) + new)
    tensors = {key: keras.ops.convert_to_tensor(x) for key, x in inputs.items()}
    found = model.make_generate_function()(tensors, stop_token_ids=None)
    return [
        ids[: len(row) + new].tolist()
        for ids, row in zip(np.array(found["token_ids"]), rows, strict=True)
    ]


def same(ours, made):
    expected = theirs.logits_of(made, IDS)
    found = logits_of(ours, IDS)
    np.testing.assert_allclose(found, expected, atol=1e-4 * abs(expected).max())


@pytest.mark.parametrize("name", theirs.NAMES)
def test_imported_logits_are_those_of_transformers(tmp_path, name):
    made = theirs.model(name)
    model = from_hugging_face(theirs.save(made, tmp_path))
    same(model, made)
    assert model.count_params() == made.num_parameters()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["qwen3", "smollm3", "gpt2 untied", "llama 3", "mistral", "qwen2"],
)
def test_imported_models_decode_as_transformers_does(tmp_path, name):
    made = theirs.model(name)
    model = from_hugging_face(theirs.save(made, tmp_path))
    rows = [IDS[0, :8].tolist(), IDS[1, :3].tolist(), IDS[1, 5:16].tolist()]
    expected = theirs.continued(made, rows, 64)
    assert continued(model, rows, 64) == expected
    assert all(len(set(row[-64:])) > 5 for row in expected)


@pytest.mark.parametrize(
    "name", ["llama 3", "smollm 2", "wide heads", *theirs.OTHERS, "gpt2 untied"]
)
def test_there_and_back_again_is_the_same_to_the_bit(tmp_path, name):
    source = theirs.save(theirs.model(name), tmp_path / "theirs")
    model = from_hugging_face(source)
    save_preset(model, tmp_path / "preset")
    restored = keras_hub.models.CausalLM.from_preset(str(tmp_path / "preset"))
    folder = to_hugging_face(restored, tmp_path / "back")
    before = load_file(source / "model.safetensors")
    after = load_file(folder / "model.safetensors")
    kinds = [
        json.loads((each / "config.json").read_text())["model_type"]
        for each in (source, folder)
    ]
    assert kinds[0] == kinds[1]
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])
    again = from_hugging_face(folder)
    assert options_of(again) == options_of(model)
    for one, other in zip(weights_of(again), weights_of(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_shards_and_half_precision(tmp_path):
    made = theirs.model("llama 2").bfloat16()
    theirs.save(made, tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    model = from_hugging_face(tmp_path)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    auto = transformers.AutoModelForCausalLM
    same(model, auto.from_pretrained(tmp_path, dtype=torch.float32))


def test_published_names_of_gpt2_have_no_prefix(tmp_path):
    made = theirs.model("gpt2")
    theirs.save(made, tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {
        name.removeprefix("transformer."): array
        for name, array in load_file(file).items()
    }
    masks = {f"h.{i}.attn.bias": np.ones((1, 1, 4, 4)) for i in range(2)}
    save_file(tensors | masks, file)
    same(from_hugging_face(tmp_path), made)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("llama", LLAMA),
        ("llama", LLAMA | {"num_key_value_heads": 1, "use_bias": True}),
        ("llama", LLAMA | {"tie_word_embeddings": False}),
        ("llama", LLAMA | {"rope_scaling": dict(theirs.LLAMA3)}),
        ("gpt2", GPT2),
        ("gpt2", GPT2 | {"use_bias": True}),
        ("gpt2", GPT2 | {"attention_bias": True, "activation": "relu_squared"}),
        ("mistral", LLAMA | {"sliding_window": 4}),
        ("qwen2", LLAMA | QWEN2),
        ("qwen3", LLAMA | QWEN3),
        ("smollm3", LLAMA | {"rotary_layers": [False, True]}),
    ],
)
def test_models_trained_here_load_in_transformers(
    tmp_path, architecture, options
):
    if "rope_scaling" in options:
        options["rope_scaling"].pop("rope_theta", None)
    ours = tiny_model(**options)
    folder = to_hugging_face(ours, tmp_path / "out")
    made = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    assert made.config.model_type == architecture
    same(ours, made)
    with safe_open(folder / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}
    again = from_hugging_face(folder)
    assert options_of(again) == options_of(ours)
    for one, other in zip(weights_of(again), weights_of(ours), strict=True):
        np.testing.assert_array_equal(one, other)


def test_prompts_are_continued_alike(tmp_path):
    ours = tiny_model(**LLAMA)
    folder = to_hugging_face(ours, tmp_path / "out")
    made = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("the people of")["input_ids"]
    inputs = ours.preprocessor.generate_preprocess(["the people of"])
    mask = np.array(inputs["padding_mask"])
    assert np.array(inputs["token_ids"])[mask].tolist() == prompt
    expected = theirs.continued(made, [prompt], 40)
    assert continued(ours, [prompt], 40) == expected


def test_conversations_are_continued_alike(tmp_path):
    ours = tiny_model(**LLAMA)
    folder = to_hugging_face(ours, tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    template = chat_template(ours.preprocessor.tokenizer)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who rules?"},
    ]
    prompt = template.encode(messages, True).token_ids
    rendered = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    assert rendered == prompt
    settings = json.loads((folder / "generation_config.json").read_text())
    assert {*settings["eos_token_id"]} == {*template.end_token_ids}
    again = from_hugging_face(folder).preprocessor.tokenizer
    assert chat_template(again).encode(messages, True).token_ids == prompt
    assert {*again.end_token_ids} == {*template.end_token_ids}


def test_the_example_of_the_guide_runs(tmp_path, monkeypatch):
    to_hugging_face(tiny_model(**LLAMA), tmp_path / "exported/llama")
    monkeypatch.chdir(tmp_path)
    guide = Path(__file__).parents[2] / "docs/huggingface.md"
    [code] = code_blocks(guide, "python")
    names = {}
    exec(compile(code, guide.name, "exec"), names)
    assert names["model"].config.vocab_size == len(names["tokenizer"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"block_types": "gru"}, r"block_types=\['gru'\]"),
        ({"activation": "relu_squared"}, "activation='relu_squared'"),
        (
            LLAMA | {"query_key_norm": True},
            "query_key_norm_epsilon=1e-06 .it has 1e-05",
        ),
        (GPT2 | {"head_dim": 16}, r"head_dim=16 \(it has 8"),
        (GPT2 | {"num_key_value_heads": 1}, "num_key_value_heads=1"),
        (LLAMA | {"dtype": "int8"}, "was quantized"),
    ],
)
def test_what_cannot_be_expressed_says_so(tmp_path, options, reason):
    options, dtype = dict(options), options.get("dtype")
    options.pop("dtype", None)
    model = tiny_model(**options)
    if dtype == "int8":
        dense = keras.layers.Dense
        model.quantize(dtype, filters=lambda layer: isinstance(layer, dense))
    with pytest.raises(InputError, match=reason):
        to_hugging_face(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["llama", *theirs.OTHERS])
def test_what_a_configuration_leaves_out_is_as_in_transformers(name):
    least = theirs.SHAPE | {"vocab_size": 99, "model_type": name}
    whole = transformers.AutoConfig.for_model(**least).to_dict()
    read = ARCHITECTURES[name].options_in
    assert read(least) == read(whole)
    window = {"use_sliding_window": True, "max_window_layers": 1}
    whole = transformers.AutoConfig.for_model(**least | window).to_dict()
    assert read(least | window) == read(whole)


def test_other_architectures_become_stock_models(tmp_path, capsys):
    tokenizer = stock_tokenizer("Gemma")
    shape = theirs.SHAPE | {"num_key_value_heads": 2, "head_dim": 12}
    size = tokenizer.vocabulary_size()
    torch.manual_seed(0)
    config = transformers.GemmaConfig(**shape, vocab_size=size)
    made = transformers.GemmaForCausalLM(config).eval()
    made.save_pretrained(tmp_path / "gemma")
    (tmp_path / "gemma/tokenizer.model").write_bytes(tokenizer.proto)
    preset = tmp_path / "preset"
    main(["import", str(tmp_path / "gemma"), "--out", str(preset)])
    assert f"{made.num_parameters():,}" in capsys.readouterr().out
    model = load_task(preset)
    assert isinstance(model, keras_hub.models.GemmaCausalLM)
    same(model, made)
    with pytest.raises(InputError, match="Received: GemmaCausalLM.*saved_mod"):
        to_hugging_face(model, tmp_path / "back")


MEASURE = """
import resource, sys
from pathlib import Path
import keras_llm
from keras_llm.export.huggingface import from_hugging_face

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("RssAnon")]
    return 1024 * int(line.split()[1])

import threading, time
from_hugging_face(sys.argv[2])  # what is loaded and allocated once
before, most, done = anonymous(), [0], threading.Event()

def watch():
    while not done.wait(0.005):
        most[0] = max(most[0], anonymous())

thread = threading.Thread(target=watch)
thread.start()
model = from_hugging_face(sys.argv[1])
done.set()
thread.join()
print((max(most[0], anonymous()) - before) / (4 * model.count_params()))
"""


@pytest.mark.slow
def test_memory_is_that_of_the_weights(tmp_path):
    small = theirs.save(theirs.model("llama 2"), tmp_path / "small")
    config = transformers.LlamaConfig(
        **theirs.SHAPE | {"hidden_size": 1024, "intermediate_size": 2816},
        vocab_size=8000,
    )
    config.num_hidden_layers = 8
    large = transformers.LlamaForCausalLM(config)
    theirs.save(large, tmp_path / "large")
    del large
    share = float(run_python(MEASURE, tmp_path / "large", small))
    assert 0.9 < share < 1.3
