"""The supervisor: one relay at the other end whenever a browser is connected.

Owns starting the relay, opening connections to its door and asking its state.
What travels through a connection is the business of `breeze_lab_server.handlers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import WebSocketException

from breeze_lab.errors import ProcessError, SubscriptionRefused
from breeze_lab.settings import folders
from breeze_lab_server.child import Child

if TYPE_CHECKING:
    import logging

    from breeze_lab_server.handlers import FeedHandler

__all__ = ["ASKER", "SUBPROTOCOL", "Supervisor"]

#: The door's messages as JSON in text frames.
SUBPROTOCOL: Final = "breeze-lab.1.json"

#: What the relay calls a connection that only asks how things stand.
ASKER: Final = "the Jupyter server"

#: How long the relay may take to answer a question.
_ANSWER_TIMEOUT_S: Final = 3.0

#: How often a lost relay is tried before the browsers are left to ask again themselves.
_RESTART_TRIES: Final = 20


class Supervisor(Child):
    """Start the relay on first use and again when it dies under a connected browser.

    Parameters
    ----------
    log
        The server's logger.

    Notes
    -----
    Lives on the server's event loop.
    """

    def __init__(self, log: logging.Logger) -> None:
        """Own no relay yet."""
        super().__init__("relay", "breeze_lab.relay", log)
        self.browsers: set[FeedHandler] = set()

    async def connect(self) -> ClientConnection:
        """Return an open connection to the relay's door, starting the relay if needed.

        Raises
        ------
        ProcessError, OSError, websockets.exceptions.WebSocketException
        """
        await self.ensure()
        return await self._open()

    async def _open(self) -> ClientConnection:
        return await unix_connect(
            str(folders().socket("relay")),
            "ws://localhost/",
            subprotocols=[SUBPROTOCOL],
            compression=None,
            # Frames wait at the relay, which merges them, and not here.
            max_queue=4,
            open_timeout=5,
            close_timeout=1,
        )

    async def restart(self) -> None:
        """Bring a lost relay back while somebody watches; its loss was noticed by a connection."""
        if not self.browsers:
            return
        # A killed process drops its connections a moment before its lock, so that `ensure` may
        # still find it alive. Only a connection proves a relay.
        for _ in range(_RESTART_TRIES):
            try:
                connection = await self.connect()
            except (OSError, ProcessError, WebSocketException) as exc:
                reason = exc
                await asyncio.sleep(0.05)
            else:
                await connection.close()
                self.log.info("The relay runs again.")
                return
        self.log.warning("The relay could not be brought back: %s", reason)

    async def status(self) -> dict[str, Any]:
        """Return what the relay says of itself; it is not started for that.

        Returns
        -------
        dict
            ``relay`` (``running``, ``pid`` …), ``upstream`` (None when no relay
            runs) and ``browsers``, the number of connected browsers.
        """
        answer: dict[str, Any] = {
            "relay": {"running": False}, "upstream": None, "browsers": len(self.browsers),
        }  # fmt: skip
        record = await self.record()
        if record is None:
            return answer
        # It lives, whether or not it answers in time.
        answer["relay"] = {"running": True, "pid": record.get("pid")}
        try:
            told = await self.ask("status")
        except ProcessError as exc:
            answer["relay"]["error"] = str(exc)
            return answer
        answer["upstream"] = told.pop("upstream", None)
        answer["relay"] |= told
        return answer

    async def ask(self, op: str, **request: Any) -> dict[str, Any]:
        """Return the answer of a running relay to one request; it is not started for that.

        Raises
        ------
        ProcessError
            It did not answer, or not in time.
        SubscriptionRefused
            It cannot serve the request.
        """
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                message = await self._ask({"op": op, "id": 1, **request})
        except (OSError, TimeoutError, ValueError, WebSocketException) as exc:
            raise ProcessError(
                f"The relay did not answer ({type(exc).__name__}: {exc}). See `breeze-lab relay "
                "logs`."
            ) from exc
        if message["op"] == "error":
            raise SubscriptionRefused(message["message"])
        return {k: v for k, v in message.items() if k not in ("op", "id")}

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        async with contextlib.AsyncExitStack() as stack:
            connection = await self._open()
            stack.push_async_callback(connection.close)
            await connection.send(json.dumps({"op": "hello", "client": ASKER}))
            await connection.send(json.dumps(request))
            async for frame in connection:
                message: dict[str, Any] = json.loads(frame)
                if message.get("op") in (request["op"], "error"):
                    return message
        raise ValueError("it closed the connection")

    def stop(self) -> None:
        """Close every browser's socket because the server goes away."""
        for browser in list(self.browsers):
            browser.close(1001, "the server stops")
