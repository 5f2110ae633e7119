"""The book of links, on disk: SQLite, mode 0600, and the key that signs beside it.

Notebooks, commands and the Jupyter server write it, the viewer's process
reads it. No id is in it, only hashes of ids. A withdrawn link loses its frozen
target and its signature at once, so writing into the file does not bring it
back.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import time
import zlib
from dataclasses import fields
from typing import TYPE_CHECKING, ClassVar, Final

from breeze_lab import settings
from breeze_lab.books import BookFile
from breeze_lab.errors import ShareError
from breeze_lab.shares import links
from breeze_lab.shares.links import Link

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime, timedelta
    from pathlib import Path

    from breeze_lab.shares.links import Target

__all__ = ["LARGEST", "Book", "folder", "open_book"]

#: Bytes of a frozen target; a page of more would not open on a phone.
LARGEST: Final = 16 * 1024 * 1024

#: Links at a time: who has more has forgotten them.
MOST: Final = 500

_VERSION: Final = 1
_SCHEMA: Final = f"""
CREATE TABLE links (
  digest TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, source TEXT NOT NULL,
  data TEXT NOT NULL, frozen TEXT NOT NULL, made_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
  parameters TEXT NOT NULL, revoked_ms INTEGER, opened INTEGER NOT NULL DEFAULT 0,
  opened_ms INTEGER, signature BLOB) WITHOUT ROWID;
CREATE TABLE targets (digest TEXT PRIMARY KEY REFERENCES links (digest), body BLOB NOT NULL);
PRAGMA user_version = {_VERSION};
"""
_KEY_BYTES: Final = 32
#: A link that ended so long ago is forgotten.
_KEPT_MS: Final = 30 * 86_400_000


def folder() -> Path:
    """Return the folder of the book and its key, private to the user; made if missing."""
    path = settings.folders().data / "shares"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def open_book(*, must_exist: bool = False) -> Book | None:
    """Return the user's book; None when there is none yet and `must_exist`."""
    if must_exist and not (settings.folders().data / "shares" / "book.sqlite").exists():
        return None
    return Book(folder())


