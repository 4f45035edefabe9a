"""`/v1/feedback`: corrections and thumbs, for `keras-llm improve`."""

import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from keras_llm.errors import InputError
from keras_llm.serving.http_errors import ApiError
from keras_llm.serving.schemas import Body, Messages, Text
from keras_llm.tuning.feedback import Event, add_feedback

MOST_BYTES = 2**30  # of the file
MOST_A_MINUTE = 60


class FeedbackBody(Body):
    """What was asked, the answer, and the better one or a thumb."""

    messages: Messages
    completion: Text
    better: Text | None = None
    label: bool | None = None
    model_version: Annotated[str, Field(max_length=200)] | None = None


def feedback_routes(path: Path | None) -> APIRouter:
    """The route; without a file it says so."""
    router = APIRouter(tags=["Feedback"])
    lock, times = threading.Lock(), deque()

    @router.post("/v1/feedback")
    def feedback(body: FeedbackBody):
        """Writes down a better answer, or whether an answer was good."""
        if path is None:
            raise ApiError(
                "This server takes no feedback. Start it with --feedback FILE.",
                status=404,
            )
        event = _event(body)
        with lock:
            _check_room(path, times)
            try:
                add_feedback(path, event)
            except InputError as error:
                reason = getattr(error.__cause__, "strerror", None)
                raise ApiError(
                    f"The feedback was not written: {reason or error}.",
                    status=507,
                    code="not_written",
                ) from error
        return {"written": True}

    return router


def _event(body: FeedbackBody) -> Event:
    if body.better is None and body.label is None:
        raise ApiError(
            "better, the text that the answer should have been, or label, "
            "whether it was good, must be given.",
            "label",
        )
    name = "completion" if body.better is None else "better"
    if not getattr(body, name).strip():
        raise ApiError(f"{name} must be a text that is not empty.", name)
    prompt = [message.plain() for message in body.messages]
    try:
        if body.better is not None:
            return Event(
                prompt,
                chosen=body.better,
                rejected=body.completion,
                model_version=body.model_version,
            )
        return Event(
            prompt,
            completion=body.completion,
            label=body.label,
            model_version=body.model_version,
        )
    except InputError as error:
        raise ApiError(str(error)) from error


def _check_room(path: Path, times: deque) -> None:
    now = time.monotonic()
    while times and now - times[0] > 60:
        times.popleft()
    if len(times) >= MOST_A_MINUTE:
        raise ApiError(
            f"At most {MOST_A_MINUTE} corrections a minute are taken.",
            status=429,
            headers={"Retry-After": "60"},
        )
    if os.path.exists(path) and path.stat().st_size > MOST_BYTES:
        raise ApiError(
            f"The file of feedback has {MOST_BYTES:,} bytes. Use it up first.",
            status=507,
            code="not_written",
        )
    times.append(now)
