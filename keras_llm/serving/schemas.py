"""The bodies of requests, as OpenAI has them, and what they mean for us.

Fields without a value mean the server's own settings.
"""

import random
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    model_validator,
)

from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.requests import MOST_ALTERNATIVES

MOST_PROMPTS = 128
MOST_CHOICES = 16
MOST_STOPS = 16
MOST_FIELDS = 100  # of an object
MOST_BIASES = 10_000
SEEDS = 2**63

Text = Annotated[str, Field(max_length=2**22)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Stop = Annotated[str, Field(min_length=1, max_length=500)]
Alternatives = Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)]


def _at_most(count: int, value: Any) -> Any:
    """An object of so many fields; more would give as many errors."""
    if isinstance(value, dict) and len(value) > count:
        raise ValueError(f"there must be at most {count} fields")
    return value


def _as_list(value: Any) -> Any:
    """One of a list that may be given alone: a text, or token ids."""
    is_ids = isinstance(value, list) and value and isinstance(value[0], int)
    return [value] if isinstance(value, str) or is_ids else value


# An error of each of a million elements takes gigabytes: the first will do.
TokenIds = Annotated[list[StrictInt], Field(fail_fast=True, min_length=1)]
Prompts = Annotated[
    list[Text | TokenIds],
    BeforeValidator(_as_list),
    Field(min_length=1, max_length=MOST_PROMPTS),
]
Stops = Annotated[
    list[Stop], BeforeValidator(_as_list), Field(max_length=MOST_STOPS)
]
Name = Annotated[str, Field(max_length=200)]
Biases = Annotated[
    dict[str, Bias], BeforeValidator(partial(_at_most, MOST_BIASES))
]


class Body(BaseModel):
    """A body without fields that are not known."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_size(cls, values: Any) -> Any:
        return _at_most(MOST_FIELDS, values)


class StreamOptions(Body):
    """What a stream tells beside the text."""

    include_usage: bool = False


class Sampled(Body):
    """What completions and chats have alike."""

    model: Name = ""
    temperature: Annotated[float, Field(ge=0, lt=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, lt=100)] | None = None
    seed: Annotated[int, Field(ge=-SEEDS, lt=SEEDS)] | None = None
    stop: Stops | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    logit_bias: Biases | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    truncation: Literal["auto", "disabled"] = "disabled"
    user: str | None = None
    # Only what they mean by default is done.
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None

    def settings(
        self, default: GenerationSettings, max_tokens: int | None
    ) -> GenerationSettings:
        """How tokens are chosen, and when to stop."""
        names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
        given = {name: getattr(self, name) for name in names}
        given["max_new_tokens"] = max_tokens
        given["stop"] = self.stop
        given = {k: v for k, v in given.items() if v is not None}
        given.setdefault("temperature", default.drawn_temperature)
        return replace(default, **given, sampler="sample")

    def first_seed(self) -> int:
        """The one that was given, or another each time."""
        return random.getrandbits(48) if self.seed is None else self.seed

    @property
    def tells_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class CompletionBody(Sampled):
    """`POST /v1/completions`."""

    prompt: Prompts
    max_tokens: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    logprobs: Alternatives | None = None
    echo: bool = False
    suffix: None = None
    best_of: Literal[1] | None = None


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class Message(Body):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: (
        Text | Annotated[list[TextPart], Field(fail_fast=True, min_length=1)]
    )
    name: str | None = None

    def plain(self) -> dict[str, str]:
        """As chat templates take it."""
        role = "system" if self.role == "developer" else self.role
        content = self.content
        if not isinstance(content, str):
            content = "".join(part.text for part in content)
        return {"role": role, "content": content}


Messages = Annotated[
    list[Message], Field(fail_fast=True, min_length=1, max_length=10_000)
]


class ResponseFormat(Body):
    """Text is the only form of answers."""

    type: Literal["text"]


class ChatBody(Sampled):
    """`POST /v1/chat/completions`."""

    messages: Messages
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool = False
    top_logprobs: Alternatives | None = None
    response_format: ResponseFormat | None = None

    def plain_messages(self) -> list[dict[str, Any]]:
        return [message.plain() for message in self.messages]

    def alternatives(self) -> int | None:
        """How many are told of every token, if it is asked for."""
        return (self.top_logprobs or 0) if self.logprobs else None


class LookBody(Body):
    """`POST /v1/look`."""

    model: Name = ""
    text: Text
    token: Annotated[int, Field(ge=0)] | None = None


class EmbeddingBody(Body):
    """`POST /v1/embeddings`."""

    model: Name = ""
    input: Prompts
    pooling: Literal["mean", "last"] = "mean"
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None
