"""Adapters go to PEFT, and come from it, with the same logits."""

import json

import numpy as np
import peft
import pytest
import torch
import transformers
from adapted import IDS, KINDS, adapted, outputs
from safetensors.numpy import load_file, save_file
from stock_models import stock_model
from testing import tiny_model

from keras_llm.errors import InputError
from keras_llm.export.huggingface import (
    load_adapter,
    save_adapter,
    to_hugging_face,
)
from keras_llm.models import merge_adapter, set_adapter
from keras_llm.models.adapters import weights_digest

GPT2 = {
    "num_layers": 2,
    "position_embedding": "learned",
    "normalization": "layer",
    "use_bias": True,
}
LLAMA = {
    "num_layers": 2,
    "activation": "swiglu",
    "num_key_value_heads": 1,
}
MODELS = {
    "gpt2": lambda: tiny_model(**GPT2),
    "gpt2 without biases": lambda: tiny_model(**GPT2 | {"use_bias": False}),
    "llama": lambda: tiny_model(**LLAMA),
    "llama untied": lambda: tiny_model(tie_word_embeddings=False, **LLAMA),
    "stock GPT2": lambda: stock_model.__wrapped__("GPT2"),
    "stock Llama3": lambda: stock_model.__wrapped__("Llama3"),
    "stock Mistral": lambda: stock_model.__wrapped__("Mistral"),
    "stock Qwen": lambda: stock_model.__wrapped__("Qwen"),
}
ALSO_ELSEWHERE = ("gpt2 without biases", "llama", "stock Mistral", "stock Qwen")
ALL = {"embeddings": True, "norms": True}
OPTIONS = {
    "all projections": {},
    "all weights that can be": ALL,
    "one of three side by side": {"targets": ["value"]},
    "two and a norm": {"targets": ["query", "key"], "norms": True},
    "a block": {"targets": [".*_1/.*"], "alpha": 5.0},
}


def exported(model, folder):
    """The base as `transformers` loads it, without the adapter."""
    if type(model).__module__.startswith("keras_llm"):
        to_hugging_face(model, folder)
    else:
        model.export_to_transformers(str(folder))
    load = transformers.AutoModelForCausalLM.from_pretrained
    return load(folder, dtype="float32").eval()


def logits_of(model):
    with torch.no_grad():
        return model(torch.tensor(IDS).long()).logits.numpy()


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-4)


def saved(model, folder):
    save_adapter(model, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    return config, load_file(folder / "adapter_model.safetensors")


def cases(options, most):
    """Every model with the options that ask for most, two with each.

    What other cases have both sides of is slow.
    """
    few = [(name, most) for name in MODELS if name not in ALSO_ELSEWHERE]
    few += [("gpt2", each) for each in options]
    every = [(name, most) for name in ALSO_ELSEWHERE]
    every += [("stock Llama3", each) for each in options]
    slow = [
        pytest.param(*case, marks=pytest.mark.slow)
        for case in dict.fromkeys(every)
        if case not in few
    ]
    return pytest.mark.parametrize(
        ("name", "options"), [*dict.fromkeys(few), *slow]
    )


@cases(OPTIONS, "all weights that can be")
def test_peft_gives_our_logits(name, options, tmp_path):
    base = exported(MODELS[name](), tmp_path / "base")
    model = adapted(MODELS[name](), **OPTIONS[options])
    config, _ = saved(model, tmp_path / "adapter")
    made = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert_close(logits_of(made.eval()), outputs(model))
    again = MODELS[name]()
    load_adapter(again, tmp_path / "adapter")
    assert_close(outputs(again), outputs(model))
    assert config["keras_llm"]["base_sha256"] == weights_digest(MODELS[name]())


THEIRS = {
    "plain": {"r": 3, "lora_alpha": 5},
    "scaled by the root": {"r": 4, "lora_alpha": 3, "use_rslora": True},
    "of several ranks": {
        "r": 2,
        "rank_pattern": {"c_attn": 3, "q_proj": 4, "h.1.mlp.c_fc": 1},
        "alpha_pattern": {"c_attn": 9, "v_proj": 7},
    },
}
NORMS = {
    "gpt2": ["ln_1", "ln_2", "ln_f"],
    "llama": ["input_layernorm", "post_attention_layernorm", "norm"],
}


def trained_by_peft(base, folder, **options):
    """An adapter of random values, and the logits with it."""
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", **options
    )
    made = peft.get_peft_model(base, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter)
    made.save_pretrained(folder)
    return logits_of(made.eval())


