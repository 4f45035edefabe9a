"""Folders of Hugging Face that are not as they say, or damaged."""

import json

import hugging_face_models as theirs
import pytest
import transformers
from safetensors.numpy import load_file, save_file
from test_hugging_face_models import GPT2, same
from testing import tiny_model

from keras_llm.errors import InputError
from keras_llm.export.huggingface import from_hugging_face, to_hugging_face


def change_config(folder, **changes):
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    left = {key: x for key, x in config.items() if x != "left out"}
    file.write_text(json.dumps(left))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_type": "mamba"}, "gpt2, llama, .*gemma.*Received: 'mamba'"),
        ({"model_type": "left out"}, "Received: None"),
        ({"model_type": ["llama"]}, r"Received: \['llama'\]"),
        ({"hidden_size": "left out"}, "config.json must have hidden_size"),
        (
            {"rope_parameters": {"rope_type": "longrope", "factor": 4.0}},
            "rope_type default or linear or .* Received: 'longrope'",
        ),
        (
            {"rope_parameters": {"rope_type": "llama3", "factor": 4.0}},
            "must have low_freq_factor",
        ),
        ({"hidden_act": "gelu"}, "hidden_act 'silu' or 'swish'"),
        ({"rope_scaling": ["yarn"]}, "an object as rope_scaling"),
        (
            {"rope_scaling": {"type": "linear", "factor": "2"}},
            "a number from 0 on as factor. Received: '2'",
        ),
        ({"head_dim": 16}, r"q_proj.weight is \(32, 32\), not \(64, 32\)"),
        ({"attention_bias": True}, "q_proj.bias is missing"),
        ({"rms_norm_eps": "1e-5"}, "as rms_norm_eps. Received: '1e-5'"),
        ({"num_hidden_layers": -1}, "as num_hidden_layers. Received: -1"),
        ({"num_hidden_layers": True}, "as num_hidden_layers. Received: True"),
        ({"vocab_size": 90}, r"has \d+ tokens, but the model embeds 90"),
        ({"vocab_size": 999}, r"embed_tokens.weight is \(.*, not \(999, 32\)"),
        ({"num_hidden_layers": 3}, r"layers.2.*is missing.*and 4 more"),
        ({"num_hidden_layers": 1}, "layers.1.*is unknown"),
        ({"num_attention_heads": 5, "head_dim": None}, "must divide"),
        (
            {"model_type": "qwen2", "use_sliding_window": True}
            | {"sliding_window": 8, "max_window_layers": "a"},
            "a whole number from 1 on as max_window_layers. Received: 'a'",
        ),
    ],
)
def test_configurations_that_do_not_fit(tmp_path, changes, expected):
    theirs.save(theirs.model("llama 2"), tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(InputError, match=expected):
        from_hugging_face(tmp_path)


def test_a_projection_that_is_said_to_be_tied_is_believed_to_be_another(
    tmp_path, capsys
):
    theirs.save(theirs.model("llama 2"), tmp_path)
    change_config(tmp_path, tie_word_embeddings=True)
    auto = transformers.AutoModelForCausalLM
    model = from_hugging_face(tmp_path)
    same(model, auto.from_pretrained(tmp_path))
    assert not model.backbone.tie_word_embeddings
    assert "lm_head.weight in the file is another" in capsys.readouterr().err
    # Written twice, it is tied, and nothing is said.
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    save_file(tensors, file)
    model = from_hugging_face(tmp_path)
    assert model.backbone.tie_word_embeddings
    same(model, auto.from_pretrained(tmp_path))
    assert "keras-llm:" not in capsys.readouterr().err


def test_models_that_continue_no_text_are_not_imported(tmp_path):
    config = {"model_type": "distilbert", "architectures": ["DistilBertModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="makes a DistilBertBackbone of"):
        from_hugging_face(tmp_path)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def test_damaged_folders(tmp_path):
    def refused(expected):
        with pytest.raises(InputError, match=expected):
            from_hugging_face(tmp_path)

    refused("must be a model folder of Hugging Face")
    theirs.save(theirs.model("llama 2"), tmp_path, max_shard_size="20KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    for size in (-8, 100, 5, 0):
        cut(shard, size)
        refused(f"{shard.name} cannot be read")
    shard.unlink()
    refused(f"Missing: {shard.name}. Download")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("{}")
    refused("index.json cannot be read")
    index.unlink()
    refused("must have model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    refused("pytorch_model.bin, which may run code and is not read")
    (tmp_path / "config.json").write_text("{")
    refused("config.json cannot be read")


def test_a_bias_that_the_model_does_not_have_is_not_lost(tmp_path):
    folder = to_hugging_face(tiny_model(**GPT2), tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.ln_f.bias"] += 1
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match="ln_f.bias must be zero"):
        from_hugging_face(folder)
