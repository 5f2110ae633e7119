"""A consumer that cannot be written to: its connection ends instead of falling silent."""

from __future__ import annotations

import asyncio
import json
import logging

from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed

from breeze_lab.relay import JSON
from breeze_lab.relay.consumers import Consumer
from breeze_lab.relay.door import Door
from breeze_lab.relay.hub import Hub

PATIENCE_S = 30


async def _talk(path):
    """Return what the client hears until its connection ends, and what the next one hears."""
    door = Door(Hub(), lambda _: None)
    heard = []
    async with asyncio.timeout(PATIENCE_S), door.open(path):
        async with unix_connect(str(path), "ws://relay/", subprotocols=[JSON]) as socket:
            heard.append(json.loads(await socket.recv())["op"])
            await socket.send(json.dumps({"op": "hello", "client": "first"}))
            await socket.send(json.dumps({"op": "status", "id": 1}))
            try:
                heard.append(json.loads(await socket.recv())["op"])
            except ConnectionClosed:
                heard.append("the end")
        async with unix_connect(str(path), "ws://relay/", subprotocols=[JSON]) as socket:
            heard.append(json.loads(await socket.recv())["op"])
    return heard


def test_failure_while_writing_ends_the_connection_and_is_logged(tmp_path, monkeypatch, caplog):
    """The client sees the end, so that it comes back; the log has the consumer and the cause."""
    messages, left = Consumer.messages, [RuntimeError("planted")]

    def failing(consumer):
        if consumer.name == "first" and left:
            raise left.pop()
        return messages(consumer)

    monkeypatch.setattr(Consumer, "messages", failing)
    with caplog.at_level(logging.ERROR, logger="breeze_lab.relay.door"):
        heard = asyncio.run(_talk(tmp_path / "relay.sock"))
    assert heard == ["welcome", "the end", "welcome"]
    [record] = [one for one in caplog.records if one.name == "breeze_lab.relay.door"]
    assert "Gave up first" in record.getMessage()
    assert str(record.exc_info[1]) == "planted"