class Book(BookFile):
    """The open book; closed with `close` or as a context manager. For any thread.

    Parameters
    ----------
    home
        The folder of ``book.sqlite`` and ``key``; both are made when they are missing.

    Raises
    ------
    ShareError
        It cannot be read or was made by a newer version.
    """

    words = "The book of links"
    loss = "all links end with it"
    error = ShareError
    version = _VERSION
    schema = _SCHEMA
    # What was withdrawn is overwritten and does not wait in a free page.
    pragmas = ("secure_delete = ON",)
    busy_s = 10.0
    #: Links that count at a time.
    most: ClassVar[int] = MOST

    def __init__(self, home: Path) -> None:
        self._key = _key(home / "key")
        # What stands for a link that is not there, so that looking for it costs the same.
        self._nobody = Link(
            digest="0" * 64, kind="chart", title="", source="", data="practice", frozen="0" * 64,
            made_ms=0, expires_ms=0,
        )  # fmt: skip
        super().__init__(home / "book.sqlite")

    def add(self, target: Target, expires: str | timedelta | datetime) -> tuple[str, Link]:
        """Keep a frozen target; return the new link's id, which nobody can ask for again.

        Raises
        ------
        ShareError
            It is too large, there are too many links, or `expires` is no end of one.
        """
        if len(target.body) > LARGEST:
            raise ShareError(
                f"It takes {len(target.body) / 1e6:.0f} MB and a link holds {LARGEST / 1e6:.0f}. "
                "Share fewer points."
            )
        self.tidy()
        now = _now_ms()
        token = links.new_token()
        link = Link(
            digest=links.digest(token), kind=target.kind, title=target.title[:200],
            source=target.source[:200], data=target.data, made_ms=now,
            frozen=hashlib.sha256(target.body).hexdigest(),
            expires_ms=links.until_ms(expires, now), parameters=target.parameters,
        )  # fmt: skip
        row = {
            **{f.name: getattr(link, f.name) for f in fields(link)},
            "parameters": json.dumps(target.parameters), "signature": links.sign(self._key, link),
        }  # fmt: skip
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        body = zlib.compress(target.body, 6)
        with self.turn() as file:
            (many,) = file.execute(
                "SELECT count(*) FROM links WHERE revoked_ms IS NULL AND expires_ms > ?", (now,)
            ).fetchone()
            if many >= self.most:
                raise ShareError(
                    f"There are {many} links already. Revoke what nobody needs: breeze-lab shares "
                    "list"
                )
            file.execute(f"INSERT INTO links ({names}) VALUES ({marks})", row)  # noqa: S608 - ours
            file.execute("INSERT INTO targets VALUES (?, ?)", (link.digest, body))
        return token, link

    def check(self, token: str) -> Link | None:
        """Return the link of an id when it counts now; None for every other text.

        An id that is not there costs the same steps as one that is: a hash, a
        look-up by the hash, and an HMAC.
        """
        return self.recheck(links.digest(token))

    def recheck(self, digest: str) -> Link | None:
        """Return the link of a hash when it counts now and is as it was signed."""
        rows = self.ask("SELECT * FROM links WHERE digest = ?", digest)
        row = rows[0] if rows else None
        link = None if row is None else _link(row)
        signature = b"" if row is None else bytes(row["signature"] or b"")
        fits = hmac.compare_digest(links.sign(self._key, link or self._nobody), signature)
        return link if fits and link is not None and link.good(_now_ms()) else None

    def target(self, link: Link) -> bytes | None:
        """Return the frozen target of a link that counts; None when it is not what was signed."""
        rows = self.ask("SELECT body FROM targets WHERE digest = ?", link.digest)
        try:
            body = zlib.decompressobj().decompress(rows[0]["body"], LARGEST + 1) if rows else b""
        except zlib.error:
            return None
        fits = hmac.compare_digest(hashlib.sha256(body).hexdigest(), link.frozen)
        return body if fits else None

    def note(self, link: Link) -> None:
        """Count that somebody opened the page."""
        self.ask(
            "UPDATE links SET opened = opened + 1, opened_ms = ? WHERE digest = ?",
            _now_ms(), link.digest,
        )  # fmt: skip

    def links(self, *, ended: bool = False) -> list[Link]:
        """Return the links that count, newest first; those that ended, too, when asked."""
        rows = self.ask("SELECT * FROM links ORDER BY made_ms DESC")
        found = [link for link in map(_link, rows) if link is not None]
        return [link for link in found if ended or self.recheck(link.digest) is not None]

    def active(self) -> int:
        """Return how many links count now."""
        query = "SELECT count(*) FROM links WHERE revoked_ms IS NULL AND expires_ms > ?"
        return int(self.ask(query, _now_ms())[0][0])

    def revoke(self, name: str) -> Link:
        """Withdraw the link of this name (or more of its hash); its target is gone at once.

        Raises
        ------
        NoSuchShare
            None that counts is called so, or several are.
        """
        found = links.called(name, self.links())
        self.end(found.digest)
        return found

    def revoke_all(self) -> int:
        """Withdraw all links that count; return how many."""
        found = self.links()
        for one in found:
            self.end(one.digest)
        return len(found)

    def end(self, digest: str) -> None:
        """Take a link's target and signature away, which is the end of it."""
        with self.turn() as file:
            file.execute(
                "UPDATE links SET revoked_ms = ?, signature = NULL WHERE digest = ?",
                (_now_ms(), digest),
            )
            file.execute("DELETE FROM targets WHERE digest = ?", (digest,))

    def tidy(self) -> None:
        """Drop the targets of what has expired, and forget what ended long ago."""
        now = _now_ms()
        with self.turn() as file:
            file.execute(
                "DELETE FROM targets WHERE digest IN (SELECT digest FROM links "
                "WHERE expires_ms <= ? OR revoked_ms IS NOT NULL)",
                (now,),
            )
            file.execute(
                "DELETE FROM links WHERE expires_ms < ? OR revoked_ms < ?",
                (now - _KEPT_MS, now - _KEPT_MS),
            )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _link(row: sqlite3.Row) -> Link | None:
    """Return a row as a link; None when somebody wrote into it what is none."""
    try:
        plain = {f.name: row[f.name] for f in fields(Link)}
        plain["parameters"] = json.loads(row["parameters"])
        if plain["kind"] not in ("chart", "document") or plain["data"] not in links.CLASSES:
            return None
        link = Link(**plain)
        link.promise()
        link.good(0)
    except (TypeError, ValueError, RecursionError):
        return None
    return link


def _key(path: Path) -> bytes:
    """Return the signing key, made whole or not at all by whoever needs it first."""
    if not path.exists():
        temporary = path.with_name(f".key.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, does not replace the key of whoever was faster.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    if path.stat().st_mode & 0o077:
        raise ShareError(
            f"Others can read the key that signs links. Delete {path}, which ends every link, and "
            "share again."
        )
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ShareError(f"{path} is damaged. Delete it, which ends every link, and share again.")
    return key
