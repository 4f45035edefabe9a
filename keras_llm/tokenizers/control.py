"""The control tokens: ids that typed text can never produce.

The end token is the start token too, as in GPT-2. It is the boundary between
documents, so what a model sees at the start of a prompt is what it saw
between documents in training.
"""

PAD = "<|pad|>"
UNK = "<|unk|>"
END = "<|endoftext|>"

SYSTEM = "<|system|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
END_OF_TURN = "<|end_of_turn|>"

# In place of a token that an encoder is to tell.
MASK = "<|mask|>"

PAD_ID = 0
UNK_ID = 1
END_ID = 2

CHAT_TOKENS = (SYSTEM, USER, ASSISTANT, END_OF_TURN)
# In Jinja: each turn between two of them.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message.role + '|>' + message.content + '<|end_of_turn|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def has_chat_tokens(tokenizer) -> bool:
    """Whether a tokenizer has the control tokens that our template writes."""
    return {*CHAT_TOKENS} <= {*getattr(tokenizer, "control_tokens", ())}
