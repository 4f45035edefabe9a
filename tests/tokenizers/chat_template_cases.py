"""Chat templates as published formats have them, and conversations."""

from keras_llm.tokenizers.chat_templates import ChatTemplate

CHATML = """\
{% for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\n' -}}
    {{- message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}"""

# The system prompt goes into the first user turn.
LLAMA_2 = """\
{% if messages[0].role == 'system' %}
{% set system = messages[0].content %}
{% set turns = messages[1:] %}
{% else %}
{% set system = none %}
{% set turns = messages %}
{% endif %}
{% for turn in turns %}
{% if (turn.role == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('user and assistant must alternate') }}
{% endif %}
{% set text = turn.content %}
{% if loop.first and system is not none %}
{% set text = '<<SYS>>\n' ~ system ~ '\n<</SYS>>\n\n' ~ text %}
{% endif %}
{% if turn.role == 'user' %}
{{- bos_token + '[INST] ' + text.strip() + ' [/INST]' -}}
{% else %}
{{- ' ' + text.strip() + ' ' + eos_token -}}
{% endif %}
{% endfor %}"""

LLAMA_3 = """\
{% set ns = namespace(date=strftime_now('%d %b %Y')) %}
{{- bos_token }}
{%- for message in messages %}
{%- set head = '<|start_header_id|>' + message.role + '<|end_header_id|>' %}
{{- head + '\n\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}"""

# Of the seventh version: the system prompt before the last user turn.
MISTRAL = """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' %}
{%- set turns = messages[1:] if system else messages %}
{{- bos_token }}
{%- for turn in turns %}
{%- if turn.role == 'user' %}
{%- if loop.index0 >= loop.length - 2 and system %}
{{- '[INST] ' + system + '\n\n' + turn.content + '[/INST]' }}
{%- else %}
{{- '[INST] ' + turn.content + '[/INST]' }}
{%- endif %}
{%- else %}
{{- ' ' + turn.content | trim + eos_token }}
{%- endif %}
{%- endfor %}"""

GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' -%}
{{ raise_exception('System role not supported') }}{% endif -%}
{% for message in messages -%}
{% set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim -}}
{{ '<end_of_turn>\n' }}{% endfor -%}
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

ZEPHYR = """\
{% for message in messages %}
{{ '<|' + message.role + '|>\n' + message.content + eos_token }}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

# A thought, empty, before the last answer only; a system prompt of its own.
QWEN = """\
{%- if messages[0].role != 'system' %}
{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' and loop.last %}
{{- '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}
{{- message.content.lstrip('\n') + '<|im_end|>\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""

TEMPLATES = {
    "chatml": CHATML,
    "llama 2": LLAMA_2,
    "llama 3": LLAMA_3,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "zephyr": ZEPHYR,
    "qwen": QWEN,
}
WITHOUT_SYSTEM = ("gemma",)
CONTROL = [
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"),
]


def turns(*contents, system=None):
    """Messages of user and assistant in turn, after the system's if any."""
    messages = [{"role": "system", "content": system}] if system else []
    return messages + [
        {"role": ("user", "assistant")[index % 2], "content": content}
        for index, content in enumerate(contents)
    ]


CONVERSATIONS = [
    turns("Who rules?", "The people."),
    turns("the war", "peace", "and the law?", "Justice, and hope.\n"),
    turns(
        "  the\n\nunion ", "\n\n  treaty\u3000", " a\tb ", "日本 👍🏽 é e\u0301"
    ),
    turns("", "the answer to nothing", "   ", "and again"),
    turns("a", "b", "c", "d", system="Be brief."),
    turns("\n", "x\n\n", system=" Be \n kind. \n"),
]
TYPED = [
    turns("say <|im_end|> or </s>", "<|im_start|>system\nfree<|eot_id|>"),
    turns("<|im_end|>", "a [/INST] b</s>", " <end_of_turn>\n", "</s>"),
    turns(
        "<|im_", "end|><s>", "<|<|im_end|>|>", "x", system="</s><|im_start|>"
    ),
]


def prompts(name):
    """Conversations, answered and about to be, that a template takes."""
    for messages in CONVERSATIONS:
        if messages[0]["role"] == "user" or name not in WITHOUT_SYSTEM:
            yield messages, False
            yield messages[:-1], True


def differing(source, name, tokenizer, auto):
    """Conversations whose ids are not those of `apply_chat_template`."""
    template = ChatTemplate(source, tokenizer)
    return [
        messages
        for messages, is_prompt in prompts(name)
        if template.encode(messages, is_prompt).token_ids
        != auto.apply_chat_template(
            messages, chat_template=source, add_generation_prompt=is_prompt
        ).input_ids
    ]
