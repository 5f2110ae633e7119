"""The Hub's files say what they should, and a recording relay is activity; quick and without a Hub.

What needs a real JupyterHub is in test_browser_hub.py (``make hub``).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import types
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from tornado.httputil import HTTPHeaders
from traitlets.config import PyFileConfigLoader

from breeze_lab import clock
from breeze_lab_server import pages, single_user

ROOT = Path(__file__).parent.parent
HUB = ROOT / "docker" / "hub"
SECRETS = ("hub_proxy_token", "hub_cookie_secret", "hub_vault_secret", "hub_oauth_secret")
OPEN = datetime(2026, 11, 19, 10, tzinfo=clock.IST)
NIGHT = OPEN.replace(hour=20)


# -- the configuration ------------------------------------------------------------


@pytest.fixture
def hub_settings(tmp_path, monkeypatch):
    """A desk's settings, for an authenticator that needs no JupyterHub to be named."""
    for name in SECRETS:
        (tmp_path / name).write_text(secrets.token_hex(32))
    for name in [name for name in os.environ if name.startswith("HUB_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "HUB_SECRETS": str(tmp_path), "HUB_AUTHENTICATOR": "generic-oauth",
        "HUB_USERS": "alice, bob", "HUB_LEADS": "lead",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return tmp_path


def load():
    """Return the configuration as JupyterHub's own loader reads it."""
    return PyFileConfigLoader("jupyterhub_config.py", path=str(HUB)).load_config()


def test_the_configuration_keeps_people_apart(hub_settings):
    """Its own proxy, a home and a vault key for each, nobody an admin, the culler a service."""
    config = load()
    assert config.ConfigurableHTTPProxy.should_start is False
    assert config.JupyterHub.cleanup_servers is False
    assert config.JupyterHub.spawner_class == "docker"
    assert config.Authenticator.allowed_users == {"alice", "bob"}
    assert "allow_all" not in config.Authenticator
    assert "admin_users" not in config.Authenticator
    scopes = {role["name"]: role["scopes"] for role in config.JupyterHub.load_roles}
    reach = "access:services!service=links"
    doors = {scope for some in scopes.values() for scope in some if "access:" in scope}
    assert doors == {reach}, "nobody reaches anybody's server"
    assert scopes["user"] == ["self", reach]
    assert config.Spawner.server_token_scopes == [
        "users:activity!user",
        "access:servers!server",
        reach,
    ]
    assert not [scope for some in scopes.values() for scope in some if scope == "tokens"]
    links = {"name": "links", "url": "http://links:8010", "display": False}
    assert [one["name"] for one in config.JupyterHub.services] == ["idle-culler", "links"]
    assert config.JupyterHub.services[1] == links, "no token, no command, no rights"
    assert not [
        role for role in config.JupyterHub.load_roles if "links" in role.get("services", ())
    ]
    assert list(config.DockerSpawner.volumes) == ["breeze-lab-home-{username}"]
    assert config.Spawner.disable_user_config is True
    host = config.DockerSpawner.extra_host_config
    assert host["cap_drop"] == ["ALL"]
    assert host["read_only"] is True
    assert "/var/run/docker.sock" not in repr(config.DockerSpawner)
    assert config.Spawner.environment["BREEZE_LAB_HOME"].startswith("/home/lab/")


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({"HUB_ADDRESS": "https://lab.example.com/"}, "https://lab.example.com/services/links"),
        (
            {"HUB_ADDRESS": "https://lab.example.com", "HUB_SUBDOMAIN_HOST": "https://lab.example.com"},
            "https://links--service.lab.example.com/services/links",
        ),
        ({"HUB_LINKS_URL": ""}, None),
    ],
)  # fmt: skip
def test_links_at_the_hub_begin_where_browsers_find_it(hub_settings, monkeypatch, given, address):
    """The Hub's own address, a name of its own with subdomains, and without the service nothing."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    config = load()
    assert config.Spawner.environment.get("BREEZE_LAB_SHARE_SERVICE_URL") == address
    there = "links" in {one["name"] for one in config.JupyterHub.services}
    assert there == ("server_token_scopes" in config.Spawner) == (address is not None)


def test_the_service_of_links_has_no_secret_and_few_rights():
    """A volume and the Hub's address is all it is given; where it listens the Hub looks."""
    compose = composed()
    links = compose["services"]["links"]
    assert "secrets" not in links
    assert links["volumes"] == ["links-data:/home/lab"]
    assert list(links["environment"]) == ["BREEZE_LAB_HOME"]
    assert links["networks"] == ["users"]
    assert "ports" not in links
    assert "user" not in links, "the image's own, which is nobody"


def test_every_vault_has_another_key_that_a_restart_does_not_change(hub_settings):
    """Derived from the Hub's secret and the name, and worth nothing with another secret."""

    def key(name):
        person = types.SimpleNamespace(user=types.SimpleNamespace(name=name))
        return load().Spawner.environment["BREEZE_LAB_HUB_VAULT_KEY"](person)

    first = key("alice")
    assert first == key("alice")
    assert len({first, key("bob"), key("alice2")}) == 3
    assert len(first) == 64
    (hub_settings / "hub_vault_secret").write_text(secrets.token_hex(32))
    assert key("alice") != first


