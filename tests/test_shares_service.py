"""Links that outlive their owners' servers: the Hub's service keeps, shows and ends them.

A test stands where the Hub is (`links_service`); a real one is in test_browser_hub.py.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from links_service import ALICE, BOB, PREFIX, running
from share_viewer import document
from test_shares import bars, chart
from waiting import until, within
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import breeze_lab
from breeze_lab import settings
from breeze_lab.cli import main
from breeze_lab.errors import NoSuchShare, ShareError
from breeze_lab.shares import deposits, face, incoming, service
from breeze_lab.shares.deposits import Deposits
from breeze_lab.shares.targets import chart_target


def frozen(text="one", **parameters):
    """Return a target as `breeze_lab.share` freezes a figure."""
    doc = {
        "version": "3.8.2", "title": "",
        "roots": [{"type": "object", "name": "Div", "id": "p1", "attributes": {"text": text}}],
    }  # fmt: skip
    item = {"root_id": "p1", "target_id": None, "doc": doc, "version": "3.8.2"}
    target = document(**parameters)
    return type(target)(
        kind="document", title="A board", source="a test", data="snapshot",
        parameters=target.parameters, body=json.dumps({"item": item}).encode(),
    )  # fmt: skip


def deposit(target=None, **changed):
    """Return what a server sends to have a target kept."""
    target = frozen() if target is None else target
    return {
        "kind": target.kind, "title": target.title, "source": target.source, "data": target.data,
        "parameters": target.parameters, "span_s": 3600, "body": json.loads(target.body),
        **changed,
    }  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running(tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture
def at_hub(hub, home, monkeypatch):
    """Alice's server: it knows the service by two variables, as the Hub sets them."""
    monkeypatch.setenv("BREEZE_LAB_SHARE_SERVICE", hub.url)
    monkeypatch.setenv("BREEZE_LAB_SHARE_SERVICE_URL", "https://lab.example/services/links/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", ALICE)
    yield hub
    hub.whose.silent = False
    for token in (ALICE, BOB):
        hub.door("DELETE", token=token)


def page(hub, token, method="GET"):
    return hub.ask(method, f"{PREFIX}s/{token}")


# -- for its owner it is a link like any other ----------------------------------


def test_what_is_frozen_is_kept_at_the_hub_and_nowhere_else(at_hub, capsys):
    """Shared, listed, opened and withdrawn with the same words, and no book at the server."""
    from bokeh.plotting import figure

    shown = figure(title="Mine")
    shown.line([1, 2], [3, 4])
    made = breeze_lab.share(shown, "1d", source="my own")
    assert made.url.startswith("https://lab.example/services/links/s/")
    assert not (settings.folders().data / "shares").exists()
    status, headers, body = page(at_hub, made.token)
    assert status == 200
    assert b"my own" in body
    assert "sandbox allow-scripts" in headers["Content-Security-Policy"]
    assert "Set-Cookie" not in headers
    assert at_hub.ask("GET", f"{PREFIX}s/{made.token}/static/bokeh.min.js")[0] == 200
    (listed,) = breeze_lab.shares()
    assert (listed.name, listed.title, listed.opened) == (made.name, "Mine", 1)
    assert "owner" not in listed.parameters
    assert main(["shares", "list"]) == 0
    said = capsys.readouterr().out
    assert made.name in said
    assert made.token not in said
    assert main(["shares", "revoke", made.name]) == 0
    assert page(at_hub, made.token)[0] == 404
    with pytest.raises(NoSuchShare, match="none"):
        made.revoke()
    assert [one.revoked_ms is None for one in breeze_lab.shares(ended=True)][:1] == [False]


