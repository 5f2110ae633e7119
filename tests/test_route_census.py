"""Every route and websocket of the live app, tried by those who may not: none gives anything."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from dash_home import end
from test_server_extension import OPENER, TOKEN, Server
from waiting import until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from breeze_lab import processes, settings

#: An authorizer that refuses everything to a request that says so.
CONFIG = """
from jupyter_server.auth.authorizer import AllowAllAuthorizer

class Picky(AllowAllAuthorizer):
    def is_authorized(self, handler, user, action, resource):
        return "X-Refuse" not in handler.request.headers

c.ServerApp.authorizer_class = Picky
"""

#: What stands for a group in a route's pattern.
SAMPLES = {
    r"([\w.-]+)": "lab.js", r"(\d+)": "1", r"([^/]*)": "A" * 32, r"(.*)": "A" * 32,
    r"([0-9a-f-]{36})": "6f1d3c1e-9a52-4f0e-8c41-0a7a5f2d9b11",
    "(market|board|jobs|published)": "market",
    r"(static/[\w./@+%-]+|favicon\.ico)": "favicon.ico",
}  # fmt: skip

#: The broker's page posts here from its own origin, and a redirect of it is nobody's XHR: nothing
#: is believed without the nonce of a login under way (tests/test_login_callback.py).
FROM_ELSEWHERE = {"CallbackHandler"}

#: Share links are for people without a login: 192 random bits in the address let them in, and to
#: every other address they are not there, the owner's requests included (tests/test_shares.py).
PUBLIC = {"SharedPage", "SharedFeed"}

REFUSED = {401, 403, 404, 405}
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


def needs_one(route) -> bool:
    """Say whether a route is about one thing, of which there is none here."""
    return any(group in route["pattern"] for group in SAMPLES) or "jobs/run" in route["pattern"]


def is_page(route) -> bool:
    """Say whether a route's answers are for people, who are sent to the sign-in page."""
    return "/api/" not in route["pattern"] and "/scheduler/" not in route["pattern"]


class Census:
    """A server that wrote down its routes, and everybody who may not."""

    def __init__(self, home: Path, *, plant: bool = False) -> None:
        file = home / "census.json"
        here = str(Path(__file__).parent)
        path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
        planted = {"BREEZE_LAB_PLANT": "1"} if plant else {}
        self.server = Server(
            home, CONFIG, extensions=("census_extension",),
            environment={"BREEZE_LAB_CENSUS": str(file), "PYTHONPATH": path, **planted},
        )  # fmt: skip
        self.routes = json.loads(until(lambda: file.exists() and file.read_text(), "the census"))
        self.origin = self.server.url.partition("/user")[0]
        # Any page hands it out, the one for what is not there, too.
        page = urllib.request.Request(self.origin + "/user/alice/nowhere")
        page.add_header("Cookie", self.server.cookie)
        with pytest.raises(urllib.error.HTTPError) as missing:
            OPENER.open(page, timeout=60)
        given = missing.value.headers.get_all("Set-Cookie") or []
        self.xsrf = next(c for c in given if c.startswith("_xsrf=")).partition(";")[0][6:]
        self.cookie = f"{self.server.cookie}; _xsrf={self.xsrf}"

    def address(self, route) -> str:
        """Return an address that the route's pattern matches."""
        pattern = route["pattern"].removesuffix("$").removesuffix("/?")
        for group, sample in SAMPLES.items():
            pattern = pattern.replace(group, sample)
        address = pattern.replace("\\-", "-").replace("\\.", ".")
        assert re.fullmatch(route["pattern"], address), f"no sample for {route['pattern']}"
        return self.origin + address

    def ask(self, route, method, headers):
        """Return status, headers and body."""
        request = urllib.request.Request(
            self.address(route), method=method, headers=headers,
            data=b"{}" if method in CHANGING else None,
        )  # fmt: skip
        try:
            with OPENER.open(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.headers, exc.read()

    def knock(self, route, headers):
        """Return the status with which a websocket was refused; 101 when it was opened."""
        given = dict(headers)
        origin = given.pop("Origin", None)
        try:
            with connect(
                self.address(route).replace("http", "ws"), subprotocols=["breeze-lab.1.json"],
                additional_headers=given, origin=origin, open_timeout=60, close_timeout=1,
            ):  # fmt: skip
                return 101
        except InvalidStatus as exc:
            return exc.response.status_code

    def strangers(self, route):
        """Yield a name, the headers and the methods of everybody who may not."""
        cookie = {"Cookie": self.cookie}
        host = self.origin.removeprefix("http://")
        elsewhere = {
            "evil origin": "http://evil.example",
            "prefix origin": f"http://{host}.evil.example",
            "null origin": "null",
        }
        yield "anonymous", {}, None
        yield "wrong token", {"Authorization": "token wrong-" + TOKEN}, None
        yield (
            "wrong cookie",
            {"Cookie": re.sub(r'="?2\|[^;]*', "=2|1:0|forged", cookie["Cookie"])},
            None,
        )
        yield "denied by the authorizer", {"Authorization": f"token {TOKEN}", "X-Refuse": "1"}, None
        yield "denied, with a cookie", {
            **cookie, "Origin": self.origin, "X-XSRFToken": self.xsrf, "X-Refuse": "1",
        }, None  # fmt: skip
        if route["handler"] in FROM_ELSEWHERE:
            return
        for name, origin in elsewhere.items():
            yield name, {**cookie, "Origin": origin}, None
            if not is_page(route):  # a page's form is posted with the XSRF token alone
                yield f"{name}, with XSRF", {
                    **cookie, "Origin": origin, "X-XSRFToken": self.xsrf,
                }, None  # fmt: skip
        yield "no XSRF", {**cookie, "Origin": self.origin}, CHANGING
        yield "wrong XSRF", {
            **cookie, "Origin": self.origin, "X-XSRFToken": self.xsrf[:-1] + "x",
        }, CHANGING  # fmt: skip

    def holes(self) -> list[str]:
        """Return everything that was given to somebody who may not."""
        found = []
        for route in self.routes:
            for who, headers, only in self.strangers(route):
                for method in route["methods"]:
                    if only is not None and method not in only:
                        continue
                    status, answer, body = self.ask(route, method, headers)
                    login = "/login?next=" in (answer.get("Location") or "")
                    good = status in REFUSED or (status == 302 and login and is_page(route))
                    if not good or len(body) > 4096:
                        found.append(f"{who}: {method} {route['handler']} gave {status}")
                if route["socket"] and only is None:
                    status = self.knock(route, headers)
                    if status not in REFUSED:
                        found.append(f"{who}: socket {route['handler']} gave {status}")
        return found

    def close(self) -> None:
        self.server.process.terminate()
        self.server.process.wait(30)
        record = processes.running(settings.folders().runtime, "relay")
        if record is not None:
            os.kill(record["pid"], signal.SIGTERM)
        end()


@pytest.fixture(scope="module")
def census(tmp_path_factory):
    home = tmp_path_factory.mktemp("census")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(home / "lab"))
        found = Census(home)
        yield found
        found.close()


