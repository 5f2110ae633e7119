"""The door's requests: what a client may ask, checked before anything is done.

Each request is a map with an ``op``. The types here are the check: what does
not fit them is answered with an error and changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from breeze_lab.errors import SubscriptionRefused

__all__ = [
    "Hello",
    "Login",
    "Metrics",
    "Orders",
    "Peek",
    "Request",
    "Shutdown",
    "Status",
    "Subscribe",
    "Unsubscribe",
    "parse",
]

#: Largest id that every client can write: JavaScript's integers end here.
_LARGEST_ID: Final = 2**53
Id: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST_ID)]
Key: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Room: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A\d{1,2}\.[12]!.{1,40}\Z")]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=4096)]
Label: TypeAlias = Annotated[str, msgspec.Meta(max_length=16)]
Labels: TypeAlias = Annotated[list[Label], msgspec.Meta(max_length=9)]
_MOST: Final = 2000
Heard: TypeAlias = Annotated[dict[Key, Id], msgspec.Meta(max_length=_MOST)]
_DAY_S: Final = 86_400


class _Message(msgspec.Struct, tag_field="op", frozen=True):
    pass


class Instrument(msgspec.Struct, frozen=True):
    """What to stream: our key, the broker's room, where its bars are anchored.

    A depth room (``4.2!…``) brings books. `code` is what the broker's candles
    call the contract (`breeze_lab.candle_text.contract`); with it our bars
    are compared with theirs.
    """

    key: Key
    room: Room
    anchor_s: Annotated[int, msgspec.Meta(ge=0, lt=_DAY_S)] = 33_300
    code: Annotated[str, msgspec.Meta(max_length=80)] = ""


class Hello(_Message, tag="hello", frozen=True):
    """Name the consumer; `flush_ms` is the least time between two batches."""

    client: Annotated[str, msgspec.Meta(max_length=80)] = ""
    flush_ms: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10


class Login(_Message, tag="login", frozen=True):
    """Connect upstream with a broker session."""

    endpoints: dict[str, Text]
    user: Text
    token: Text
    account: Text = ""
    until: Text = ""
    serial: Text = ""
    id: Id | None = None

    def __repr__(self) -> str:
        """Show no token."""
        return f"Login(user={self.user!r})"


class Subscribe(_Message, tag="subscribe", frozen=True):
    """Stream instruments; `market` says whose prices are meant (``"practice"``, ``"icici"``).

    `after` gives the last sequence heard of a key, `life` the relay's life (of
    its ``welcome``) in which it was: what came since is told again.
    """

    id: Id
    instruments: Annotated[list[Instrument], msgspec.Meta(min_length=1, max_length=_MOST)]
    delivery: Literal["every", "latest"] = "every"
    bars: Labels = msgspec.field(default_factory=list)
    ticks: bool = True
    market: Annotated[str, msgspec.Meta(max_length=20)] = ""
    after: Heard = msgspec.field(default_factory=dict)
    life: Annotated[str, msgspec.Meta(max_length=40)] = ""


class Unsubscribe(_Message, tag="unsubscribe", frozen=True):
    """Stop streaming `keys`, their books and all; and the books alone of those in `depth`."""

    id: Id
    keys: Annotated[list[Key], msgspec.Meta(max_length=_MOST)]
    depth: Annotated[list[Key], msgspec.Meta(max_length=_MOST)] = msgspec.field(
        default_factory=list
    )


class Orders(_Message, tag="orders", frozen=True):
    """Push the owner's order notifications; unsubscribe them by the key ``orders``."""

    id: Id


class Status(_Message, tag="status", frozen=True):
    """Ask what the relay does."""

    id: Id


class Peek(_Message, tag="peek", frozen=True):
    """Ask for the last tick, and the bars kept, of what is streamed; nothing is subscribed."""

    id: Id
    instruments: Annotated[list[Instrument], msgspec.Meta(min_length=1, max_length=_MOST)]
    bars: Labels = msgspec.field(default_factory=list)


class Metrics(_Message, tag="metrics", frozen=True):
    """Ask for the state as Prometheus reads it."""

    id: Id


class Shutdown(_Message, tag="shutdown", frozen=True):
    """End the relay."""

    id: Id


Request: TypeAlias = (
    Hello | Login | Subscribe | Unsubscribe | Orders | Status | Peek | Metrics | Shutdown
)

_FROM_JSON: Final = msgspec.json.Decoder(Request)
_FROM_MSGPACK: Final = msgspec.msgpack.Decoder(Request)


class BadRequest(SubscriptionRefused):
    """A message of the door that cannot be served.

    Parameters
    ----------
    message
        What is wrong with it.
    request_id
        Its id, when it has a readable one.
    """

    def __init__(self, message: str, request_id: int | None) -> None:
        """Keep the id beside the message."""
        super().__init__(message)
        self.request_id = request_id


def parse(data: str | bytes, *, text: bool) -> Request:
    """Return the request in one websocket message.

    Raises
    ------
    BadRequest
        When it is none of the requests above.
    """
    if isinstance(data, str) is not text:
        raise BadRequest(f"Send {'text' if text else 'binary'} messages here.", None)
    raw = data.encode() if isinstance(data, str) else data
    decoder = _FROM_JSON if text else _FROM_MSGPACK
    try:
        request: Request = decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as exc:
        # The message names the place of the error, never the value found there.
        raise BadRequest(f"The message cannot be served: {exc}", _id(raw, text=text)) from None
    return request


def _id(raw: bytes, *, text: bool) -> int | None:
    """Return the id of a message that is otherwise wrong, so that its sender need not wait."""
    try:
        loose: Any = msgspec.json.decode(raw) if text else msgspec.msgpack.decode(raw)
        found = loose["id"]
    except (msgspec.MsgspecError, RecursionError, TypeError, KeyError, IndexError):
        return None
    return found if type(found) is int and 0 <= found <= _LARGEST_ID else None
