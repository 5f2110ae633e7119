"""``%share`` and ``%shares``: links for others, from a notebook's line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class

if TYPE_CHECKING:
    from breeze_lab.shares.face import Share, Shares
    from breeze_lab.shares.links import Link

__all__ = ["ShareMagics"]


@magics_class
class ShareMagics(Magics):
    """Two lines over `breeze_lab.share` and `breeze_lab.shares`."""

    @line_magic
    def share(self, line: str) -> Share:
        """Make a link through which others look at something.

        ::

            %share                   the last output, for 7 days
            %share chart             what the name `chart` holds
            %share chart 12h lagged  until then, and only candles 30 days old or more
        """
        from breeze_lab.shares import face  # noqa: PLC0415 - the extension costs nothing
        from breeze_lab.shares.links import CLASSES, DEFAULT_SPAN  # noqa: PLC0415 - see above

        words = line.split()
        data = words.pop() if words and words[-1] in CLASSES else "auto"
        expires = words.pop() if words and words[-1][:1].isdigit() else DEFAULT_SPAN
        if len(words) > 1:
            raise UsageError("%share NAME 7d: one name, and until when.")
        name = words[0] if words else "_"
        assert self.shell is not None
        names: dict[str, Any] = self.shell.user_ns
        if name not in names or (name == "_" and isinstance(names[name], str) and not names[name]):
            raise UsageError(
                "There is no output yet. %share NAME names what to share."
                if name == "_" else f"There is no {name!r} here. %share takes a variable's name."
            )  # fmt: skip
        return face.share(names[name], expires, data=data)

    @line_magic
    def shares(self, line: str) -> Shares | Link:
        """List the links that count, or withdraw one.

        ::

            %shares                  what is shared
            %shares ended            what was shared, too
            %shares revoke a1b2c3d4
        """
        from breeze_lab.shares import face  # noqa: PLC0415 - the extension costs nothing

        match line.split():
            case []:
                return face.shares()
            case ["ended"]:
                return face.shares(ended=True)
            case ["revoke", name]:
                return face.revoke(name)
        raise UsageError("%shares, %shares ended, or %shares revoke NAME")
