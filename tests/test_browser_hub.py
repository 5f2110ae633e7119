"""A real JupyterHub with its proxy beside it: two people in Chromium, and what neither can reach.

The shipped configuration (`docker/hub`), with a process for each person where a
container would be (`hub_config`). It takes minutes, so it is a command of its
own: ``make hub``. Where no Hub is installed for it, everything here is skipped.
"""

from __future__ import annotations

import json
import stat
import textwrap
import time
import types
from pathlib import Path

import psutil
import pytest
import requests
from browser_lab import chromium, idle, notebook
from hub_environment import find
from hub_rig import LINKS_UID, Hub, Person
from waiting import until, within
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = [pytest.mark.hub, pytest.mark.browser, pytest.mark.timeout(600)]

CELLS = [
    "%load_ext breeze_lab\n%breeze_login",
    "import breeze_lab\nbreeze_lab.candles('RELIANCE', '1m')",
]
LOGIN = ".jp-Notebook .breeze-lab-login"
CHART = ".breeze-lab-chart"
SHOTS = Path(__file__).parent.parent / ".screenshots"
#: What Jupyter itself has for whoever is let in, beside our own routes.
JUPYTERS = [
    ("GET", "api/contents"), ("GET", "api/kernels"), ("GET", "api/sessions"),
    ("GET", "api/terminals"), ("GET", "api/status"), ("GET", "api/me"), ("GET", "api/kernelspecs"),
    ("GET", "files/00_start_here.ipynb"), ("GET", "lab"), ("GET", "metrics"),
    ("GET", "lab/api/settings"), ("GET", "lab/api/workspaces"),
    ("POST", "api/kernels"), ("POST", "api/terminals"), ("POST", "api/contents"),
    ("DELETE", "api/contents/00_start_here.ipynb"), ("POST", "api/shutdown"),
]  # fmt: skip


def installed():
    folder = find()
    if folder is None:
        pytest.skip("no JupyterHub for the tests here; make hub installs one in .hub")
    return folder


@pytest.fixture(scope="module")
def hub():
    running = Hub(installed())
    yield running
    running.close()


@pytest.fixture(scope="module")
def people(hub):
    """Both logged in, their servers up."""
    both = {name: Person(hub, name) for name in ("alice", "bob")}
    for one in both.values():
        one.start()
    return both


@pytest.fixture(scope="module")
def alice(people):
    return people["alice"]


@pytest.fixture(scope="module")
def bob(people):
    return people["bob"]


@pytest.fixture(scope="module")
def kernels(people):
    """A kernel of each, in which Breeze Lab has logged in and a relay of theirs serves."""
    started = {}
    for name, one in people.items():
        started[name] = one.kernel()
        one.run(
            started[name],
            "import breeze_lab\nbreeze_lab.login_practice()\n"
            "s = breeze_lab.stream('RELIANCE')\nfor _ in s: break",
        )
    return started


# -- in the browser -----------------------------------------------------------


class Window:
    """A browser of one person's, at the Hub."""

    def __init__(self, browser, hub, name) -> None:
        self.hub, self.name = hub, name
        self.context = browser.new_context(viewport={"width": 1280, "height": 1000})
        self.page = self.context.new_page()

    def log_in(self):
        """Type name and password, as everybody does; the server starts by itself."""
        self.page.goto(self.hub.url)
        self.page.locator("#username_input").fill(self.name)
        self.page.locator("#password_input").fill(self.hub.passwords[self.name])
        self.page.locator("#login_submit").click()
        self.page.wait_for_url(f"**/user/{self.name}/lab**", timeout=120_000)

    def open(self, person, name):
        self.page.goto(f"{person.base}lab/tree/{name}?reset")
        until(lambda: any(k["execution_state"] == "idle" and k["connections"]
                          for k in person.kernels()), "a kernel", 120)  # fmt: skip
        idle(self.page)


