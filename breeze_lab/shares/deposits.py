"""Deposits: the book of links of a whole Hub, in which each link has an owner.

Of the owner nothing but a name is known, as the Hub told it. The name is among
the signed parameters, so a link cannot be given to somebody else. Who is asked
about another's link says what is said of one that never was.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from breeze_lab.errors import ShareError
from breeze_lab.shares import links
from breeze_lab.shares.book import Book

if TYPE_CHECKING:
    from datetime import timedelta

    from breeze_lab.shares.links import Link, Target

__all__ = ["LARGEST_OF_OWNER", "MOST_OF_OWNER", "Deposits"]

#: Links of one owner that count at a time, and the bytes on disk of all their targets.
MOST_OF_OWNER: Final = 100
LARGEST_OF_OWNER: Final = 64 * 1024 * 1024

#: Ended links of one owner that are still told of.
_ENDED_OF_OWNER: Final = 100
_OWNER: Final = "owner"


class Deposits(Book):
    """The open book of all owners. For any thread; one process writes it."""

    most = 5000

    def deposit(self, owner: str, target: Target, span: timedelta) -> tuple[str, Link]:
        """Keep a frozen target for its owner; return the new link's id and the link.

        Raises
        ------
        ShareError
            This owner has too many links, or too large ones; or it is no link at all.
        """
        ended = []
        many = 0
        for link in self.owned(owner, ended=True):
            if self.recheck(link.digest) is None:
                ended.append(link)
            else:
                many += 1
        if many >= MOST_OF_OWNER:
            raise ShareError(
                f"You have {many} links at the Hub already. Revoke what nobody needs: "
                "breeze-lab shares list"
            )
        for link in ended[_ENDED_OF_OWNER:]:
            self.forget(link.digest)
        signed = replace(target, parameters={**target.parameters, _OWNER: owner})
        token, link = self.add(signed, span)
        if self.bytes_of(owner) > LARGEST_OF_OWNER:
            self.forget(link.digest)
            raise ShareError(
                f"Your links at the Hub would take more than {LARGEST_OF_OWNER / 2**20:.0f} MB. "
                "Revoke some, or share fewer points."
            )
        return token, link

    def owned(self, owner: str, *, ended: bool = False) -> list[Link]:
        """Return the links of an owner that count, newest first; ended ones, too, when asked."""
        return [one for one in self.links(ended=ended) if one.parameters.get(_OWNER) == owner]

    def withdraw(self, owner: str, name: str) -> Link:
        """Withdraw a link of this owner's.

        Raises
        ------
        NoSuchShare
            This owner has none of that name, whoever else has.
        """
        found = links.called(name, self.owned(owner))
        self.end(found.digest)
        return found

    def withdraw_all(self, owner: str) -> int:
        """Withdraw all links of an owner that count; return how many."""
        found = self.owned(owner)
        for one in found:
            self.end(one.digest)
        return len(found)

    def bytes_of(self, owner: str) -> int:
        """Return how many bytes the targets of an owner's links take on disk."""
        rows = self.ask("SELECT digest, length(body) FROM targets")
        sizes = {str(digest): int(size) for digest, size in rows}
        return sum(sizes.get(one.digest, 0) for one in self.owned(owner))

    def forget(self, digest: str) -> None:
        """Drop all that is known of a link."""
        with self.turn() as file:
            file.execute("DELETE FROM targets WHERE digest = ?", (digest,))
            file.execute("DELETE FROM links WHERE digest = ?", (digest,))
