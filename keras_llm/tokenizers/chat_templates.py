"""Conversations to token ids, and which of these an assistant produces.

Control tokens are found in what the template writes, never in what a message
says, and the places of answers come from the rendering; see `skeletons`.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import keras_hub

from keras_llm.errors import InputError
from keras_llm.tokenizers.control import (
    CHAT_TEMPLATE,
    CHAT_TOKENS,
    has_chat_tokens,
)
from keras_llm.tokenizers.messages import Messages, check_messages
from keras_llm.tokenizers.skeletons import Answer, Skeleton, SkeletonReader
from keras_llm.tokenizers.stock import after_control, exact_tokenizer

# For models that know no turns: headings of ordinary text, and the end token.
PLAIN = (
    "{{ bos_token if bos_token is defined }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content + '\n\n' }}"
    "{% elif message.role == 'user' %}"
    "{{ '### User:\n' + message.content + '\n\n### Assistant:\n' }}"
    "{% else %}{{ message.content + eos_token + '\n\n' }}{% endif %}"
    "{% endfor %}"
)
NAMED = {"plain": PLAIN}


class RenderedChat(NamedTuple):
    """A conversation as a model reads it.

    Args:
        token_ids: All of it, the start token included where there is one.
        is_answer: Of each token, whether an assistant produces it: the text
            of an answer and the token that ends its turn, but not what the
            template puts before or after.
    """

    token_ids: list[int]
    is_answer: list[bool]


def chat_template(
    tokenizer: keras_hub.tokenizers.Tokenizer,
    given: str | Path | None = None,
) -> "ChatTemplate":
    """The template of a tokenizer: the one given, its own, or ours.

    Args:
        tokenizer: of this package or of KerasHub.
        given: A Jinja template, a file of one, or `"plain"`, which writes
            turns as ordinary text under `### User:` and `### Assistant:`.
            Anybody can type these, and a model must have been tuned on them.

    Raises:
        InputError: There is none, or one that is not exact; see
            `ChatTemplate`.
    """
    source = None if given is None else _read(given)
    source = source or getattr(tokenizer, "chat_template", None)
    if source:
        return ChatTemplate(source, tokenizer)
    if has_chat_tokens(tokenizer):
        return ChatTemplate(CHAT_TEMPLATE, tokenizer)
    raise InputError(
        "The model has no chat template: its tokenizer came without one and "
        f"does not have {', '.join(CHAT_TOKENS)}. Pass --template FILE (of "
        "tune and improve, --data.template FILE), a Jinja template as in "
        "chat_template.jinja of Hugging Face, or plain (in Python, given=…)."
    )


def _read(given: str | Path) -> str:
    if given in NAMED:
        return NAMED[given]
    if isinstance(given, str) and "{" in given:
        return given
    path = Path(given)
    if not path.is_file():
        raise InputError(
            f"{given} must be a file with a Jinja template, or one of "
            f"{', '.join(NAMED)}."
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{given} must be a Jinja template in UTF-8."
        ) from error


class ChatTemplate:
    """A Jinja template with a tokenizer.

    Token ids are those of `apply_chat_template` of `transformers`, but that
    control tokens that a message spells out are text.

    Args:
        source: The template.
        tokenizer: of this package or of KerasHub. Its named tokens are the
            template's `bos_token` and `eos_token`.

    Attributes:
        source: str.
        end_token_ids: tuple of int. Each ends an answer: the token with which
            the template closes one, and the tokenizer's end tokens.
        answer_prefix: str, what the template puts between its generation
            prompt and an answer's text, so that the model produces it. Mostly
            empty.
        answer_suffix: str, what it puts between the text and the end token.
        tells_time: bool, whether it may write the date or the time.
        control_tokens: dict of the tokenizer's control tokens to their ids.

    Raises:
        InputError: No Jinja template, or one that does not show what a
            message says, or does not close answers.
    """

    def __init__(self, source: str, tokenizer: keras_hub.tokenizers.Tokenizer):
        self.source = source
        self._tokenizer = tokenizer = exact_tokenizer(tokenizer)
        self._after_control = after_control(tokenizer)
        names = _names_of(tokenizer, source)
        self._reader = SkeletonReader(source, names)
        self.tells_time = self._reader.tells_time
        is_read = "bos_token" in self._reader.variables
        if is_read and "bos_token" not in names and source != PLAIN:
            raise InputError(
                "The chat template writes bos_token, but the tokenizer has "
                "none. Begin the template with {% set bos_token = '…' %}."
            )
        self.control_tokens = tokenizer.control_tokens
        # The longest first, as `tokenizers` finds them.
        names = sorted(self.control_tokens, key=len, reverse=True)
        self._controls = re.compile("|".join(map(re.escape, names)) or "(?!)")
        self.end_token_ids = tuple(tokenizer.end_token_ids)
        self._find_ends()

    def encode(
        self, messages: Messages, add_generation_prompt: bool = False
    ) -> RenderedChat:
        """The token ids of a conversation.

        Where a token reaches from the template's text into an answer, it is
        no part of the answer: the model is given it.

        Args:
            messages: each `{"role": …, "content": …}`: a system message or
                none, then user and assistant in turn.
            add_generation_prompt: Whether to end where an answer begins; the
                last message must be the user's then.

        Raises:
            InputError: No such messages, or messages with which the template
                is not exact; the message says why.
        """
        check_messages(messages, False if add_generation_prompt else None)
        skeleton = self._reader.read(messages, add_generation_prompt)
        spans = [
            (answer.start, self._closing(skeleton, answer).end())
            for answer in skeleton.answers
        ]
        return self._tokenize(skeleton, spans)

    def read(self, prompt: Messages) -> Skeleton:
        """The skeleton of a prompt; errors are those of `encode`."""
        check_messages(prompt, is_answered=False)
        return self._reader.read(prompt, add_generation_prompt=True)

    def split(self, text: str) -> list[str | int]:
        """Text and ids of control tokens in turn, text at both ends.

        Args:
            text: of the template's own, for control tokens are found in it.
        """
        parts, end = [], 0
        for found in self._controls.finditer(text):
            parts += [text[end : found.start()], self._id_of(found)]
            end = found.end()
        return [*parts, text[end:]]

    def _closing(self, skeleton: Skeleton, answer: Answer) -> re.Match:
        """The token that ends an answer's turn."""
        _, _, words, limit = answer
        for found in self._controls.finditer(skeleton.text, words, limit):
            if self._id_of(found) in self.end_token_ids:
                return found
        names = [self._tokenizer.id_to_token(i) for i in self.end_token_ids]
        raise InputError(
            "The chat template never closes the turn of "
            f"messages[{answer.index}]: expected one of {', '.join(names)} "
            f"after the answer. Received: {skeleton.text[words + 1 : limit]!r}"
        )

    def _find_ends(self) -> None:
        """Sees how the template closes the answer to one question."""
        asked = {"role": "user", "content": "a"}
        skeleton = self._reader.read([asked, asked | {"role": "assistant"}])
        [answer] = skeleton.answers
        opening = self._controls.findall(skeleton.text, 0, answer.words)[-1:]
        closing = self._controls.search(skeleton.text, answer.words)
        # What opens turns does not close them, unless it also ends texts.
        if closing and closing[0] not in opening:
            ends = (self._id_of(closing), *self.end_token_ids)
            self.end_token_ids = tuple(dict.fromkeys(ends))
        closing = self._closing(skeleton, answer)
        self.answer_prefix = skeleton.text[answer.start : answer.words]
        self.answer_suffix = skeleton.text[answer.words + 1 : closing.start()]

    def _id_of(self, found: re.Match) -> int:
        return self.control_tokens[found[0]]

    def _tokenize(
        self, skeleton: Skeleton, answers: Sequence[tuple[int, int]]
    ) -> RenderedChat:
        """Ids of what is between control tokens, and of these."""
        parts, end = [], 0
        for found in self._controls.finditer(skeleton.text):
            parts.append((end, found.start(), None))
            parts.append((*found.span(), self._id_of(found)))
            end = found.end()
        parts.append((end, len(skeleton.text), None))
        # Where an answer begins within a part, or else where the part begins.
        cuts = [
            next((x for x, _ in answers if begin < x < end), begin)
            for begin, end, _ in parts
        ]
        rows = self._rows(
            [
                skeleton.filled(begin, to)
                for (begin, end, token), cut in zip(parts, cuts, strict=True)
                for to in (cut, end)
                if token is None
            ]
        )
        token_ids, is_answer = [], []
        for (_, _, token), cut in zip(parts, cuts, strict=True):
            before, ids = ([], [token]) if token is not None else next(rows)
            given = self._length_before(ids, before)
            inside = any(start <= cut < stop for start, stop in answers)
            token_ids += ids
            is_answer += [False] * given + [inside] * (len(ids) - given)
        return RenderedChat(token_ids, is_answer)

    def _rows(self, texts: list[str]) -> Iterator[tuple[list[int], list[int]]]:
        """Ids of texts, by pairs; the first two begin the conversation."""
        # As few calls as can be: byte pairs take their time for each.
        rows = _ids(self._tokenizer, texts[:2]) if texts[1] else [[], []]
        rows += _ids(self._after_control, texts[2:])
        return zip(rows[::2], rows[1::2], strict=True)

    def _length_before(self, ids, before) -> int:
        """How many of `ids` hold the text of the ids `before`."""
        if ids[: len(before)] == before:
            return len(before)

        def length(count):
            text = self._tokenizer.detokenize(ids[:count])
            return len(text.rstrip("\ufffd"))  # half a character

        size = len(self._tokenizer.detokenize(before))
        return bisect_left(range(len(ids)), size, key=length)


def _names_of(tokenizer, source: str) -> dict[str, str]:
    """`bos_token` and `eos_token`; those that there are."""
    names = tokenizer.named_tokens
    if source == PLAIN:  # begins as every text does
        ids = {
            "bos_token": tokenizer.start_token_id,
            "eos_token": tokenizer.end_token_id,
        }
        names = {
            name: tokenizer.id_to_token(token)
            for name, token in ids.items()
            if token is not None
        }
    kinds = ("bos_token", "eos_token")
    return {name: names[name] for name in kinds if name in names}


def _ids(tokenizer, texts: list[str]) -> list[list[int]]:
    rows = tokenizer.tokenize(texts) if texts else []
    return [[int(token) for token in row] for row in rows]
