"""A real JupyterHub with a proxy beside it, and people who use it over HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
from pathlib import Path

import psutil
import requests
from hub_environment import HUB, PROXY, ROOT, python_for_others, site_packages
from waiting import until
from websockets.sync.client import connect

from breeze_lab import processes

#: Of the service of share links, where people have ids of their own (`hub_config`).
LINKS_UID = 20_000


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Hub:
    """The Hub, its proxy and its people, below a folder that each person may pass through.

    Parameters
    ----------
    environment
        Where JupyterHub and the proxy are installed.
    settings
        More of the shipped configuration's variables.
    """

    def __init__(self, environment: Path, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hub-"))
        self.folder.chmod(0o711)
        data, keys = self.folder / "data", self.folder / "secrets"
        data.mkdir(mode=0o700)
        keys.mkdir(mode=0o700)
        (self.folder / "homes").mkdir(mode=0o711)
        for name in ("hub_proxy_token", "hub_cookie_secret", "hub_vault_secret"):
            (keys / name).write_text(secrets.token_hex(32))
        python = python_for_others(self.folder / "python")
        #: Whether each person has a user id of its own.
        self.apart = os.getuid() == 0 and python is not None
        public, api, hub, links = free_ports(4)
        self.url = f"http://127.0.0.1:{public}"
        self.python = environment / "venv" / "bin" / "python"
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")},
            "PATH": f"{Path(sys.executable).parent}:{self.python.parent}:{os.environ['PATH']}",
            "HUB_DATA": str(data),
            "HUB_SECRETS": str(keys),
            "HUB_PUBLIC_URL": self.url,
            "HUB_ADDRESS": self.url,
            "HUB_BIND_URL": f"http://127.0.0.1:{hub}",
            "HUB_CONNECT_URL": f"http://127.0.0.1:{hub}",
            "HUB_PROXY_API": f"http://127.0.0.1:{api}",
            "HUB_LINKS_URL": f"http://127.0.0.1:{links}",
            "HUB_LEADS": "lead",
            "HUB_SESSION": "",
            "HUB_PLANTER": secrets.token_hex(32),
            "HUB_SHIPPED_CONFIG": str(HUB / "jupyterhub_config.py"),
            "HUB_USER_PYTHON": str(python if self.apart else sys.executable),
            "HUB_OWN_USER_IDS": "yes" if self.apart else "",
            "HUB_USER_PYTHONPATH": os.pathsep.join(
                map(str, (ROOT, ROOT / "extensions", site_packages(environment)))
            ),
            **settings,
        }
        self.passwords = self._add("alice", "bob", "lead")
        token = (keys / "hub_proxy_token").read_text()
        self.proxy = subprocess.Popen(
            [environment / PROXY, "--ip=127.0.0.1", f"--port={public}", "--api-ip=127.0.0.1",
             f"--api-port={api}", f"--default-target=http://127.0.0.1:{hub}", "--error-target",
             f"http://127.0.0.1:{hub}/hub/error"],
            env={**self.environment, "CONFIGPROXY_AUTH_TOKEN": token},
            stdout=(self.folder / "proxy.log").open("wb"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.hub: subprocess.Popen | None = None
        self.links_home = self.folder / "links"
        self.links = self._serve_links(links, f"http://127.0.0.1:{hub}/hub/api")
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def _serve_links(self, port, api):
        """Start the service of share links, with a user id and a home of its own."""
        self.links_home.mkdir(mode=0o700)
        whose = {}
        if self.apart:
            os.chown(self.links_home, LINKS_UID, LINKS_UID)
            whose = {"user": LINKS_UID, "group": LINKS_UID, "extra_groups": []}
        log = (self.folder / "links.log").open("wb")
        return subprocess.Popen(
            [self.environment["HUB_USER_PYTHON"], "-m", "breeze_lab.shares.service",
             f"--port={port}", f"--hub={api}"],
            cwd="/", stdout=log, stderr=log, **whose,
            env={
                "PATH": self.environment["PATH"], "HOME": str(self.links_home),
                "BREEZE_LAB_HOME": str(self.links_home), "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": self.environment["HUB_USER_PYTHONPATH"],
            },
        )  # fmt: skip

    def _add(self, *names):
        done = subprocess.run(
            [self.python, HUB / "passwords.py", "add", *names],
            env=self.environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return dict(line.split() for line in done.stdout.splitlines())

    def start(self) -> None:
        """Start the Hub, and wait until people can log in."""
        log = (self.folder / "hub.log").open("ab")
        self.hub = subprocess.Popen(
            [self.python, "-m", "jupyterhub", "-f", ROOT / "tests" / "hub_config.py"],
            cwd=self.folder / "data", env=self.environment, stdout=log, stderr=log,
        )  # fmt: skip
        until(self._serves, "the Hub's login page", 120)

    def stop(self) -> None:
        """End the Hub as a restart of its service does; servers and proxy stay."""
        self.hub.terminate()
        self.hub.wait(60)

    def _serves(self):
        assert self.hub.poll() is None, self.log()[-3000:]
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/hub/login", timeout=10).status_code == 200
        return False

    def log(self) -> str:
        return (self.folder / "hub.log").read_text(errors="replace")

    def plant(self, method, route, **options):
        """Ask the Hub's API as the service that opens doors on purpose."""
        return requests.request(
            method, f"{self.url}/hub/api/{route}", timeout=60,
            headers={"Authorization": f"token {self.environment['HUB_PLANTER']}"}, **options,
        )  # fmt: skip

    def home(self, name) -> Path:
        return self.folder / "homes" / name

    def runtime(self, name) -> Path:
        return self.home(name) / ".breeze-lab" / "runtime"

    def processes_of(self, name):
        """Return the processes that have this person's home in their environment."""
        mark = str(self.home(name))
        found = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if one.environ().get("HOME") == mark:
                    found.append(one)
        return found

    def close(self) -> None:
        """End everything that was started here, and leave nothing."""
        if self.hub is not None and self.hub.poll() is None:
            self.hub.terminate()
            self.hub.wait(60)
        left = [one for name in self.passwords for one in self.processes_of(name)]
        for one in left:
            with contextlib.suppress(psutil.Error):
                one.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(left, timeout=20)
        for one in alive:
            with contextlib.suppress(psutil.Error):
                one.kill()
        for one in (self.links, self.proxy):
            one.terminate()
            one.wait(30)
        for name in self.passwords:
            whose = hashlib.sha256(str(self.home(name)).encode()).hexdigest()[:12]
            for keys in Path("/dev/shm").glob(f"breeze-lab-*-{whose}"):
                shutil.rmtree(keys, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class Person:
    """Somebody who logs in with a password and keeps the cookies, as a browser does."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub = hub
        self.name = name
        self.base = f"{hub.url}/user/{name}/"
        self.web = requests.Session()
        self.web.trust_env = False
        self.web.headers["Sec-Fetch-Mode"] = "navigate"

    def log_in(self):
        """Log in at the Hub; return the page that came."""
        page = f"{self.hub.url}/hub/login"
        self.web.get(page, timeout=60)
        return self.web.post(
            page,
            data={
                "username": self.name, "password": self.hub.passwords[self.name],
                "_xsrf": self.cookie("_xsrf", "/hub/"),
            },
            timeout=60,
        )  # fmt: skip

    def cookie(self, name, path):
        return next(
            (one.value for one in self.web.cookies if one.name == name and one.path == path), ""
        )

    def start(self):
        """Start this person's server and go through its own sign-in."""
        self.log_in()
        until(self._up, f"{self.name}'s server", 120)

    def _up(self):
        answer = self.web.get(f"{self.base}lab", timeout=60)
        assert answer.status_code < 500, self.hub.log()[-3000:]
        return answer.url.startswith(f"{self.base}lab")

    def request(self, method, address, *, xsrf=True, **options):
        """Ask an address as a script of this person's own page would."""
        headers = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
        if xsrf:
            headers["X-XSRFToken"] = self.cookie("_xsrf", urllib.parse.urlsplit(self.base).path)
        return self.web.request(
            method, address, headers=headers | options.pop("headers", {}), timeout=60,
            allow_redirects=False, **options,
        )  # fmt: skip

    def ask(self, method, route, **options):
        """Ask a route of one's own server; return the JSON of a good answer."""
        answer = self.request(method, self.base + route, **options)
        assert answer.ok, (answer.status_code, answer.text[:500])
        return answer.json() if answer.content else None

    def cookies_for(self, path):
        """Return the Cookie header for an address of that path."""
        whole = requests.Request("GET", self.hub.url + path)
        return self.web.prepare_request(whole).headers.get("Cookie", "")

    def socket(self, address, headers=()):
        """Open a websocket with this person's cookies for it."""
        path = urllib.parse.urlsplit(address).path
        return connect(
            "ws" + address.removeprefix("http"),
            additional_headers={"Cookie": self.cookies_for(path), **dict(headers)},
            origin=self.hub.url, subprotocols=["breeze-lab.1.json"], open_timeout=30, proxy=None,
        )  # fmt: skip

    def token(self):
        """Ask the Hub for a token with all rights of this person."""
        told = self.request(
            "POST", f"{self.hub.url}/hub/api/users/{self.name}/tokens", json={},
            headers={"X-XSRFToken": self.cookie("_xsrf", "/hub/")},
        )  # fmt: skip
        assert told.status_code == 201, told.text
        return told.json()["token"]

    # -- a kernel -------------------------------------------------------------

    def kernel(self):
        """Start one and return its id."""
        return self.ask("POST", "api/kernels", json={"name": "breeze-lab"})["id"]

    def kernels(self):
        """Return the running kernels; none while one is being started."""
        answer = self.request("GET", f"{self.base}api/kernels")
        return answer.json() if answer.ok else []  # 500 meanwhile

    def run(self, kernel, code, timeout_s=120):
        """Run code in a kernel; return what it printed."""
        address = f"{self.base}api/kernels/{kernel}/channels"
        sent = {
            "header": {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "",
                       "session": uuid.uuid4().hex, "version": "5.3", "date": ""},
            "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
            "content": {"code": code, "silent": False, "store_history": False,
                        "user_expressions": {}, "allow_stdin": False, "stop_on_error": True},
        }  # fmt: skip
        printed, errors = "", []
        path = urllib.parse.urlsplit(address).path
        deadline = time.monotonic() + timeout_s
        with connect(
            "ws" + address.removeprefix("http"),
            additional_headers={"Cookie": self.cookies_for(path)},
            origin=self.hub.url, open_timeout=60, max_size=None, proxy=None,
        ) as channel:  # fmt: skip
            channel.send(json.dumps(sent))
            while True:
                frame = channel.recv(max(0.1, deadline - time.monotonic()))
                if isinstance(frame, bytes):
                    continue  # a widget's, with what it shows
                said = json.loads(frame)
                if said["parent_header"].get("msg_id") != sent["header"]["msg_id"]:
                    continue
                kind, content = said["msg_type"], said["content"]
                if kind == "stream":
                    printed += content["text"]
                if kind == "error":
                    errors.append(content["evalue"])
                if kind == "status" and content["execution_state"] == "idle":
                    break
        assert not errors, errors
        return printed

    def record(self, name):
        """Return the ready record of a process of this person's."""
        return processes.running(self.hub.runtime(self.name), name)
