"""A conversation with a model: what was said, as far as it fits."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from keras_llm.recipes.settings import GenerationSettings

if TYPE_CHECKING:  # a conversation with a server does without Keras
    from keras_llm.generation.text import TextGenerator


class Conversation:
    """Remembers the turns of a conversation.

    Where they and an answer do not fit the model's context, the oldest turns
    are forgotten, each question with its answer; the system message stays.

    Args:
        generator: Its model answers.
        settings: as for `TextGenerator.chat`, as `seed`.
        seed: int.

    Attributes:
        system: str or `None`. What a system message says.
        turns: list of pairs of a question and its answer.
        forgotten: int. Turns that the last question left no room for.
    """

    def __init__(
        self,
        generator: "TextGenerator",
        settings: GenerationSettings | None = None,
        seed: int = 0,
    ):
        self._generator, self._seed = generator, seed
        self._settings = settings or GenerationSettings()
        self.system: str | None = None
        self.turns: list[tuple[str, str]] = []
        self.forgotten = 0

    def messages(self, question: str | None = None) -> list[dict[str, str]]:
        """All that was said, and what is asked now."""
        said = [("system", self.system)] if self.system else []
        for asked, answer in self.turns:
            said += [("user", asked), ("assistant", answer)]
        said += [("user", question)] if question is not None else []
        return [{"role": role, "content": text} for role, text in said]

    def ask(self, question: str) -> Iterator[str]:
        """Yields the answer piece by piece, and remembers it at the end.

        An answer that is broken off is remembered as far as it came; one
        without text is not, nor is its question.

        Raises:
            InputError: The question alone is too long, or one that the chat
                template does not take.
        """
        self._make_room(question)
        answer = ""
        pieces = self._generator.stream_chat(
            self.messages(question), self._settings, self._seed
        )
        try:
            for piece in pieces:
                answer += piece
                yield piece
        finally:
            if answer.strip():
                self.turns.append((question, answer))

    def _make_room(self, question: str) -> None:
        self.forgotten = 0
        context = self._generator.context
        # At least a quarter is for questions, however long answers may be.
        room = min(self._settings.max_new_tokens, 3 * context // 4)
        while self.turns and self._length(question) > context - room:
            del self.turns[0]
            self.forgotten += 1

    def _length(self, question: str) -> int:
        template = self._generator.template
        return len(template.encode(self.messages(question), True).token_ids)