def test_the_census_sees_the_routes_there_are(census):
    """The app's own router is read: pages, files, REST and the websocket are all there."""
    handlers = {route["handler"] for route in census.routes}
    assert {
        "StatusHandler",
        "FeedHandler",
        "StaticHandler",
        "CallbackHandler",
        "TruthHandler",
    } <= handlers
    sockets = [route["handler"] for route in census.routes if route["socket"]]
    assert set(sockets) >= {"FeedHandler", "IndicatorsHandler", "SharedFeed", "SocketHandler"}
    assert handlers >= PUBLIC
    assert len(census.routes) >= 38
    form = {route["handler"] for route in census.routes if "/scheduler/" in route["pattern"]}
    assert {"DefinitionsHandler", "FromDefinitionHandler", "BatchHandler"} <= form


def test_every_address_leads_to_its_route(census):
    """The owner is let in everywhere, so that a refusal is one and no misspelt address."""
    for route in census.routes:
        headers = {"Authorization": f"token {TOKEN}"}
        if route["handler"] in PUBLIC:
            answer = (
                census.knock(route, {}) if route["socket"] else census.ask(route, "GET", headers)[0]
            )
            assert answer == 404, route
        elif "GET" in route["methods"] and not route["socket"]:
            status, _, _ = census.ask(route, "GET", headers)
            assert (
                status in (200, 202, 302, 400, 503)
                or (status == 404 and needs_one(route))
                or route["handler"] in FROM_ELSEWHERE
            ), route
        elif route["socket"]:
            # A dashboard's wants Bokeh's protocol and its page's token (tests/test_dashboards.py).
            wanted = 400 if route["handler"] == "SocketHandler" else 101
            assert census.knock(route, headers) == wanted
        else:
            assert census.ask(route, "GET", headers)[0] == 405, route


def test_nobody_who_may_not_gets_anything(census):
    """Anonymous, wrong token, foreign page, no XSRF, no right: refused at every route, each way."""
    assert census.holes() == []


def test_a_method_that_is_not_there_is_refused_too(census):
    """405 for every method a route does not have, whoever asks."""
    for route in census.routes:
        missing = {"POST", "PUT", "PATCH", "DELETE"} - set(route["methods"])
        for method in missing:
            owner = {"Authorization": f"token {TOKEN}"}
            assert census.ask(route, method, owner)[0] == 405, (route, method)
            assert census.ask(route, method, {})[0] in REFUSED, (route, method)


def test_options_tell_nothing(census):
    """A preflight has no body and lets no other origin in."""
    for route in census.routes:
        headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
        status, answer, body = census.ask(route, "OPTIONS", headers)
        assert status in {200, 204} | REFUSED
        assert not body or status in REFUSED
        assert "Access-Control-Allow-Origin" not in answer, route


def test_the_census_catches_a_route_without_decorators(tmp_path, monkeypatch):
    """The planted fault: an open route and an open websocket are found, and nothing else is."""
    monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path / "lab"))
    found = Census(tmp_path, plant=True)
    try:
        holes = found.holes()
    finally:
        found.close()
    assert "anonymous: GET PlantedRoute gave 200" in holes
    assert "evil origin: GET PlantedRoute gave 200" in holes
    assert "no XSRF: POST PlantedRoute gave 200" in holes
    assert "anonymous: socket PlantedSocket gave 101" in holes
    assert all("Planted" in hole for hole in holes), holes
