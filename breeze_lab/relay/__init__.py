"""The relay: the one process per user that holds the live stream.

Owns the upstream connection, the order of ticks, their bars and who gets what.
Rooms, from the broker inwards: `wire` (Engine.IO and Socket.IO without I/O),
`upstream` (the connection), `market` (what is known of each instrument),
`consumers` (bounded delivery), `hub` (who wants what) and `door` (the Unix
socket). Beside them `bus` and `sharing`: one relay's stream for others. History,
login and drawing are left to others.
"""

from __future__ import annotations

from typing import Final

__all__ = ["JSON", "MSGPACK", "PROTOCOL"]

#: Version of the door's messages.
PROTOCOL: Final = 1
#: The websocket subprotocols of the door; the client's choice picks the encoding.
MSGPACK: Final = f"breeze-lab.{PROTOCOL}.msgpack"
JSON: Final = f"breeze-lab.{PROTOCOL}.json"
