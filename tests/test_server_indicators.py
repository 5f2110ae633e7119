"""The server's way to indicators: a chart's websocket, and the process behind it."""

from __future__ import annotations

import json
import os
import signal

import pytest
from practice_month import month
from test_server_extension import Server
from waiting import until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from breeze_lab.indicators import compute
from breeze_lab.indicators.live import table_of
from breeze_lab_server.supervisor import SUBPROTOCOL

MONTH = month().iloc[:400]
TABLE = table_of(MONTH)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("indicators")
    (home / "talib.py").write_text("raise SystemExit('the notebooks folder was imported')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(home / "lab"))
        running = Server(home)
        yield running
        running.process.terminate()
        running.process.wait(20)


def chart(server, **headers):
    """Return a chart's websocket, as a signed-in page has it."""
    given = {"Cookie": server.cookie, **headers}
    return connect(
        server.url.replace("http", "ws") + "api/indicators", subprotocols=[SUBPROTOCOL],
        additional_headers=given, origin=server.url.partition("/user")[0], open_timeout=10,
        close_timeout=1, max_size=None,
    )  # fmt: skip


def ask(socket, **message):
    socket.send(json.dumps(message))
    return json.loads(socket.recv(timeout=60))


def opening(specs, count=300):
    return {"op": "open", "specs": specs, "bars": TABLE[:, :count].tolist()}


def worker_of(server) -> int | None:
    """Return the process that computes, read from the machine: a child of the server."""
    children = f"/proc/{server.process.pid}/task/{server.process.pid}/children"
    for pid in open(children).read().split():  # noqa: PTH123, SIM115 - a file of the kernel's
        try:
            command = open(f"/proc/{pid}/cmdline").read()  # noqa: PTH123, SIM115
        except OSError:
            continue
        if "breeze_lab.indicators.worker" in command:
            return int(pid)
    return None


def test_two_charts_get_their_own_values(server):
    """Each chart's answers are those of its bars and its indicators, computed anew the same."""
    with chart(server) as one, chart(server) as other:
        opened = ask(one, **opening(["ema(20)", "vwap"]))
        assert [told["spec"] for told in opened["indicators"]] == ["ema(20)", "vwap"]
        ask(other, **opening(["rsi"], 350))
        values = ask(one, op="bars", rows=TABLE[:, 299:302].T.tolist())
        wanted = compute(MONTH.iloc[:302], "ema(20), vwap").iloc[-1]
        t, ((ema,), (vwap,)) = values["rows"][-1]
        assert t == TABLE[0, 301]
        assert [ema, vwap] == pytest.approx(list(wanted), rel=1e-12)
        ((_, ((rsi,),)),) = ask(other, op="bars", rows=[TABLE[:, 349].tolist()])["rows"]
        assert rsi == pytest.approx(compute(MONTH.iloc[:350], "rsi").iloc[-1, 0], rel=1e-12)


def test_the_server_itself_computes_nothing(server):
    """TA-Lib and pandas are the worker's: a process of its own, outside of the notebooks' folder."""
    with chart(server) as one:
        ask(one, **opening(["ema"]))
        pid = worker_of(server)
        assert pid is not None
        assert "talib" in open(f"/proc/{pid}/maps").read()  # noqa: PTH123, SIM115
        assert "talib" not in open(f"/proc/{server.process.pid}/maps").read()  # noqa: PTH123, SIM115


def test_a_killed_worker_is_replaced_when_a_chart_asks_again(server):
    """The chart's socket closes with 1012, and the next one is answered."""
    with chart(server) as one:
        ask(one, **opening(["ema"]))
        pid = worker_of(server)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ConnectionClosed) as closed:
            one.recv(timeout=30)
        assert closed.value.rcvd.code == 1012
    with chart(server) as again:
        assert ask(again, **opening(["ema"]))["op"] == "opened"
        assert until(lambda: worker_of(server), "another process") != pid


@pytest.mark.parametrize("said", ["[]", "null", "{", '{"op": "forget"}', '{"op": "open"'])
def test_what_is_no_question_of_a_chart_ends_its_socket(server, said):
    """Only open and bars reach the worker, which other charts need as well."""
    with chart(server) as one:
        one.send(said)
        with pytest.raises(ConnectionClosed) as closed:
            one.recv(timeout=30)
        assert closed.value.rcvd.code == 1008
    with chart(server) as other:
        assert ask(other, **opening(["ema"]))["op"] == "opened"


def test_a_chart_that_leaves_in_the_middle_costs_the_others_nothing(server):
    """Answers stay with their questions."""
    for _ in range(5):
        with chart(server) as gone:
            gone.send(json.dumps(opening(["ichimoku", "jma"])))
        with chart(server) as one:
            opened = ask(one, **opening(["hl2"]))
            assert [told["spec"] for told in opened["indicators"]] == ["hl2"]


def test_the_menu_lists_every_indicator(server):
    """Name, title, category, place and parameters, without the worker."""
    status, _, body = server.get("api/indicators/catalogue")
    assert status == 200
    found = {one["name"]: one for one in json.loads(body)["indicators"]}
    assert len(found) >= 180
    assert found["bbands"]["overlay"] is True
    assert found["rsi"]["parameters"][0] == ["length", "int", 14]
