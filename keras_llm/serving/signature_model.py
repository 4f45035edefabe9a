"""SavedModels, here or behind a TensorFlow Serving, as models of the server.

Their tokens are not known, and an answer comes when it is done.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_llm.errors import InputError
from keras_llm.generation.answers import Ends
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.http_errors import ApiError
from keras_llm.serving.job import Job
from keras_llm.serving.requests import Piece, Request, Unavailable
from keras_llm.serving.served import ServedModel
from keras_llm.serving.signatures import Signatures
from keras_llm.serving.worker import Worker
from keras_llm.tokenizers.messages import Messages, check_messages

SLOTS = 16  # rows of a batch, as in the configuration of our exports
MOST_WAITING = 256
PROMPTS = {"generate": "prompt", "chat": "turns"}
SETTINGS = {
    "max_new_tokens": "int32",
    "temperature": "float32",
    "top_k": "int32",
    "top_p": "float32",
    "repetition_penalty": "float32",
    "seed": "int64",
}
# What has such a signature does not generate.
PREDICTED = {"classify": "a classifier", "fill": "an encoder"}
ANSWERS = ("text", "num_tokens", "finish_reason")


class SourcePrompt(list):
    """Token ids of a prompt, as far as they are known, and what they are of.

    Args:
        token_ids: list of int.
        source: A text; or the turns of a conversation.
    """

    def __init__(self, token_ids: Sequence[int], source: str | list[str]):
        super().__init__(token_ids)
        self.source = source


class SignatureWorker(Worker):
    """Answers by the signatures `generate` and `chat`, a batch at a time.

    Args:
        signatures: Of the model.
    """

    def __init__(self, signatures: Signatures):
        self.signatures = signatures
        super().__init__(SLOTS, MOST_WAITING)

    def _check(self, request: Request) -> None:
        settings = request.settings
        asked = {
            "logprobs": request.alternatives is not None,
            "logit_bias": bool(request.logit_bias),
            "min_p": settings.min_p > 0,
            "echo": request.echo,
        }
        for name, is_asked in asked.items():
            if is_asked:
                raise ApiError(
                    f"{name} is not to be had of a SavedModel, whose tokens "
                    "are not told. Leave it out, or serve the preset.",
                    name,
                )

    def _work(self) -> None:
        for name in ("generate", "chat"):
            jobs = [
                job
                for job in self._jobs
                if not job.is_over and _signature_of(job) == name
            ]
            if jobs:
                self._answer(name, jobs)
        self._forget()

    def _answer(self, name: str, jobs: list[Job]) -> None:
        columns = _settings_of([job.request for job in jobs])
        sources: Any = [job.request.prompt.source for job in jobs]
        if name == "chat":
            longest = max(map(len, sources))
            sources = [row + [""] * (longest - len(row)) for row in sources]
        arrays = {PROMPTS[name]: np.array(sources, object)} | columns
        try:
            rows = _rows(self.signatures.run(name, arrays), len(jobs))
        except (ValueError, Unavailable) as error:
            for job in jobs:  # nothing that clients say makes it refuse
                job.fail(Unavailable(str(error)))
            return
        for job, row in zip(jobs, rows, strict=True):
            _tell(job, *row)


def _rows(found: Mapping[str, np.ndarray], count: int) -> list[tuple]:
    """Text, number of tokens and reason of each answer."""
    try:
        rows = zip(*(found[name].tolist() for name in ANSWERS), strict=True)
        rows = [
            (text.decode("utf-8", "replace"), int(length), reason.decode())
            for text, length, reason in rows
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable("The model answers garbage.") from error
    if len(rows) != count:
        raise Unavailable(f"The model gives {len(rows)} answers to {count}.")
    return rows


def _is_ours(name: str, signatures: Signatures) -> bool:
    """Whether there is a signature that takes and gives what ours do."""
    if name not in signatures.all:
        return False
    inputs, outputs = signatures.all[name]
    found = {key: field.dtype for key, field in inputs.items()}
    expected = SETTINGS | {PROMPTS[name]: "string"}
    return found == expected and {*ANSWERS} <= {*outputs}


def _signature_of(job: Job) -> str:
    is_text = isinstance(job.request.prompt.source, str)
    return "generate" if is_text else "chat"


def _settings_of(requests: Sequence[Request]) -> dict[str, np.ndarray]:
    """The inputs of `generate` and `chat` beside the prompt."""
    each = [request.settings for request in requests]
    columns = {
        "max_new_tokens": [settings.max_new_tokens for settings in each],
        "temperature": [settings.drawn_temperature for settings in each],
        "top_k": [settings.top_k for settings in each],
        "top_p": [settings.top_p for settings in each],
        "repetition_penalty": [s.repetition_penalty for s in each],
        "seed": [_int64(request.seed) for request in requests],
    }
    return {k: np.array(columns[k], dtype) for k, dtype in SETTINGS.items()}


def _int64(seed: int) -> int:
    return (seed + 2**63) % 2**64 - 2**63


def _tell(job: Job, text: str, count: int, reason: str) -> None:
    # Those of the export have been seen to; a request may have others.
    found = [text.find(stop) for stop in job.request.settings.stop]
    places = [place for place in found if place >= 0]
    if places:
        text, reason = text[: min(places)], "stop"
    job.is_over = True
    job.tell(Piece(text, (), reason, untold=count))


class SignatureModel(ServedModel):
    """A SavedModel as a model of the server.

    Args:
        name: What clients call it.
        signatures: Of the model.
        settings: How tokens are chosen where a request does not say.
        labels: Names of a classifier's classes, where they are known.

    Raises:
        InputError: Neither text, labels nor masks are what it answers.
    """

    def __init__(
        self,
        name: str,
        signatures: Signatures,
        settings: GenerationSettings,
        labels: list[str] | None = None,
    ):
        known = {*signatures.all}
        self._only = next((n for n in PREDICTED if n in known), None)
        self.fills = self._only == "fill"
        if self._only == "classify":
            self.labels = labels or []
        elif self._only is None and not _is_ours("generate", signatures):
            raise InputError(
                f"{name} must have the signature generate, classify or fill, "
                "as `keras-llm export` writes them. Received: "
                f"{', '.join(sorted(known)) or 'none'}"
            )
        worker = SignatureWorker(signatures)
        super().__init__(name, signatures.version, worker, settings)
        self._signatures = signatures
        self.chats = _is_ours("chat", signatures)

    @property
    def signatures(self) -> Signatures:
        return self._signatures

    def text_prompt(
        self, prompt: str | list[int], truncation: str, max_new_tokens: int
    ) -> tuple[list[int], int]:
        self._check_generates()
        if not isinstance(prompt, str):
            raise ApiError(
                "prompt must be a text for a SavedModel. Received: token ids",
                "prompt",
            )
        return SourcePrompt(self._token_ids(prompt), prompt), 0

    def chat_prompt(
        self, messages: Messages, truncation: str, max_new_tokens: int
    ) -> tuple[list[int], Ends]:
        self._check_generates()
        if not self.chats:
            raise ApiError(
                f"{self.name} was exported without the signature chat.",
                "messages",
            )
        try:
            check_messages(messages, is_answered=False)
        except InputError as error:
            raise ApiError(str(error), "messages") from error
        if messages[0]["role"] == "system":
            raise ApiError(
                "The system message of a SavedModel is fixed when it is "
                "exported (keras-llm export --system). Leave it out.",
                "messages",
            )
        turns = [message["content"] for message in messages]
        ids = self._token_ids("\n".join(turns))
        return SourcePrompt(ids, turns), self.text_ends()

    def text_ends(self) -> Ends:
        return Ends(())

    def bytes_of(self, token: int) -> bytes:
        raise ApiError(f"The tokens of {self.name} are not told.")

    def embedding(self, token_ids: list[int], pooling: str) -> np.ndarray:
        raise ApiError(
            f"{self.name} is a SavedModel, which gives no embeddings. Serve "
            "the preset.",
            "model",
        )

    def warm_up(self) -> None:
        if self._only is None:
            super().warm_up()

    def _check_generates(self) -> None:
        if self._only is not None:
            raise ApiError(
                f"{self.name} is {PREDICTED[self._only]}: ask "
                f"/v1/models/{self.name}:predict.",
                "model",
            )

    def _token_ids(self, text: str) -> list[int]:
        """As far as `tokenize` looks, for the usage that is told."""
        if "tokenize" not in self._signatures.all:
            return []
        texts = np.array([text], object)
        try:
            found = self._signatures.run("tokenize", {"text": texts})
            return found["token_ids"][0, : int(found["lengths"][0])].tolist()
        except (LookupError, TypeError, ValueError) as error:
            raise Unavailable(f"{self.name} answers garbage.") from error
