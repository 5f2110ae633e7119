"""The websocket of the door, which writes a whole message with one call of the transport.

The library's own way of sending checks and copies a message several times. What
comes in, and everything about the opening and the end, is left to it.
"""

from __future__ import annotations

import asyncio
import struct
from operator import is_
from typing import ClassVar, Final

from websockets.asyncio.server import ServerConnection
from websockets.protocol import OPEN

__all__ = ["Outflow"]

#: A whole message of text, and a binary one.
_TEXT: Final = 0x81
_BINARY: Final = 0x82
#: Length codes of the header: 16 bits follow, 64 bits follow.
_SHORT, _LONG = 126, 127


class Outflow(ServerConnection):
    """A server's websocket that writes whole messages with one call of the transport.

    Hand it to ``serve`` as ``create_connection``, with ``compression=None``.
    """

    #: What was written last and from which messages: under a flood many connections are sent the
    #: very same ones in turn.
    _framed: ClassVar[tuple[list[bytes], bool, bytes]] = [], False, b""

    async def send_all(self, messages: list[bytes], *, text: bool) -> None:
        """Send messages one behind the other; wait while too much of what was sent is not read.

        Raises
        ------
        ConnectionClosed
            When the connection is closed.
        """
        if self.protocol.state is not OPEN or self.send_in_progress is not None:
            for message in messages:
                await self.send(message, text=text)
            return
        self.transport.write(_frames(messages, text=text))
        try:
            await self.drain()
        except OSError as exc:  # it went while we waited
            self.set_connection_exc(exc)
            self.transport.abort()
            await asyncio.shield(self.connection_lost_waiter)
            raise self.protocol.close_exc from exc


def _frames(messages: list[bytes], *, text: bool) -> bytes:
    """Return whole messages as they are written."""
    before, was_text, frames = Outflow._framed  # noqa: SLF001 - shared by all connections
    if text is was_text and len(messages) == len(before) and all(map(is_, messages, before)):
        return frames
    kind = _TEXT if text else _BINARY
    frames = b"".join([part for one in messages for part in (_head(kind, len(one)), one)])
    Outflow._framed = messages, text, frames  # noqa: SLF001
    return frames


def _head(kind: int, length: int) -> bytes:
    """Return the head of a server's frame that is a whole message."""
    if length < _SHORT:
        return bytes((kind, length))
    if length < 1 << 16:
        return struct.pack(">BBH", kind, _SHORT, length)
    return struct.pack(">BBQ", kind, _LONG, length)
