"""A server extension of the tests: writes down which routes the live app has; plants a bad one.

The list comes from tornado's own router, so that a route is counted because
it answers, not because somebody remembered it. ``BREEZE_LAB_CENSUS`` names the
file; with ``BREEZE_LAB_PLANT`` a handler without decorators is added.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tornado import web, websocket

#: What we answer below: our own, and the contract of JupyterLab's scheduling form.
OURS = ("/breeze-lab", "/breeze\\-lab", "/scheduler")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class PlantedRoute(web.RequestHandler):
    """Somebody forgot who may read this."""

    def get(self) -> None:
        self.finish({"planted": "relay groups"})

    def check_xsrf_cookie(self) -> None:
        """Somebody found it in the way."""

    def post(self) -> None:
        self.finish({"planted": "changed"})


class PlantedSocket(websocket.WebSocketHandler):
    """Somebody forgot who may listen here."""

    def check_origin(self, _origin: str) -> bool:
        return True

    def on_message(self, message: str | bytes) -> None:
        pass


def rules(router: Any) -> list[Any]:
    """Return the leaves of tornado's tree of rules."""
    found = []
    for rule in router.rules:
        if hasattr(rule.target, "rules"):
            found += rules(rule.target)
        elif isinstance(rule.target, type):
            found.append(rule)
    return found


def census(app: web.Application) -> list[dict[str, Any]]:
    """Return pattern, handler, methods and kind of every route of ours."""
    known = []
    for rule in rules(app.default_router):
        pattern = getattr(rule.matcher, "regex", None)
        if pattern is None or not any(place in pattern.pattern for place in OURS):
            continue
        handler = rule.target
        known.append(
            {
                "pattern": pattern.pattern,
                "handler": handler.__name__,
                "socket": issubclass(handler, websocket.WebSocketHandler),
                "methods": [
                    method
                    for method in METHODS
                    if getattr(handler, method.lower())
                    is not web.RequestHandler._unimplemented_method
                ],
            }
        )
    return known


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "census_extension"}]


def _load_jupyter_server_extension(server: Any) -> None:
    def write() -> None:
        app = server.web_app
        if os.environ.get("BREEZE_LAB_PLANT"):
            base = server.base_url + "breeze-lab/api/"
            app.add_handlers(
                ".*$", [(base + "planted", PlantedRoute), (base + "planted-feed", PlantedSocket)]
            )
        Path(os.environ["BREEZE_LAB_CENSUS"]).write_text(json.dumps(census(app)))

    # By then every extension has added its own.
    server.io_loop.add_callback(write)
