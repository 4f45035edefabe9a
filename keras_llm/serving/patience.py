"""Connections that send nothing, or little by little, are closed."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVAL_SECONDS = 30.0  # that a request may take to come in
MOST_HEAD = 2**15  # bytes of a request's line and headers


class PatientProtocol(H11Protocol):
    """HTTP/1.1, whose requests come in whole within a time.

    uvicorn itself waits for ever, once a connection is open or the first byte
    of a request is there.
    """

    _arrival: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        """Counts from when a request was to come until it is whole."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop()
        elif self._arrival is None and not self.transport.is_closing():
            self._arrival = self.loop.call_later(
                ARRIVAL_SECONDS, self.transport.close
            )

    def _stop(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
