"""Generation for many prompts, the longest of which lose their beginning."""

from collections.abc import Sequence

from keras_llm.errors import InputError
from keras_llm.evaluation.by_length import in_batches
from keras_llm.evaluation.encoding import TextEncoder
from keras_llm.generation import TextGenerator
from keras_llm.recipes.settings import GenerationSettings


class TruncatingGenerator(TextGenerator):
    """Generates even where prompt and answer together are too long.

    As `lm_eval` does with its `hf` models, it leaves out tokens at the left,
    the start token among them.

    Args:
        model: as `TextGenerator`.

    Attributes:
        truncated: int. How many prompts have lost tokens so far.
    """

    def __init__(self, model):
        super().__init__(model)
        self._encoder = TextEncoder(model)
        self._room = self.context - 1
        self.truncated = 0

    def generate_batches(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        batch_size: int,
        seed: int = 0,
    ) -> list[str]:
        """Answers all prompts, those of like length together.

        Args:
            prompts: The texts to continue.
            settings: How tokens are chosen, and when to stop.
            batch_size: Prompts at once.
            seed: Decides random numbers, where there are any.

        Returns:
            The new text of each.

        Raises:
            InputError: The model's context has no room for the new tokens and
                one of a prompt, or `batch_size` is below 1.
        """
        self._room = self.context - settings.max_new_tokens
        if self._room < 1:
            raise InputError(
                f"The most new tokens must be below {self.context}, the "
                f"model's context. Received: {settings.max_new_tokens}"
            )
        answers = in_batches(
            lambda batch: self.generate(batch, settings, seed),
            prompts,
            batch_size,
        )
        return [answer.text for answer in answers]

    def encode_prompt(self, prompt: str) -> list[int]:
        """Token ids of a prompt, or the last of them that have room."""
        ids = self._encoder.encode([prompt])[0]
        ids = ids or [self._encoder.prefix_token_id]
        self.truncated += len(ids) > self._room
        return ids[-self._room :]
