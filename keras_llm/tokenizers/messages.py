"""Conversations: a system message or none, then user and assistant in turn."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_llm.errors import InputError
from keras_llm.recipes.checks import check_unicode

ROLES = ("system", "user", "assistant")

Messages = Sequence[Mapping[str, Any]]


def check_messages(messages: Messages, is_answered: bool | None = None) -> None:
    """Raises unless the messages are a conversation.

    Args:
        messages: each a dict with `role`, one of `ROLES`, and `content`, text.
            Other keys are not looked at.
        is_answered: Whether the last message must be the assistant's, or, if
            `False`, the user's.

    Raises:
        InputError: They are not. The message names which, and how.
    """
    if isinstance(messages, str | Mapping) or not isinstance(
        messages, Sequence
    ):
        raise InputError(
            'messages must be a list of {"role": …, "content": …}. Received: '
            f"{_short(messages)}"
        )
    if not messages:
        raise InputError(
            "messages must hold at least one message of the user. Received: []"
        )
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message)
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    offset = len(roles) - len(turns)
    for index, role in enumerate(turns):
        expected = ("user", "assistant")[index % 2]
        if role != expected:
            raise InputError(
                f"messages[{index + offset}] must be of {expected}: after a "
                "system message or none, user and assistant take turns, the "
                f"user first. Received: {', '.join(roles)}"
            )
    if not turns:
        raise InputError(
            "messages must hold a message of the user. Received: system only"
        )
    if is_answered is not None and is_answered != (roles[-1] == "assistant"):
        last = "assistant" if is_answered else "user"
        raise InputError(
            f"The last message must be of {last}. Received: {', '.join(roles)}"
        )


def _check_message(name: str, message: Any) -> None:
    if not isinstance(message, Mapping):
        raise InputError(
            f'{name} must be {{"role": …, "content": …}}. Received: '
            f"{_short(message)}"
        )
    if message.get("role") not in ROLES:
        raise InputError(
            f"{name} must have a role, one of {', '.join(ROLES)}. Received: "
            f"{_short(message.get('role'))}"
        )
    content = message.get("content")
    if not isinstance(content, str):
        raise InputError(
            f"{name} must have content, a text. Received: {_short(content)}"
        )
    if message["role"] == "assistant" and not content.strip():
        raise InputError(
            f"{name} is an answer without text. Leave it out, or write it. "
            f"Received: {content!r}"
        )
    check_unicode(f"The content of {name}", content)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