def rehearse(window, person):
    """Log in to a broker's account on the broker's page, whose redirect comes back to the Hub."""
    record = person.record("practice")
    window.page.locator(f"{LOGIN} input[name=app_key]").fill(record["app_key"])
    window.page.locator(f"{LOGIN} input[name=secret]").fill(record["secret"])
    window.page.locator(f"{LOGIN} .bl-save").click()
    window.page.wait_for_selector(f"{LOGIN}[data-state=ready]", timeout=60_000)
    with window.context.expect_page() as opened:
        window.page.locator(f"{LOGIN} .bl-main").click()
    there = opened.value
    there.get_by_role("button", name="Log in to the practice market").click()
    there.wait_for_url(f"**/user/{person.name}/breeze-lab/callback?ticket=**", timeout=60_000)
    there.wait_for_selector("#account", timeout=60_000)
    account = there.locator("#account").inner_text()
    if not there.is_closed():
        there.close()
    return account


def run_cell(page, index):
    page.locator(".jp-Notebook .jp-CodeCell").nth(index).locator(".cm-content").first.focus()
    page.keyboard.press("Control+Enter")


def work(window, person):
    """Log in at the Hub and at the broker, and look at a live chart."""
    window.log_in()
    made = {"type": "notebook", "format": "json", "content": json.loads(notebook(CELLS))}
    person.ask("PUT", f"api/contents/only-{person.name}.ipynb", json=made)
    assert person.ask("GET", "breeze-lab/api/session")["state"] == "none"
    assert person.record("practice") is None, "nobody's market runs before it is asked for"
    person.run(person.kernel(), "from breeze_lab import session; session.start_practice()")
    window.open(person, f"only-{person.name}.ipynb")
    run_cell(window.page, 0)
    window.page.wait_for_selector(f"{LOGIN}[data-state=keys]", timeout=120_000)
    account = rehearse(window, person)
    window.page.wait_for_selector(f"{LOGIN}[data-state=good]", timeout=60_000)
    run_cell(window.page, 1)
    window.page.wait_for_selector(f"{CHART}[data-state=live]", timeout=120_000)
    window.page.screenshot(path=SHOTS / f"hub-{person.name}.png")
    return account


def test_two_people_work_in_two_browsers_and_see_only_their_own(hub, people):
    """Log in at the Hub, then at the broker, a live chart each; the other's server is refused."""
    SHOTS.mkdir(exist_ok=True)
    with chromium() as browser:
        windows = {name: Window(browser, hub, name) for name in people}
        for name, person in people.items():
            assert work(windows[name], person) == "PRACTICE MARKET"
            other = "bob" if name == "alice" else "alice"
            files = {one["name"] for one in person.ask("GET", "api/contents")["content"]}
            assert f"only-{name}.ipynb" in files
            assert f"only-{other}.ipynb" not in files
            # This browser, with all its cookies, at the other's address.
            stranger = windows[name].context.new_page()
            answer = stranger.goto(f"{hub.url}/user/{other}/lab")
            assert answer.status in (403, 404), answer.url
            stranger.close()
        # The sessions are two: one ends, the other goes on.
        serials = {one.ask("GET", "breeze-lab/api/session")["serial"] for one in people.values()}
        assert len(serials) == 2
        people["alice"].ask("POST", "breeze-lab/api/logout", json={})
        windows["alice"].page.wait_for_selector(f"{LOGIN}[data-state=ready]", timeout=60_000)
        assert people["bob"].ask("GET", "breeze-lab/api/session")["state"] == "good"
        assert windows["bob"].page.locator(LOGIN).get_attribute("data-state") == "good"
        for window in windows.values():
            window.context.close()


# -- what one has, at the other's address ---------------------------------------


def our_routes(person):
    """Return method and path of everything the live app says it has, and the login's routes."""
    told = person.ask("GET", "breeze-lab/api/openapi.json")
    found = [
        (method.upper(), "breeze-lab/api/" + path.rpartition("breeze-lab/api/")[2])
        for path, entry in told["paths"].items()
        for method in entry
        if method in ("get", "post", "put", "patch", "delete")
    ]
    assert len(found) > 5, told["paths"].keys()
    mine = [
        ("GET", "breeze-lab/api/session"), ("GET", "breeze-lab/api/watchlist"),
        ("GET", "breeze-lab/static/lab.js"), ("GET", "breeze-lab/jobs"),
        ("POST", "breeze-lab/api/login/practice"), ("POST", "breeze-lab/api/logout"),
        ("POST", "breeze-lab/api/credentials"), ("DELETE", "breeze-lab/api/credentials"),
        ("POST", "breeze-lab/login"),
    ]  # fmt: skip
    return sorted({*found, *mine})


