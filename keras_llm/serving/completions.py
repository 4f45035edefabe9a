"""`/v1/completions` and `/v1/chat/completions`, as OpenAI's clients ask."""

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.sse import format_sse_event

from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.answering import Answer, Answering, Stream
from keras_llm.serving.http_errors import ApiError
from keras_llm.serving.models import Models
from keras_llm.serving.requests import Piece, Request, Token
from keras_llm.serving.schemas import (
    ChatBody,
    CompletionBody,
    Sampled,
)
from keras_llm.serving.served import ServedModel

EVENTS = "text/event-stream"
VERSION = "X-Model-Version"
MOST_DIGITS = 10  # of a token id


@dataclass
class Choice:
    """One of the answers of a response.

    Args:
        index: Its number.
        request: What the engine is asked for it.
        hidden: Tokens before the prompt's text, which are not echoed.
        prompt: The prompt's text, where it is echoed.
    """

    index: int
    request: Request
    hidden: int = 0
    prompt: str = ""


class Response:
    """Answers in OpenAI's form, whole or in pieces.

    Args:
        served: The model that answers.
        body: What was asked.
        choices: The answers wanted.
    """

    kind = event_kind = ""
    prefix = ""

    def __init__(
        self, served: ServedModel, body: Sampled, choices: Sequence[Choice]
    ):
        self.served, self.body, self.choices = served, body, choices
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def choice(self, choice: Choice, answer: Answer) -> dict[str, Any]:
        """A choice of a whole response."""
        raise NotImplementedError

    def delta(self, choice: Choice, piece: Piece) -> dict[str, Any]:
        """A choice of an event."""
        raise NotImplementedError

    def first_events(self) -> list[dict[str, Any]]:
        """Choices that are told before any piece."""
        return []

    async def send(self, http: HttpRequest):
        """The response, to be returned from a route."""
        requests = [choice.request for choice in self.choices]
        answering = Answering(self.served.worker, requests)
        headers = {VERSION: quote(self.served.version)}  # a folder's name
        if self.body.stream:
            events = self._events(answering)
            return Stream(answering, events, 200, headers, EVENTS)
        answers = await answering.all_of(http)
        pairs = zip(self.choices, answers, strict=True)
        whole = self._head(self.kind) | {
            "choices": [self.choice(*pair) for pair in pairs],
            "usage": self._usage([answer.num_tokens for answer in answers]),
        }
        return JSONResponse(whole, headers=headers)

    async def _events(self, answering: Answering) -> AsyncIterator[bytes]:
        more = {"usage": None} if self.body.tells_usage else {}
        head = self._head(self.event_kind) | more
        counts = [0] * len(self.choices)
        try:
            for choice in self.first_events():
                yield _event(head | {"choices": [choice]})
            async for index, piece in answering.pieces():
                counts[index] += piece.num_tokens
                choice = self.delta(self.choices[index], piece)
                yield _event(head | {"choices": [choice]})
            if more:
                last = {"choices": [], "usage": self._usage(counts)}
                yield _event(head | last)
        except ApiError as error:
            yield _event(error.body)
        yield format_sse_event(data_str="[DONE]")

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.served.name,
            "system_fingerprint": self.served.version,
        }

    def _content(self, tokens: Sequence[Token]) -> list[dict[str, Any]]:
        """Tokens and their alternatives, by id, text and bytes."""
        return [
            self._token(token.token_id, token.log_probability)
            | {
                "top_logprobs": [
                    self._token(*each) for each in token.alternatives
                ]
            }
            for token in tokens
        ]

    def _token(self, token: int, log_probability: float | None):
        return {
            "token": self.served.token_text(token),
            "logprob": log_probability,
            "bytes": list(self.served.bytes_of(token)),
            "token_id": token,
            "special": token in self.served.control_ids,
        }

    def _usage(self, counts: Sequence[int]) -> dict[str, int]:
        """Of the numbers of tokens that were told of each choice."""
        prompts = [choice.request.prompt for choice in self.choices]
        echoed = [
            len(choice.request.prompt)
            for choice in self.choices
            if choice.request.echo
        ]
        # The same prompt counts once, however many answers it has.
        read = sum({id(prompt): len(prompt) for prompt in prompts}.values())
        new = sum(counts) - sum(echoed)
        return {
            "prompt_tokens": read,
            "completion_tokens": new,
            "total_tokens": read + new,
        }


class CompletionResponse(Response):
    """Of `/v1/completions`."""

    kind = event_kind = "text_completion"
    prefix = "cmpl"

    def first_events(self) -> list[dict[str, Any]]:
        return [
            self._choice(choice, choice.prompt, (), None)
            for choice in self.choices
            if choice.prompt
        ]

    def choice(self, choice: Choice, answer: Answer) -> dict[str, Any]:
        text = choice.prompt + answer.text
        return self._choice(choice, text, answer.tokens, answer.finish_reason)

    def delta(self, choice: Choice, piece: Piece) -> dict[str, Any]:
        return self._choice(
            choice, piece.text, piece.tokens, piece.finish_reason
        )

    def _choice(self, choice, text, tokens, reason):
        asked = choice.request.alternatives is not None
        if tokens and tokens[0].log_probability is None:
            tokens = tokens[choice.hidden :]  # those of an echoed prompt
        found = self._logprobs(tokens) if asked else None
        return {
            "index": choice.index,
            "text": text,
            "logprobs": found,
            "finish_reason": reason,
        }

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any]:
        name, offsets, texts, end = self.served.token_text, [], [], 0
        for token in tokens:
            texts.append(name(token.token_id))
            offsets.append(end)
            end += len(texts[-1])
        return {
            "tokens": texts,
            "token_logprobs": [token.log_probability for token in tokens],
            "top_logprobs": [
                {name(each): value for each, value in token.alternatives}
                if token.log_probability is not None
                else None
                for token in tokens
            ],
            "text_offset": offsets,
            "token_ids": [token.token_id for token in tokens],
            # As chats have them: alternatives of the same text, say of parts
            # of characters, are one in `top_logprobs`.
            "content": self._content(tokens),
        }


