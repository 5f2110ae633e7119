"""What became of every row of a security master."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

__all__ = ["Report"]


@dataclass(slots=True)
class Report:
    """The account of one compilation: nothing is dropped without its line and reason.

    Parameters
    ----------
    digest
        SHA-256 of the zip, in hex.
    day
        The newest date of a member in the zip; None where it has no sane one.
    rows
        Data rows in each member, counted in its bytes.
    kept
        Instruments made of them; ``rows[m] == kept[m] +`` the skipped of ``m``.
    skipped
        ``(member, line number, reason)`` of each row left out; the header is line 1.
    warnings
        What was read all the same, though it is odd.
    """

    digest: str = ""
    day: date | None = None
    rows: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    skipped: list[tuple[str, int, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kept = ", ".join(
            f"{member.removesuffix('ScripMaster.txt')} {count:,}"
            + (f" of {self.rows[member]:,}" if self.rows[member] != count else "")
            for member, count in self.kept.items()
        )
        return f"{kept}; {len(self.skipped):,} rows skipped, {len(self.warnings)} warnings"