def test_a_chart_is_built_anew_and_a_live_one_stays_at_the_server(at_hub):
    """Its title is the chart's, not the sender's; practice prices that move never leave the relay."""
    config, table = chart(), bars(3)
    still = chart_target(config, {}, table, ["ema(2)"], data="snapshot", now_s=time.time())
    status, told = at_hub.door("POST", token=ALICE, body=deposit(still, title="Lies", source="NSE"))
    assert status == 201
    assert told["share"]["title"] == "TCS 1d"
    assert told["share"]["source"] == "Practice market, made-up prices"
    live = face.keep(chart_target(config, {}, table, [], data="auto", now_s=time.time()), "1d")
    assert (live.at_hub, live.link.data) == (False, "practice")
    with face.Book(face.folder()) as book:
        assert [one.digest for one in book.links()] == [live.link.digest]
    assert {one.data for one in breeze_lab.shares()} == {"snapshot", "practice"}
    # What is here ends here, whether the service answers or not.
    at_hub.whose.silent = True
    live.revoke()
    at_hub.whose.silent = False
    assert {one.data for one in breeze_lab.shares()} == {"snapshot"}
    assert main(["shares", "revoke", "all"]) == 0
    assert len(breeze_lab.shares()) == 0


def test_who_looks_is_cut_off_within_a_second_and_heard_never(at_hub):
    """An open viewer ends with the link; what it sends is dropped."""
    made = face.keep(frozen(), "1d")
    where = f"ws://127.0.0.1:{at_hub.port}{PREFIX}s/{made.token}/feed"
    dropped = at_hub.service.viewer.dropped
    with connect(where, origin="null", open_timeout=60) as socket:
        socket.send('{"msgtype": "PATCH-DOC"}')
        until(lambda: at_hub.service.viewer.dropped == dropped + 1, "the drop")
        begun = time.monotonic()
        made.revoke()
        with pytest.raises(ConnectionClosed) as ended:
            socket.recv(timeout=60)
        assert time.monotonic() - begun < within(1.0)
        assert ended.value.rcvd.code == 4404
    with pytest.raises(InvalidStatus, match="404"):
        connect(where, origin="null", open_timeout=60)


def test_a_service_that_does_not_answer_leaves_nothing_half_made(at_hub, monkeypatch):
    """A typed error with what to do, no link here and none there; a link of here still ends."""
    at_hub.whose.silent = True
    with pytest.raises(ShareError, match=r"Nothing was shared\. The Hub cannot say.*Try again"):
        face.keep(frozen(), "1d")
    at_hub.whose.silent = False
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "x" * 32)
    with pytest.raises(ShareError, match="Restart your server"):
        face.keep(frozen(), "1d")
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN")
    with pytest.raises(ShareError, match="Restart the kernel"):
        face.keep(frozen(), "1d")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", ALICE)
    assert len(breeze_lab.shares()) == 0
    monkeypatch.setenv("BREEZE_LAB_SHARE_SERVICE", "http://127.0.0.1:9/services/links")
    for ask in (lambda: face.keep(frozen(), "1d"), breeze_lab.shares, lambda: face.revoke("ab")):
        with pytest.raises(ShareError, match=r"does not answer.*'links' is down") as refused:
            ask()
        assert ALICE not in str(refused.value)
    assert not (settings.folders().data / "shares").exists()


def test_where_the_hub_keeps_no_links_they_stay_at_the_server(home):
    """Without the service's address all is as it was."""
    made = face.keep(frozen(), "1d")
    assert not made.at_hub
    assert [one.digest for one in breeze_lab.shares()] == [made.link.digest]


# -- nobody else's ---------------------------------------------------------------


def test_another_user_neither_sees_nor_ends_nor_replaces_a_link(at_hub):
    """Bob is told what is told of a link that never was, whatever he names it by."""
    made = face.keep(frozen(), "1d")
    assert at_hub.door("GET", token=BOB) == (200, {"shares": []})
    for name in (made.name, made.link.digest, made.token, "0" * 8, "%25"):
        status, told = at_hub.door("DELETE", f"/{name}", BOB)
        assert (status, "There are: none." in told["message"]) == (404, True)
    assert at_hub.door("DELETE", token=BOB) == (200, {"revoked": 0})
    for method in ("PUT", "PATCH", "POST"):
        below = f"/{made.link.digest}"
        assert at_hub.ask(method, f"{PREFIX}api/links{below}", BOB, b"{}")[0] == 404
    for more in ("digest", "token", "owner"):
        body = deposit() | {more: made.link.digest}
        assert at_hub.door("POST", token=BOB, body=body)[0] == 400, more
    body = deposit(parameters={**frozen().parameters, "owner": "alice"})
    status, told = at_hub.door("POST", token=BOB, body=body)
    assert status == 201
    assert [one.digest for one in breeze_lab.shares()] == [made.link.digest]
    assert told["share"]["digest"] != made.link.digest
    assert page(at_hub, made.token)[0] == 200


