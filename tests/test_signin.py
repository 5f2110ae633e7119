"""Whatever is pasted, the api session is found in it; what has none, or several, is refused."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breeze_lab import accounts, errors, session, settings, signin
from breeze_lab.accounts import Credentials
from breeze_lab.signin import find_api_session

FOUND = [
    "12345678",
    " 12345678\n",
    '"12345678"',
    "'12345678',",
    "<12345678>",
    "“12345678”",
    "https://127.0.0.1/?apisession=12345678",
    "https://127.0.0.1/cb?x=1&API_Session=12345678",
    "https://127.0.0.1/cb?x=1&amp;API_Session=12345678",
    "http://127.0.0.1:8888/user/alice/breeze-lab/callback?apisession=12345678#top",
    "https://127.0.0.1/#apisession=12345678",
    "https://127.0.0.1/#/home?ApiSession=12345678",
    "127.0.0.1/?apisession=12345678",
    "?apisession=12345678&y=2",
    "&apisession=12345678",
    "API_Session=12345678",
    "API_SESSION: 12345678",
    "api-session = 12345678",
    '{"API_Session": "12345678"}',
    "{'apisession': 12345678}",
    "https%3A%2F%2F127.0.0.1%2F%3Fapisession%3D12345678",
    "https://go.example/?url=https%3A%2F%2F127.0.0.1%2F%3Fapisession%3D12345678",
    "apisession=12345678&apisession=12345678",
    "<a href='https://127.0.0.1/?apisession=12345678'>here</a>",
    "You were sent to https://127.0.0.1/?apisession=12345678 .",
    "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nAPI_Session=12345678",
]


@pytest.mark.parametrize("pasted", FOUND)
def test_whatever_is_pasted_the_session_is_found(pasted):
    """Bare, in an address, a fragment, form data, JSON; quoted, escaped, in any spelling."""
    assert find_api_session(pasted) == "12345678"


@pytest.mark.parametrize(
    ("pasted", "why"),
    [
        ("", "no api session"),
        ("   ", "no api session"),
        ("https://127.0.0.1/", "no api session"),
        ("https://api.icicidirect.com/apiuser/login?api_key=abc123", "no api session"),
        ("hello world", "no api session"),
        ("password", "no api session"),
        ("apisession=", "no api session"),
        ("apisession=<script>", "no api session"),
        ("http://[bad/?x=1", "no api session"),
        ("apisession=12345678&API_Session=87654321", "several"),
        ("x" * 20_000, "too much"),
    ],
)
def test_what_has_none_or_several_is_refused(pasted, why):
    """A typed error that says what to paste and repeats nothing."""
    with pytest.raises(errors.LoginError, match=why) as refused:
        find_api_session(pasted)
    assert not {"abc123", "script", "password", "87654321"} & set(str(refused.value).split())


@given(st.text(max_size=300))
def test_any_text_gives_a_token_or_a_typed_error(text):
    """No other exception, whatever is pasted."""
    try:
        found = find_api_session(text)
    except errors.LoginError:
        return
    assert signin._TOKEN.fullmatch(found)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_redirect_gives_a_token_or_a_typed_error(query, form):
    """The callback's reader is as calm."""
    try:
        found = signin.named_session(query, form)
    except (errors.LoginError, ValueError):
        return
    assert signin._TOKEN.fullmatch(found)


def test_the_login_address_quotes_the_key():
    """A key full of signs survives, a space too."""
    address = signin.login_url("a+b=c!&# d", settings.ICICI)
    assert address == "https://api.icicidirect.com/apiuser/login?api_key=a%2Bb%3Dc%21%26%23%20d"


# -- the exchange in a process of its own ---------------------------------------------


def endpoints_of(practice):
    return settings.Endpoints.from_dict(practice, name="practice")


def keys_of(practice, **changes):
    return Credentials(**{"app_key": practice["app_key"], "secret": practice["secret"]} | changes)


def test_the_exchange_shares_the_session_and_returns_no_secret(practice, home):
    """The answer has who it is; the session is there for every process, this one too."""
    outcome = signin.exchange(
        endpoints_of(practice), keys_of(practice), practice["api_session"], rehearsal=True
    )
    assert outcome.serial == accounts.facts().serial
    assert (accounts.facts().rehearsal, outcome.confirm) == (True, "")
    shown = json.dumps([outcome.serial, outcome.name, outcome.user_id]) + repr(outcome)
    for secret in (practice["app_key"], practice["secret"], accounts.keys().session_key):
        assert secret not in shown
    assert session.current().call("get_quotes", stock_code="RELIND", exchange_code="NSE")
    session.logout()


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        ({"app_key": "nobody"}, errors.LoginError, "app key"),
        ({"secret": "wrong"}, errors.LoginError, "secret is wrong"),
        ({}, errors.SessionExpired, "login page"),
    ],
)
def test_a_bad_exchange_says_why_and_changes_nothing(practice, home, changes, error, why):
    """The type crosses the process, the secret does not; a wrong secret is found at once."""
    given_session = practice["api_session"] if changes else "00000000"
    with pytest.raises(error, match=why) as refused:
        signin.exchange(endpoints_of(practice), keys_of(practice, **changes), given_session)
    assert given_session not in str(refused.value)
    assert accounts.facts() is None


def test_a_server_does_not_load_what_the_exchange_needs():
    """Reading what is pasted and starting the exchange cost a server nothing."""
    code = "import sys, breeze_lab.signin; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "requests", "numpy", "breeze_connect"} & set(told.stdout.split())