def disguises(thief, victim, tokens):
    """Return what a thief can send: headers by what they are, for requests to the victim."""
    path = f"/user/{thief}/"
    stolen = {
        "own cookies renamed": "; ".join(
            f"{one.name.replace(thief, victim)}={one.value}" for one in tokens["jar"]
        ),
        "own cookies": "; ".join(f"{one.name}={one.value}" for one in tokens["jar"]),
    }
    xsrf = next(one.value for one in tokens["jar"] if one.name == "_xsrf" and one.path == path)
    found = {name: {"Cookie": cookies, "X-XSRFToken": xsrf} for name, cookies in stolen.items()}
    for name in ("server", "own"):
        found[f"{name} token"] = {"Authorization": f"token {tokens[name]}"}
    return found


def let_in(thief, victim, routes, tokens):
    """Return what of the victim's server `thief` reaches: ``(as what, method, path, status)``."""
    reached = []
    bare = Person(thief.hub, thief.name).web
    for what, headers in disguises(thief.name, victim.name, tokens).items():
        for method, path in routes:
            answer = bare.request(
                method, victim.base + path, headers={"Sec-Fetch-Mode": "cors", **headers},
                json={} if method == "POST" else None, timeout=60, allow_redirects=False,
            )  # fmt: skip
            # A page sends whoever is nobody to the Hub, which is asked in the test of browsers.
            away = answer.status_code == 302 and "/hub/" in answer.headers["Location"]
            if not away and answer.status_code not in (401, 403, 404):
                reached.append((what, method, path, answer.status_code))
        for path in ("breeze-lab/api/feed", f"api/kernels/{tokens['kernel']}/channels"):
            address = f"{victim.base}{path}"
            try:
                with connect(
                    "ws" + address.removeprefix("http"), additional_headers=headers,
                    origin=thief.hub.url, subprotocols=["breeze-lab.1.json"], open_timeout=30,
                    proxy=None,
                ):  # fmt: skip
                    reached.append((what, "WS", path, 101))
            except InvalidStatus as exc:
                if exc.response.status_code not in (302, 401, 403, 404):
                    reached.append((what, "WS", path, exc.response.status_code))
    return reached


@pytest.fixture(scope="module")
def tokens(alice, kernels):
    """What Alice has of hers: her cookies, the token of her server, one she asked the Hub for."""
    server = alice.run(kernels["alice"], "import os; print(os.environ['JUPYTERHUB_API_TOKEN'])")
    return {
        "jar": list(alice.web.cookies), "own": alice.token(), "server": server.strip(),
        "kernel": kernels["bob"],
    }  # fmt: skip


def test_nothing_that_is_hers_opens_his_server(alice, bob, kernels, tokens):
    """Cookies, the same under his cookies' names, two tokens: every route and both sockets say no."""
    routes = [*our_routes(bob), *JUPYTERS]
    assert let_in(alice, bob, routes, tokens) == []
    # The same requests at her own door: it is not the requests that are refused.
    reads = [one for one in routes if one[0] == "GET" and "{" not in one[1]]
    opened = let_in(alice, alice, reads, {**tokens, "kernel": kernels["alice"]})
    assert {what for what, *_ in opened} == {
        "own cookies",
        "own cookies renamed",
        "own token",
        "server token",
    }
    assert ("own token", "WS", "breeze-lab/api/feed", 101) in opened
    assert ("own cookies", "GET", "breeze-lab/api/status", 200) in opened


def test_a_door_that_was_opened_is_noticed(hub, alice, bob, tokens):
    """With his server shared with her at the Hub, the same requests find her inside."""
    share = {"user": "alice", "scopes": ["access:servers!server=bob/"]}
    assert hub.plant("POST", "shares/bob/", json=share).ok
    try:
        # A new token: what the Hub said of the old one is believed for minutes.
        found = let_in(
            alice, bob, [("GET", "breeze-lab/api/status")], tokens | {"own": alice.token()}
        )
        assert ("own token", "GET", "breeze-lab/api/status", 200) in found
        assert ("own token", "WS", "breeze-lab/api/feed", 101) in found
    finally:
        assert hub.plant("DELETE", "shares/bob/").ok


