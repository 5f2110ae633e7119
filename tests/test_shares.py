"""Share links: what is promised is kept, and everything else is not there."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import string
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from share_viewer import Person, book, document, serving
from waiting import until, within
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import breeze_lab
from breeze_lab import processes, settings
from breeze_lab.cli import main
from breeze_lab.errors import NoSuchShare, ShareError
from breeze_lab.shares import face, links
from breeze_lab.shares.book import LARGEST, folder
from breeze_lab.shares.limits import MOST
from breeze_lab.shares.targets import chart_target

#: Links tried over HTTP; the long form is the promise of docs/sharing.md.
TRIED = int(os.environ.get("BREEZE_LAB_SHARE_LINKS", "180"))


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    """One viewer's process for the tests that ask over HTTP."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(tmp_path_factory.mktemp("shares")))
        with serving() as record:
            yield record


def rows(change, *values):
    """Do to the book's file what somebody without the key can."""
    with sqlite3.connect(folder() / "book.sqlite") as file:
        file.execute(change, values)
    file.close()


# -- the book ------------------------------------------------------------------


def test_an_id_is_known_by_its_holder_alone(home):
    """192 random bits; on disk are a hash, a signature and files that nobody else can read."""
    with book() as kept:
        tokens = {kept.add(document(), "7d")[0] for _ in range(20)}
    assert len(tokens) == 20
    assert all(links.TOKEN.fullmatch(token) for token in tokens)
    everything = b"".join(path.read_bytes() for path in folder().iterdir())
    assert not any(token.encode() in everything for token in tokens)
    for path in folder().iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert folder().stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("expires_ms", 9_999_999_999_999), ("data", "practice"), ("kind", "chart"),
        ("title", "Another"), ("source", "Elsewhere"), ("parameters", '{"scripts": []}'),
        ("frozen", "0" * 64), ("made_ms", 1), ("signature", b""), ("signature", b"x" * 32),
        ("expires_ms", "soon"), ("parameters", "{"), ("parameters", None),
    ],
)  # fmt: skip
def test_an_altered_promise_is_no_link(home, column, value):
    """Whatever is written into the book without the key, the link is gone."""
    with book() as kept:
        token, _ = kept.add(document(), "7d")
        assert kept.check(token) is not None
        if value is None:
            value = "null"
        rows(f"UPDATE links SET {column} = ?", value)
        assert kept.check(token) is None


def test_another_target_under_a_good_signature_is_refused(home):
    """The frozen target is signed, too: a swapped one is not shown."""
    with book() as kept:
        token, link = kept.add(document("one"), "7d")
        kept.add(document("two"), "7d")
        assert kept.target(link) == document("one").body
        rows("UPDATE targets SET body = (SELECT body FROM targets WHERE digest != ?)", link.digest)
        found = kept.check(token)
        assert found is not None
        assert kept.target(found) is None


def test_a_withdrawn_link_cannot_be_brought_back(home):
    """Its target and its signature go with it; clearing the date revives nothing."""
    with book() as kept:
        token, link = kept.add(document(), "7d")
        assert kept.revoke(link.name).digest == link.digest
        assert kept.check(token) is None
        rows("UPDATE links SET revoked_ms = NULL")
        assert kept.check(token) is None
        assert kept.target(link) is None
        with pytest.raises(NoSuchShare, match="none"):
            kept.revoke("0123")


def test_a_link_ends_by_itself(home):
    """After its time it counts no more and its target is dropped at the next tidying."""
    with book() as kept:
        token, link = kept.add(document(), timedelta(seconds=1))
        assert kept.check(token) is not None
        until(lambda: kept.check(token) is None, "its end")
        kept.tidy()
        assert kept.target(link) is None
        assert [one.state(time.time() * 1000) for one in kept.links(ended=True)] == ["expired"]
        assert kept.links() == []


@pytest.mark.parametrize("wrong", ["", "never", "7", "0d", "91d", "-1h", "1y", timedelta(0)])
def test_an_end_that_cannot_be_is_refused(home, wrong):
    """Nothing lasts for ever, and the words say what can be."""
    with book() as kept, pytest.raises(ShareError):
        kept.add(document(), wrong)


def test_what_is_too_large_is_refused(home):
    """A target that no phone would open is not kept."""
    with book() as kept, pytest.raises(ShareError, match="fewer points"):
        kept.add(document("x" * LARGEST), "7d")


def test_another_key_ends_every_link(home):
    """The key is made once, and a lost one leaves no link that counts."""
    with book() as kept:
        token, _ = kept.add(document(), "7d")
    with book() as kept:
        assert kept.check(token) is not None
    (folder() / "key").unlink()
    with book() as kept:
        assert kept.check(token) is None
    (folder() / "key").chmod(0o644)
    with pytest.raises(ShareError, match="Others can read"):
        book()


