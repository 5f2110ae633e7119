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
    from numpy.typing import NDArray

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

    present = [layout for layout in LAYOUTS if layout.member in archive]
    heavy = max(
        (x for x in present if x.derivatives), key=lambda layout: archive.size(layout.member)
    )

    def read(layout: Layout) -> Table | contracts.Part:
        table = tables.read(archive.read(layout.member), layout)
        return contracts.part(table) if layout.derivatives else table

    def lighter() -> tuple[dict[str, Table | contracts.Part], listed.Draft, index.Words]:
        some = {layout.member: read(layout) for layout in present if layout is not heavy}
        cash = listed.draft(
            [one for one in some.values() if isinstance(one, tables.Table)],
            [one for one in some.values() if isinstance(one, contracts.Part) and len(one.spots)],
        )
        return some, cash, index.words(cash.texts)

    # Two cores: one reads the largest member, the other all the rest and their words. Inflating,
    # parsing and sorting are outside the GIL.
    with ThreadPoolExecutor(1, "master") as pool:
        rest = pool.submit(lighter)
        largest = read(heavy)
        some, cash, words = rest.result()
        found = {**some, heavy.member: largest}
        _count(archive, [found[layout.member] for layout in present], report)
        parted = [
            one for layout in present
            if isinstance(one := found[layout.member], contracts.Part)
        ]  # fmt: skip
        underlyings, place = contracts.ranked(parted, report)
        # Each thread has a report of its own.
        of_contracts = Report()
        sorting = pool.submit(contracts.merged, parted, underlyings, place, of_contracts)
        all_listed = listed.finish(cash, underlyings, report)
        indexed = index.build(all_listed, words)
        derivatives = sorting.result()
    for member, count in of_contracts.kept.items():
        report.kept[member] += count
    report.skipped = sorted(report.skipped + of_contracts.skipped)
    report.warnings += of_contracts.warnings
    return parts(all_listed, derivatives, indexed, report), report


def _count(archive: Archive, found: list[Table | contracts.Part], report: Report) -> None:
    """Enter what each member holds."""
    for one in found:
        table = one if isinstance(one, tables.Table) else one.table
        member = table.layout.member
        report.rows[member] = table.rows
        report.kept[member] = 0
        report.skipped += [(member, line, reason) for line, reason in table.skipped]
        report.warnings += table.warnings
    total = sum(report.rows.values())
    if total > MAX_ROWS:
        raise MasterError(f"{archive.where} has {total:,} rows: no master has so many.")


def parts(
    cash: listed.Listed,
    derivatives: contracts.Contracts,
    indexed: dict[str, NDArray[Any]],
    report: Report,
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
    found |= indexed
    facts = {
        "report": {**asdict(report), "day": report.day.isoformat() if report.day else None},
        "underlyings": [
            [u.exchange, u.code, u.symbol, u.name, round(u.base, 4)]
            for u in derivatives.underlyings
        ],
    }
    return columns.serialise(found, facts)
