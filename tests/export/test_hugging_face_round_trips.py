"""Their folder, ours, their folder: what a tokenizer says comes back."""

import json

import hugging_face_models as theirs
import keras
import pytest
import torch
import transformers
from testing import tiny_model
from tiny_corpus import other_model

from keras_llm.export.huggingface import from_hugging_face, to_hugging_face
from keras_llm.models import load_preset, save_preset

TEMPLATE = (
    "{% for message in messages %}{{ bos_token + message['role'] + '\n' + "
    "message['content'] + eos_token }}\r\n{% endfor %}"
    "{% if add_generation_prompt %}{{ bos_token }}assistant{% endif %}"
)
TEXTS = ["", " the", "a1b", "Où est\n\n la  mer?", "½<|im_end|> 中", "\0"]
MESSAGES = [{"role": "user", "content": text} for text in TEXTS]
NAMES = {
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|im_end|>",
    "unk_token": theirs.END,
}


def chat_tokenizer():
    """As SmolLM2-Instruct's: nothing before texts, a pad that ends turns."""
    tokenizer = theirs.tokenizer()
    tokenizer.add_special_tokens(NAMES)
    tokenizer.add_tokens(["<|tool|>"], special_tokens=True)
    tokenizer.padding_side, tokenizer.model_max_length = "left", 8192
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def auto_tokenizer(folder):
    return transformers.AutoTokenizer.from_pretrained(str(folder))


def all_of(folder):
    """What `transformers` makes of a tokenizer's files."""
    auto = auto_tokenizer(folder)
    kinds = (*NAMES, "padding_side", "model_max_length", "all_special_tokens")
    rows = [
        auto.apply_chat_template(
            MESSAGES, tokenize=tokenize, add_generation_prompt=True
        )
        for tokenize in (False, True)
    ]
    return [
        *(getattr(auto, kind) for kind in kinds),
        auto(TEXTS).input_ids,
        auto(TEXTS, split_special_tokens=True).input_ids,
        rows[0],
        list(rows[1]["input_ids"]),
    ]


def json_of(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_a_chat_model_comes_back_through_its_preset(tmp_path):
    folder = tmp_path / "theirs"
    tokenizer = chat_tokenizer()
    shape = theirs.SHAPE | {"vocab_size": len(tokenizer)}
    made = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    names = ["<|im_start|>", "<|im_end|>", theirs.END, "<|tool|>"]
    start, turn, *more = tokenizer.convert_tokens_to_ids(names)
    ids = {"bos_token_id": start, "pad_token_id": turn}
    ids["eos_token_id"] = [*more, turn]
    generation = {"temperature": 0.2} | ids
    text = json.dumps(generation)
    (folder / "generation_config.json").write_text(text, encoding="utf-8")
    model = from_hugging_face(folder)
    ours = model.preprocessor.tokenizer
    assert (ours.chat_template, ours.named_tokens) == (TEMPLATE, NAMES)
    for name in ("preset", "resaved"):
        save_preset(model, tmp_path / name)
        model = load_preset(tmp_path / name)
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    back = to_hugging_face(model, tmp_path / "back")
    assert all_of(back) == all_of(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (back / name).read_bytes() == (folder / name).read_bytes()
    assert json_of(back, "generation_config.json") == generation
    assert json_of(back, "config.json").items() >= ids.items()
    template = (back / "chat_template.jinja").read_bytes()
    assert template == TEMPLATE.encode()


class EndsFirstRow(transformers.LogitsProcessor):
    """The first row of a batch ends after so many tokens."""

    def __init__(self, length, end):
        self.length, self.end = length, end

    def __call__(self, input_ids, scores):
        scores[:, self.end] = -torch.inf
        if input_ids.shape[1] == self.length:
            scores[0, self.end] = torch.inf
        return scores


def model_of(kind, folder):
    """A model whose tokenizer has a pad token, or none."""
    if kind == "with pad":
        return tiny_model(
            position_embedding="rotary",
            normalization="rms",
            activation="swiglu",
        )
    if kind == "byte pairs":
        return from_hugging_face(theirs.save(theirs.model("smollm 2"), folder))
    made = theirs.model("more rows than tokens")
    made.config.eos_token_id = made.generation_config.eos_token_id = 2
    made.save_pretrained(folder)
    pieces = other_model(
        normalization_rule_name="identity", remove_extra_whitespaces=False
    )
    (folder / "tokenizer.model").write_bytes(pieces)
    return from_hugging_face(folder)


@pytest.mark.parametrize("kind", ["with pad", "byte pairs", "sentence pieces"])
def test_rows_that_end_early_are_filled_with_no_text(kind, tmp_path):
    model = model_of(kind, tmp_path / "theirs")
    back = to_hugging_face(model, tmp_path / "back")
    auto = auto_tokenizer(back)
    pad = model.preprocessor.tokenizer.pad_token_id
    assert auto.pad_token_id == (pad if kind == "with pad" else None)
    for config in (
        transformers.AutoConfig.from_pretrained(back),
        transformers.GenerationConfig.from_pretrained(back),
    ):
        for each in ("bos", "eos", "pad"):
            name = f"{each}_token_id"
            ids = getattr(config, name)
            # Of ends there may be several; a tokenizer names the first.
            first = ids[0] if isinstance(ids, list) else ids
            assert first == getattr(auto, name)
    made = transformers.AutoModelForCausalLM.from_pretrained(back)
    prompts = torch.tensor([auto.encode("the")[:1], auto.encode("of")[:1]])
    ends = EndsFirstRow(4, auto.eos_token_id)
    rows = made.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=12,
        do_sample=False,
        logits_processor=[ends],
    )
    assert rows.shape[1] == 13
    text = auto.decode(rows[0], skip_special_tokens=True)
    assert text == auto.decode(rows[0, :4], skip_special_tokens=True)
