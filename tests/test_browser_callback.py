"""A real Chromium on the way to the broker and back: its own SameSite rules, not ours.

The practice market's login page is on 127.0.0.1 and the Lab on localhost, which
are two sites to a browser, as the broker's and a person's Lab are.
"""

from __future__ import annotations

import json
import os
import signal

import pytest
from chromium import find
from test_browser_chart import FLAGS
from test_server_extension import CONFIG, TOKEN, Server

from breeze_lab import accounts, session, vault
from breeze_lab.practice import control

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

#: What the login's button does: post a form of this server's page to a new tab.
PRESS = """xsrf => {
  const form = document.createElement('form');
  form.method = 'post'; form.action = new URL('breeze-lab/login', document.baseURI); form.target = '_blank';
  const field = document.createElement('input');
  field.name = '_xsrf'; field.value = xsrf; form.append(field);
  document.body.append(form); form.submit();
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A Jupyter server, to be opened as localhost, beside a practice market on 127.0.0.1."""
    home = tmp_path_factory.mktemp("two-sites")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(home / "lab"))
        patch.setenv("BREEZE_LAB_BROKER", "practice")
        record = session.start_practice()
        assert "//127.0.0.1:" in record["login_url"]
        vault.open().set(
            "credentials:practice",
            json.dumps({"app_key": record["app_key"], "secret": record["secret"]}),
        )
        server = Server(home, CONFIG, "--log-level=DEBUG", lab=home / "lab")
        yield server
        server.process.terminate()
        server.process.wait(30)
        os.kill(record["pid"], signal.SIGTERM)


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api")
    executable = find()
    if executable is None:
        pytest.skip("no Chromium here; make browser installs one")
    with sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_redirect_from_another_site_logs_in(lab, browser, method):
    """Cross-site GET and POST both arrive with the cookies they need, after one ticket."""
    accounts.drop()
    control.connect().redirect(method=method)
    context = browser.new_context()
    page = context.new_page()
    root = lab.url.removesuffix("breeze-lab/").replace("127.0.0.1", "localhost")
    page.goto(f"{root}api/status?token={TOKEN}")
    page.goto(f"{root}nowhere?token={TOKEN}")  # an HTML page of the server, which sets _xsrf
    xsrf = next(one["value"] for one in context.cookies() if one["name"] == "_xsrf")
    page.evaluate(
        "base => { const b = document.createElement('base'); b.href = base; "
        "document.head.append(b); }",
        root,
    )
    with context.expect_page() as opened:
        page.evaluate(PRESS, xsrf)
    tab = opened.value
    tab.wait_for_selector("button")
    assert "//127.0.0.1:" in tab.url
    seen: list[str] = []
    tab.on("framenavigated", lambda frame: seen.append(frame.url))
    tab.click("button")
    tab.wait_for_selector("#account", timeout=30_000)
    assert tab.inner_text("#account") == "PRACTICE MARKET"
    assert accounts.facts().good
    assert tab.url.startswith(f"{root}breeze-lab/callback?ticket=")
    assert not any("apisession" in address.lower() for address in seen), seen
    context.close()


def test_a_page_of_another_site_cannot_log_in(lab, browser):
    """A form that a foreign page sends by itself is refused, whoever is signed in."""
    accounts.drop()
    context = browser.new_context()
    page = context.new_page()
    root = lab.url.removesuffix("breeze-lab/").replace("127.0.0.1", "localhost")
    page.goto(f"{root}api/status?token={TOKEN}")
    page.goto(f"{root}nowhere?token={TOKEN}")
    page.context.route(
        "http://evil.localhost/*",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f'<form method="post" action="{root}breeze-lab/callback"><input name="apisession" '
            'value="12345678"></form><script>document.forms[0].submit()</script>',
        ),
    )
    page.goto("http://evil.localhost/")
    page.wait_for_selector("h1")
    assert page.inner_text("h1") == "Not from the broker"
    assert accounts.facts() is None
    context.close()
