"""What a person calls: share something, list the links, withdraw one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock, processes, settings
from breeze_lab.errors import ShareError
from breeze_lab.shares import links, remote
from breeze_lab.shares.book import Book, folder, open_book
from breeze_lab.shares.links import DEFAULT_SPAN, Link, Target

if TYPE_CHECKING:
    from datetime import datetime, timedelta


__all__ = ["Share", "Shares", "ensure", "keep", "revoke", "revoke_all", "share", "shares"]

_CLASS: Final = {
    "practice": "practice, live", "snapshot": "snapshot", "lagged": "30 days old or more",
}  # fmt: skip


def share(
    x: Any, expires: str | timedelta | datetime = DEFAULT_SPAN, *, data: str = "auto",
    title: str = "", source: str = "",
) -> Share:  # fmt: skip
    """Make a link through which others look at `x`, and only look.

    On a Hub that keeps links (`breeze_lab.shares.remote`) what is frozen is kept there and is
    shown while this server is stopped; what is live is shown by this server.

    Parameters
    ----------
    x
        A chart of `breeze_lab.candles`, a Bokeh figure or layout, a Panel object.
    expires
        ``"30m"``, ``"12h"``, ``"7d"``, ``"2w"``, a timedelta, or an end (naive means IST); at
        most 90 days.
    data
        ``"practice"``: live, for charts of the practice market, which is their default.
        ``"snapshot"``: as it is now, the default of everything else. ``"lagged"``: of a chart,
        the candles that ended 30 days ago and before. Live prices of an exchange are never
        passed on.
    title, source
        Of a figure: what its page is called, and where its data come from. A chart knows both.

    Returns
    -------
    Share
        Its `url` is told once: only a hash of it is kept.

    Raises
    ------
    ShareError
        It cannot be frozen, or may not be shared like this; the message says what can be. Or the
        Hub does not keep it: then there is no link.
    ProcessError
        The viewer's process did not start.

    Examples
    --------
    >>> breeze_lab.share(breeze_lab.candles("RELIANCE"), expires="7d")  # doctest: +SKIP
    """
    from breeze_lab.shares.freezing import freeze  # noqa: PLC0415 - loads Bokeh

    made = keep(freeze(x, title=title, source=source, data=data), expires)
    if not made.at_hub:
        ensure()
    return made


def keep(target: Target, expires: str | timedelta | datetime) -> Share:
    """Enter a frozen target into the book, or deposit it with the Hub; return the new link.

    Raises
    ------
    ShareError
    """
    # What is live comes from this person's relay, which the Hub's service has not.
    hub = remote.service() if target.data != "practice" else None
    if hub is not None:
        token, link = hub.deposit(target, expires)
        return Share(link, token, at_hub=True)
    with Book(folder()) as book:
        token, link = book.add(target, expires)
    return Share(link, token)


def ensure() -> dict[str, Any]:
    """Start the viewer's process when none runs; return its ready record.

    Raises
    ------
    ProcessError
    """
    return processes.ensure(settings.folders().runtime, "shares", "breeze_lab.shares")


def shares(*, ended: bool = False) -> Shares:
    """Return the links that count, newest first; those that ended, too, when asked.

    Raises
    ------
    ShareError
        The book of links cannot be read, or the Hub does not tell those that it keeps.
    """
    hub = remote.service()
    found = [*_here(ended=ended), *(hub.links(ended=ended) if hub is not None else ())]
    return Shares(sorted(found, key=lambda one: -one.made_ms))


def _here(*, ended: bool = False) -> list[Link]:
    book = open_book(must_exist=True)
    if book is None:
        return []
    with book:
        return book.links(ended=ended)


def revoke(name: str) -> Link:
    """Withdraw the link of this name; who looks at it is cut off within a second.

    Raises
    ------
    NoSuchShare
        None that counts is called so, or several are.
    ShareError
        The Hub, which keeps it, does not answer.
    """
    here = _here()
    whole = [one for one in here if name in (one.name, one.digest)]
    # What is here ends here, whether the Hub answers or not.
    link = whole[0] if len(whole) == 1 else links.called(name, shares())
    hub = None if link in here else remote.service()
    if hub is not None:
        hub.revoke(link.digest)
        return link
    with Book(folder()) as book:
        return book.revoke(link.digest)


def revoke_all() -> int:
    """Withdraw all links, those here first; return how many.

    Raises
    ------
    ShareError
    """
    book = open_book(must_exist=True)
    many = 0
    if book is not None:
        with book:
            many = book.revoke_all()
    hub = remote.service()
    return many + (hub.revoke_all() if hub is not None else 0)


@dataclass(frozen=True)
class Share:
    """A new link. Whoever has its `url` can look until it ends.

    Parameters
    ----------
    link
        What the book knows of it.
    token
        The id; kept here and nowhere else.
    at_hub
        Whether the Hub keeps it.
    """

    link: Link
    token: str
    at_hub: bool = False

    @property
    def name(self) -> str:
        """What `breeze_lab.shares()` calls it."""
        return self.link.name

    @property
    def url(self) -> str:
        """Where to look, as this machine names it.

        That is the Jupyter server's port when this kernel has one, else the viewer's own.
        ``BREEZE_LAB_SHARE_URL`` names the address that others reach, up to ``breeze-lab/``. What
        the Hub keeps has an address of the Hub's.
        """
        if self.at_hub:
            return f"{remote.public_url()}/s/{self.token}"
        base = os.environ.get("BREEZE_LAB_SHARE_URL", "") or _server_url()
        return f"{base.rstrip('/')}/s/{self.token}"

    def revoke(self) -> None:
        """Withdraw it; who looks at it is cut off within a second.

        Raises
        ------
        NoSuchShare
            It has ended already.
        """
        revoke(self.link.digest)

    def __repr__(self) -> str:
        return f"<Share {self.name}: {self.link.title}, {_CLASS[self.link.data]}>"

    def _repr_html_(self) -> str:
        url = escape(self.url, quote=True)
        return (
            f"<div>{escape(self.link.title)} · {_CLASS[self.link.data]} · until "
            f"{_moment(self.link.expires_ms)}<br>"
            f'<a href="{url}" target="_blank" rel="noopener noreferrer">{url}</a><br>'
            f"Whoever has the link can look. Withdraw it: "
            f"<code>breeze-lab shares revoke {self.name}</code></div>"
        )


class Shares(tuple[Link, ...]):
    """Links, newest first; shown as a table. Their addresses are their holders' alone."""

    __slots__ = ()

    def revoke(self, name: str) -> Link:
        """Withdraw the link of this name.

        Raises
        ------
        NoSuchShare
        """
        return revoke(name)

    def rows(self) -> list[tuple[str, ...]]:
        """Return name, title, class of data, state, end and openings of each."""
        now = clock.now().timestamp() * 1000
        return [
            (one.name, one.title, _CLASS[one.data], one.state(now), _moment(one.expires_ms),
             f"{one.opened} times" + (f", last {_moment(one.opened_ms)}" if one.opened_ms else ""))
            for one in self
        ]  # fmt: skip

    def __repr__(self) -> str:
        table = [_HEAD, *self.rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(_HEAD))]
        lines = ["  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in table]
        return "\n".join(line.rstrip() for line in lines) if self else "Nothing is shared."

    def _repr_html_(self) -> str:
        if not self:
            return "<p>Nothing is shared.</p>"
        cell = "<{0} style='text-align:left'>{1}</{0}>".format
        body = "".join(
            f"<tr>{''.join(cell('td', escape(text)) for text in row)}</tr>" for row in self.rows()
        )
        head = "".join(cell("th", text) for text in _HEAD)
        return f"<table class='breeze-lab-shares'><tr>{head}</tr>{body}</table>"


_HEAD: Final = ("name", "what", "data", "state", "until", "opened")


def _moment(ms: int) -> str:
    return f"{clock.from_epoch(ms / 1000):%d-%m-%Y %H:%M} IST"


def _server_url() -> str:
    """Return the address of our routes at the Jupyter server above this kernel, or the viewer's."""
    import json  # noqa: PLC0415 - only here
    from pathlib import Path  # noqa: PLC0415

    from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415 - only in a kernel

    parent = os.environ.get("JPY_PARENT_PID", "")
    if parent.isdigit():
        try:
            told = json.loads((Path(jupyter_runtime_dir()) / f"jpserver-{parent}.json").read_text())
            return str(told["url"]).rstrip("/") + "/breeze-lab"
        except (OSError, ValueError, KeyError):
            pass  # a server of another kind, or one that has gone
    record = processes.running(settings.folders().runtime, "shares")
    if record is None:
        raise ShareError("The viewer does not run. Start it: breeze-lab shares serve")
    return f"http://{record['host']}:{record['port']}{str(record['prefix']).rstrip('/')}"
