"""The models that a server has, by name, and their newest versions."""

import difflib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import keras_hub
import numpy as np
from keras import ops

from keras_llm.errors import InputError, PromptTooLong
from keras_llm.generation.answers import Ends
from keras_llm.models import ScratchCausalLM
from keras_llm.models.loading import load_task, preset_digest, preset_folder
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.engine import Engine
from keras_llm.serving.http_errors import ApiError
from keras_llm.serving.requests import Request
from keras_llm.serving.stock_engine import StockEngine
from keras_llm.serving.worker import Worker
from keras_llm.tokenizers.messages import Messages
from keras_llm.tokenizers.token_bytes import token_bytes

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between looks for a new version
GRACE_SECONDS = 600.0  # that answers of an old version have to finish


class ServedModel:
    """One version of a model, that answers.

    Args:
        name: What clients call it.
        version: Which one it is.
        worker: An engine of the model.
        settings: How tokens are chosen where a request does not say.

    Attributes:
        token_bytes: list of what each token writes.
    """

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
        self.generator = worker.generator
        self.token_bytes = token_bytes(self.generator.tokenizer)

    def text_prompt(
        self, prompt: str | list[int], truncation: str, max_new_tokens: int
    ) -> tuple[list[int], int]:
        """Token ids of a prompt, and how many were put before it.

        Raises:
            ApiError: It does not fit, or is none.
        """
        try:
            ids = self.generator.encode_prompt(prompt)
        except PromptTooLong as error:
            if truncation == "disabled":
                raise _too_long(error, "prompt") from error
            ids = self._end_of(prompt, max_new_tokens)
        except InputError as error:
            raise ApiError(str(error), "prompt") from error
        is_text = isinstance(prompt, str)
        return ids, int(is_text and self._starts(ids))

    def chat_prompt(
        self, messages: Messages, truncation: str, max_new_tokens: int
    ) -> tuple[list[int], Ends]:
        """Token ids of a conversation, and what ends its answer.

        Raises:
            ApiError: It does not fit, is none, or the model has no template.
        """
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

    def text_ends(self) -> Ends:
        """What ends the continuation of a text."""
        return Ends(self.generator.end_token_ids)

    @property
    def chats(self) -> bool:
        """Whether it has a chat template."""
        try:
            return self.generator.template is not None
        except InputError:
            return False

    def embedding(self, token_ids: list[int], pooling: str) -> np.ndarray:
        """float32 `(hidden_dim,)`: of the states of a text's tokens.

        Args:
            token_ids: The text, at least one.
            pooling: `"mean"` of all states of the last layer, or `"last"`.
        """
        row = np.array([token_ids], "int32")
        inputs = {"token_ids": row, "padding_mask": np.ones_like(row)}

        def states():
            backbone = self.generator.model.backbone
            return ops.convert_to_numpy(backbone(inputs, training=False))[0]

        found = self.worker.call(states).result().astype("float32")
        return found.mean(axis=0) if pooling == "mean" else found[-1]

    def token_text(self, token: int) -> str:
        """What a token writes; U+FFFD for a part of a character."""
        return self.token_bytes[token].decode("utf-8", "replace")

    def warm_up(self) -> None:
        """Answers once, so that the first request need not wait."""
        ids = self.generator.encode_prompt("a")
        settings = GenerationSettings(max_new_tokens=1)
        done = threading.Event()
        request = Request(ids, settings, self.text_ends())

        def tell(piece):
            if piece.is_last:
                done.set()

        self.worker.submit(request, tell)
        done.wait()

    def _starts(self, ids: list[int]) -> bool:
        """Whether the first token is not of the text."""
        return self.token_bytes[ids[0]] in {
            name.encode() for name in self.generator.tokenizer.control_tokens
        }

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


def open_model(
    name: str, source: str | Path, settings: GenerationSettings
) -> ServedModel:
    """Loads a model and starts its engine.

    Args:
        name: What clients call it.
        source: A run, a preset, or a name that KerasHub downloads.
        settings: How tokens are chosen where a request does not say.

    Raises:
        InputError: No such model, or one that does not generate.
    """
    version = preset_digest(source)[:12]
    model = load_task(source)
    if isinstance(model, ScratchCausalLM):
        worker: Worker = Engine(model)
    elif isinstance(model, keras_hub.models.CausalLM):
        worker = StockEngine(model)
    else:
        raise InputError(
            f"{source} must be a model that generates text. Received: that of "
            f"a {type(model).__name__}"
        )
    return ServedModel(name, version, worker, settings)


class Models:
    """All models of a server; a new version takes the place of the old one.

    Args:
        sources: Where each is, by the name that clients call it.
        settings: How tokens are chosen where a request does not say.
        open: Loads one, as `open_model` does.
    """

    def __init__(
        self,
        sources: dict[str, str | Path],
        settings: GenerationSettings,
        open: Callable[..., ServedModel] = open_model,
    ):
        self._sources, self._settings, self._open = sources, settings, open
        self._served: dict[str, ServedModel] = {}
        self._stamps: dict[str, object] = {}
        self._closed = threading.Event()
        for name in sources:
            self._load(name)
        self._watcher = threading.Thread(
            target=self._watch, name="versions", daemon=True
        )
        self._watcher.start()

    @property
    def all(self) -> Sequence[ServedModel]:
        return list(self._served.values())

    def get(self, name: str) -> ServedModel:
        """The model of that name; the first, if none is given.

        Raises:
            ApiError: There is none.
        """
        if not name:
            return next(iter(self._served.values()))
        if name in self._served:
            return self._served[name]
        near = difflib.get_close_matches(name, self._served, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ApiError(
            f"model must be one of {', '.join(self._served)}. Received: "
            f"{name[:200]!r}.{hint}",
            "model",
            404,
            "model_not_found",
        )

    def close(self, seconds: float) -> None:
        """Finishes what is being answered, for so long at most."""
        self._closed.set()
        closing = [
            threading.Thread(target=served.worker.close, args=(seconds,))
            for served in self.all
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def look(self) -> None:
        """Loads what has a new version."""
        for name, source in self._sources.items():
            if _stamp(source) != self._stamps[name]:
                try:
                    self._load(name)
                except InputError:  # half copied, say: the old one goes on
                    log.exception("the new version of %s is not loaded", name)

    def _load(self, name: str) -> None:
        stamp = _stamp(self._sources[name])
        self._stamps[name] = stamp
        served = self._open(name, self._sources[name], self._settings)
        served.warm_up()
        old = self._served.get(name)
        self._served[name] = served
        if old is not None:
            log.info("%s: version %s", name, served.version)
            threading.Thread(
                target=old.worker.close, args=(GRACE_SECONDS,), daemon=True
            ).start()

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            self.look()


def _stamp(source: str | Path) -> object:
    """What is another when there is a new version."""
    folder = preset_folder(Path(source))
    if folder is None:
        return None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path), path.stat().st_mtime_ns) for path in files]


def with_max_tokens(
    settings: GenerationSettings, most: int
) -> GenerationSettings:
    """The settings, with no more new tokens than a server allows."""
    return replace(settings, max_new_tokens=min(settings.max_new_tokens, most))