def test_the_hub_itself_tells_her_nothing_of_him(hub, alice, bob, tokens):
    """Her tokens neither see, start nor stop what is his at the Hub's own API."""
    for token in (tokens["own"], tokens["server"]):
        headers = {"Authorization": f"token {token}"}
        for method, route in (
            ("GET", "users"), ("GET", "users/bob"), ("DELETE", "users/bob/server"),
            ("POST", "users/bob/server"), ("POST", "users/bob/tokens"), ("GET", "users/bob/tokens"),
            ("DELETE", "users/bob"), ("POST", "users/bob/activity"), ("POST", "shares/bob/"),
            ("GET", "proxy"), ("POST", "shutdown"), ("GET", "services"),
        ):  # fmt: skip
            answer = bob.web.__class__().request(
                method, f"{hub.url}/hub/api/{route}", headers=headers, json={}, timeout=60
            )
            told = answer.json() if answer.ok else None
            quiet = told in ([], {}) or [one["name"] for one in told or []] == ["alice"]
            assert answer.status_code in (403, 404, 405) or quiet, (route, answer.text)
    assert bob.ask("GET", "api/status")["started"]


def test_the_lead_runs_servers_and_opens_none(hub, alice, bob):
    """Who adds people and stops servers is refused at the door of each, like everybody."""
    lead = Person(hub, "lead")
    lead.log_in()
    token = lead.token()
    listed = lead.web.get(
        f"{hub.url}/hub/api/users", headers={"Authorization": f"token {token}"}, timeout=60
    )
    assert {"alice", "bob"} <= {one["name"] for one in listed.json()}
    routes = [one for one in our_routes(bob) if one[0] == "GET"]
    kept = {"jar": list(lead.web.cookies), "own": token, "server": token, "kernel": "none"}
    path = "/user/lead/"  # of a server that was never started, so there is no cookie of it
    kept["jar"].append(requests.cookies.create_cookie("_xsrf", "none", path=path))
    assert let_in(lead, bob, routes, kept) == []
    answer = lead.web.get(f"{bob.base}lab", timeout=60)
    assert answer.status_code in (403, 404), answer.url


# -- a link ---------------------------------------------------------------------


def test_a_link_of_hers_shows_him_the_chart_and_nothing_else(hub, alice, bob, kernels, tokens):
    """He opens it signed in as himself, a stranger without any login; nothing beside it opens."""
    url = alice.run(
        kernels["alice"],
        "breeze_lab.login_practice()\n"
        "link = breeze_lab.share(breeze_lab.candles('RELIANCE', '1m'), expires='1d')\n"
        "print(link.url)",
    ).strip()
    assert url.startswith(f"{alice.base}breeze-lab/s/")
    name = url.rpartition("/")[2]
    with chromium() as browser:
        for who in ("bob", None):
            window = Window(browser, hub, who)
            if who:
                window.log_in()
            answer = window.page.goto(url)
            assert answer.status == 200
            window.page.wait_for_selector(f"{CHART}[data-state=live]", timeout=120_000)
            window.page.screenshot(path=SHOTS / f"hub-link-{who}.png")
            window.context.close()
    # What he has of his own, and the link's id, open nothing of hers.
    his = {
        "jar": list(bob.web.cookies), "own": bob.token(), "server": name,
        "kernel": kernels["alice"],
    }  # fmt: skip
    routes = [*our_routes(alice), ("GET", f"breeze-lab/api/status?token={name}")]
    assert let_in(bob, alice, [one for one in routes if one[0] == "GET"], his) == []
    refused = [("GET", "breeze-lab/api/shares"), ("DELETE", "breeze-lab/api/shares?name=a")]
    assert let_in(bob, alice, refused, his) == []
    assert bob.request("GET", f"{bob.base}breeze-lab/s/{name}").status_code == 404, "it is hers"
    assert bob.request("GET", url).status_code == 200
    alice.run(kernels["alice"], "link.revoke()")
    until(lambda: bob.request("GET", url).status_code == 404, "the link's end")


