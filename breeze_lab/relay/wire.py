"""Engine.IO 4 and Socket.IO 5 as a client speaks them, without I/O.

Owns the packets: websocket messages go in, events come out, and what has to be
sent waits in `SocketIOClient.data_to_send`. Sockets, time and retries are left
to `upstream`. Only what Breeze uses is here: one namespace, websocket only, no
binary attachments, no acknowledgements. A packet that cannot be read is an
event like any other, so that whoever reads on decides, and never an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Closed",
    "Connected",
    "Event",
    "Ignored",
    "Malformed",
    "Opened",
    "Pinged",
    "Received",
    "Refused",
    "SocketIOClient",
    "encode_event",
    "stock",
    "stocks",
]


@dataclass(frozen=True, slots=True)
class Opened:
    """The Engine.IO handshake; the server pings every `ping_interval_s`."""

    ping_interval_s: float
    ping_timeout_s: float


@dataclass(frozen=True, slots=True)
class Connected:
    """The namespace accepted our login."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The namespace refused our login."""

    message: str


@dataclass(frozen=True, slots=True)
class Pinged:
    """The server asked whether we live; the answer waits to be sent."""


@dataclass(frozen=True, slots=True)
class Received:
    """An event; each argument as the JSON text that came, so that it can be kept as it came."""

    name: str
    raw: tuple[bytes, ...] = ()

    @property
    def arguments(self) -> list[Any]:
        """The arguments' values."""
        return [_decode(text) for text in self.raw]


@dataclass(frozen=True, slots=True)
class Closed:
    """The server ended the conversation politely."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """A valid packet that means nothing to us."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A packet that could not be read."""

    reason: str


Event: TypeAlias = Opened | Connected | Refused | Pinged | Received | Closed | Ignored | Malformed

_STOCK: Final = b'42["stock",['
_PINGED: Final = Pinged()
_IGNORED: Final = Ignored()
#: Socket.IO packets whose content does not matter: accepted, left, acknowledged.
_PLAIN: Final[dict[bytes, Event]] = {
    b"0": Connected(),
    b"1": Closed("the server left the namespace"),
    b"3": _IGNORED,
}
#: Everything that reading a packet of unknown content can raise.
_UNREADABLE: Final = (
    msgspec.MsgspecError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip
_decode: Final = msgspec.json.Decoder().decode
_decode_parts: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


def encode_event(name: str, *arguments: Any) -> str:
    """Return the websocket message of one event."""
    return "42" + _encode([name, *arguments]).decode()


def stock(message: bytes) -> bytes | None:
    """Return the one list that a plain ``stock`` event carries, as it came; else None.

    It is cut out, not read: whoever reads it sees whether it is JSON at all.
    What might have further arguments is left to `SocketIOClient.receive`.
    """
    if message[:12] == _STOCK and message[-2:] == b"]]" and b"],[" not in message:
        return message[11:-1]
    return None


def stocks(messages: Sequence[bytes]) -> list[bytes]:
    """Return what `stock` returns of each message, up to the first of which it returns None."""
    raws = [
        message[11:-1]
        for message in messages
        if message[:12] == _STOCK and message[-2:] == b"]]" and b"],[" not in message
    ]
    if len(raws) != len(messages):
        raws.clear()
        for message in messages:
            raw = stock(message)
            if raw is None:
                break
            raws.append(raw)
    return raws


class SocketIOClient:
    """One conversation, from the handshake on.

    Parameters
    ----------
    auth
        What the CONNECT packet carries, for Breeze ``{"user", "token"}``.
    """

    def __init__(self, auth: Mapping[str, str]) -> None:
        """Wait for the server's handshake."""
        self._connect = "40" + _encode(dict(auth)).decode()
        self._outgoing: list[str] = []

    def data_to_send(self) -> list[str]:
        """Return the messages to send now and forget them."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def receive(self, message: str | bytes) -> Event:
        """Take one websocket message and return what it means."""
        data = message.encode() if isinstance(message, str) else message
        try:
            if data[:3] == b"42[":  # the hot path: an event in the main namespace
                return _event(data[2:])
            return self._packet(data)
        except _UNREADABLE as exc:
            return Malformed(f"{type(exc).__name__} in {data[:40]!r}")

    def _packet(self, data: bytes) -> Event:
        kind, rest = data[:1], data[1:]
        if kind == b"2":
            self._outgoing.append("3" + rest.decode())
            return _PINGED
        if kind == b"4":
            return self._socketio(rest)
        if kind == b"0":
            handshake = _decode(rest)
            opened = Opened(
                float(handshake["pingInterval"]) / 1000, float(handshake["pingTimeout"]) / 1000
            )
            self._outgoing.append(self._connect)
            return opened
        if kind == b"1":
            return Closed("the server closed the transport")
        if kind in (b"3", b"6"):  # pong, noop
            return _IGNORED
        return Malformed(f"no Engine.IO packet starts with {data[:1]!r}")

    def _socketio(self, data: bytes) -> Event:
        kind, rest = data[:1], data[1:]
        if rest[:1] == b"/":
            namespace, _, rest = rest.partition(b",")
            if namespace.partition(b"?")[0] != b"/":
                return _IGNORED
        if kind == b"2":
            return _event(rest.lstrip(b"0123456789"))  # an acknowledgement number is not used
        if kind == b"4":
            return Refused(_reason(_decode(rest) if rest else None))
        unexpected = Malformed(f"no Socket.IO packet of kind {kind!r} is expected")
        return _PLAIN.get(kind, unexpected)


def _event(data: bytes) -> Event:
    name, *raw = _decode_parts(data)
    text = _decode(name)
    if not isinstance(text, str):
        return Malformed("an event without a name")
    return Received(text, tuple(map(bytes, raw)))


def _reason(payload: Any) -> str:
    """Return the text of a refusal: servers send an object, a list or a bare text."""
    if isinstance(payload, dict):
        payload = payload.get("message")
    elif isinstance(payload, list):
        payload = payload[0] if payload else None
    return str(payload)[:200] if payload else "no reason given"
