"""Prompts in, text out: streaming, several prompts at once, conversations."""

import functools
from collections.abc import Iterator, Sequence

import keras_hub

from keras_llm.errors import InputError, PromptTooLong
from keras_llm.generation.answers import Answers, Ends, Generation
from keras_llm.generation.engines import engine_of
from keras_llm.recipes.checks import check_unicode
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers.chat_templates import ChatTemplate, chat_template
from keras_llm.tokenizers.messages import Messages

Prompt = str | Sequence[int]


class TextGenerator:
    """Generates text with a model, compiled once for each size of work.

    Prompt and cache lengths are rounded up to powers of two, so that another
    prompt's length seldom compiles again.

    Args:
        model: any `keras_hub.models.CausalLM` with a preprocessor. One that
            is not of this package decodes by its own `generate_step`, with
            our sampling, and is streamed in one piece.
        template: How conversations become token ids; that of the tokenizer if
            omitted, see `chat_template`.

    Raises:
        InputError: Another model, or one that takes more than text.

    Example:
        >>> generator = TextGenerator(model)
        >>> generator.generate(["Once upon"])[0].text
        >>> generator.chat([{"role": "user", "content": "Who rules?"}]).text
    """

    def __init__(
        self,
        model: keras_hub.models.CausalLM,
        template: ChatTemplate | None = None,
    ):
        self._engine = engine_of(model)
        self._template = template
        self.model = model
        self.tokenizer = self._engine.tokenizer
        self.end_token_ids = self._engine.end_token_ids

    @functools.cached_property
    def template(self) -> ChatTemplate:
        """How conversations become token ids.

        Raises:
            InputError: The model has no template, and none was given.
        """
        return self._template or chat_template(
            self.model.preprocessor.tokenizer
        )

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._engine.context

    def generate(
        self,
        prompts: Sequence[Prompt],
        settings: GenerationSettings | None = None,
        seed: int = 0,
    ) -> list[Generation]:
        """Answers all prompts together.

        Args:
            prompts: What to continue: texts, which may be empty, or token
                ids, which are taken as they are.
            settings: How tokens are chosen, and when to stop.
            seed: Decides the random numbers of every row alike, so that a
                prompt's answer does not depend on its company.

        Returns:
            One answer a prompt.

        Raises:
            InputError: No prompt, or one longer than the model's context.
        """
        answers = self._answers(prompts, settings, Ends(self.end_token_ids))
        for _ in self._pieces(answers, seed):
            pass
        return answers.generations()

    def stream(
        self,
        prompt: Prompt,
        settings: GenerationSettings | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yields the answer to one prompt piece by piece.

        The pieces joined are the text that `generate` returns. A piece never
        ends within a character or within what may become a stop string.
        Arguments and errors are those of `generate`.
        """
        answers = self._answers([prompt], settings, Ends(self.end_token_ids))
        yield from self._pieces(answers, seed)

    def chat(
        self,
        messages: Messages,
        settings: GenerationSettings | None = None,
        seed: int = 0,
    ) -> Generation:
        """The assistant's next message of a conversation.

        Args:
            messages: each `{"role": …, "content": …}`: a system message or
                none, then user and assistant in turn, the user last. Control
                tokens that they spell out are text.
            settings: as for `generate`. A token that ends a turn ends the
                answer too.
            seed: as for `generate`.

        Raises:
            InputError: No such messages, messages that do not fit the
                context, or a model without a chat template.
        """
        return self.chat_batch([messages], settings, seed)[0]

    def chat_batch(
        self,
        conversations: Sequence[Messages],
        settings: GenerationSettings | None = None,
        seed: int = 0,
    ) -> list[Generation]:
        """The next message of each of several conversations; see `chat`."""
        answers = self._chat_answers(conversations, settings)
        for _ in self._pieces(answers, seed):
            pass
        return answers.generations()

    def stream_chat(
        self,
        messages: Messages,
        settings: GenerationSettings | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yields the text of `chat` piece by piece, as `stream` does."""
        yield from self._pieces(self._chat_answers([messages], settings), seed)

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt, of a text with the start token first.

        Without a start token an empty prompt is the first end token.

        Raises:
            PromptTooLong: The prompt leaves no room in the model's context.
            InputError: It has ids that are not in the vocabulary.
        """
        if isinstance(prompt, str):
            check_unicode("The prompt", prompt)
            [row] = self.tokenizer.tokenize([prompt])
            ids = [int(token) for token in row]
            if self._engine.start_token_id is not None:
                ids.insert(0, self._engine.start_token_id)
        else:
            ids = [int(token) for token in prompt]
            size = self.tokenizer.vocabulary_size()
            if not all(0 <= token < size for token in ids):
                raise InputError(
                    f"The token ids of a prompt must be in [0, {size}). "
                    f"Received: from {min(ids)} to {max(ids)}"
                )
        ids = ids or [self.end_token_ids[0]]
        if len(ids) >= self.context:
            raise PromptTooLong(
                f"The prompt has {len(ids)} tokens, its start token included; "
                f"the model's context holds {self.context}, one new token "
                "included. Pass a shorter prompt."
            )
        return ids

    def _answers(self, prompts, settings, ends) -> Answers:
        if isinstance(prompts, str) or not len(prompts):
            raise InputError(
                "prompts must be a list of at least one text. "
                f"Received: {prompts!r}"
            )
        return Answers(
            self.tokenizer,
            [self.encode_prompt(prompt) for prompt in prompts],
            settings or GenerationSettings(),
            ends,
        )

    def _chat_answers(self, conversations, settings) -> Answers:
        template = self.template
        prompts = [
            template.encode(messages, add_generation_prompt=True).token_ids
            for messages in conversations
        ]
        ends = Ends(
            template.end_token_ids,
            template.answer_prefix,
            template.answer_suffix,
        )
        return self._answers(prompts, settings, ends)

    def _pieces(self, answers: Answers, seed: int) -> Iterator[str]:
        """Yields what is new in the first answer, until all are done."""
        if answers.settings.sampler == "beam":
            # One prompt at a time, for its own length.
            for row, ids in enumerate(answers.prompts):
                beams = answers.settings.num_beams
                found = self._engine.search(ids, answers, beams)
                answers.update(row, found, finished=True)
            yield from filter(None, answers.texts[:1])
            return
        shown = 0
        for state in self._engine.states(answers, seed):
            answers.read(state)
            safe = answers.safe_length(0)
            if safe > shown:
                yield answers.texts[0][shown:safe]
                shown = safe