# -- in one's own server --------------------------------------------------------


def test_the_callback_is_where_the_browser_is(alice):
    """Below her name at the Hub, and https where something in front of the Hub's proxy is."""
    told = alice.ask("GET", "breeze-lab/api/session")["callback"]
    assert told == f"{alice.base}breeze-lab/callback"
    safe = alice.ask("GET", "breeze-lab/api/session", headers={"X-Forwarded-Proto": "https"})
    assert safe["callback"] == told.replace("http:", "https:")


def test_a_change_needs_the_page_s_own_token(alice):
    """A request with all cookies and without the XSRF token changes nothing; with it, it does."""
    for method, route in (
        ("POST", "breeze-lab/api/logout"), ("POST", "breeze-lab/api/credentials"),
        ("POST", "breeze-lab/api/login/practice"), ("POST", "breeze-lab/api/subscriptions"),
        ("POST", "breeze-lab/login"),
    ):  # fmt: skip
        assert alice.request(method, alice.base + route, xsrf=False, json={}).status_code == 403, (
            route
        )
    assert alice.request("POST", f"{alice.base}breeze-lab/api/logout", json={}).status_code == 200


def test_orders_stay_off_whatever_she_sets(alice, kernels):
    """Named in the environment and asked for in the call: a Hub refuses both together."""
    said = alice.run(
        kernels["alice"],
        textwrap.dedent("""
            import os
            from breeze_lab import errors, session
            who = session.login_practice()
            os.environ["BREEZE_LAB_ALLOW_ORDERS"] = who.identity.user_id
            for name in [n for n in os.environ if n.startswith("JUPYTERHUB_")]:
                del os.environ[name]
            try:
                who.client.call("place_order", orders=True, stock_code="RELIND")
            except errors.BreezeLabError as exc:
                print(exc)
        """),
    )
    assert "on a Hub" in said, said


def test_relay_vault_and_files_are_hers_alone(hub, alice, bob, kernels):
    """Private folders, a door of mode 0600, and his kernel is refused by the system at each."""
    look = textwrap.dedent("""
        import json, os, socket
        from pathlib import Path
        found = {}
        for path in json.loads(PATHS):
            try:
                if path.endswith(".sock"):
                    with socket.socket(socket.AF_UNIX) as door:
                        door.connect(path)
                elif os.path.isdir(path):
                    os.listdir(path)
                else:
                    Path(path).read_bytes()
            except OSError as exc:
                found[path] = type(exc).__name__
            else:
                found[path] = "open"
        print(json.dumps(found))
    """)
    server = next(
        one for one in hub.processes_of("alice") if "singleuser" in " ".join(one.cmdline())
    )
    key = Path(server.environ()["BREEZE_LAB_VAULT_KEY_FILE"])
    runtime = hub.runtime("alice")
    door = Path(alice.record("relay")["socket"])
    vault = hub.home("alice") / ".breeze-lab" / "data"
    paths = [
        str(path) for path in (
            hub.home("alice"), hub.home("alice") / "notebooks", runtime, door, vault, key,
            runtime / "relay.json", runtime / "practice.json", f"/proc/{server.pid}/environ",
            hub.folder / "data", hub.folder / "secrets" / "hub_vault_secret",
        )
    ]  # fmt: skip
    assert stat.S_IMODE(door.stat().st_mode) == 0o600
    assert stat.S_IMODE(runtime.stat().st_mode) == stat.S_IMODE(vault.stat().st_mode) == 0o700
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert alice.record("relay")["pid"] != bob.record("relay")["pid"]
    session = alice.ask("GET", "breeze-lab/api/session")
    assert session["vault"]["backend"] == "mounted"
    for one in hub.processes_of("alice"):
        words = json.dumps(one.environ()) + " ".join(one.cmdline())
        assert key.read_text() not in words, one
        assert "BREEZE_LAB_HUB_VAULT_KEY" not in words, one
    if not hub.apart:
        pytest.skip("without root all are one user of this system")
    code = f"PATHS = {json.dumps(json.dumps(paths))}\n{look}"
    his = json.loads(bob.run(kernels["bob"], code))
    assert "open" not in his.values(), his
    hers = json.loads(alice.run(kernels["alice"], code))
    assert [path for path in paths if hers[path] != "open"] == paths[-2:], hers


