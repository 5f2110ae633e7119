"""Books: market depth for whoever wants it, the newest of each instrument.

Owns the depth rooms, who holds them and the rows in which books travel. A book
is a state and not a history: a slow consumer gets the newest one, nothing is
recorded, and a silence of a book is no gap. Runs on the event loop.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from breeze_lab.relay.market import Row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.frames import Book
    from breeze_lab.relay.consumers import Consumer
    from breeze_lab.relay.market import Codec
    from breeze_lab.relay.upstream import Upstream
    from breeze_lab.ticks import Depth

__all__ = ["Books", "is_depth"]

#: The second part of a depth room, ``"4.2!2885"``.
_DEPTH: Final = "2!"


def is_depth(room: str) -> bool:
    """Say whether a room is one of market depth."""
    return room.partition(".")[2].startswith(_DEPTH)


class _Page:
    """One depth room: who holds it, and its last book."""

    __slots__ = ("books", "holders", "idle_since", "last", "values")

    def __init__(self) -> None:
        self.holders: dict[Consumer, set[str]] = {}  # the keys by which each knows it
        self.last: Book | Depth | None = None
        self.values: tuple[Any, ...] = ()
        self.books = 0
        self.idle_since = time.monotonic()

    def row(self, key: str) -> Row:
        """Return the last book as ``[key, sequence, epoch, exchange_time_s, received_ms, levels]``.

        A level is ``[bid, bid_quantity, bid_orders, ask, ask_quantity, ask_orders]``.
        """
        return Row((key, *self.values))


class Books:
    """Every depth room that somebody wants.

    Parameters
    ----------
    upstream
        Where books come from.
    """

    def __init__(self, upstream: Upstream) -> None:
        """Hold no room."""
        self.rooms: dict[str, _Page] = {}
        self._upstream = upstream

    def hold(self, consumer: Consumer, wanted: Iterable[tuple[str, str]]) -> None:
        """Send the books of `wanted` (key and room) to `consumer` from now on."""
        for key, room in wanted:
            page = self.rooms.setdefault(room, _Page())
            page.holders.setdefault(consumer, set()).add(key)
        self._upstream.join([room for _, room in wanted])

    def release(self, consumer: Consumer, keys: Iterable[str] | None = None) -> None:
        """Send `consumer` no books of `keys` any more, or none at all."""
        gone = None if keys is None else set(keys)
        for page in self.rooms.values():
            held = page.holders.get(consumer)
            if held is None:
                continue
            left = set() if gone is None else held - gone
            if left != held:
                page.idle_since = time.monotonic()
            if left:
                page.holders[consumer] = left
            else:
                del page.holders[consumer]

    def sweep(self, before: float) -> None:
        """Leave rooms that nobody has wanted since `before` (monotonic seconds)."""
        for room, page in list(self.rooms.items()):
            if not page.holders and page.idle_since < before:
                del self.rooms[room]
                self._upstream.leave([room])

    def clear(self) -> None:
        """Forget every book: another market speaks from now on."""
        for page in self.rooms.values():
            page.last = None

    def take(self, book: Book | Depth, epoch: int, received_ms: int) -> bool:
        """Hand a book to its holders; return whether there are any."""
        page = self.rooms.get(book.room)
        if page is None:
            return False
        page.books += 1
        page.last = book
        page.values = (
            page.books, epoch, int(book.exchange_time.timestamp()), received_ms,
            [
                (at.bid, at.bid_quantity, at.bid_orders, at.ask, at.ask_quantity, at.ask_orders)
                for at in book.levels
            ],
        )  # fmt: skip
        for consumer, keys in page.holders.items():
            for key in keys:
                consumer.take_book(key, page.row(key))
        return True

    def snapshot(self, wanted: Iterable[tuple[str, str]], codec: Codec) -> list[Any]:
        """Return the last book of each of `wanted` that has had one."""
        pages = ((key, self.rooms.get(room)) for key, room in wanted)
        return [page.row(key).encoded(codec) for key, page in pages if page and page.last]

    def status(self) -> list[dict[str, Any]]:
        """Return what is held."""
        return [
            {"room": room, "consumers": len(page.holders), "books": page.books}
            for room, page in self.rooms.items()
        ]
