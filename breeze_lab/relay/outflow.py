"""The websocket of the door, which writes a whole message with one call of the transport.

The library's own way of sending checks and copies a message several times. What
comes in, and everything about the opening and the end, is left to it.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Final

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

    async def send(self, message: Any, *, text: bool | None = None) -> None:
        """Send a message; wait while too much of what was sent is not read.

        Raises
        ------
        ConnectionClosed
            When the connection is closed.
        """
        if (
            type(message) is not bytes
            or self.protocol.state is not OPEN
            or self.send_in_progress is not None
        ):
            await super().send(message, text=text)
            return
        self.transport.write(_head(_TEXT if text else _BINARY, len(message)) + message)
        try:
            await self.drain()
        except OSError as exc:  # it went while we waited
            self.set_connection_exc(exc)
            self.transport.abort()
            await asyncio.shield(self.connection_lost_waiter)
            raise self.protocol.close_exc from exc


def _head(kind: int, length: int) -> bytes:
    """Return the head of a server's frame that is a whole message."""
    if length < _SHORT:
        return bytes((kind, length))
    if length < 1 << 16:
        return struct.pack(">BBH", kind, _SHORT, length)
    return struct.pack(">BBQ", kind, _LONG, length)
