"""BERTs of `transformers` become encoders of ours and go back, unchanged."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from testing import run_python, tiny_encoder

from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.export.huggingface import from_hugging_face, to_hugging_face
from keras_llm.generation.filling import MaskFiller
from keras_llm.models import ScratchMaskedLM
from keras_llm.models.loading import load_backbone
from keras_llm.pytorch.agreement import difference, model_gradients
from keras_llm.recipes import load_recipe
from keras_llm.tuning.classifier import classifier_of

WORDS = "the people of union war and peace law hope justice un ##ion ##s ! , é"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# One has what ends a line, but not in files.
VOCABULARY = [*SPECIAL, *WORDS.split(), "a\u2028b", *map(chr, range(97, 123))]
SHAPE = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
OPTIONS = {
    "bert": {},
    "others": {"hidden_act": "relu", "layer_norm_eps": 1e-3},
    "tanh": {
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
}
IDS = np.random.default_rng(0).integers(5, len(VOCABULARY), (3, 12), "int32")
MASK = np.arange(12) < np.array([[12], [7], [3]])
POSITIONS = np.array([[1, 5], [2, 6], [0, 2]], "int32")
TEXTS = [
    "The people of the union!",
    "UNIONS, and peace",
    "[MASK] é É",
    "",
    "hope\n\tlaw",
    "日本 xyz",
]


def bert(name="bert", seed=0):
    """A model whose weights make clear decisions."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(**SHAPE | OPTIONS[name])
    made = transformers.BertForMaskedLM(config)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
        # As in published models: a row of zeros is no convention here.
        made.bert.embeddings.word_embeddings.weight[0] = 0.1
    return made.eval()


def save(made, folder, lowercase=True):
    made.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    tokenizer = transformers.BertTokenizer(
        str(folder / "vocab.txt"), do_lower_case=lowercase
    )
    if len(tokenizer) != len(VOCABULARY):  # takes tokens, of late
        vocabulary = {token: i for i, token in enumerate(VOCABULARY)}
        tokenizer = transformers.BertTokenizer(
            vocab=vocabulary, do_lower_case=lowercase
        )
    tokenizer.save_pretrained(folder)
    return folder


def theirs_of(made, positions=POSITIONS):
    logits = made(
        input_ids=torch.tensor(IDS).long(),
        attention_mask=torch.tensor(MASK).long(),
    ).logits
    at = torch.tensor(positions).long()[..., None]
    return torch.take_along_dim(logits, at, dim=1)


def inputs_of(positions=POSITIONS):
    return {
        "token_ids": IDS,
        "padding_mask": MASK,
        "mask_positions": positions,
    }


@pytest.mark.parametrize("name", OPTIONS)
def test_imported_logits_are_those_of_transformers(tmp_path, name):
    made = bert(name)
    model = from_hugging_face(save(made, tmp_path))
    assert type(model) is ScratchMaskedLM
    with torch.no_grad():
        expected = theirs_of(made).numpy()
    np.testing.assert_allclose(
        model(inputs_of()), expected, atol=1e-5 * abs(expected).max()
    )


@pytest.mark.slow
def test_gradients_are_those_of_transformers(tmp_path):
    made = bert("tanh")
    model = from_hugging_face(save(made, tmp_path))
    labels = np.full(IDS.shape, -100, "int32")
    np.put_along_axis(labels, POSITIONS, IDS[:, :2] + 1, axis=1)
    loss = made(
        input_ids=torch.tensor(IDS).long(), labels=torch.tensor(labels).long()
    ).loss
    loss.backward()
    model.preprocessor = None  # token ids are what it is given
    ours, gradients = model_gradients(model, (IDS, labels))
    assert ours == pytest.approx(float(loss.detach()), rel=1e-5)
    from keras_llm.pytorch.weights import weights_of

    found = {
        weight.name: weight.to_pytorch(gradient)
        for weight, gradient in zip(weights_of(model), gradients, strict=True)
    }
    their = dict(made.named_parameters())
    names = {
        "embedding.token_embedding.weight": "bert.embeddings.word_embeddings",
        "embedding.norm.weight": "bert.embeddings.LayerNorm",
        "blocks.0.mixer.query.weight": "bert.encoder.layer.0.attention.self."
        "query",
        "blocks.1.mixer_norm.weight": "bert.encoder.layer.1.attention.output."
        "LayerNorm",
        "blocks.1.feed_forward.intermediate.weight": "bert.encoder.layer.1."
        "intermediate.dense",
        "head_dense.weight": "cls.predictions.transform.dense",
    }
    for own, name in names.items():
        expected = their[name + ".weight"].grad.numpy()
        assert difference(found[own], expected).relative < 1e-4, own
    expected = their["bert.embeddings.position_embeddings.weight"].grad.numpy()
    own = found["embedding.position_embedding"]
    assert difference(own, expected).relative < 1e-4
    expected = their["cls.predictions.bias"].grad.numpy()
    assert difference(found["head_bias.bias"], expected).relative < 1e-4


@pytest.mark.parametrize("lowercase", [True, False])
def test_ids_are_those_of_transformers(tmp_path, lowercase):
    model = from_hugging_face(save(bert(), tmp_path, lowercase))
    tokenizer = model.preprocessor.tokenizer
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        if "[MASK]" in text:  # which is text here
            assert tokenizer.mask_token_id not in tokenizer(text)
            continue
        expected = theirs(text, add_special_tokens=False)["input_ids"]
        assert list(tokenizer(text)) == expected
    (tmp_path / "tokenizer.json").unlink()  # as older folders are
    again = from_hugging_face(tmp_path).preprocessor.tokenizer
    assert again.sha256 == tokenizer.sha256


