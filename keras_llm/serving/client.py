"""Conversations with a model that is served, by any server of OpenAI's API."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

from keras_llm.errors import InputError
from keras_llm.generation.conversation import Conversation
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers.messages import Messages

SECONDS = 600  # that an answer's next piece may take


class ServedGenerator:
    """Answers as `TextGenerator.stream_chat` does, through a server.

    Args:
        url: `http://HOST:PORT`, with or without `/v1`.
        key: A bearer token, if the server asks for one.

    Raises:
        InputError: No such server there, or one without a model.
    """

    def __init__(self, url: str, key: str | None = None):
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1"
        self._key = key
        with self._asked("models") as answer:
            found = self._json(answer.read())
        try:
            self.model = found["data"][0]["id"]
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(
                f"{self._url} must be a server of OpenAI's API with a model."
            ) from error

    def stream_chat(
        self, messages: Messages, settings: GenerationSettings, seed: int
    ) -> Iterator[str]:
        """Yields the answer piece by piece.

        Raises:
            InputError: What the server says is wrong, or that it is gone.
        """
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.drawn_temperature,
            "top_p": settings.top_p,
            "stop": settings.stop or None,
            "seed": seed,
            "truncation": "auto",
            "stream": True,
        }
        given = {name: x for name, x in body.items() if x is not None}
        with self._asked("chat/completions", given) as answer:
            for line in answer:
                if not line.startswith(b"data: "):
                    continue
                data = line.removeprefix(b"data: ").strip()
                if data == b"[DONE]":
                    return
                yield from self._pieces(self._json(data))
        raise InputError(f"{self._url} broke its answer off. Ask again.")

    def _pieces(self, event: dict[str, Any]) -> list[str]:
        try:
            if "error" in event:
                raise InputError(event["error"]["message"])
            deltas = [choice["delta"] for choice in event["choices"]]
            return [delta.get("content") or "" for delta in deltas]
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(
                f"{self._url} must be a server of OpenAI's API. Received the "
                f"event {json.dumps(event)[:200]}"
            ) from error

    @contextmanager
    def _asked(self, path: str, body: dict[str, Any] | None = None):
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode()
        url = f"{self._url}/{path}"
        try:
            request = urllib.request.Request(url, data, headers)
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                yield answer
        except InputError:
            raise
        except urllib.error.HTTPError as error:
            raise InputError(self._message(error)) from error
        except (OSError, ValueError, HTTPException) as error:
            raise InputError(
                f"{self._url} does not answer: {error}. Start a server with "
                "`keras-llm serve`."
            ) from error

    def _message(self, error: urllib.error.HTTPError) -> str:
        try:
            return json.loads(error.read())["error"]["message"]
        except (ValueError, KeyError, TypeError):
            return f"{self._url} answers with the error {error.code}."

    def _json(self, data: bytes | str) -> dict[str, Any]:
        try:
            return json.loads(data)
        except ValueError as error:
            raise InputError(f"{self._url} answers no JSON.") from error


class ServedConversation(Conversation):
    """A conversation whose oldest turns the server forgets, where it must."""

    def _make_room(self, question: str) -> None:
        """Nothing: it is asked to truncate."""
