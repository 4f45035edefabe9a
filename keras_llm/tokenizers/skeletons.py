"""Which part of a rendered conversation the template has written itself.

A conversation is rendered twice: as it is, and with one character for private
use in place of what each message says. The second is the skeleton; with the
words put back it must be the first. Knows nothing of tokens.
"""

import functools
import re
from datetime import datetime
from typing import NamedTuple

from keras_llm.errors import InputError
from keras_llm.tokenizers.jinja_templates import JinjaTemplate
from keras_llm.tokenizers.messages import Messages

# The n-th stands for what the n-th message says.
PLACEHOLDER = re.compile("[\U000f0000-\U0010ffff]")


class Answer(NamedTuple):
    """Places in a skeleton.

    Args:
        index: Of the message.
        start: Where what an assistant produces begins: where the skeleton of
            the prompt ends.
        words: Of the answer's placeholder.
        limit: Where the next message's words are, or the skeleton ends.
    """

    index: int
    start: int
    words: int
    limit: int


class Skeleton(NamedTuple):
    """A conversation as rendered.

    Args:
        text: With placeholders for words. White space around words, where the
            template has left it, is part of the text.
        words: What each message says, by the ordinal of its placeholder.
        answers: What assistants produce.
    """

    text: str
    words: dict[int, str]
    answers: list[Answer]

    def filled(self, start: int, end: int) -> str:
        """A part of the text, with the words in their places."""
        return self.text[start:end].translate(self.words)


class _Outline(NamedTuple):
    """What a template may see of a message: all but its words."""

    role: str
    before: str
    has_words: bool
    after: str


class SkeletonReader:
    """Makes skeletons with one template.

    Args:
        source: The template.
        tokens: `bos_token` and `eos_token`; those that there are.

    Attributes:
        variables: names that the template reads.
        tells_time: bool, whether it may write the date or the time.

    Raises:
        InputError: No Jinja template.
    """

    def __init__(self, source: str, tokens: dict[str, str]):
        if PLACEHOLDER.search(source):
            raise InputError(
                "The chat template has characters for private use from "
                "U+F0000 on, which stand for messages here. Leave them out."
            )
        self._template = JinjaTemplate(source, tokens)
        self.variables = self._template.variables
        self.tells_time = "strftime_now" in source
        # Most conversations of a data set differ in their words only.
        self._rendered = functools.lru_cache(1000)(self._render)

    def read(
        self, messages: Messages, add_generation_prompt: bool = False
    ) -> Skeleton:
        """The skeleton of a conversation.

        Args:
            messages: as `check_messages` takes them.
            add_generation_prompt: Whether to end where an answer begins.

        Raises:
            InputError: The template fails, leaves words out, changes them, or
                does not begin answers as it ends prompts.
        """
        now = datetime.now()
        outlines = tuple(map(_outline, messages))
        words = {
            ord(_placeholder(index)): message["content"].strip()
            for index, message in enumerate(messages)
        }
        text = self._at(now, outlines, add_generation_prompt)
        self._check_exact(outlines, words, text, add_generation_prompt, now)
        answers = [
            self._answer(text, outlines, index, now)
            for index, outline in enumerate(outlines)
            if outline.role == "assistant"
        ]
        return Skeleton(text, words, answers)

    def _at(self, now, outlines, add_generation_prompt) -> str:
        now = now if self.tells_time else None
        return self._rendered(now, outlines, add_generation_prompt)

    def _render(self, now, outlines, add_generation_prompt) -> str:
        messages = [
            {
                "role": outline.role,
                "content": outline.before
                + _placeholder(index) * outline.has_words
                + outline.after,
            }
            for index, outline in enumerate(outlines)
        ]
        text = self._template.render(
            messages, add_generation_prompt, now or datetime.now()
        )
        for index, outline in enumerate(outlines):
            count = text.count(_placeholder(index))
            if outline.has_words and not count:
                raise InputError(
                    f"The chat template leaves out what messages[{index}] "
                    f"says, a message of {outline.role}. Leave it out too, or "
                    "pass another template."
                )
            if outline.role == "assistant" and count > 1:
                raise InputError(
                    f"The chat template repeats messages[{index}], so that it "
                    "cannot be told where the answer is. Pass another template."
                )
        return text

    def _check_exact(
        self, outlines, words, text, add_generation_prompt, now
    ) -> None:
        """Raises where the template does more to words than to show them."""

        def is_exact(words):
            contents = [
                {"role": role, "content": before + word + after}
                for (role, before, _, after), word in zip(
                    outlines, words, strict=True
                )
            ]
            rendered = self._template.render(
                contents, add_generation_prompt, now
            )
            return rendered == text.translate(
                {ord(_placeholder(i)): word for i, word in enumerate(words)}
            )

        words = list(words.values())
        if is_exact(words):
            return
        places = [_placeholder(i) * bool(word) for i, word in enumerate(words)]
        changed = [
            index
            for index, word in enumerate(words)
            if not is_exact([*places[:index], word, *places[index + 1 :]])
        ]
        index = changed[0] if changed else 0
        raise InputError(
            f"The chat template changes the words of messages[{index}], "
            f"{words[index][:40]!r}, or looks at them, so that it cannot be "
            "told which tokens are typed text. Change the message, or pass "
            "another template."
        )

    def _answer(self, text, outlines, index, now) -> Answer:
        place = text.index(_placeholder(index))
        asked = self._at(now, outlines[:index], True)
        given, shown = _after_words(asked), _after_words(text[:place])
        if not shown.startswith(given):
            raise InputError(
                f"The chat template ends a prompt with {_clear(given)!r} but "
                f"begins messages[{index}] with {_clear(shown)!r}, so that it "
                "cannot be told what an assistant produces. Pass another "
                "template."
            )
        added = shown[len(given) :]
        if added.strip() and asked == self._at(now, outlines[:index], False):
            raise InputError(
                "The chat template does not heed add_generation_prompt, but "
                f"begins answers with {added!r}. Pass a template that does."
            )
        following = PLACEHOLDER.search(text, place + 1)
        limit = following.start() if following else len(text)
        return Answer(index, place - len(added), place, limit)


def _outline(message) -> _Outline:
    role, content = message["role"], message["content"]
    words = content.strip()
    if not words:
        return _Outline(role, content, False, "")
    start = len(content) - len(content.lstrip())
    return _Outline(role, content[:start], True, content[start + len(words) :])


def _placeholder(index: int) -> str:
    return chr(0xF0000 + index)


def _after_words(text: str) -> str:
    """What the template writes after the last words, and their placeholder."""
    places = [found.start() for found in PLACEHOLDER.finditer(text)]
    return text[places[-1] if places else 0 :]


def _clear(text: str) -> str:
    return PLACEHOLDER.sub("…", text)