@pytest.mark.parametrize("name", OPTIONS)
def test_there_and_back(tmp_path, name):
    made = bert(name)
    model = from_hugging_face(save(made, tmp_path / "theirs"))
    to_hugging_face(model, tmp_path / "back")
    back = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "back")
    assert type(back) is transformers.BertForMaskedLM
    with torch.no_grad():
        expected, found = (theirs_of(each).numpy() for each in (made, back))
    np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())
    before = load_file(tmp_path / "theirs/model.safetensors")
    after = load_file(tmp_path / "back/model.safetensors")
    moved = ("position_embeddings.weight", "token_type_embeddings.weight")
    for tensor, values in after.items():
        if not tensor.endswith(moved):
            np.testing.assert_array_equal(values, before[tensor], tensor)
    configs = [
        json.loads((tmp_path / each / "config.json").read_text())
        for each in ("theirs", "back")
    ]
    for field, value in configs[1].items():
        assert configs[0].get(field, value) == value or field == "pad_token_id"
    tokenizers = [
        transformers.AutoTokenizer.from_pretrained(tmp_path / each)
        for each in ("theirs", "back")
    ]
    for text in [*TEXTS, "a [MASK] b [SEP]"]:
        one, other = (each(text)["input_ids"] for each in tokenizers)
        assert one == other
    again = from_hugging_face(tmp_path / "back")
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other, one.path)


def test_masks_are_filled_as_transformers_does(tmp_path):
    made = bert()
    model = from_hugging_face(save(made, tmp_path))
    text = "The people of [MASK] union and [MASK]!"
    (filled,) = MaskFiller(model).fill([text], top_k=3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    batch = tokenizer(text, return_tensors="pt")
    places = (batch["input_ids"][0] == tokenizer.mask_token_id).nonzero()
    with torch.no_grad():
        logits = made(**batch).logits[0]
    logits[:, [0, 1, 2, 3, 4]] = -1e9  # special tokens are no candidates
    for place, candidates in zip(places[:, 0], filled.masks, strict=True):
        best = logits[place].softmax(-1).topk(3)
        assert [each.token_id for each in candidates] == best.indices.tolist()
        np.testing.assert_allclose(
            [each.probability for each in candidates], best.values, rtol=1e-3
        )


def test_published_names_of_old_are_known(tmp_path):
    made = bert()
    save(made, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): values
        for name, values in tensors.items()
    }
    old["bert.pooler.dense.weight"] = np.zeros((32, 32), "float32")
    old["bert.pooler.dense.bias"] = np.zeros(32, "float32")
    old["cls.seq_relationship.weight"] = np.zeros((2, 32), "float32")
    old["cls.seq_relationship.bias"] = np.zeros(2, "float32")
    save_file(old, tmp_path / "model.safetensors")
    model = from_hugging_face(tmp_path)
    with torch.no_grad():
        expected = theirs_of(made).numpy()
    np.testing.assert_allclose(
        model(inputs_of()), expected, atol=1e-5 * abs(expected).max()
    )


@pytest.mark.slow
def test_the_commands_and_a_preset_in_a_fresh_process(tmp_path, capsys):
    save(bert(), tmp_path / "bert")
    preset = tmp_path / "preset"
    line = ["import", str(tmp_path / "bert"), "--out", str(preset)]
    assert main(line) == 0
    assert "keras-llm fill" in capsys.readouterr().out
    assert main(["fill", str(preset), "the [MASK]", "--json"]) == 0
    [expected] = json.loads(capsys.readouterr().out)
    code = """
import sys

import keras_hub

import keras_llm
from keras_llm.generation.filling import MaskFiller

model = keras_hub.models.MaskedLM.from_preset(sys.argv[1])
print(MaskFiller(model).fill(["the [MASK]"])[0].text)
"""
    assert run_python(code, preset) == expected["text"] + "\n"
    recipe = load_recipe("classifier")
    found = load_backbone(preset)
    classifier = classifier_of(*found, ["calm", "angry"], recipe)
    assert classifier.pooling == "mean"
    assert classifier.predict(["war!", "peace"], verbose=0).shape == (2, 2)
    back = tmp_path / "back"
    line = ["export", str(preset), str(back), "--format", "huggingface"]
    assert main(line) == 0
    assert (back / "vocab.txt").is_file()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"type_vocab_size": 3}, "type_vocab_size 2"),
        ({"is_decoder": True}, "is_decoder False"),
        ({"position_embedding_type": "relative_key"}, "'absolute'"),
        ({"hidden_act": "mish"}, "hidden_act"),
    ],
)
def test_what_ours_cannot_be_is_named(tmp_path, changes, expected):
    save(bert(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=expected):
        from_hugging_face(tmp_path)


def test_an_encoder_that_bert_cannot_be_is_told_why(tmp_path):
    with pytest.raises(InputError, match="be a bert, because of .*normalize_f"):
        to_hugging_face(tiny_encoder(num_layers=1), tmp_path / "out")
    assert not (tmp_path / "out").exists()