@cases(THEIRS, "of several ranks")
def test_adapters_of_peft_load_here(name, options, tmp_path):
    model = MODELS[name]()
    base = exported(model, tmp_path / "base")
    plain = outputs(model)
    expected = trained_by_peft(base, tmp_path / "adapter", **THEIRS[options])
    load_adapter(model, tmp_path / "adapter", "theirs")
    assert np.abs(outputs(model) - plain).max() > 0.1
    assert_close(outputs(model), expected)
    set_adapter(model, None)
    np.testing.assert_array_equal(outputs(model), plain)


@pytest.mark.parametrize("name", ["gpt2", "llama untied", "stock GPT2"])
def test_whole_modules_of_peft_load_here(name, tmp_path):
    model = MODELS[name]()
    base = exported(model, tmp_path / "base")
    is_gpt2 = base.config.model_type == "gpt2"
    whole = NORMS["gpt2" if is_gpt2 else "llama"]
    if "untied" in name:
        whole = [*whole, "embed_tokens", "lm_head"]
    expected = trained_by_peft(
        base, tmp_path / "adapter", r=2, modules_to_save=whole
    )
    load_adapter(model, tmp_path / "adapter")
    assert_close(outputs(model), expected)


def test_an_embedding_tied_by_peft_loads_here(tmp_path):
    model = MODELS["llama"]()
    base = exported(model, tmp_path / "base")
    expected = trained_by_peft(
        base,
        tmp_path / "adapter",
        r=2,
        modules_to_save=["embed_tokens"],
        ensure_weight_tying=True,
    )
    load_adapter(model, tmp_path / "adapter")
    assert_close(outputs(model), expected)


def test_factors_side_by_side_take_the_columns_that_they_need(tmp_path):
    model = adapted(MODELS["gpt2"]())
    config, tensors = saved(model, tmp_path / "ours")
    assert config["r"] == 2
    assert config["lora_alpha"] == 3.0
    assert config["fan_in_fan_out"] is True
    assert config["target_modules"] == ["c_attn", "c_fc", "c_proj"]
    name = "transformer.h.{}.attn.c_attn"
    assert config["rank_pattern"] == {name.format(i): 6 for i in range(2)}
    assert config["alpha_pattern"] == {name.format(i): 9.0 for i in range(2)}
    part = tensors["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"]
    assert part.shape == (48, 6)
    blocks = part.reshape(3, 16, 3, 2).any(axis=(1, 3))
    np.testing.assert_array_equal(blocks, np.eye(3, dtype=bool))


