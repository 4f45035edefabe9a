"""The bodies of requests, as OpenAI has them, and what they mean for us.

Fields without a value mean the server's own settings.
"""

import random
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt

from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.requests import MOST_ALTERNATIVES

MOST_PROMPTS = 128
MOST_CHOICES = 16
MOST_STOPS = 16
SEEDS = 2**63

Text = Annotated[str, Field(max_length=2**22)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Stop = Annotated[str, Field(min_length=1, max_length=500)]
Alternatives = Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)]


def _as_list(value: Any) -> Any:
    """One of a list that may be given alone: a text, or token ids."""
    is_ids = isinstance(value, list) and value and isinstance(value[0], int)
    return [value] if isinstance(value, str) or is_ids else value


Prompts = Annotated[
    list[Text | Annotated[list[StrictInt], Field(min_length=1)]],
    BeforeValidator(_as_list),
    Field(min_length=1, max_length=MOST_PROMPTS),
]
Stops = Annotated[
    list[Stop], BeforeValidator(_as_list), Field(max_length=MOST_STOPS)
]


class Body(BaseModel):
    """A body without fields that are not known."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class StreamOptions(Body):
    """What a stream tells beside the text."""

    include_usage: bool = False


class Sampled(Body):
    """What completions and chats have alike."""

    model: str = ""
    temperature: Annotated[float, Field(ge=0, lt=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, lt=100)] | None = None
    seed: Annotated[int, Field(ge=-SEEDS, lt=SEEDS)] | None = None
    stop: Stops | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    logit_bias: dict[str, Bias] | None = None
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
        if default.sampler == "greedy" and "temperature" not in given:
            given["temperature"] = 0.0
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
    content: Text | Annotated[list[TextPart], Field(min_length=1)]
    name: str | None = None

    def plain(self) -> dict[str, str]:
        """As chat templates take it."""
        role = "system" if self.role == "developer" else self.role
        content = self.content
        if not isinstance(content, str):
            content = "".join(part.text for part in content)
        return {"role": role, "content": content}


class ResponseFormat(Body):
    """Text is the only form of answers."""

    type: Literal["text"]


class ChatBody(Sampled):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=10_000)]
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

    model: str = ""
    text: Text
    token: Annotated[int, Field(ge=0)] | None = None


class EmbeddingBody(Body):
    """`POST /v1/embeddings`."""

    model: str = ""
    input: Prompts
    pooling: Literal["mean", "last"] = "mean"
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None
