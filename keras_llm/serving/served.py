"""What the server needs of a model, whatever computes it."""

import queue
import threading
import time
from abc import ABC, abstractmethod

import numpy as np
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.errors import InputError, PromptTooLong
from keras_llm.generation.answers import Ends
from keras_llm.generation.engines import bucket
from keras_llm.models import ScratchBackbone
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.http_errors import ApiError
from keras_llm.serving.requests import Request
from keras_llm.serving.signatures import LocalSignatures, Signatures
from keras_llm.serving.worker import TokenWorker, Worker
from keras_llm.tokenizers.messages import Messages
from keras_llm.tokenizers.token_bytes import token_bytes


class ServedModel(ABC):
    """One version of a model, that answers.

    Args:
        name: What clients call it.
        version: Which one it is.
        worker: Answers requests.
        settings: How tokens are chosen where a request does not say.

    Attributes:
        labels: Of a classifier, its classes; else `None`.
        context: Tokens that prompt and answer may have together; `None` where
            that is not known.
        control_ids: Tokens that are of no text: ends, say.
        chats: Whether it answers conversations.
        fills: Whether it is an encoder, which tells what is at masks.
    """

    labels: list[str] | None = None
    control_ids: frozenset[int] = frozenset()
    context: int | None = None
    chats = False
    fills = False

    def __init__(
        self,
        name: str,
        version: str,
        worker: Worker,
        settings: GenerationSettings,
    ):
        self.name, self.version = name, version
        self.worker, self.settings = worker, settings
        self.created = int(time.time())

    @property
    @abstractmethod
    def signatures(self) -> Signatures:
        """Those of a SavedModel of it."""

    @abstractmethod
    def text_prompt(
        self, prompt: str | list[int], truncation: str, max_new_tokens: int
    ) -> tuple[list[int], int]:
        """What a request takes for a prompt, and how many tokens were put
        before it.

        Raises:
            ApiError: It does not fit, or is none.
        """

    @abstractmethod
    def chat_prompt(
        self, messages: Messages, truncation: str, max_new_tokens: int
    ) -> tuple[list[int], Ends]:
        """What a request takes for a conversation, and what ends its answer.

        Raises:
            ApiError: It does not fit, is none, or the model does not chat.
        """

    @abstractmethod
    def text_ends(self) -> Ends:
        """What ends the continuation of a text."""

    def token_text(self, token: int) -> str:
        """What a token writes; U+FFFD for a part of a character."""
        return self.bytes_of(token).decode("utf-8", "replace")

    @abstractmethod
    def bytes_of(self, token: int) -> bytes:
        """What a token writes."""

    @abstractmethod
    def embedding(self, token_ids: list[int], pooling: str) -> np.ndarray:
        """float32 `(hidden_dim,)`: of the states of a text's tokens.

        Args:
            token_ids: The text, at least one.
            pooling: `"mean"` of all states of the last layer, or `"last"`.
        """

    @property
    def backbone(self) -> ScratchBackbone:
        """Whose layers are looked into.

        Raises:
            ApiError: They are not of this package.
        """
        raise ApiError(
            f"{self.name} must be a model of this package to be looked into.",
            "model",
        )

    def warm_up(self) -> None:
        """Answers once, so that the first request need not wait.

        Raises:
            InputError: It does not answer.
        """
        prompt, _ = self.text_prompt("a", "disabled", 1)
        settings = GenerationSettings(max_new_tokens=1)
        pieces: queue.Queue = queue.Queue()
        request = Request(prompt, settings, self.text_ends())
        self.worker.submit(request, pieces.put)
        while not (piece := pieces.get()).is_last:
            pass
        if piece.error is not None:
            raise InputError(
                f"{self.name} does not answer: {piece.error}"
            ) from piece.error


