"""The relay by way of the kernel: a chart's feed where the browser has no socket of its own.

VS Code and bare kernels have no Breeze Lab server extension. Then a thread of
the kernel talks to the relay's door and hands every message to the widget's
comm as it came. A thread, because an asyncio task would stand still while a
cell runs.
"""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, unix_connect

from breeze_lab import processes
from breeze_lab.errors import ProcessError
from breeze_lab.settings import folders

if TYPE_CHECKING:
    from collections.abc import Callable

    from breeze_lab.bars import Interval
    from breeze_lab.widgets.live_chart import Charted

__all__ = ["RelayComm"]

_log = logging.getLogger(__name__)

_LONGEST_WAIT_S: Final = 10.0


class RelayComm:
    """Send one subscription's messages through a widget.

    Parameters
    ----------
    instrument, interval, market
        What to subscribe, and whose prices.
    send
        The widget's ``send``; called on a thread of ours.
    flush_ms
        Least time between two batches.
    """

    def __init__(
        self,
        instrument: Charted,
        interval: Interval,
        market: str,
        send: Callable[[dict[str, Any]], None],
        flush_ms: int,
    ) -> None:
        """Start the thread."""
        self._hello = {"op": "hello", "client": f"chart {instrument.key}"[:80],
                       "flush_ms": min(max(flush_ms, 10), 1000)}  # fmt: skip
        self._subscribe = {
            "op": "subscribe", "id": 1, "delivery": "latest", "bars": [interval.label],
            "ticks": True, "market": market,
            "instruments": [{"key": instrument.key, "room": instrument.quote_room,
                             "anchor_s": instrument.anchor_s}],
        }  # fmt: skip
        self._folders = folders()
        self._send = send
        self._closed = threading.Event()
        self._connection: ClientConnection | None = None
        self._thread = threading.Thread(target=self._run, name="breeze-lab-chart", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the subscription; returns at once."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            # Closing waits for the relay's answer, which nobody here needs to see.
            threading.Thread(target=connection.close, daemon=True).start()

    def _run(self) -> None:
        wait_s = 0.25
        while not self._closed.is_set():
            try:
                self._relay_messages()
                wait_s = 0.25
            except (ConnectionClosed, OSError, ProcessError, WebSocketException) as exc:
                _log.info("The chart's feed ended (%s); again in %.1f s.", exc, wait_s)
            if self._closed.is_set():
                return
            self._send({"op": "frame", "link": "lost"})
            self._closed.wait(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    def _relay_messages(self) -> None:
        if folders() != self._folders:
            raise ProcessError("The home of this process is another one now. Run the cell again.")
        processes.ensure(self._folders.runtime, "relay", "breeze_lab.relay")
        with unix_connect(
            str(self._folders.socket("relay")), "ws://localhost/",
            subprotocols=["breeze-lab.1.json"],
            compression=None, open_timeout=5,
        ) as connection:  # fmt: skip
            self._connection = connection
            connection.send(json.dumps(self._hello))
            connection.send(json.dumps(self._subscribe))
            for text in connection:
                if self._closed.is_set():
                    return
                self._send({"op": "frame", "text": text})
