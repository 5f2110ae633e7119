"""The websocket below the link and the feed, with a short way for what comes in thousands.

Owns the cutting of the received bytes into whole frames. A whole text message
goes straight to a tap when there is one and it wants it; everything else, the
handshake, control frames, very long and fragmented messages, takes the library's
own way, which checks all there is to check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.protocol import OPEN

if TYPE_CHECKING:
    from asyncio import BaseTransport
    from collections.abc import Callable

__all__ = ["Flow", "Inflow"]

#: A whole text message that is not compressed.
_TEXT: Final = 0x81
_FINAL: Final = 0x80
_OPCODE: Final = 0x0F
_CONTROL: Final = 0x08
_BINARY: Final = 0x82
#: Length codes of the header: 16 bits follow, 64 bits follow; more means a mask no server may use.
_SHORT, _LONG = 126, 127
#: Messages that are offered to a tap at once: those behind one it does not take are cut again.
_MOST: Final = 128
#: A longer message takes the library's way, piece by piece as it comes.
_LONGEST: Final = 1 << 20
_END_OF_HANDSHAKE: Final = b"\r\n\r\n"
#: Bytes of one read. asyncio asks for four times as many, a piece of memory that the C library
#: gets from the system for every read and gives back: thrice the price of the read.
_ONE_READ: Final = 1 << 16


class Flow(ClientConnection):
    """A client's websocket; hand it to ``connect`` as ``create_connection``.

    Attributes
    ----------
    tap
        Called on the event loop with the contents of whole messages that came
        together, in order; returns how many of them, from the first on, it took. The
        one it does not take can be received as always, and it is asked about those
        behind it again.
    passed
        How many messages were left to be received: while one of them is not read yet,
        a tap that cares for their order takes none.
    """

    tapped = _TEXT

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take the library's way until the handshake is done."""
        super().__init__(*arguments, **options)
        self.tap: Callable[[list[bytes]], int] | None = None
        self._cutting = False  # are we at the border of two frames, or hold what follows it?
        self._whole_way = False  # nothing is cut any more
        self._fragmented = False
        self._rest = b""
        self.passed = 0
        self._through = 0  # bytes of a long frame that are still to come

    def connection_made(self, transport: BaseTransport) -> None:
        """Ask the transport for less at a time."""
        super().connection_made(transport)
        if hasattr(transport, "max_size"):  # as asyncio's own has
            transport.max_size = _ONE_READ

    def data_received(self, data: bytes) -> None:
        """Take bytes from the transport."""
        if self._through:
            part = data[: self._through]
            self._through -= len(part)
            super().data_received(part)
            if self.protocol.state is not OPEN:
                self._through = 0
                self._give_up(data[len(part) :])
            elif len(part) < len(data):
                self._cut(data[len(part) :])
        elif self._cutting:
            self._cut(self._rest + data if self._rest else data)
        elif self._whole_way:
            super().data_received(data)
        else:
            self._shake(data)

    def _shake(self, data: bytes) -> None:
        """Hand on the handshake; cut what follows it."""
        seen = self._rest
        end = (seen + data).find(_END_OF_HANDSHAKE)
        if end < 0:
            self._rest = (seen + data)[-len(_END_OF_HANDSHAKE) + 1 :]
            super().data_received(data)
            return
        border = end + len(_END_OF_HANDSHAKE) - len(seen)
        self._rest = b""
        super().data_received(data[:border])
        self._cutting = self.protocol.state is OPEN
        self._whole_way = not self._cutting  # a refusal may have a body
        if border < len(data):
            self.data_received(data[border:])

    def _cut(self, data: bytes) -> None:
        at, end = 0, len(data)
        while True:
            if self.tap is not None and not self._fragmented:
                at = self._tapped(self.tap, data, at)
            # One frame the library's way.
            if end - at < 2:  # noqa: PLR2004 - the shortest header
                break
            length, body = data[at + 1], at + 2
            if length > _LONG:
                self._give_up(data[at:])
                return
            if length >= _SHORT:
                body += 2 if length == _SHORT else 8
                length = int.from_bytes(data[at + 2 : body], "big")
            stop = body + length
            if end < body or (end < stop and length <= _LONGEST):
                break
            head = data[at]
            if head & _OPCODE < _CONTROL:
                self._fragmented = not head & _FINAL
                self.passed += not self._fragmented
            super().data_received(data[at:stop])
            if self.protocol.state is not OPEN:  # a goodbye, or a frame that no server may send
                self._give_up(data[stop:])
                return
            if stop > end:
                self._through = stop - end
                self._rest = b""
                return
            at = stop
        self._rest = data[at:]

    def _tapped(self, tap: Callable[[list[bytes]], int], data: bytes, at: int) -> int:
        """Offer the whole messages from `at` on; return where the first begins that stays."""
        end, kind = len(data), self.tapped
        while True:
            messages: list[bytes] = []
            stops = [at]
            while len(messages) < _MOST and end - at >= 2 and data[at] == kind:  # noqa: PLR2004
                length, body = data[at + 1], at + 2
                if length >= _SHORT:
                    if length > _LONG or end - at < (4 if length == _SHORT else 10):
                        break
                    if length == _SHORT:
                        length, body = data[at + 2] << 8 | data[at + 3], at + 4
                    else:
                        length, body = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
                        if length > _LONGEST:
                            break
                at = body + length
                if at > end:
                    break
                messages.append(data[body:at])
                stops.append(at)
            taken = tap(messages) if messages else 0
            at = stops[taken]
            if taken < _MOST:
                return at

    def _give_up(self, data: bytes) -> None:
        """Leave everything from here on to the library, which knows long frames and wrong ones."""
        self._cutting, self._whole_way, self._rest = False, True, b""
        if data:
            super().data_received(data)


class Inflow(Flow):
    """The same of binary messages, as the door writes them."""

    tapped = _BINARY