@pytest.mark.parametrize("name", SECRETS[:3])
def test_a_short_secret_stops_the_hub(hub_settings, name):
    """A placeholder or an empty file is no secret, and the message says how to make one."""
    (hub_settings / name).write_text("changeme\n")
    with pytest.raises(SystemExit, match=f"{name} is too short.*openssl rand"):
        load()


def test_nobody_named_means_that_nobody_may_come(hub_settings, monkeypatch):
    """With accounts from elsewhere an empty list would let in whoever has one there."""
    monkeypatch.setenv("HUB_USERS", " ")
    with pytest.raises(SystemExit, match="HUB_USERS is empty"):
        load()


def test_what_a_desk_adds_comes_last(hub_settings, monkeypatch):
    """The seam for services of a desk's own: one more file of the same kind."""
    more = hub_settings / "more.py"
    more.write_text(
        "c.JupyterHub.services.append({'name': 'dashboards'})\nc.Spawner.mem_limit='1G'"
    )
    monkeypatch.setenv("HUB_EXTRA_CONFIG", str(more))
    config = load()
    names = [one["name"] for one in config.JupyterHub.services]
    assert names == ["idle-culler", "links", "dashboards"]
    assert config.Spawner.mem_limit == "1G"


# -- compose and images -------------------------------------------------------------


def has_engine(service):
    return any("docker.sock" in one for one in service.get("volumes", ()))


#: What a service that runs must not be, by what is then said of it.
RULES = {
    "no fixed tag": lambda one: not re.search(r":(?!latest$)[^:/]+$", one.get("image", "")),
    "no healthcheck": lambda one: "healthcheck" not in one,
    "its log grows for ever": lambda one: not one["logging"].get("options", {}).get("max-size"),
    "too many rights": lambda one: one.get("privileged") or one.get("cap_drop") != ["ALL"],
    "its root can be written": lambda one: not one.get("read_only"),
    "no limits": lambda one: not (one.get("mem_limit") and one.get("pids_limit")),
    "a port is open to everybody": lambda one: any(
        "127.0.0.1:" not in port for port in one.get("ports", ())
    ),
    "has the engine and a port": lambda one: has_engine(one) and one.get("ports"),
    "a secret in its environment": lambda one: any(
        re.search("SECRET|TOKEN|PASSWORD|KEY", name) for name in one.get("environment", ())
    ),
    "something secret": lambda one: re.search("[0-9a-f]{32,}", json.dumps(one)),
}


def faults_of(compose):
    """Return what is wrong with a compose file of ours."""
    running = {
        name: one
        for name, one in compose["services"].items()
        if "build" not in one.get("profiles", ())
    }
    return [
        f"{name}: {fault}"
        for name, one in running.items()
        for fault, has in RULES.items()
        if has(one)
    ]


def composed():
    return yaml.safe_load((ROOT / "docker" / "compose.hub.yaml").read_text())


def test_the_compose_file_holds_what_it_must():
    """Fixed tags, health checks, rotated logs, few rights, no open port, no secret, its own files."""
    compose = composed()
    assert faults_of(compose) == []
    assert {"proxy", "hub", "links", "user-image"} == set(compose["services"])
    assert [name for name, one in compose["services"].items() if has_engine(one)] == ["hub"]
    for service in compose["services"].values():
        if "build" not in service:  # an image that another one builds
            assert service["image"] == compose["services"]["user-image"]["image"]
            continue
        context = ROOT / "docker" / service["build"]["context"]
        assert (context / service["build"].get("dockerfile", "Dockerfile")).exists()
    given = compose["services"]["hub"]["environment"]
    known = set(
        re.findall(r"""["'](HUB_[A-Z_]+)["']""", (HUB / "jupyterhub_config.py").read_text())
    )
    assert set(given) <= known
    # What the proxy and the Hub share is a file, and there is one for each secret.
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"hub/secrets/{name}"}
    example = (HUB / "env.example").read_text()
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) <= {
        *known,
        "DOCKER_GID",
        "HUB_PORT",
    }


@pytest.mark.parametrize(
    ("service", "name", "value", "fault"),
    [
        ("proxy", "image", "proxy:latest", "no fixed tag"),
        ("proxy", "healthcheck", None, "no healthcheck"),
        ("hub", "logging", {"driver": "json-file"}, "grows for ever"),
        ("proxy", "ports", ["8000:8000"], "open to everybody"),
        ("hub", "privileged", True, "too many rights"),
        ("hub", "ports", ["127.0.0.1:8081:8081"], "the engine and a port"),
        ("hub", "environment", {"HUB_PROXY_TOKEN": "x"}, "a secret in its environment"),
        ("hub", "command", ["jupyterhub", "--token", "0123456789abcdef" * 2], "something secret"),
    ],
)
def test_a_spoilt_compose_file_is_noticed(service, name, value, fault):
    """Each rule of the check finds the fault it is there for."""
    compose = composed()
    if value is None:
        del compose["services"][service][name]
    else:
        compose["services"][service][name] = value
    assert any(fault in one for one in faults_of(compose)), faults_of(compose)


