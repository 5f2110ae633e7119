"""What faults do to the frames of one connection: lost, malformed, twice, in the wrong order.

Which frames are hit follows from the fault and a count of the connection's
frames, so the same frames meet the same weather.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from breeze_lab.practice.exchange.noise import key_of, word
from breeze_lab.practice.exchange.words import dated

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.practice.exchange.universe import Contract
    from breeze_lab.practice.faults.registry import Fault, Faults

__all__ = ["FrameFaults", "Packet", "malformed", "targets"]

Packet: TypeAlias = str | bytes

#: A frame that waits to change places goes on alone after this long.
_WINDOW_S: Final = 0.5
_STOCK: Final = re.compile(r'42\["stock",\["(\d+)\.[12]!([^"]+)"')
_CANDLE: Final = re.compile(r'42\["\d+(?:SEC|MIN)","([^"]+)"')
#: Fields of a candle before its prices, by how many it has: cash, futures, options.
_NAME_FIELDS: Final = {9: 2, 11: 3, 13: 5}
_MANY: Final = 2000
_PARTS: Final = 2**64


def targets(contract: Contract) -> frozenset[str]:
    """Return how frames name a contract: its room, and the first fields of its candles."""
    name = [contract.exchange, contract.code]
    if contract.expiry is not None:
        name.append(dated(contract.expiry))
    if contract.strike is not None:
        name += [f"{contract.strike:.1f}", str(contract.right)]
    return frozenset({f"{contract.market}!{contract.token}", ",".join(name)})


def _named(packet: str) -> str:
    """Return whom a packet is about, as `targets` writes it."""
    stock = _STOCK.match(packet)
    if stock:
        return f"{stock[1]}!{stock[2]}"
    candle = _CANDLE.match(packet)
    if not candle:
        return ""
    fields = candle[1].split(",")
    return ",".join(fields[: _NAME_FIELDS.get(len(fields), 0)])


def malformed(packet: str, pick: int) -> Packet:
    """Return what could be left of a packet: one of five ways, by `pick`."""
    way = pick % 5
    if way == 0:
        return packet[: max(4, len(packet) * 2 // 3)]
    if way == 1:
        return b"\x04\x00\xff" + packet.encode()[::-1]
    event, payload = json.loads(packet[2:])
    if way == 2:  # noqa: PLR2004 - the third way
        payload = payload[:7]
    elif way == 3:  # noqa: PLR2004 - the fourth way
        payload = _wrong_types(payload)
    else:
        payload = payload + ",0" * _MANY if isinstance(payload, str) else payload + [0] * _MANY
    return "42" + json.dumps([event, payload], separators=(",", ":"))


def _wrong_types(payload: Any) -> Any:
    if isinstance(payload, str):
        return {"candle": payload}
    return [payload[0], *({"value": [part]} for part in payload[1:])]


class FrameFaults:
    """The weather over one connection.

    Parameters
    ----------
    faults
        What is active.
    later
        Takes a packet that was held back.
    """

    def __init__(self, faults: Faults, later: Callable[[Packet], None]) -> None:
        """Start with no frame counted."""
        self._faults = faults
        self._later = later
        self._counts: Counter[int] = Counter()
        self._held: Packet | None = None

    def spoil(self, packet: str) -> list[Packet]:
        """Return what is sent instead of one event packet."""
        packets: list[Packet] = [packet]
        held, self._held = self._held, None
        for fault in self._faults.living("frames")[::-1]:
            name = fault.kind.name
            if name == "gap":
                if packets and (not fault.targets or _named(packet) in fault.targets):
                    self._faults.hit(fault)
                    packets = []
            elif packets and name in ("garbage", "dup", "reorder") and self._chosen(fault):
                self._faults.hit(fault)
                if name == "dup":
                    packets = packets * 2
                elif name == "garbage":
                    packets = [malformed(packet, self._noise(fault) >> 8)] * len(packets)
                elif held is None:
                    self._hold(packets.pop())
        return packets if held is None else [*packets, held]

    def _hold(self, packet: Packet) -> None:
        self._held = packet
        asyncio.get_running_loop().call_later(_WINDOW_S, self._release, packet)

    def _release(self, packet: Packet) -> None:
        if self._held is packet:
            self._held = None
            self._later(packet)

    def _noise(self, fault: Fault) -> int:
        return word(key_of("fault", fault.kind.name), self._counts[fault.number])

    def _chosen(self, fault: Fault) -> bool:
        self._counts[fault.number] += 1
        # Compared below the bits that choose the way: another share, the same ways.
        noise = word(key_of("share", fault.kind.name), self._counts[fault.number])
        return noise < (fault.share or 0.0) * _PARTS
