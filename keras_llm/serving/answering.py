"""Answers of an engine, awaited: from its thread to the server's loop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from fastapi import Request as HttpRequest
from fastapi.responses import StreamingResponse

from keras_llm.serving.http_errors import ApiError, as_api_error
from keras_llm.serving.requests import Piece, Request, Ticket, Token


class Answering:
    """Requests to an engine that are answered together.

    Args:
        engine: It answers.
        requests: What is asked. All are taken, or none.

    Raises:
        ApiError: They cannot be taken.
    """

    def __init__(self, engine, requests: Sequence[Request]):
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue = asyncio.Queue()
        self._tickets: list[Ticket] = []
        try:
            for index, request in enumerate(requests):
                ticket = engine.submit(request, partial(self._tell, index))
                self._tickets.append(ticket)
        except Exception as error:
            self.cancel()
            raise as_api_error(error) from error

    def _tell(self, index: int, piece: Piece) -> None:
        found = index, piece
        try:
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, found)
        except RuntimeError:  # the server has stopped, and its loop with it
            self.cancel()

    def cancel(self) -> None:
        """Lets go of all of them."""
        for ticket in self._tickets:
            ticket.cancel()

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Every piece, with the number of its request.

        Raises:
            ApiError: One of them was broken off.
        """
        left = len(self._tickets)
        while left:
            index, piece = await self._pieces.get()
            if piece.error is not None:
                raise as_api_error(piece.error) from piece.error
            yield index, piece
            left -= piece.is_last

    async def all_of(self, http: HttpRequest) -> list["Answer"]:
        """The whole answers, unless the client leaves.

        Raises:
            ApiError: One of them was broken off, or nobody waits for them.
        """
        gathering = asyncio.ensure_future(self._gathered())
        # The body has been read: what comes now is that the client leaves.
        leaving = asyncio.ensure_future(http.receive())
        try:
            await asyncio.wait(
                [gathering, leaving], return_when=asyncio.FIRST_COMPLETED
            )
            if gathering.done():
                return gathering.result()
            raise ApiError("The client has left.", status=499)
        finally:
            gathering.cancel()
            leaving.cancel()
            self.cancel()

    async def _gathered(self) -> list["Answer"]:
        answers = [Answer() for _ in self._tickets]
        async for index, piece in self.pieces():
            answers[index].add(piece)
        return answers


class Stream(StreamingResponse):
    """Events of answers, which are let go of however it ends.

    Not by the events themselves: a client may leave before the first of them.
    """

    def __init__(self, answering: Answering, *arguments):
        self._answering = answering
        super().__init__(*arguments)

    async def __call__(self, scope, receive, send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answering.cancel()


@dataclass
class Answer:
    """A whole answer."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    num_tokens: int = 0
    finish_reason: str = "length"

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.tokens += piece.tokens
        self.num_tokens += piece.num_tokens
        self.finish_reason = piece.finish_reason or self.finish_reason