def test_links_are_listed_and_withdrawn_by_name(home, capsys):
    """`breeze_lab.shares()` and the command say the same and never an address."""
    assert repr(breeze_lab.shares()) == "Nothing is shared."
    with book() as kept:
        token, link = kept.add(document(), "7d")
    found = breeze_lab.shares()
    assert [one.name for one in found] == [link.name]
    assert main(["shares", "list"]) == 0
    said = capsys.readouterr().out
    assert link.name in said
    assert "snapshot" in said
    assert token not in said + found._repr_html_() + repr(face.Share(link, token))
    assert main(["shares", "revoke", link.name]) == 0
    assert main(["shares", "revoke", link.name]) == 1
    assert len(breeze_lab.shares()) == 0
    assert [one.revoked_ms is None for one in breeze_lab.shares(ended=True)] == [False]
    with book() as kept:
        kept.add(document(), "7d")
        kept.add(document(), "7d")
    assert main(["shares", "revoke", "all"]) == 0
    assert "2 links" in capsys.readouterr().out.splitlines()[-1]


# -- what a chart may show -----------------------------------------------------


def chart(market="practice", **changed):
    config = {
        "key": "NSE:TCS", "room": "4.1!11536", "symbol": "TCS", "name": "TCS", "exchange": "NSE",
        "interval": "1d", "interval_s": 86_400, "market": market, "bokeh": "3", "anchor_s": 33_300,
        "decimals": 2, "height": 480, "visible": 120, "margin": 6, "most": 1000, "hidden": 0,
        "pane_height": 110, "fetched_s": 0.0, "palettes": {}, "lines": {},
    }  # fmt: skip
    return {**config, **changed}


def bars(days, last=1_700_000_000):
    times = [float(last - 86_400 * (days - 1 - i)) for i in range(days)]
    return [times, *[[float(i) for i in range(days)] for _ in range(5)]]


def frozen(config, table, data="auto", now=1_700_000_000.0, **more):
    return chart_target(config, {}, table, [], data=data, now_s=now, **more)


def test_live_is_for_the_practice_market_alone():
    """An exchange's chart is a snapshot; asked for live it is refused, with what can be done."""
    assert frozen(chart(), bars(3)).data == "practice"
    assert frozen(chart("icici"), bars(3)).data == "snapshot"
    with pytest.raises(ShareError, match="may not be passed on"):
        frozen(chart("icici"), bars(3), "practice")


def test_lagged_holds_nothing_younger_than_thirty_days():
    """The newest candle had ended 30 days ago; where there is none, that is said."""
    target = frozen(chart("icici"), bars(100), "lagged")
    assert target.parameters["as_of_s"] + 86_400 <= 1_700_000_000 - 30 * 86_400
    assert target.body.count(b"1697") == 0 or target.data == "lagged"
    with pytest.raises(ShareError, match="30 days old"):
        frozen(chart("icici"), bars(20), "lagged")


def test_a_live_chart_goes_on_from_what_history_knew():
    """The bar that forms is frozen as history had it: the relay tells its part once more."""
    import json

    known = [1_700_000_000.0, 9.0, 9.0, 9.0, 9.0, 9.0]
    kept = json.loads(frozen(chart(), bars(3), base=known).body)["bars"]
    assert [column[-1] for column in kept] == known
    without = json.loads(frozen(chart(), bars(3)).body)["bars"]
    assert len(without[0]) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"interval": "1 m"}, {"interval_s": 60}, {"market": "nyse"}, {"most": float("nan")},
        {"key": None}, {"palettes": []}, {"height": True},
    ],
)  # fmt: skip
def test_settings_that_no_chart_of_ours_has_are_refused(wrong):
    """A request made by hand gets a reason and no link."""
    with pytest.raises(ShareError):
        frozen(chart(**wrong), bars(3))


@pytest.mark.parametrize("table", [[], [[1.0]] * 5, [[1.0, 1.0]] * 6, [["a"]] * 6, 7,
                                   [[1.0, 2.0]] * 5 + [[1.0, float("inf")]]])  # fmt: skip
def test_bars_that_are_none_are_refused(table):
    """Six columns of numbers, ascending times."""
    with pytest.raises(ShareError):
        frozen(chart(), table)


# -- over HTTP -----------------------------------------------------------------


