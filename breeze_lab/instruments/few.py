"""A master of a few instruments given as values, for tests and for one's own lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from breeze_lab.instruments import compiling, index
from breeze_lab.instruments.contracts import Contracts, Underlying
from breeze_lab.instruments.instrument import EXCHANGES, KINDS
from breeze_lab.instruments.listed import TEXTS, Listed
from breeze_lab.instruments.packing import days_of, pack
from breeze_lab.instruments.report import Report
from breeze_lab.instruments.texts import squeezed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from breeze_lab.instruments.instrument import Instrument

__all__ = ["few"]


def few(instruments: Iterable[Instrument]) -> bytes:
    """Return the compiled file of some instruments, the first of a key kept, in their order."""
    unique = {instrument.key.upper(): instrument for instrument in reversed(list(instruments))}
    all_of = list(reversed(unique.values()))
    cash = [i for i in all_of if i.expiry is None]
    listed = _listed(cash)
    none = pa.array([""] * len(cash), pa.string())
    texts = {**listed.texts, "second": none, "short": squeezed(listed.texts["symbol"])}
    indexed = index.build(listed, index.words(texts, listed.kind))
    contracts = _contracts(all_of)
    terms = compiling.terms_of(contracts)
    return b"".join(compiling.parts(listed, contracts, terms, indexed, Report()))


def _listed(cash: list[Instrument]) -> Listed:
    spelled = {name: "stock_code" if name == "code" else name for name in TEXTS}
    texts: dict[str, Any] = {
        name: pa.array([getattr(i, field) for i in cash], pa.string())
        for name, field in spelled.items()
    }
    return Listed(
        texts,
        np.array([EXCHANGES.index(i.exchange) for i in cash], np.uint8),
        np.array([KINDS.index(i.kind) for i in cash], np.uint8),
        np.array([0 if i.kind == "index" else 3 for i in cash], np.uint8),
        np.array([i.tradable for i in cash], bool),
        np.array([int(i.token) if i.token.isdecimal() else 0 for i in cash], np.uint32),
        np.array([i.lot_size for i in cash], np.uint32),
        np.array([round(i.tick_size * 10_000) for i in cash], np.uint32),
        np.arange(len(cash)),
    )


def _contracts(all_of: list[Instrument]) -> Contracts:
    contracts = [i for i in all_of if i.expiry is not None]
    names = list(dict.fromkeys((i.exchange, i.stock_code, i.symbol) for i in contracts))
    underlyings = [
        Underlying(exchange, code, symbol, next(i.name for i in contracts if i.symbol == symbol))
        for exchange, code, symbol in names
    ]
    packed = [
        pack(
            names.index((i.exchange, i.stock_code, i.symbol)), int(i.strike is not None),
            days_of(i.expiry) if i.expiry else 0, round((i.strike or 0) * 10_000),
            int(i.right == "PE"),
        )
        for i in contracts
    ]  # fmt: skip
    order = sorted(range(len(packed)), key=packed.__getitem__)
    ordered = [contracts[at] for at in order]
    return Contracts(
        underlyings,
        np.array([packed[at] for at in order], np.uint64),
        np.array([int(i.token) for i in ordered], np.uint32),
        np.array([i.lot_size for i in ordered], np.uint32),
        np.array([round(i.tick_size * 10_000) for i in ordered], np.uint32),
        np.array([i.tradable for i in ordered], bool),
    )