def test_a_link_cannot_be_given_to_another_owner(tmp_path):
    """The owner is signed: written into the file without the key, the link is gone."""
    with Deposits(tmp_path) as book:
        token, link = book.deposit("alice", frozen(), links_span())
        assert book.check(token).digest == link.digest
        book.deposit("bob", frozen(owner="alice"), links_span())
        assert [one.digest for one in book.owned("alice")] == [link.digest]
        with sqlite3.connect(tmp_path / "book.sqlite") as file:
            file.execute("UPDATE links SET parameters = replace(parameters, 'alice', 'bobby')")
        file.close()
        assert book.check(token) is None
        assert book.owned("bobby") == []


def links_span():
    return incoming.read(json.dumps(deposit()).encode())[1]


def test_the_machine_s_own_hand_ends_what_somebody_left(home, capsys):
    """Who has left withdraws nothing any more; a command in the container does."""
    with Deposits(service.folder()) as book:
        token, _ = book.deposit("alice", frozen(), links_span())
        kept, _ = book.deposit("bob", frozen(), links_span())
    assert service.main(["--withdraw", "alice"]) == 0
    assert capsys.readouterr().out == "1 links withdrawn\n"
    with Deposits(service.folder()) as book:
        assert book.check(token) is None
        assert book.check(kept) is not None


# -- limits ----------------------------------------------------------------------


def test_one_owner_has_so_many_links_and_so_many_bytes(tmp_path, monkeypatch):
    """The next is refused with what to do, the other's is not; ended ones are forgotten in time."""
    monkeypatch.setattr(deposits, "MOST_OF_OWNER", 3)
    monkeypatch.setattr(deposits, "_ENDED_OF_OWNER", 2)
    with Deposits(tmp_path) as book:
        for _ in range(3):
            book.deposit("alice", frozen(), links_span())
        with pytest.raises(ShareError, match="3 links at the Hub already"):
            book.deposit("alice", frozen(), links_span())
        assert book.deposit("bob", frozen(), links_span())
        for _ in range(2):
            assert book.withdraw_all("alice") > 0
            for _ in range(3):
                book.deposit("alice", frozen(), links_span())
        assert len(book.owned("alice", ended=True)) <= 3 + 2 + 1
        book.withdraw_all("alice")
        noise = random.Random(1).randbytes(40_000).hex()
        monkeypatch.setattr(deposits, "LARGEST_OF_OWNER", 60_000)
        first, _ = book.deposit("alice", frozen(noise), links_span())
        with pytest.raises(ShareError, match="take more than"):
            book.deposit("alice", frozen(noise[::-1]), links_span())
        assert len(book.owned("alice")) == 1
        assert book.check(first) is not None


def test_what_is_too_large_is_not_even_read(at_hub, monkeypatch):
    """Said before and noticed on the way: refused, and nothing is kept."""
    monkeypatch.setattr(service, "_LARGEST", 10_000)
    status, told = at_hub.door("POST", token=ALICE, body=deposit(frozen("x" * 20_000)))
    assert (status, "fewer points" in told["message"]) == (400, True)
    assert at_hub.door("GET", token=ALICE) == (200, {"shares": []})


# -- what may be deposited ---------------------------------------------------------


def changed(**paths):
    """Return a deposit with a value put at ``a__b__c``."""
    body = deposit()
    for path, value in paths.items():
        place = body
        *way, last = path.split("__")
        for step in way:
            place = place[step]
        place[last] = value
    return body


def root(**attributes):
    return [{"type": "object", "name": "Div", "id": "p1", **attributes}]