def test_a_page_says_nothing_to_others_and_lets_nothing_in(viewer):
    """No cache, no referrer, no frame, an origin of its own, scripts by a nonce, no cookie."""
    with book() as kept:
        token, _ = kept.add(document("</script><script>alert(1)</script>"), "7d")
    person = Person(viewer)
    status, headers, body = person.ask(f"/s/{token}", Host="lab.example:8888")
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert "Set-Cookie" not in headers
    assert "Access-Control-Allow-Origin" not in headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["sandbox"] == "allow-scripts"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self' ws://lab.example:8888 wss://lab.example:8888"
    nonce = re.fullmatch(r"'nonce-([\w-]+)'", policy["script-src"])[1]
    scripts = re.findall(rb"<script([^>]*)>", body)
    assert all(f'nonce="{nonce}"'.encode() in one or b"application/json" in one for one in scripts)
    assert b"<script>alert" not in body
    again = person.ask(f"/s/{token}/")[2]
    assert nonce.encode() not in again
    assert b'src="static/bokeh.min.js"' in again
    assert f'src="{token}/static/bokeh.min.js"'.encode() in body
    evil = person.ask(f"/s/{token}", Host="x.example; script-src *")[1]["Content-Security-Policy"]
    assert "x.example" not in evil
    person.close()


