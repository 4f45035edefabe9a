"""A chat template as a few pieces, which joined make any conversation.

They are read off its skeletons. A template that does more than to put the
same text before, between and after what is said has none.
"""

from itertools import product
from typing import NamedTuple

from keras_llm.errors import InputError
from keras_llm.tokenizers.chat_templates import ChatTemplate
from keras_llm.tokenizers.messages import Messages

# Text and control tokens in turn; text, which may be empty, at both ends.
Piece = tuple[str | int, ...]
SPACES = (" \n\u3000\t ", "\n \u2003\x0b\n")


class Stripped(NamedTuple):
    """At which ends of a message its white space is left out."""

    left: bool
    right: bool


STRIPPED = [Stripped(*ends) for ends in product((True, False), repeat=2)]


class ChatPieces(NamedTuple):
    """What a template writes around the words of a prompt.

    Args:
        opening: Before the user's first words, system message included.
        to_assistant: Between a user's and an assistant's words.
        to_user: Between an assistant's words and a user's.
        ending: After the last words of the user; there an answer begins.
        first, user, assistant: White space around the user's first words,
            their later ones, and an assistant's.
    """

    opening: Piece
    to_assistant: Piece
    to_user: Piece
    ending: Piece
    first: Stripped
    user: Stripped
    assistant: Stripped


def conversation(turns: list[str], system: str | None = None) -> Messages:
    """Messages of user and assistant in turn, after the system's if any."""
    said = [("system", system)] if system is not None else []
    said += [
        (("user", "assistant")[index % 2], text)
        for index, text in enumerate(turns)
    ]
    return [{"role": role, "content": text} for role, text in said]


def chat_pieces(template: ChatTemplate, system: str | None) -> ChatPieces:
    """The pieces of a template.

    Args:
        template: The template.
        system: What a system message says; `None` for none.

    Raises:
        InputError: It has none, or does not take a system message.
    """
    if template.tells_time:
        raise InputError(
            "The chat template writes the time of day, which a graph would "
            "write as it was exported."
        )
    opening, ending = _around(template, system, ["a"])
    texts = _around(template, system, ["a"] * 3)
    _, to_assistant, to_user, _ = texts
    for pairs in range(1, 4):
        joined = [opening, *(to_assistant, to_user) * pairs, ending]
        if _around(template, system, ["a"] * (2 * pairs + 1)) != joined:
            raise InputError(
                "The chat template writes a turn otherwise when others follow "
                "or precede it: it is more than a prefix and a suffix of each "
                "role."
            )
    words = template.read(conversation(["a"], system)).words
    pieces = [
        tuple(
            part.translate(words) if isinstance(part, str) else part
            for part in template.split(text)
        )
        for text in (opening, to_assistant, to_user, ending)
    ]
    first, assistant, user = (
        _stripped(template, system, texts, place) for place in range(3)
    )
    return ChatPieces(*pieces, first, user, assistant)


def _around(template, system, turns) -> list[str]:
    """What a prompt's skeleton has before, between and after the turns."""
    skeleton = template.read(conversation(turns, system))
    places = list(skeleton.words)[-len(turns) :]
    text, texts = skeleton.text, []
    if [ord(x) for x in text if ord(x) in places] != places:
        raise InputError(
            "The chat template does not show messages once and in their order."
        )
    for place in places:
        before, text = text.split(chr(place))
        texts.append(before)
    return [*texts, text]


def _stripped(template, system, texts, place) -> Stripped:
    """What becomes of white space around the turn of three at a place."""
    before, after = texts[place : place + 2]
    for stripped in STRIPPED:
        shown, expected = [], []
        for spaces in SPACES:
            turns = ["a"] * 3
            turns[place] = f"{spaces}a{spaces}"
            shown.append(_around(template, system, turns))
            texts = [*texts]
            texts[place] = before if stripped.left else before + spaces
            texts[place + 1] = after if stripped.right else spaces + after
            expected.append(texts)
        if shown == expected:
            return stripped
    role = ("user", "assistant")[place % 2]
    raise InputError(
        f"The chat template leaves out some white space of a message of {role} "
        "and not all."
    )