@pytest.mark.parametrize(
    "body",
    [
        [], "text", None, {}, changed(data="practice"), changed(data="live"), changed(kind="page"),
        changed(data="lagged"), changed(span_s=0), changed(span_s=True), changed(span_s="7d"),
        changed(span_s=91 * 86_400), changed(span_s=10**400), changed(span_s=-1),
        changed(title=7), changed(source=None), changed(title="\ud800"), changed(parameters=[]),
        changed(more=1), changed(body={"html": "<script>"}), changed(body__item=[]),
        changed(body__item__doc__roots=[]), changed(body__item__target_id="bl-target"),
        changed(body__item__doc__scripts=["evil.js"]), changed(parameters__scripts="bokeh.min.js"),
        changed(parameters__scripts=["https://evil.example/x.js"]), changed(parameters__scripts=[[]]),
        changed(parameters__scripts=["../service.py"]), changed(body__item__version="x" * 5000),
        changed(body__item__doc__roots=root(name="AjaxDataSource")),
        changed(body__item__doc__roots=root(attributes={"a": root(name="WMTSTileSource")})),
        changed(body__item__doc__roots=root(name="panel.models.esm.ReactiveESM")),
        changed(body__item__doc__roots=root(name="ImportedStyleSheet")),
        changed(kind="chart"), changed(kind="chart", body={"config": {}, "figure": {}, "bars": [],
                                                           "indicators": []}),
    ],
)  # fmt: skip
def test_what_breeze_lab_does_not_send_is_refused(body):
    """A reason for each, and no exception that nobody expected."""
    with pytest.raises(ShareError):
        incoming.read(json.dumps(body).encode())


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"[" * 100_000, b'{"a": NaN}', b'{"kind": "' + b"9" * 5000]
)
def test_what_is_no_json_is_refused(raw):
    """NaN, a tower of brackets and half a text among it."""
    with pytest.raises(ShareError):
        incoming.read(raw)


@pytest.mark.parametrize("part", ["[],", "{},", "0,"])
def test_what_would_fill_the_memory_is_not_unpacked(part):
    """16 MB of empty lists are 400 MB of Python: refused before they are any."""
    many = part * (2_100_000 if part == "0," else 210_000)
    with pytest.raises(ShareError, match="too many parts"):
        incoming.read(f"[{many}0]".encode())


def test_what_is_kept_says_only_what_a_frozen_target_says():
    """Parameters are built anew: what evaluates is found, not told; words of others are dropped."""
    hostile = changed(
        parameters__eval=True, parameters__owner="bob", parameters__nonce="x",
        parameters__scripts=["bokeh.min.js", "bokeh.min.js"],
    )  # fmt: skip
    target, _ = incoming.read(json.dumps(hostile).encode())
    assert target.parameters == {
        "eval": False, "scripts": ["bokeh.min.js"], "bokeh": "3.8.2", "controls": False,
    }  # fmt: skip
    told = changed(body__item__doc__roots=root(attributes={"a": root(name="CustomJS")}))
    assert incoming.read(json.dumps(told).encode())[0].parameters["eval"] is True


def test_a_deposit_altered_anywhere_is_refused_or_harmless():
    """300 of them with a value of another kind at a random place: a ShareError, or a frozen target."""
    draw = random.Random(11)
    kinds = [
        deposit(),
        deposit(chart_target(chart(), {}, bars(3), ["rsi"], data="snapshot", now_s=0)),
    ]
    strange = [None, [], {}, "", "{{script}}", "</script><script>alert(1)</script>", -1, 10**400, 1e308,
               True, ["x"], {"type": "object"}]  # fmt: skip
    refused = 0
    for _ in range(300):
        body = copy.deepcopy(draw.choice(kinds))
        places = []
        waiting = [body]
        while waiting:
            one = waiting.pop()
            keys = one if isinstance(one, dict) else range(len(one))
            places += [(one, key) for key in keys]
            waiting += [one[key] for key in keys if isinstance(one[key], (dict, list))]
        place, key = draw.choice(places)
        place[key] = draw.choice(strange)
        try:
            target, span = incoming.read(json.dumps(body).encode())
        except ShareError:
            refused += 1
            continue
        assert target.data in ("snapshot", "lagged")
        assert set(target.parameters["scripts"]) <= {"bokeh.min.js"}
        assert 0 < span.total_seconds() <= 90 * 86_400
    assert refused > 100


