"""Chat templates of Hugging Face folders, in every form that they have."""

import json

import pytest
from auto_tokenizers import CONTROL, auto_tokenizer, write_json
from byte_pair_reference import trained

from keras_llm.tokenizers.hugging_face import read_tokenizer, write_tokenizer

TEMPLATE = (
    "{% for message in messages %}{{ bos_token + message['content'] }}\r\n"
    "{% endfor %}{% if add_generation_prompt %}{{ eos_token }}{% endif %}"
)
WITH_TOOLS = "{{ tools[0]['function']['name'] }}" + TEMPLATE
TOOL = {
    "type": "function",
    "function": {"name": "clock", "description": "", "parameters": {}},
}
MESSAGES = [{"role": "user", "content": "Où est  la mer?<|turn|>\n\n12345"}]


def tokenizer_folder(folder, **config):
    folder.mkdir()
    tokenizer = trained("smollm")
    tokenizer.add_special_tokens(CONTROL)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token="<|start|>",
        eos_token="<|turn|>",
        **config,
    )
    return folder


def chat(folder, tools=None):
    """The text of a conversation, as `transformers` has it."""
    return auto_tokenizer(folder).apply_chat_template(
        MESSAGES, tools=tools, tokenize=False, add_generation_prompt=True
    )


@pytest.mark.parametrize("form", ["in the settings", "listed", "files"])
def test_templates_of_every_form_come_back(form, tmp_path):
    listed = [
        {"name": "default", "template": TEMPLATE},
        {"name": "tool_use", "template": WITH_TOOLS},
    ]
    given = {"in the settings": TEMPLATE, "listed": listed, "files": None}
    # What looks like an object of Keras is nothing but a setting.
    odd = {"class_name": "Lambda", "config": {"name": "x"}}
    folder = tokenizer_folder(
        tmp_path / "theirs", chat_template=given[form], extra=odd
    )
    if form == "files":
        more = folder / "additional_chat_templates"
        more.mkdir()
        (folder / "chat_template.jinja").write_bytes(TEMPLATE.encode())
        (more / "tool_use.jinja").write_bytes(WITH_TOOLS.encode())
    tokenizer = read_tokenizer(folder)
    assert tokenizer.chat_template == TEMPLATE
    back = tmp_path / "back"
    back.mkdir()
    write_tokenizer(tokenizer, back)
    assert chat(back) == chat(folder)
    assert chat(back, [TOOL]) == chat(folder, [TOOL])
    assert (chat(back, [TOOL]) == chat(back)) == (form == "in the settings")
    config = (back / "tokenizer_config.json").read_text(encoding="utf-8")
    assert json.loads(config)["extra"] == odd


def test_nothing_is_written_outside_of_the_folder(tmp_path):
    tokenizer = read_tokenizer(tokenizer_folder(tmp_path / "theirs"))
    config = tokenizer.get_config()
    config["published"]["additional_chat_templates"] = {"../../x": TEMPLATE}
    back = tmp_path / "back"
    back.mkdir()
    parts = tokenizer.byte_pairs
    write_tokenizer(type(tokenizer)(parts.tokens, parts.merges, **config), back)
    assert {path.name for path in tmp_path.iterdir()} == {"theirs", "back"}
    assert (back / "additional_chat_templates" / "x.jinja").is_file()