@pytest.mark.parametrize("name", ["gpt2", "stock GPT2", "llama"])
def test_a_merged_model_is_exported_as_peft_merges_it(name, tmp_path):
    base = exported(MODELS[name](), tmp_path / "base")
    model = adapted(MODELS[name]())
    save_adapter(model, tmp_path / "adapter")
    merge_adapter(model)
    merged = exported(model, tmp_path / "merged").state_dict()
    made = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    expected = made.merge_and_unload().state_dict()
    assert merged.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(merged[key], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gru", "mixed"])
def test_models_that_hugging_face_lacks_save_in_the_same_form(kind, tmp_path):
    model = adapted(KINDS[kind](), **ALL)
    config, tensors = saved(model, tmp_path / "adapter")
    assert config["peft_type"] == "LORA_OF_KERAS_LAYERS"
    name = "base_model.model.block_0.recurrent_layer.input_projection"
    assert tensors[f"{name}.lora_A.weight"].shape == (2, 16)
    again = KINDS[kind]()
    load_adapter(again, tmp_path / "adapter")
    assert_close(outputs(again), outputs(model))
    base = exported(MODELS["llama"](), tmp_path / "base")
    with pytest.raises(KeyError, match="LORA_OF_KERAS_LAYERS"):
        peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    with pytest.raises(InputError, match="peft_type LORA .*KERAS_LAYERS"):
        load_adapter(MODELS["llama"](), tmp_path / "adapter")


@pytest.fixture(scope="module")
def llama_adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama") / "adapter"
    return save_adapter(adapted(MODELS["llama"](), norms=True), folder)


QUERY = "base_model.model.model.layers.0.self_attn.q_proj"
NORM = "base_model.model.model.norm.weight"


def moved(tensors, name, other):
    tensors[other] = tensors.pop(name)


DAMAGES = {
    "no such module": (
        {},
        lambda t: [
            moved(
                t, f"{QUERY}.lora_{x}.weight", f"base_model.c.lora_{x}.weight"
            )
            for x in "AB"
        ],
        "projections that the model has. Received: base_model.c. There are: "
        "down_proj, ",
    ),
    "half a pair": (
        {},
        lambda t: t.pop(f"{QUERY}.lora_B.weight"),
        "both factors of model.layers.0.*none called lora_B",
    ),
    "another width": (
        {},
        lambda t: t.update(
            {f"{QUERY}.lora_A.weight": np.zeros((2, 20), "float32")}
        ),
        r"\(2, 20\) and \(16, 2\) for model.*q_proj, which has 16 inputs",
    ),
    "another rank": (
        {"r": 4},
        lambda t: None,
        "of rank 4 for model.*config.json says.*Received: rank 2",
    ),
    "no alpha": (
        {"lora_alpha": "high"},
        lambda t: None,
        "lora_alpha must be a finite number. Received: 'high'",
    ),
    "another weight": (
        {},
        lambda t: moved(t, NORM, "base_model.model.model.norm.bias"),
        "weights that the model has. Received: model.norm.bias",
    ),
    "a weight of another shape": (
        {},
        lambda t: t.update({NORM: np.ones(8, "float32")}),
        r"final_norm/scale is \(16,\), the adapter's \(8,\)",
    ),
    "a head apart": (
        {},
        lambda t: t.update(
            {"base_model.model.lm_head.weight": np.ones((360, 16), "float32")}
        ),
        "lm_head.weight must be the same as model.embed_tokens.weight",
    ),
    "no factors": (
        {},
        lambda t: [t.pop(name) for name in list(t) if "lora" in name],
        "must have factors. Received: none among",
    ),
    "another method": ({"peft_type": "IA3"}, lambda t: None, "Received: IA3"),
    "directions and magnitudes": (
        {"use_dora": True},
        lambda t: None,
        "Received: use_dora",
    ),
    "biases": ({"bias": "all"}, lambda t: None, "Received: bias='all'"),
    "a changed base": (
        {"init_lora_weights": "pissa"},
        lambda t: None,
        "'pissa', which changes the base",
    ),
    "a pattern that is none": (
        {"rank_pattern": {"(": 3}},
        lambda t: None,
        "must say r and rank_pattern",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_adapters_that_do_not_fit_say_where(case, llama_adapter, tmp_path):
    changes, damage, message = DAMAGES[case]
    tensors = load_file(llama_adapter / "adapter_model.safetensors")
    config = json.loads((llama_adapter / "adapter_config.json").read_text())
    damage(tensors)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | changes))
    model = MODELS["llama"]()
    before = outputs(model)
    with pytest.raises(InputError, match=message):
        load_adapter(model, tmp_path)
    np.testing.assert_array_equal(outputs(model), before)


def test_an_adapter_of_another_model_is_refused(llama_adapter):
    other = MODELS["llama"]()
    weight = other.backbone.blocks[1].mixer.query.kernel
    weight.assign(weight * 1.1)
    digests = f"{weights_digest(MODELS['llama']())}.*{weights_digest(other)}"
    with pytest.raises(InputError, match=digests):
        load_adapter(other, llama_adapter)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_folders_that_are_no_adapter(content, llama_adapter, tmp_path):
    if content is not None:
        (tmp_path / "adapter_config.json").write_text(content)
        weights = (llama_adapter / "adapter_model.safetensors").read_bytes()
        (tmp_path / "adapter_model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match="adapter_config.json"):
        load_adapter(MODELS["llama"](), tmp_path)


def test_a_torn_file_is_an_error(llama_adapter, tmp_path):
    for file in llama_adapter.iterdir():
        content = file.read_bytes()
        half = len(content) // 2 if file.suffix == ".safetensors" else None
        (tmp_path / file.name).write_bytes(content[:half])
    with pytest.raises(InputError, match="adapter_model.safetensors cannot"):
        load_adapter(MODELS["llama"](), tmp_path)


def test_a_model_without_adapter_has_none_to_save(tmp_path):
    with pytest.raises(InputError, match="add_adapter"):
        save_adapter(MODELS["llama"](), tmp_path / "adapter")
    model = MODELS["llama"]()
    model.backbone.enable_lora(2)
    with pytest.raises(InputError, match="add_adapter"):
        save_adapter(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
