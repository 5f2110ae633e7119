"""From the broker's zip to the compiled master."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from breeze_lab.errors import MasterError
from breeze_lab.instruments import columns, contracts, index, listed, tables
from breeze_lab.instruments.archive import MAX_ROWS, Archive
from breeze_lab.instruments.layouts import LAYOUTS
from breeze_lab.instruments.report import Report

if TYPE_CHECKING:
    from breeze_lab.instruments.layouts import Layout
    from breeze_lab.instruments.tables import Table

__all__ = ["compile_archive", "parts"]


def compile_archive(archive: Archive) -> tuple[list[bytes | memoryview], Report]:
    """Return the parts of the compiled file, and what became of every row.

    Raises
    ------
    MasterError
        A member is damaged, of another format, or too large.
    """
    report = Report(archive.digest, archive.day, warnings=list(archive.warnings))

    def table(layout: Layout) -> Table:
        return tables.read(archive.read(layout.member), layout)

    present = [layout for layout in LAYOUTS if layout.member in archive]
    # Largest first: two cores inflate and parse side by side, outside the GIL.
    by_size = sorted(present, key=lambda layout: -archive.size(layout.member))
    with ThreadPoolExecutor(2, "master") as pool:
        read = dict(zip((x.member for x in by_size), pool.map(table, by_size), strict=True))
    found = [read[layout.member] for layout in present]
    total = sum(len(table) for table in found)
    if total > MAX_ROWS:
        raise MasterError(f"{archive.where} has {total:,} rows: no master has so many.")
    for one in found:
        member = one.layout.member
        report.rows[member] = one.rows
        report.kept[member] = 0
        report.skipped += [(member, line, reason) for line, reason in one.skipped]
        report.warnings += one.warnings
    derivatives, spots = contracts.gather([t for t in found if t.layout.derivatives], report)
    cash = listed.gather(
        [t for t in found if not t.layout.derivatives], spots, derivatives.underlyings, report
    )
    if not any(table.layout.exchange in ("NSE", "BSE") for table in found):
        raise MasterError(f"{archive.where} lists no stocks (members: {sorted(read)}).")
    report.skipped.sort()
    return parts(cash, derivatives, report), report


def parts(
    cash: listed.Listed, derivatives: contracts.Contracts, report: Report
) -> list[bytes | memoryview]:
    """Return the parts of the file of these rows."""
    found: dict[str, Any] = {
        "exchange": cash.exchange, "kind": cash.kind, "tier": cash.tier,
        "tradable": cash.tradable.astype("u1"), "lot": cash.lot, "tick": cash.tick,
        "contract": derivatives.packed, "contract_token": derivatives.token,
        "contract_lot": derivatives.lot, "contract_tick": derivatives.tick,
        "contract_own": derivatives.own.astype("u1"),
    }  # fmt: skip
    for name in listed.TEXTS:
        found |= columns.text_columns(name, cash.texts[name])
    found |= index.build(cash, derivatives)
    facts = {
        "report": {**asdict(report), "day": report.day.isoformat() if report.day else None},
        "underlyings": [
            [u.exchange, u.code, u.symbol, u.name, round(u.base, 4)]
            for u in derivatives.underlyings
        ],
    }
    return columns.serialise(found, facts)
