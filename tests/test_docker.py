"""What runs in containers: the compose files, the image's recipe, and the proxy for real.

Building and starting the image takes minutes; ``docs/docker.md`` says how that is done.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from jupyter_server.auth.identity import IdentityProvider
from jupyter_server.serverapp import ServerApp
from test_server_extension import TOKEN, Server, receive, subscription
from waiting import until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from breeze_lab import processes

DOCKER = Path(__file__).parent.parent / "docker"
#: ``${NAME:-default}``, where nobody set the name.
UNSET = re.compile(r"\$\{\w+:-([^}]*)\}")
COMPOSE = yaml.safe_load(UNSET.sub(r"\1", (DOCKER / "compose.yaml").read_text()))
OVERLAYS = ("compose.account.yaml", "compose.dev.yaml")
SECRET = re.compile(r"(token|secret|password|api_?key)\w*['\"]?\s*[=:]\s*\S", re.IGNORECASE)


def faults(services) -> set[str]:
    """Return what is wrong with the services of a compose file."""
    found = set()
    for name, service in services.items():
        wanted = {
            "writable": service.get("read_only") is True,
            "capable": service.get("cap_drop") == ["ALL"],
            "may gain": "no-new-privileges:true" in service.get("security_opt", ()),
            "privileged": not service.get("privileged") and not service.get("cap_add"),
            "log without end": {"max-size", "max-file"}
            <= set(service.get("logging", {}).get("options", ())),
            "unpinned": re.search(r":(?!latest$)[\w.-]+$", str(service.get("image", ""))),
            "open to all": all(p.startswith("127.0.0.1:") for p in service.get("ports", ())),
            "never restarted": service.get("restart") == "unless-stopped",
            "unlimited": set(service.get("ulimits", ())) >= {"nofile", "nproc"},
            "secret in its environment": not SECRET.search(str(service.get("environment", ""))),
        }
        found |= {f"{name}: {fault}" for fault, right in wanted.items() if not right}
    return found


def test_each_service_has_only_what_it_needs():
    """No root that can be written, no capabilities, no open port, no log without end."""
    assert faults(COMPOSE["services"]) == set()
    assert set(COMPOSE["services"]) == {"lab", "proxy"}


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("read_only", False, "writable"),
        ("cap_add", ["NET_ADMIN"], "privileged"),
        ("security_opt", [], "may gain"),
        ("logging", {"driver": "json-file"}, "log without end"),
        ("image", "nginx:latest", "unpinned"),
        ("image", "nginx", "unpinned"),
        ("ports", ["8080:8080"], "open to all"),
        ("environment", {"JUPYTER_TOKEN": "abc"}, "secret in its environment"),
    ],
)
def test_a_careless_service_is_caught(key, value, fault):
    """The check above can fail."""
    services = copy.deepcopy(COMPOSE["services"])
    services["proxy"][key] = value
    assert faults(services) == {f"proxy: {fault}"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_changes_only_the_lab(name):
    """An overlay adds to what is there and mounts what exists, the code to be read only."""
    overlay = yaml.safe_load((DOCKER / name).read_text())
    assert overlay["name"] == COMPOSE["name"]
    assert set(overlay["services"]) == {"lab"}
    for volume in overlay["services"]["lab"].get("volumes", ()):
        source, _, mode = volume.split(":")
        assert (DOCKER / source).is_dir()
        assert mode == "ro"
    for secret in overlay.get("secrets", {}).values():
        ignored = (DOCKER.parent / ".gitignore").read_text().split()
        assert f"docker/{secret['file']}" in ignored


def test_the_image_is_nobodys_root_and_says_how_it_is():
    """The recipe ends as an ordinary user, with a health check, and its base can be chosen."""
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    last = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM")) :]
    assert "USER 10001" in last
    assert any(line.startswith("HEALTHCHECK") for line in last)
    assert not any("pip install" in line for line in last), "what builds stays behind"
    assert "ARG BASE_IMAGE=python:3.12-slim-bookworm" in lines
    stages = {line.partition(" AS ")[2] for line in lines if line.startswith("FROM")}
    bases = {line.split()[1] for line in lines if line.startswith("FROM")}
    assert bases - stages == {"${BASE_IMAGE}"}


def built(folder, *, without=()):
    """Build the wheel as the image does, from what its recipe copies and its context has."""
    ignored = (DOCKER.parent / ".dockerignore").read_text().splitlines()
    for line in (DOCKER / "Dockerfile").read_text().split("AS build-hub")[0].splitlines():
        if not line.startswith("COPY "):
            continue
        *sources, target = line.split()[1:]
        for source in set(sources) - set(without):
            assert f"!{source.partition('/')[0]}" in ignored, f"{source} is not in the context"
            here, there = DOCKER.parent / source, folder / target / Path(source).name
            if here.is_dir():
                left_out = shutil.ignore_patterns("__pycache__", "*.so")
                shutil.copytree(here, folder / target, ignore=left_out)
            else:
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(here, there)
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "CC": "false"},
    )  # fmt: skip


def test_the_image_copies_all_that_its_build_reads(tmp_path):
    """The package can be built from what the recipe copies; one file less is noticed."""
    assert built(tmp_path / "whole").returncode == 0
    ran = built(tmp_path / "lacking", without=["hatch_build.py"])
    assert ran.returncode != 0
    assert "hatch_build.py" in ran.stderr


def test_the_address_that_is_told_leads_in():
    """What Jupyter prints and what a notebook says of its links is the port that is published."""
    port = COMPOSE["services"]["proxy"]["ports"][0].rpartition(":")[0]
    given = COMPOSE["services"]["lab"]
    prefix = "--ServerApp."
    words = dict(
        word.removeprefix(prefix).split("=", 1)
        for word in given["command"]
        if word.startswith(prefix)
    )
    app = ServerApp(ip=words["ip"], port=8888, custom_display_url=words["custom_display_url"])
    app.identity_provider = IdentityProvider(parent=app)
    assert app.connect_url.startswith(f"http://{port}/?token=")
    assert app.ip == ""  # all of the container's, which is what the proxy reaches
    assert given["environment"]["BREEZE_LAB_SHARE_URL"] == f"http://{port}/breeze-lab"


# -- the proxy, for real ------------------------------------------------------


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def nginx(folder, behind):
    """Nginx with our settings before `behind`, HOST:PORT; yields its address and its process."""
    port = free_port()
    folder.mkdir()
    settings = (DOCKER / "nginx.conf").read_text()
    for before, after in (
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("server lab:8888", f"server {behind}"),
        (" /tmp/", f" {folder}/"),
        ("/dev/stdout", f"{folder}/log"),
    ):
        assert before in settings
        settings = settings.replace(before, after)
    (folder / "nginx.conf").write_text(settings)
    process = subprocess.Popen(
        ["nginx", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"], stderr=subprocess.PIPE
    )
    try:
        yield f"http://127.0.0.1:{port}/", process
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    """A Jupyter server of ours behind nginx with our settings: its address and nginx's log."""
    if shutil.which("nginx") is None:
        pytest.skip("no nginx here")
    home = tmp_path_factory.mktemp("proxied")
    lab = home / "lab"
    server = Server(home, "", "--ServerApp.trust_xheaders=True", lab=lab, base="/")
    behind = server.url.removeprefix("http://").partition("/")[0]
    try:
        with nginx(home / "nginx", behind) as (address, process):

            def answers():
                assert process.poll() is None, process.stderr.read()
                return get(address + "api")[0] == 200

            until(answers, "nginx")
            yield server, address, home / "nginx" / "log"
    finally:
        server.process.terminate()
        server.process.wait(30)
        record = processes.running(lab / "runtime", "relay")
        if record is not None:
            processes.stop(lab / "runtime", "relay")