def test_a_restart_of_the_hub_disturbs_nobody(hub, alice, kernels):
    """Servers, kernels and cookies go on, and so does the way through the proxy meanwhile."""
    before = alice.record("relay")["pid"]
    hub.stop()
    assert alice.run(kernels["alice"], "print(1 + 1)") == "2\n"
    hub.start()
    assert alice.ask("GET", "breeze-lab/api/status")["relay"]["pid"] == before


def test_memory_of_an_idle_server_and_of_a_kernel(hub, alice, kernels):
    """What a desk has to plan for, printed; the bounds only notice that something went wrong."""

    def pss_mb(words):
        found = [
            one.memory_full_info().pss / 2**20
            for one in hub.processes_of("alice") if words in " ".join(one.cmdline())
        ]  # fmt: skip
        return round(sum(found) / len(found), 1)

    figures = {
        "server": pss_mb("jupyterhub.singleuser"), "kernel": pss_mb("ipykernel_launcher"),
        "relay": pss_mb("breeze_lab.relay"), "practice market": pss_mb("breeze_lab.practice"),
        "hub": round(psutil.Process(hub.hub.pid).memory_full_info().pss / 2**20, 1),
        "proxy": round(psutil.Process(hub.proxy.pid).memory_full_info().pss / 2**20, 1),
        "links, nobody looked": round(
            psutil.Process(hub.links.pid).memory_full_info().pss / 2**20, 1
        ),
    }  # fmt: skip
    print("PSS in MB:", figures)
    assert 20 < figures["server"] < 500
    assert 20 < figures["kernel"] < 500


# -- a link that outlives a server ------------------------------------------------

SHARED = [
    "%load_ext breeze_lab\n%breeze_login practice",
    "import breeze_lab\nbreeze_lab.candles('RELIANCE', '1m')",
]


def share_by_button(window, person):
    """Make a snapshot's link with the button of a chart; return its address."""
    window.log_in()
    made = {"type": "notebook", "format": "json", "content": json.loads(notebook(SHARED))}
    person.ask("PUT", "api/contents/shared.ipynb", json=made)
    window.open(person, "shared.ipynb")
    for index in range(2):
        run_cell(window.page, index)
    window.page.wait_for_selector(f"{CHART}[data-state=live]", timeout=120_000)
    window.page.locator(f"{CHART} .bl-share").click()
    window.page.locator(f"{CHART} .bl-share-data").select_option("snapshot")
    window.page.locator(f"{CHART} .bl-share-make").click()
    window.page.locator(f"{CHART} .bl-share-made").wait_for(state="visible", timeout=60_000)
    return window.page.locator(f"{CHART} .bl-share-link").input_value()


def stop_server(hub, person):
    """Stop a person's server as its owner does at the Hub."""
    answer = person.request(
        "DELETE", f"{hub.url}/hub/api/users/{person.name}/server",
        headers={"X-XSRFToken": person.cookie("_xsrf", "/hub/")},
    )  # fmt: skip
    assert answer.ok, answer.text
    until(lambda: servers(hub)[person.name] is None, "the end of the server", 120)


def door(hub, token, method="GET", below="", headers=(), **options):
    """Ask the service of links as the holder of a token; return status and JSON."""
    answer = requests.request(
        method, f"{hub.url}/services/links/api/links{below}", timeout=60, **options,
        headers={"Authorization": f"token {token}", **dict(headers)},
    )  # fmt: skip
    told = answer.headers["Content-Type"].startswith("application/json") and answer.json()
    return answer.status_code, told


def look(window, url):
    """Open a snapshot's link; return the page, whose chart stands still."""
    answer = window.page.goto(url)
    assert answer.status == 200
    assert "sandbox allow-scripts" in answer.headers["content-security-policy"]
    window.page.wait_for_selector(f"{CHART}[data-state=still]", timeout=120_000)
    assert window.page.evaluate("window.origin") == "null"
    return window.page


