"""From the broker's zip to the compiled master."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from breeze_lab.errors import MasterError
from breeze_lab.instruments import columns, contracts, index, listed, tables
from breeze_lab.instruments.archive import MAX_ROWS, Archive
from breeze_lab.instruments.layouts import LAYOUTS
from breeze_lab.instruments.report import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from breeze_lab.instruments.layouts import Layout
    from breeze_lab.instruments.tables import Table

__all__ = ["compile_archive", "parts", "terms_of"]

#: The largest members of contracts, which take as long as all others and naming them.
_HEAVY = 2


def compile_archive(archive: Archive) -> tuple[list[bytes], Report]:
    """Return the parts of the compiled file, and what became of every row.

    Raises
    ------
    MasterError
        A member is damaged, of another format, or too large.
    """
    report = Report(day=archive.day, warnings=list(archive.warnings))

    present = [layout for layout in LAYOUTS if layout.member in archive]
    by_size = sorted(
        (layout for layout in present if layout.derivatives),
        key=lambda layout: -archive.size(layout.member),
    )
    heavy = by_size[:_HEAVY]

    unpacked: Future[NDArray[np.uint8]] = Future()

    def read(layout: Layout) -> Table:
        early = len(heavy) > 1 and layout is heavy[1]
        text = unpacked.result() if early else archive.read(layout.member)
        return tables.read(text, layout)

    def lighter() -> tuple[dict[str, Table | contracts.Part], listed.Draft, index.Words]:
        if len(heavy) > 1:  # the other thread has more to do
            try:
                unpacked.set_result(archive.read(heavy[1].member))
            except BaseException as exc:  # noqa: BLE001 - raised where it is waited for
                unpacked.set_exception(exc)
        some: dict[str, Table | contracts.Part] = {}
        for layout in present:
            if layout not in heavy:
                table = read(layout)
                some[layout.member] = contracts.part(table) if layout.derivatives else table
        report.digest = archive.digest()
        cash = listed.draft(
            [one for one in some.values() if isinstance(one, tables.Table)],
            [one for one in some.values() if isinstance(one, contracts.Part) and len(one.spots)],
        )
        return some, cash, index.words(cash.texts, cash.kind)

    def sorted_out() -> tuple[contracts.Contracts, dict[str, NDArray[Any]], Report]:
        of_contracts = Report()  # each thread has one of its own
        derivatives = contracts.merged(parted, underlyings, place, of_contracts)
        return derivatives, terms_of(derivatives), of_contracts

    # Two cores: one reads the largest members, the other the rest, their names and words, and
    # then the contracts of the largest. Inflating, parsing and sorting are outside the GIL.
    with ThreadPoolExecutor(1, "master") as pool:
        rest = pool.submit(lighter)
        largest = {layout.member: pool.submit(contracts.part, read(layout)) for layout in heavy[:1]}
        second = {layout.member: contracts.part(read(layout)) for layout in heavy[1:]}
        some, cash, words = rest.result()
        found = some | second | {member: part.result() for member, part in largest.items()}
        _count(archive, [found[layout.member] for layout in present], report)
        parted = [
            one for layout in present
            if isinstance(one := found[layout.member], contracts.Part)
        ]  # fmt: skip
        underlyings, place = contracts.ranked(parted, report)
        sorting = pool.submit(sorted_out)
        all_listed = listed.finish(cash, underlyings, report)
        indexed = index.build(all_listed, words)
        derivatives, terms, of_contracts = sorting.result()
    for member, count in of_contracts.kept.items():
        report.kept[member] += count
    report.skipped = sorted(report.skipped + of_contracts.skipped)
    report.warnings += of_contracts.warnings
    return parts(all_listed, derivatives, terms, indexed, report), report


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


def terms_of(derivatives: contracts.Contracts) -> dict[str, NDArray[Any]]:
    """Return lot, tick and whether the token is its own, of which there are a few hundred sets."""
    whole = derivatives.lot.astype(np.uint64) << np.uint64(32)
    whole |= derivatives.tick.astype(np.uint64) << np.uint64(1)
    whole |= derivatives.own.astype(np.uint64)
    encoded = pa.array(whole).dictionary_encode()
    distinct = encoded.dictionary.to_numpy()
    small = np.uint16 if len(distinct) < 1 << 16 else np.uint32
    return {
        "contract_terms": encoded.indices.to_numpy().astype(small),
        "terms_lot": (distinct >> np.uint64(32)).astype(np.uint32),
        "terms_tick": (distinct >> np.uint64(1) & np.uint64(0x7FFFFFFF)).astype(np.uint32),
        "terms_own": (distinct & np.uint64(1)).astype(np.uint8),
    }


def parts(
    cash: listed.Listed,
    derivatives: contracts.Contracts,
    terms: dict[str, NDArray[Any]],
    indexed: dict[str, NDArray[Any]],
    report: Report,
) -> list[bytes]:
    """Return the parts of the file of these rows."""
    found: dict[str, Any] = {
        "exchange": cash.exchange, "kind": cash.kind, "tier": cash.tier,
        "tradable": cash.tradable.astype("u1"), "lot": cash.lot, "tick": cash.tick,
        "contract": derivatives.packed, "contract_token": derivatives.token,
        **terms,
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
