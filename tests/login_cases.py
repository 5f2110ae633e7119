"""The table of tried callbacks: what was sent, what came back, and that nothing changed.

Each case is a function of a `Stage`: a victim who is signed in and has a login
under way, and a stranger who is signed in too and has none. It returns the
answer that is judged. `docs/login.md` shows the table; a test compares both.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from browser_by_hand import Answer, Browser
from test_server_extension import TOKEN, Server

from breeze_lab import accounts, session, vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVIL = "https://evil.example"
FORM = {"Content_Type": "application/x-www-form-urlencoded"}


@dataclass
class Stage:
    """A server, a victim with a login under way, and a stranger without one."""

    server: Server
    record: dict[str, object]
    api_session: str
    broker: str = ""
    browsers: list[Browser] = field(default_factory=list)

    def __post_init__(self) -> None:
        parts = urlsplit(str(self.record["login_url"]))
        self.broker = f"{parts.scheme}://{parts.netloc}"
        self.victim = self.sign_in()
        self.start(self.victim)
        self.stranger = self.sign_in()

    def sign_in(self) -> Browser:
        """Return a browser with Jupyter's cookies; every one is another user."""
        browser = Browser()
        root = self.server.url.removesuffix("breeze-lab/")
        for path in ("api/status", "nowhere"):
            browser.send("GET", f"{root}{path}?token={TOKEN}")
        self.browsers.append(browser)
        return browser

    def log_out(self) -> None:
        """End every login of this stage, under way or done."""
        for browser in self.browsers:
            xsrf = browser.cookie("_xsrf")
            browser.send("POST", self.server.url + "api/logout", X_XSRFToken=xsrf)

    def start(self, browser: Browser) -> Answer:
        """Press the button that begins a login."""
        answer = browser.send("POST", self.server.url + "login", {"_xsrf": browser.cookie("_xsrf")})
        assert answer.status == 303, answer.text
        return answer

    @property
    def url(self) -> str:
        return self.server.url + "callback"

    @property
    def nonce_name(self) -> str:
        netloc = urlsplit(self.url).netloc
        return "breeze-lab-login-" + "".join(c if c.isalnum() else "-" for c in netloc)

    def nonce_key(self) -> tuple[str, str, str]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.path, self.nonce_name

    def comes_back(self, browser: Browser, name: str = "apisession", **headers: str) -> Answer:
        """Return what a GET redirect of the broker gets."""
        return browser.send(
            "GET", f"{self.url}?{name}={self.api_session}", cross_site=True, **headers
        )

    def posts_back(
        self, browser: Browser, origin: str | None = None, name: str = "API_Session",
        *, cross_site: bool = True,
    ) -> Answer:  # fmt: skip
        """Return what a POST redirect gets; `origin` is by default the broker's."""
        origin = self.broker if origin is None else origin
        return browser.send(
            "POST", self.url, {name: self.api_session}, cross_site=cross_site, Origin=origin
        )

    def goes_on(self, browser: Browser, answer: Answer) -> Answer:
        """Follow a 303 as the browser that got it."""
        assert answer.status == 303, answer.text
        return browser.send("GET", answer.location, cross_site=True)

    def state(self, browser: Browser | None = None) -> dict[str, object]:
        answer = (browser or self.victim).send(
            "GET", self.server.url + "api/session", Referer=self.server.url
        )
        assert answer.status == 200, answer.text
        found: dict[str, object] = json.loads(answer.body)
        return found

    def keep_keys(self, **changes: str) -> None:
        """Put the market's keys, or changed ones, into the vault."""
        keys = {"app_key": self.record["app_key"], "secret": self.record["secret"]} | changes
        vault.open().set("credentials:practice", json.dumps(keys))


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Parameters
    ----------
    tried, answer
        The row's words.
    status
        What must come back.
    run
        Does it.
    keeps
        Whether the victim's login is still under way afterwards.
    """

    tried: str
    status: int
    answer: str
    run: Callable[[Stage], Answer]
    keeps: bool = True


REFUSED: list[Case] = []
GOOD: list[Case] = []


def refused(tried: str, status: int, answer: str, *, keeps: bool = True):
    """Enter a refused case."""

    def enter(run):
        REFUSED.append(Case(tried, status, answer, run, keeps))
        return run

    return enter


def good(tried: str):
    """Enter a way that must work."""

    def enter(run):
        GOOD.append(Case(tried, 200, "logged in, the account's name is shown", run, keeps=False))
        return run

    return enter


# -- the ways that work -----------------------------------------------------------


@good("GET `?apisession=`")
def get_plain(stage):
    return stage.goes_on(stage.victim, stage.comes_back(stage.victim))


@good("GET `?API_Session=`, and any other case")
def get_upper(stage):
    assert stage.comes_back(stage.victim, "aPiSeSsIoN").status == 303
    return stage.goes_on(stage.victim, stage.comes_back(stage.victim, "API_Session"))


@good("POST of a form with `API_Session` from the broker's site, which brings no cookie of ours")
def post_cross_site(stage):
    return stage.goes_on(stage.victim, stage.posts_back(stage.victim))


@good("POST from a page that hides its address (origin `null`)")
def post_null(stage):
    return stage.goes_on(stage.victim, stage.posts_back(stage.victim, "null", "apisession"))


@good("POST within one site, with cookies, to the address with a slash at its end")
def post_same_site(stage):
    answer = stage.victim.send(
        "POST", stage.url + "/", {"ApiSession": stage.api_session}, Origin=stage.broker
    )
    return stage.goes_on(stage.victim, answer)


# -- those that must not -------------------------------------------------------------


@refused("GET while no login is under way", 403, "refused")
def nothing_pending(stage):
    return stage.comes_back(stage.stranger)


@refused("the address of a finished login once more (replay)", 403, "refused", keeps=False)
def replayed_address(stage):
    first = stage.comes_back(stage.victim)
    assert stage.goes_on(stage.victim, first).status == 200
    return stage.comes_back(stage.victim)


@refused("the ticket of a finished login once more", 403, "refused", keeps=False)
def replayed_ticket(stage):
    first = stage.posts_back(stage.victim)
    assert stage.goes_on(stage.victim, first).status == 200
    return stage.goes_on(stage.victim, first)


@refused(
    "the ticket of a finished login, in the victim's next login", 403, "refused; the next login "
    "stays under way",
)  # fmt: skip
def ticket_in_the_next_login(stage):
    first = stage.comes_back(stage.victim)
    assert stage.goes_on(stage.victim, first).status == 200
    stage.start(stage.victim)
    return stage.goes_on(stage.victim, first)


@refused("a ticket opened twice at the same moment", 403, "one is let in, the other refused",
         keeps=False)  # fmt: skip
def ticket_twice_at_once(stage):
    first = stage.comes_back(stage.victim)
    copies = [Browser(dict(stage.victim.cookies)) for _ in range(2)]
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda b=b: answers.append(stage.goes_on(b, first))) for b in copies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.status for a in answers) == [200, 403]
    return next(a for a in answers if a.status == 403)


@refused("a guessed ticket", 403, "refused")
def guessed_ticket(stage):
    return stage.victim.send("GET", f"{stage.url}?ticket={'A' * 43}")


@refused("the victim's nonce in another signed-in user's browser", 403, "refused")
def other_users_cookie(stage):
    stage.stranger.cookies[stage.nonce_key()] = stage.victim.cookies[stage.nonce_key()]
    return stage.comes_back(stage.stranger)


@refused("the victim's ticket in another signed-in user's browser", 403,
         "refused; the ticket is not used up")  # fmt: skip
def other_users_ticket(stage):
    first = stage.posts_back(stage.victim)
    answer = stage.goes_on(stage.stranger, first)
    assert stage.goes_on(stage.victim, first).status == 200
    stage.start(stage.victim)
    return answer


@refused("the victim's own sign-in without the nonce (another browser of theirs)", 403, "refused")
def without_the_nonce(stage):
    browser = Browser(dict(stage.victim.cookies))
    del browser.cookies[stage.nonce_key()]
    return stage.comes_back(browser)


@refused("the nonce of the login before this one", 403, "refused")
def nonce_of_the_login_before(stage):
    browser = Browser(dict(stage.victim.cookies))
    stage.start(stage.victim)
    return stage.comes_back(browser)


@refused("the nonce of another user's login", 403, "refused")
def nonce_of_another_login(stage):
    stage.start(stage.stranger)
    browser = Browser(dict(stage.victim.cookies))
    browser.cookies[stage.nonce_key()] = stage.stranger.cookies[stage.nonce_key()]
    return stage.comes_back(browser)


@refused("GET without a sign-in to Jupyter (another host name, an ended sign-in)", 403,
         "refused; says what to do; nothing is used up")  # fmt: skip
def not_signed_in(stage):
    browser = Browser({stage.nonce_key(): stage.victim.cookies[stage.nonce_key()]})
    answer = stage.comes_back(browser)
    assert "127.0.0.1" in answer.text
    assert "paste" in answer.text
    return answer


@refused("signed in, but not allowed by the server's authorizer", 403, "refused")
def not_allowed(stage):
    return stage.comes_back(stage.victim, X_Refuse="execute breeze-lab")


@refused("POST while nobody has a login under way", 403, "refused", keeps=False)
def post_without_a_login(stage):
    stage.log_out()
    return stage.posts_back(stage.victim)


@refused("cross-site POST from another website", 403, "refused before anything is read")
def foreign_origin(stage):
    return stage.posts_back(stage.victim, EVIL)


@refused("POST from a website whose name begins like the broker's", 403, "refused")
def similar_origin(stage):
    return stage.posts_back(stage.victim, "https://api.icicidirect.com.evil.example")


@refused("POST without an origin (no browser)", 403, "refused")
def no_origin(stage):
    return stage.posts_back(stage.victim, "")


@refused("POST from a page that hides its address, opened by who has no login under way", 403,
         "held, then refused")  # fmt: skip
def null_origin_of_a_stranger(stage):
    return stage.goes_on(stage.stranger, stage.posts_back(stage.stranger, "null"))


@refused("as an image of a notebook's page", 403, "refused: a redirect opens a page")
def as_an_image(stage):
    return stage.comes_back(stage.victim, Sec_Fetch_Dest="image")


@refused("in a frame", 403, "refused, and none of the pages may be framed")
def in_a_frame(stage):
    answer = stage.comes_back(stage.victim, Sec_Fetch_Dest="iframe")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    return answer


@refused("HEAD", 405, "refused")
def head(stage):
    return stage.victim.send("HEAD", f"{stage.url}?apisession={stage.api_session}")


@refused("PUT, DELETE, PATCH", 405, "refused")
def put(stage):
    xsrf = stage.victim.cookie("_xsrf")
    for method in ("DELETE", "PATCH", "PUT"):
        answer = stage.victim.send(
            method, f"{stage.url}?apisession={stage.api_session}", X_XSRFToken=xsrf
        )
        assert answer.status == 405, method
    return answer


@refused("POST with a body of 100 MB announced", 413, "refused before it is read")
def huge_body(stage):
    parts = urlsplit(stage.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    connection.putrequest("POST", parts.path)
    connection.putheader("Content-Length", str(100 * 2**20))
    connection.putheader("Origin", stage.broker)
    connection.endheaders(b"API_Session=12345678")
    got = connection.getresponse()
    answer = Answer(stage.url, got.status, got.headers, got.read())
    connection.close()
    return answer


@refused(
    "POST with a long body of unknown length", 413, "refused; no more than 16 KB of it is kept"
)
def chunked_body(stage):
    parts = urlsplit(stage.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    connection.putrequest("POST", parts.path)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Origin", stage.broker)
    connection.endheaders()
    connection.send(b"5000\r\n" + b"x" * 0x5000 + b"\r\n0\r\n\r\n")
    got = connection.getresponse()
    answer = Answer(stage.url, got.status, got.headers, got.read())
    connection.close()
    return answer


@refused("an api session with a line break and a header in it", 400, "refused; no such header")
def header_injection(stage):
    answer = stage.victim.send("GET", f"{stage.url}?apisession=1234%0d%0aSet-Cookie:%20x=1")
    assert "x=1" not in str(answer.headers)
    return answer


@refused("a ticket with a line break and a header in it", 403, "refused; no such header")
def header_injection_by_ticket(stage):
    answer = stage.victim.send("GET", f"{stage.url}?ticket=1%0d%0aSet-Cookie:%20x=1")
    assert "x=1" not in str(answer.headers)
    return answer


@refused("an api session with markup in it", 400, "refused; not repeated on the page")
def markup(stage):
    answer = stage.victim.send("GET", f"{stage.url}?apisession=%3Cscript%3Ealert(1)%3C/script%3E")
    assert "alert" not in answer.text
    return answer


@refused("two api sessions that differ", 400, "refused")
def two_sessions(stage):
    return stage.victim.send(
        "GET", f"{stage.url}?apisession={stage.api_session}&API_Session=99999999"
    )


@refused("one in the address, another in the form", 400, "refused")
def two_places(stage):
    return stage.victim.send(
        "POST", f"{stage.url}?apisession=99999999", {"API_Session": stage.api_session},
        Origin=stage.broker,
    )  # fmt: skip


@refused("no api session, or under another name", 400, "refused")
def no_session(stage):
    assert stage.victim.send("GET", stage.url).status == 400
    return stage.victim.send("GET", f"{stage.url}?session={stage.api_session}")


@refused("under a host name that is not this machine's", 403, "refused by Jupyter")
def forged_host(stage):
    return stage.comes_back(stage.victim, Host="evil.example")


@refused("beginning the login from another website (no XSRF token)", 404,
         "refused; no login is under way")  # fmt: skip
def start_without_xsrf(stage):
    answer = stage.stranger.send("POST", stage.server.url + "login", {}, Origin=EVIL)
    assert stage.state(stage.stranger)["pending"] is False
    return answer


@refused("pasting from another website (no XSRF token)", 403, "refused")
def paste_without_xsrf(stage):
    body = json.dumps({"text": stage.api_session})
    return stage.victim.send("POST", stage.server.url + "api/login/paste", body)


@refused("saying yes to another account from another website (no XSRF token)", 403, "refused")
def confirm_without_xsrf(stage):
    return stage.victim.send("POST", stage.server.url + "login/confirm", {"serial": "x"})


@refused("an api session the broker never gave", 502, "the broker refuses it; the login is over",
         keeps=False)  # fmt: skip
def unknown_session(stage):
    first = stage.victim.send("GET", f"{stage.url}?apisession=00000001", cross_site=True)
    return stage.goes_on(stage.victim, first)


@refused("an api session of another app (wrong app key)", 502, "the broker refuses it",
         keeps=False)  # fmt: skip
def wrong_app_key(stage):
    stage.keep_keys(app_key="another-app")
    try:
        return stage.goes_on(stage.victim, stage.comes_back(stage.victim))
    finally:
        stage.keep_keys()


@refused("the right app key with a wrong secret", 502, "found by a signed call before it is kept",
         keeps=False)  # fmt: skip
def wrong_secret(stage):
    stage.keep_keys(secret="not-the-secret")
    try:
        answer = stage.goes_on(stage.victim, stage.comes_back(stage.victim))
        assert "secret is wrong" in answer.text
        return answer
    finally:
        stage.keep_keys()


@refused("another account than last time", 200, "asks first; without a yes nothing changes",
         keeps=False)  # fmt: skip
def another_account(stage):
    stage.keep_keys(user_id="PR000001")
    try:
        answer = stage.goes_on(stage.victim, stage.comes_back(stage.victim))
        assert "Another account" in answer.text
        assert "PR000001" in answer.text
        assert stage.state()["confirm"]["last"] == "PR000001"
        return answer
    finally:
        stage.keep_keys()


@refused("more than 20 refused callbacks of one user in a minute", 429, "nothing more is looked at")
def too_many(stage):
    for _ in range(20):
        assert stage.comes_back(stage.stranger).status == 403
    answer = stage.comes_back(stage.stranger)
    assert answer.headers["Retry-After"] == "60"
    assert stage.comes_back(stage.victim).status == 303, "others are not locked out"
    return answer


def table() -> str:
    """Return the table of `docs/login.md`."""
    lines = ["| tried | answer |", "|---|---|"]
    for case in (*GOOD, *REFUSED):
        said = case.answer if case in GOOD else f"{case.status}: {case.answer}"
        lines.append(f"| {case.tried} | {said} |")
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def stage_at(server: Server) -> Iterator[Stage]:
    """Give a stage: nobody is logged in, one login is under way."""
    record = session.start_practice()
    accounts.drop()
    vault.open().set(
        "credentials:practice",
        json.dumps({"app_key": record["app_key"], "secret": record["secret"]}),
    )
    stage = Stage(server, record, session.page_session(str(record["login_url"])))
    try:
        yield stage
    finally:
        stage.log_out()