class TokenModel(ServedModel):
    """A model in this process, whose tokens are known.

    Args:
        name, version, settings: See `ServedModel`.
        worker: An engine of the model.
    """

    worker: TokenWorker

    def __init__(
        self,
        name: str,
        version: str,
        worker: TokenWorker,
        settings: GenerationSettings,
    ):
        super().__init__(name, version, worker, settings)
        self.generator = worker.generator
        self.context = worker.context
        self._bytes = token_bytes(self.generator.tokenizer)
        control = self.generator.tokenizer.control_tokens
        self.control_ids = frozenset(control.values())
        self._states = compile_function(
            self._call_backbone, self.generator.model
        )
        self._signatures: Signatures | None = None
        self._exporting = threading.Lock()
        try:
            self.chats = self.generator.template is not None
        except InputError:
            self.chats = False

    @property
    def signatures(self) -> Signatures:
        with self._exporting:
            if self._signatures is None:
                self._signatures = self.worker.call(self._exported).result()
        return self._signatures

    def _exported(self) -> Signatures:
        from keras_llm.export.parts import graph_of

        model = self.generator.model
        graph, _ = graph_of(model, self.settings, 0, None, False)
        return LocalSignatures(graph.signatures, self.version, graph)

    def text_prompt(
        self, prompt: str | list[int], truncation: str, max_new_tokens: int
    ) -> tuple[list[int], int]:
        try:
            ids = self.generator.encode_prompt(prompt)
        except PromptTooLong as error:
            if truncation == "disabled":
                raise _too_long(error, "prompt") from error
            ids = self._end_of(prompt, max_new_tokens)
        except InputError as error:
            raise ApiError(str(error), "prompt") from error
        return ids, int(isinstance(prompt, str) and self._starts(ids))

    def chat_prompt(
        self, messages: Messages, truncation: str, max_new_tokens: int
    ) -> tuple[list[int], Ends]:
        try:
            template = self.generator.template
            ids = template.encode(messages, True).token_ids
            room = self._room(max_new_tokens)
            while truncation == "auto" and len(ids) > room:
                shorter = _without_oldest(messages)
                if shorter is None:
                    break
                messages = shorter
                ids = template.encode(messages, True).token_ids
            ids = self.generator.encode_prompt(ids)
        except PromptTooLong as error:
            raise _too_long(error, "messages") from error
        except InputError as error:
            raise ApiError(str(error), "messages") from error
        return ids, Ends(
            template.end_token_ids,
            template.answer_prefix,
            template.answer_suffix,
        )

    @property
    def backbone(self) -> ScratchBackbone:
        backbone = self.generator.model.backbone
        is_ours = isinstance(backbone, ScratchBackbone)
        return backbone if is_ours else super().backbone

    def text_ends(self) -> Ends:
        return Ends(self.generator.end_token_ids)

    def bytes_of(self, token: int) -> bytes:
        return self._bytes[token]

    def embedding(self, token_ids: list[int], pooling: str) -> np.ndarray:
        count = len(token_ids)
        # Compiled for each width; what is seen is never what follows.
        padding = max(0, min(bucket(count), self.context) - count)
        row = np.array([[*token_ids, *[0] * padding]], "int32")
        mask = np.array([[1] * count + [0] * padding], "int32")

        def states():
            tensors = map(ops.convert_to_tensor, (row, mask))
            return ops.convert_to_numpy(self._states(*tensors))[0, :count]

        found = self.worker.call(states).result().astype("float32")
        return found.mean(axis=0) if pooling == "mean" else found[-1]

    def _call_backbone(self, token_ids, padding_mask):
        """The states of the last layer."""
        inputs = {"token_ids": token_ids, "padding_mask": padding_mask}
        return self.generator.model.backbone(inputs, training=False)

    def _starts(self, ids: list[int]) -> bool:
        """Whether the first token is none of text."""
        return ids[0] in self.control_ids

    def _room(self, max_new_tokens: int) -> int:
        """Tokens that a prompt may have beside such an answer."""
        context = self.generator.context
        return context - min(max_new_tokens, context // 2)

    def _end_of(self, prompt: str | list[int], max_new_tokens: int):
        """The last tokens of a prompt that is too long."""
        ids, first = prompt, []
        if isinstance(prompt, str):
            [row] = self.generator.tokenizer.tokenize([prompt])
            ids = [int(token) for token in row]
            first = self.generator.encode_prompt("")
            first = first if self._starts(first) else []
        room = self._room(max_new_tokens) - len(first)
        return [*first, *ids[-room:]]


def _too_long(error: PromptTooLong, param: str) -> ApiError:
    return ApiError(str(error), param, 400, "context_length_exceeded")


def _without_oldest(messages: Messages) -> Messages | None:
    """Without the oldest question and its answer, if another is left."""
    first = int(messages[0]["role"] == "system")
    if len(messages) - first < 3:
        return None
    return [*messages[:first], *messages[first + 2 :]]