class ChatResponse(Response):
    """Of `/v1/chat/completions`."""

    kind, event_kind = "chat.completion", "chat.completion.chunk"
    prefix = "chatcmpl"

    def first_events(self) -> list[dict[str, Any]]:
        first = {"role": "assistant", "content": ""}
        return [self._delta(choice, first, (), None) for choice in self.choices]

    def choice(self, choice: Choice, answer: Answer) -> dict[str, Any]:
        message = {
            "role": "assistant",
            "content": answer.text,
            "refusal": None,
        }
        return {
            "index": choice.index,
            "message": message,
            "logprobs": self._logprobs(choice, answer.tokens),
            "finish_reason": answer.finish_reason,
        }

    def delta(self, choice: Choice, piece: Piece) -> dict[str, Any]:
        delta = {"content": piece.text} if piece.text else {}
        return self._delta(choice, delta, piece.tokens, piece.finish_reason)

    def _delta(self, choice, delta, tokens, reason):
        return {
            "index": choice.index,
            "delta": delta,
            "logprobs": self._logprobs(choice, tokens),
            "finish_reason": reason,
        }

    def _logprobs(self, choice: Choice, tokens: Sequence[Token]):
        if choice.request.alternatives is None or not tokens:
            return None
        return {"content": self._content(tokens), "refusal": None}


@dataclass(frozen=True)
class Limits:
    """What a request may take.

    Args:
        max_new_tokens: Of an answer.
        seconds: Of a request, waiting included.
    """

    max_new_tokens: int = 4096
    seconds: float = 600.0

    def settings(
        self, body: Sampled, default: GenerationSettings, most: int | None
    ) -> GenerationSettings:
        """How tokens are chosen; a `most` above the limit is an error."""
        if most is not None and most > self.max_new_tokens:
            raise ApiError(
                f"max_tokens must be at most {self.max_new_tokens} here. "
                f"Received: {most}",
                "max_tokens",
            )
        settings = body.settings(default, most or None)
        allowed = min(settings.max_new_tokens, self.max_new_tokens)
        return replace(settings, max_new_tokens=allowed)


def completion_routes(models: Models, limits: Limits) -> APIRouter:
    """The two routes, of all models."""
    router = APIRouter(tags=["OpenAI"])

    @router.post("/v1/completions")
    async def completions(body: CompletionBody, http: HttpRequest):
        """Continues prompts; with `echo` their log-probabilities too."""
        served = models.get(body.model)
        settings = limits.settings(body, served.settings, body.max_tokens)
        choices = await run_in_threadpool(
            _completion_choices, body, served, settings, limits
        )
        return await CompletionResponse(served, body, choices).send(http)

    @router.post("/v1/chat/completions")
    async def chat_completions(body: ChatBody, http: HttpRequest):
        """The assistant's next message of a conversation."""
        served = models.get(body.model)
        most = body.max_completion_tokens or body.max_tokens
        settings = limits.settings(body, served.settings, most)
        prompt, ends = await run_in_threadpool(
            served.chat_prompt,
            body.plain_messages(),
            body.truncation,
            settings.max_new_tokens,
        )
        seed, bias = body.first_seed(), _bias(body)
        choices = [
            Choice(
                index,
                Request(
                    prompt,
                    settings,
                    ends,
                    seed + index,
                    alternatives=body.alternatives(),
                    logit_bias=bias,
                    seconds=limits.seconds,
                ),
            )
            for index in range(body.n)
        ]
        return await ChatResponse(served, body, choices).send(http)

    return router


def _completion_choices(body, served, settings, limits) -> list[Choice]:
    if body.max_tokens == 0 and not body.echo:
        raise ApiError(
            "max_tokens must be at least 1 without echo. Received: 0",
            "max_tokens",
        )
    choices, seed, bias = [], body.first_seed(), _bias(body)
    for prompt in body.prompt:
        ids, hidden = served.text_prompt(
            prompt, body.truncation, settings.max_new_tokens
        )
        echoed = _text_of(served, prompt) if body.echo else ""
        for number in range(body.n):
            request = Request(
                ids,
                settings,
                served.text_ends(),
                seed + number,
                alternatives=body.logprobs,
                echo=body.echo and body.logprobs is not None,
                only_prompt=body.max_tokens == 0,
                logit_bias=bias,
                seconds=limits.seconds,
            )
            choices.append(Choice(len(choices), request, hidden, echoed))
    return choices


def _text_of(served: ServedModel, prompt: str | list[int]) -> str:
    if isinstance(prompt, str):
        return prompt
    return b"".join(map(served.bytes_of, prompt)).decode("utf-8", "replace")


def _bias(body: Sampled) -> dict[int, float]:
    bias = {}
    for token, value in (body.logit_bias or {}).items():
        if not token.isdecimal() or len(token) > MOST_DIGITS:
            raise ApiError(
                f"logit_bias must be of token ids. Received: {token[:50]!r}",
                "logit_bias",
            )
        bias[int(token)] = value
    return bias


def _event(data: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(data))