def test_images_have_a_user_a_health_check_and_fixed_bases():
    """Each image of the Hub runs as somebody other than root."""
    for path in (ROOT / "docker" / "Dockerfile", HUB / "Dockerfile", HUB / "proxy" / "Dockerfile"):
        text = path.read_text()
        last = text[text.rindex("\nFROM ") if "\nFROM " in text else 0 :]
        assert re.search(r"^USER \d{4,}$", last, re.MULTILINE), path
        assert "HEALTHCHECK" in last, path
        for base in re.findall(r"^ARG \w+_IMAGE=(\S+)", text, re.MULTILINE):
            assert ":" in base, path
            assert not base.endswith(":latest"), path
    ignored = (ROOT / ".dockerignore").read_text()
    assert ignored.index("docker/hub/secrets") > ignored.index("!docker/hub")


@pytest.mark.parametrize("name", ["hub.txt", "hub-user.txt"])
def test_the_hub_is_pinned_by_hash_and_by_what_is_tested(name):
    """Hashes for all, no address, and no other version of anything that the lock has, too."""
    texts = {one: (ROOT / "requirements" / one).read_text() for one in (name, "lock.txt")}
    pins = {
        one: dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
        for one, text in texts.items()
    }
    assert pins[name]["jupyterhub"].startswith("6.")
    assert "://" not in texts[name]
    assert texts[name].count("--hash=sha256:") >= len(pins[name])
    both = pins[name].keys() & pins["lock.txt"].keys()
    assert {one: pins[name][one] for one in both} == {one: pins["lock.txt"][one] for one in both}


def test_the_proxy_is_pinned_by_hash_and_names_no_address():
    """Every package of the proxy has a hash, and none says where it comes from."""
    lock = json.loads((HUB / "proxy" / "package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages["node_modules/configurable-http-proxy"]["version"].startswith("5.")
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())
    assert not [name for name, one in packages.items() if "resolved" in one]


def test_the_values_for_kubernetes_say_that_nobody_tried_them():
    """They parse, keep the roles of the tested configuration, and are marked."""
    path = HUB / "z2jh-values.yaml"
    values = yaml.safe_load(path.read_text())
    assert "NOT RUN ON A CLUSTER" in path.read_text()[:200]
    lead = values["hub"]["loadRoles"]["desk-lead"]["scopes"]
    assert not [scope for scope in lead if scope.startswith("access:")]
    assert values["singleuser"]["cmd"][-1] == "breeze_lab_server.single_user"


# -- the start of one person's server --------------------------------------------------


def test_the_vault_key_leaves_the_environment(tmp_path, monkeypatch):
    """It is in a file that only this person reads, another for another home, and nowhere else."""
    given = {
        "BREEZE_LAB_HUB_VAULT_KEY": "k" * 64, "HOME": str(tmp_path),
        "JUPYTERHUB_ROOT_DIR": str(tmp_path / "notebooks"),
        "JUPYTERHUB_PUBLIC_URL": "https://lab.example.com/user/alice/", "JUPYTER_CONFIG_PATH": "/etc/theirs",
    }  # fmt: skip
    environment = dict(given)
    single_user.prepare(environment)
    path = Path(environment["BREEZE_LAB_VAULT_KEY_FILE"])
    try:
        assert path.read_text() == "k" * 64
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert "k" * 64 not in repr(environment)
        assert (tmp_path / "notebooks" / "00_start_here.ipynb").exists()
        links = "https://lab.example.com/user/alice/breeze-lab"
        assert environment["BREEZE_LAB_SHARE_URL"] == links
        assert environment["JUPYTER_CONFIG_PATH"].endswith(os.pathsep + "/etc/theirs")
        other = dict(given) | {"HOME": str(tmp_path / "other")}
        single_user.prepare(other)
        apart = Path(other["BREEZE_LAB_VAULT_KEY_FILE"])
        assert apart != path
        apart.unlink()
        apart.parent.rmdir()
        single_user.prepare(dict(given))  # the next start finds the old file
    finally:
        path.unlink()
        path.parent.rmdir()


@pytest.mark.parametrize(
    ("trusted", "told", "scheme"),
    [
        (True, "https,http", "https"), (True, "https", "https"), (True, "", "http"),
        (True, "javascript", "http"), (False, "https,http", "http"),
    ],
)  # fmt: skip
def test_the_scheme_is_the_browser_s(trusted, told, scheme):
    """Of several proxies the first one's, when the server trusts what they say."""
    headers = HTTPHeaders({"X-Forwarded-Proto": told} if told else {})
    handler = pages.LoginHandler()
    handler.request = types.SimpleNamespace(
        headers=headers, protocol="http", host="lab.example.com"
    )
    handler.serverapp = types.SimpleNamespace(trust_xheaders=trusted)
    handler.base_url = "/user/alice/"
    assert handler.callback == f"{scheme}://lab.example.com/user/alice/breeze-lab/callback"