class Still(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_, **__):
        return None


def get(url, **headers):
    """Return status, headers and body; redirects are not followed."""
    try:
        with urllib.request.build_opener(Still).open(
            urllib.request.Request(url, headers=headers), timeout=60
        ) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.headers, exc.read()
    except OSError:
        return 0, {}, b""


def test_one_port_has_everything(proxied):
    """REST for who has the token, nothing for who has not; short ways to dashboards and jobs."""
    _, address, _ = proxied
    assert get(address + "breeze-lab/api/status")[0] in (302, 403)
    status, _, body = get(address + "breeze-lab/api/status", Authorization=f"token {TOKEN}")
    assert (status, "relay" in json.loads(body)) == (200, True)
    for short, long in (("dash", "/breeze-lab/dash/"), ("jobs", "/breeze-lab/jobs")):
        status, headers, _ = get(address + short)
        assert (status, headers["Location"]) == (302, long)


def test_the_feed_goes_through_and_a_foreign_page_does_not(proxied):
    """The websocket's Origin is held against the address that the browser knows."""
    server, address, _ = proxied
    cookie = server.sign_in(address)  # its name holds the port that the browser knows

    def feed(origin):
        return connect(
            address.replace("http", "ws") + "breeze-lab/api/feed", origin=origin,
            subprotocols=["breeze-lab.1.json"], compression=None,
            additional_headers={"Cookie": cookie}, open_timeout=30,
        )  # fmt: skip

    with feed(address.rstrip("/")) as socket:
        assert receive(socket, "welcome")["protocol"] == 1
        socket.send(subscription())
        assert receive(socket, "snapshot")["id"] == 7
    with pytest.raises(InvalidStatus):
        feed("http://evil.example")


def test_no_token_and_no_link_is_in_the_log(proxied):
    """What lets somebody in is not written down."""
    _, address, log = proxied
    get(f"{address}api/status?token={TOKEN}")
    get(f"{address}s/an-id-that-is-a-secret")
    get(f"{address}breeze-lab/s/an-id-that-is-a-secret")
    until(lambda: log.read_text().count("(share link)") == 2, "the lines")
    assert "/api/status" in log.read_text()
    assert TOKEN not in log.read_text()
    assert "an-id-that" not in log.read_text()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here")
def test_a_request_that_failed_is_in_no_log_with_what_lets_in(tmp_path):
    """While the Lab is away nginx says 502, and neither the token nor the link of who asked."""
    asked = (f"api/status?token={TOKEN}", "s/an-id-that-is-a-secret", "lab")
    with nginx(tmp_path / "nginx", f"127.0.0.1:{free_port()}") as (address, process):
        until(lambda: get(address + "api")[0] == 502, "nginx")
        for path in asked:
            assert get(address + path, Referer=f"{address}lab?token={TOKEN}")[0] == 502
        process.terminate()
        said = process.stderr.read().decode() + (tmp_path / "nginx" / "log").read_text()
    assert said.count(" 502 ") >= len(asked)
    assert "(share link)" in said
    assert TOKEN not in said
    assert "an-id-that" not in said