@pytest.fixture(scope="module")
def left(hub, alice, bob, kernels):
    """What is left when she has shared snapshots and stopped her server: links and old tokens."""
    ask = "import os; print(os.environ['JUPYTERHUB_API_TOKEN'])"
    kernel = alice.kernel()  # the other one forgot its token in a test
    found = types.SimpleNamespace(
        old=alice.run(kernel, ask).strip(), his=bob.run(kernels["bob"], ask).strip()
    )
    found.url, found.name, found.live, found.brief = alice.run(
        kernel,
        textwrap.dedent("""
            import datetime, breeze_lab
            breeze_lab.login_practice()
            chart = breeze_lab.candles("RELIANCE", "1m", indicators=["ema(20)", "rsi"])
            made = breeze_lab.share(chart, "1d", data="snapshot")
            brief = breeze_lab.share(chart, datetime.timedelta(seconds=2), data="snapshot")
            print(made.url, made.name, breeze_lab.share(chart, "1d").url, brief.url)
        """),
    ).split()
    with chromium() as browser:
        hers = Window(browser, hub, "alice")
        found.clicked = share_by_button(hers, alice)
        hers.context.close()
    stop_server(hub, alice)
    return found


@pytest.mark.timeout(900)
def test_a_snapshot_of_hers_outlives_her_server(hub, left):
    """With her server stopped he opens it, and so does a stranger; what is no link opens nothing."""
    assert left.url.startswith(f"{hub.url}/services/links/s/")
    assert left.clicked.startswith(f"{hub.url}/services/links/s/")
    assert f"{hub.url}/user/alice/breeze-lab/s/" in left.live, "what is live stays at her server"
    away = requests.get(left.live, timeout=60, allow_redirects=False)
    assert away.status_code != 200, "the Hub answers in the place of a server that is stopped"
    with chromium() as browser:
        for who in ("bob", None):
            window = Window(browser, hub, who)
            if who:
                window.log_in()
            look(window, left.clicked)
            page = look(window, left.url)
            until(lambda page=page: page.locator(CHART).get_attribute("data-indicators"), "both")
            page.screenshot(path=SHOTS / f"hub-outlives-{who}.png")
            assert who or window.context.cookies() == []
            window.context.close()
    token = left.url.rpartition("/")[2]
    altered = left.url[:-1] + ("A" if left.url[-1] != "A" else "B")
    invented = left.url.replace(token, "A" * 32)
    for wrong in (altered, invented, left.brief, left.url + "A", left.url[:-1]):
        assert requests.get(wrong, timeout=60).status_code == 404, wrong


def test_nobody_else_lists_or_ends_or_replaces_a_link_of_hers(hub, bob, kernels, left):
    """With all that he has he is told that there is none; who is nobody is not let in."""
    token = left.url.rpartition("/")[2]
    for one in (left.his, bob.token()):
        assert door(hub, one) == (200, {"shares": []})
        for named in (left.name, token):
            assert door(hub, one, "DELETE", f"/{named}")[0] == 404
        for method in ("PUT", "PATCH", "POST"):
            assert door(hub, one, method, f"/{left.name}", json={})[0] == 404
        assert door(hub, one, "DELETE") == (200, {"revoked": 0})
    bob.run(kernels["bob"], "import breeze_lab\nassert len(breeze_lab.shares()) == 0")
    narrow = bob.request(
        "POST", f"{hub.url}/hub/api/users/bob/tokens", json={"scopes": ["read:users:name!user"]},
        headers={"X-XSRFToken": bob.cookie("_xsrf", "/hub/")},
    ).json()["token"]  # fmt: skip
    nobodies = {
        "a link's id": token, "a service's": hub.environment["HUB_PLANTER"], "invented": "f" * 32,
        "without the scope": narrow,
    }  # fmt: skip
    told = {what: door(hub, one)[0] for what, one in nobodies.items()}
    assert told == dict.fromkeys(nobodies, 403)
    # A page's request, whatever its origin, and a browser with all his cookies.
    assert door(hub, left.his, headers={"Origin": hub.url})[0] == 403
    assert bob.request("GET", f"{hub.url}/services/links/api/links").status_code == 403
    assert requests.get(left.url, timeout=60).status_code == 200