def test_scripts_are_given_to_holders_of_a_link_and_no_others(viewer):
    """The scripts of this link's page and nothing else of the installation."""
    with book() as kept:
        token, _ = kept.add(document(), "7d")
    person = Person(viewer)
    assert person.ask(f"/s/{token}/static/bokeh.min.js")[0] == 200
    for name in ("panel.min.js", "../page.html", "..%2f..%2f__init__.py", "book.sqlite", ""):
        assert person.ask(f"/s/{token}/static/{name}")[0] == 404, name
    assert person.ask(f"/s/{links.new_token()}/static/bokeh.min.js")[0] == 404
    for path in ("/", "/s", "/s/", f"/s/{token}/more", "/metrics", f"/x/s/{token}"):
        assert person.ask(path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert person.ask(f"/s/{token}", method)[0] == 404, method
    person.close()


def forgeries(kept, count, seed=7):
    """Yield kind and id of links that count not: invented, altered, expired and withdrawn."""
    draw = random.Random(seed)
    alphabet = string.ascii_letters + string.digits + "-_"
    good = [kept.add(document(), "7d")[0] for _ in range(20)]
    ended = [kept.add(document(), timedelta(seconds=1))[0] for _ in range(20)]
    withdrawn = []
    for _ in range(20):
        token, link = kept.add(document(), "7d")
        kept.revoke(link.digest)
        withdrawn.append(token)
    signed = []
    for _ in range(20):
        token, link = kept.add(document(), "7d")
        rows("UPDATE links SET expires_ms = expires_ms + 1 WHERE digest = ?", link.digest)
        signed.append(token)
    until(lambda: all(kept.check(token) is None for token in ended), "the end of those that end")
    for i in range(count):
        kind = ("forged", "altered", "expired", "withdrawn", "another end", "misspelt")[i % 6]
        token = draw.choice(good)
        if kind == "forged":
            token = "".join(draw.choices(alphabet, k=32))
        elif kind == "altered":
            at = draw.randrange(32)
            token = token[:at] + draw.choice(alphabet.replace(token[at], "")) + token[at + 1 :]
        elif kind == "expired":
            token = draw.choice(ended)
        elif kind == "withdrawn":
            token = draw.choice(withdrawn)
        elif kind == "another end":
            token = draw.choice(signed)
        else:
            token = draw.choice([token[:-1], token + "A", token.swapcase(), token + "=", "%00" + token,
                                 token[::-1], "", "..", token + "%2f", "'" + token])  # fmt: skip
        if token not in good:
            yield kind, token


def knock(where, origin="null", address="203.0.113.9"):
    """Return the status with which a websocket was refused; 101 when it was opened."""
    headers = {"X-Forwarded-For": address}
    try:
        with connect(where, origin=origin, additional_headers=headers, open_timeout=60):
            return 101
    except InvalidStatus as exc:
        return exc.response.status_code


def person_knocks(person, token):
    return knock(person.socket_address(token), address=person.address)


def accepted(record, tries) -> list[str]:
    """Return what was let in: by the page, or every tenth time by the websocket."""

    def some(part):
        number, tokens = part
        person = Person(record, f"198.51.100.{number}")  # an attacker has many addresses
        found = []
        for i, (kind, token) in enumerate(tokens):
            status, _, body = person.ask(f"/s/{token}")
            if status != 404 or b"Nothing here" not in body:
                found.append(f"{kind}: {status}")
            if i % 10 == 0 and (code := person_knocks(person, token)) != 404:
                found.append(f"{kind}: socket {code}")
        person.close()
        return found

    parts = list(enumerate(tries[i : i + 50] for i in range(0, len(tries), 50)))
    with ThreadPoolExecutor(12) as crowd:
        return [one for found in crowd.map(some, parts) for one in found]


@pytest.mark.timeout(1800)
def test_no_link_that_does_not_count_is_accepted(viewer):
    """Forged, altered, expired, withdrawn, re-dated and misspelt links: none lets anybody in."""
    with book() as kept:
        tries = list(forgeries(kept, TRIED))
        assert len(tries) > 0.9 * TRIED
        assert accepted(viewer, tries) == []
        # The planted fault: one that counts, among them.
        good, _ = kept.add(document(), "7d")
        planted = [("good", good), *tries[:5]]
        assert accepted(viewer, planted) == ["good: 200", "good: socket 101"]


def test_every_refusal_looks_and_lasts_the_same(viewer):
    """Unknown, ended, withdrawn, altered: the same words after the same time."""
    with book() as kept:
        some = dict(forgeries(kept, 12))
    person = Person(viewer, "192.0.2.77")
    answers, spans = set(), {}
    for kind, token in some.items():
        taken = []
        for _ in range(5):
            begun = time.monotonic()
            status, headers, body = person.ask(f"/s/{token}")
            taken.append(time.monotonic() - begun)
            told = {name: value for name, value in headers.items() if name != "Date"}
            answers.add((status, str(sorted(told.items())), body))
        spans[kind] = min(taken)
    assert len(answers) == 1
    # None is faster than the time that all of them wait.
    assert min(spans.values()) >= 0.045
    person.close()


def test_who_guesses_waits_and_who_has_a_link_does_not(viewer):
    """After many wrong ids an address is told to wait; a good link opens even there."""
    with book() as kept:
        good, _ = kept.add(document(), "7d")
    person = Person(viewer, "192.0.2.1")
    begun = time.monotonic()

    def guess(_):
        guesser = Person(viewer, "192.0.2.1")
        found = [guesser.ask(f"/s/{links.new_token()}")[0] for _ in range(MOST // 10)]
        guesser.close()
        return found

    with ThreadPoolExecutor(10) as crowd:
        codes = [code for found in crowd.map(guess, range(10)) for code in found]
    assert codes == [404] * MOST
    codes = [person.ask(f"/s/{links.new_token()}")[0] for _ in range(3)]
    if time.monotonic() - begun < 50:  # on a machine that slow the minute is over
        assert codes[-1] == 429
    assert person.ask(f"/s/{good}")[0] == 200
    other = Person(viewer, "192.0.2.2")
    assert other.ask(f"/s/{links.new_token()}")[0] == 404
    person.close()
    other.close()


def test_nothing_that_lets_in_is_written_down(viewer):
    """Neither the log nor the viewer's folder knows an id, good or bad, after all of this."""
    with book() as kept:
        good, _ = kept.add(document(), "7d")
    bad = links.new_token()
    person = Person(viewer)
    person.ask(f"/s/{good}")
    person.ask(f"/s/{bad}")
    person.close()
    for path in settings.folders().data.parent.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            assert good.encode() not in text, path
            assert bad.encode() not in text, path


# -- the websocket -------------------------------------------------------------


def test_only_our_own_pages_may_listen(viewer):
    """The page's origin is ``null``, as it is sandboxed; a foreign page or none is refused."""
    with book() as kept:
        token, _ = kept.add(document(), "7d")
    person = Person(viewer)
    where = person.socket_address(token)
    host = f"{viewer['host']}:{viewer['port']}"
    for origin in ("null", f"http://{host}"):
        assert knock(where, origin) == 101
    for origin in (None, "http://evil.example", f"http://{host}.evil.example", "file://"):
        assert knock(where, origin) == 404, origin
    person.close()


@pytest.mark.parametrize("how", ["withdrawn", "altered", "expired"])
def test_who_looks_is_cut_off_within_a_second(viewer, how):
    """A link that ends ends for those who look at it, too."""
    with book() as kept:
        token, link = kept.add(document(), timedelta(seconds=1.5) if how == "expired" else "7d")
        where = Person(viewer).socket_address(token)
        with connect(where, origin="null", open_timeout=60) as socket:
            if how == "withdrawn":
                kept.revoke(link.name)
            elif how == "altered":
                rows("UPDATE links SET title = 'x' WHERE digest = ?", link.digest)
            else:
                until(lambda: kept.check(token) is None, "its end")
            begun = time.monotonic()
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=60)
            assert time.monotonic() - begun < within(1.0)
            assert closed.value.rcvd.code == 4404


# -- the process -----------------------------------------------------------------


@pytest.mark.parametrize("idle", ["2", "0"])
def test_a_viewer_that_nobody_visits_ends_unless_it_must_stay(home, idle):
    """A link that counts keeps no process: a visitor has it started again, except at its own port."""
    with book() as kept:
        kept.add(document(), "7d")
    with serving(f"--idle-exit={idle}") as record:
        if idle == "0":
            time.sleep(3)  # longer than the other stays
            assert running() == record
        else:
            until(lambda: running() is None, "its end")


def running():
    return processes.running(settings.folders().runtime, "shares")