def test_no_word_of_a_link_is_filled_in(at_hub):
    """A title or a text that looks like a place of the page's is shown as it stands."""
    words = "{{script}} {{scripts}} {{target}} </script><script>alert(1)</script>"
    status, told = at_hub.door("POST", token=ALICE, body=deposit(frozen(words), title=words))
    assert status == 201
    _, _, body = page(at_hub, told["token"])
    assert body.count(b"{{scripts}}") == 4  # title, heading, facts, target
    assert body.count(b"<script") == 4  # facts, target, BokehJS, ours
    assert b"<script>alert" not in body


# -- every route -------------------------------------------------------------------

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
DOOR = f"{PREFIX}api/"
OPEN = f"{PREFIX}health"


def routes(hub):
    """Return method and path of all that the live app has, with a name that is nobody's."""
    found = set()
    for resource in hub.service.viewer.app.router.resources():
        path = resource.canonical.replace("{token}", "A" * 32).replace("{name}", "0" * 64)
        found |= {(route.method, path) for route in resource}
    return sorted(found)


def holes(hub):
    """Return what those who may not were given, of every route and every method."""
    disguises = {
        "anonymous": {}, "forged": {"Authorization": f"token {'f' * 32}"},
        "basic": {"Authorization": f"Basic {ALICE}"}, "short": {"Authorization": "token a"},
        "in a cookie": {"Cookie": f"token={ALICE}; jupyterhub-services={ALICE}"},
        "evil origin": {"Authorization": f"token {ALICE}", "Origin": "http://evil.example"},
        "own origin": {"Authorization": f"token {ALICE}", "Origin": hub.url},
    }  # fmt: skip
    paths = {path for _, path in routes(hub)} | {f"{DOOR}", f"{DOOR}links/", PREFIX, "/"}

    def knock(one):
        path, what, method = one
        body = b"{}" if method in ("POST", "PUT", "PATCH") else None
        address = f"{path}?token={ALICE}"
        status, answer, said = hub.ask(method, address, None, body, **disguises[what])
        assert b"alice" not in said
        shut = status in (403, 404, 429) and "Access-Control-Allow-Origin" not in answer
        return "" if shut else f"{what}: {method} {path} gave {status}"

    tries = [one for one in itertools.product(sorted(paths), disguises, METHODS)
             if (one[2], one[0]) != ("GET", OPEN)]  # fmt: skip
    with ThreadPoolExecutor(12) as at_once:  # a refusal takes its time
        return [hole for hole in at_once.map(knock, tries) if hole]


def test_nobody_who_may_not_gets_anything(at_hub):
    """Anonymous, forged, another scheme, a cookie, an address's token, any page: refused everywhere."""
    made = face.keep(frozen(), "1d")
    known = routes(at_hub)
    assert {path for _, path in known if path.startswith(DOOR)} == {
        f"{DOOR}links",
        f"{DOOR}links/{'0' * 64}",
    }
    assert {method for method, path in known if path.startswith(DOOR)} == {"GET", "POST", "DELETE"}
    assert holes(at_hub) == []
    assert [one.digest for one in breeze_lab.shares()] == [made.link.digest]
    # It is not the requests that are refused: the owner's are answered.
    assert at_hub.door("GET", token=ALICE)[0] == 200
    assert at_hub.ask("GET", OPEN)[::2] == (200, b'{"links": "ok"}')


def test_the_census_catches_a_door_without_a_keeper(tmp_path):
    """The planted fault: a route that somebody put beside the door and not behind it."""
    from aiohttp import web

    async def everything(_request):
        return web.json_response({"shares": ["everybody's"]})

    def plant(app):
        app.router.add_get(f"{PREFIX}api2/links", everything)

    with running(tmp_path / "planted", plant) as hub:
        found = holes(hub)
    assert f"anonymous: GET {PREFIX}api2/links gave 200" in found
    assert all("api2" in one for one in found), found