@pytest.mark.timeout(900)
def test_she_ends_it_from_her_next_server(hub, alice, left):
    """Found again, open while the Hub restarts, and dead within a second for who looks."""
    alice.start()
    kernel = alice.kernel()
    code = "import breeze_lab\nprint(*(one.name for one in breeze_lab.shares()))"
    assert left.name in alice.run(kernel, code).split()
    hub.stop()
    assert requests.get(left.url, timeout=60).status_code == 200
    assert "Try again" in alice.run(kernel, REFUSED.format("breeze_lab.shares()"))
    hub.start()
    with chromium() as browser:
        stranger = Window(browser, hub, None)
        page = look(stranger, left.url)
        # They come by the websocket, which says when the link ends.
        until(lambda: page.locator(CHART).get_attribute("data-indicators"), "its indicators")
        begun = time.monotonic()
        ended = alice.ask("DELETE", f"breeze-lab/api/shares?name={left.name}")
        page.wait_for_selector("body[data-state=ended]", timeout=60_000)
        took = time.monotonic() - begun
        print(f"Dead {took:.2f} s after it was withdrawn")
        assert took < within(1.0)
        assert ended == {"revoked": left.name}
        assert requests.get(left.url, timeout=60).status_code == 404
        assert look(stranger, left.clicked)
        stranger.context.close()


#: Prints why a line of ours is refused.
REFUSED = "try:\n    {}\nexcept breeze_lab.errors.ShareError as exc:\n    print(exc)"


def test_the_service_of_links_has_nothing_of_anybody_s(hub, alice, left):
    """No secret of the Hub's, an id and a home of its own; without it a sentence and no link."""
    service = psutil.Process(hub.links.pid)
    if hub.apart:
        assert service.uids().real == LINKS_UID
        assert stat.S_IMODE(hub.links_home.stat().st_mode) == 0o700
    words = json.dumps(service.environ()) + " ".join(service.cmdline())
    for secret in (hub.folder / "secrets").iterdir():
        assert secret.read_text() not in words
    log = (hub.folder / "links.log").read_text()
    for token in (left.url.rpartition("/")[2], left.his, left.old):
        assert token not in log
    print(
        "PSS in MB of links, charts with indicators shown:",
        round(service.memory_full_info().pss / 2**20, 1),
    )
    alice.start()
    kernel = alice.kernel()
    hub.links.terminate()
    hub.links.wait(30)
    alice.run(
        kernel,
        "import breeze_lab\nfrom bokeh.plotting import figure\n"
        "shown = figure()\nshown.line([1, 2], [1, 2])",
    )
    assert "Nothing was shared" in alice.run(kernel, REFUSED.format("breeze_lab.share(shown)"))


# -- the culler -----------------------------------------------------------------


def test_the_culler_spares_who_records_until_the_market_closes():
    """Both leave; the idle server goes, the recording one stays, and goes when the day is over."""
    idle_s = 40
    hub = Hub(
        installed(), HUB_IDLE_TIMEOUT=str(idle_s), HUB_CULL_EVERY="2", HUB_ACTIVITY_INTERVAL="2"
    )
    try:
        bob, alice = Person(hub, "bob"), Person(hub, "alice")
        bob.start()
        alice.start()
        kernel = alice.kernel()
        alice.run(
            kernel,
            "import datetime, breeze_lab\n"
            "from breeze_lab import session\n"
            "from breeze_lab.practice import control\n"
            "session.start_practice()\n"
            "control.connect().jump(datetime.datetime(2026, 11, 19, 10))\n"
            "breeze_lab.login_practice()\n"
            "held = breeze_lab.stream('RELIANCE')\n"
            "for _ in held: break",
        )
        left = time.monotonic()
        until(lambda: servers(hub)["bob"] is None, "the end of the idle one", 240)
        # Half as long again as what ended the other.
        until(lambda: time.monotonic() - left > 1.5 * idle_s, "a while", 2 * idle_s)
        assert servers(hub)["alice"] is not None
        alice.run(kernel, "control.connect().jump('20:00')")
        until(lambda: servers(hub)["alice"] is None, "the end of the other", 240)
    finally:
        hub.close()


def servers(hub):
    """Return the server of each, as the Hub sees it; None for one that was stopped."""
    told = hub.plant("GET", "users").json()
    return {one["name"]: one.get("servers", {}).get("") for one in told}
