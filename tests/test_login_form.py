"""The login form: secrets go in and are nowhere afterwards."""

from __future__ import annotations

import pytest

from breeze_lab import session, settings
from breeze_lab.widgets.login import LoginForm


@pytest.fixture
def form(practice, home):
    yield LoginForm(settings.Endpoints.from_dict(practice, name="practice"))
    session.logout()


def fill(form, key, secret, token):
    form.app_key.value, form.secret.value, form.api_session.value = key, secret, token
    form.button.click()


def test_the_link_quotes_the_key(form):
    """A key full of signs survives in the address of the login page."""
    form.app_key.value = "a+b=c!&#"
    assert "api_key=a%2Bb%3Dc%21%26%23" in form.link.value


def test_a_good_login_is_green_and_leaves_nothing_behind(form, practice):
    """The session is there; no field, link or message holds a secret."""
    address = f"https://127.0.0.1/?apisession={practice['api_session']}"
    fill(form, practice["app_key"], practice["secret"], address)
    assert "Logged in as" in form.message.value
    assert session.peek().identity.name in form.message.value
    state = repr([child.get_state() for child in form.children])
    for secret in (practice["app_key"], practice["secret"], practice["api_session"]):
        assert secret not in state
    assert not form.button.disabled


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"app_key": "nobody"}, "app key"),
        ({"api_session": "00000000"}, "login page"),
        ({"secret": ""}, "all needed"),
    ],
)
def test_a_bad_login_says_why_without_the_secret(form, practice, changes, why):
    """The reason is shown, nobody is logged in, and the form can be used again."""
    given = {name: practice[name] for name in ("app_key", "secret", "api_session")} | changes
    fill(form, *given.values())
    assert why in form.message.value
    assert practice["secret"] not in form.message.value
    assert session.peek() is None
    assert not form.button.disabled
