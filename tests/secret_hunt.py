"""Hunting secrets: their encodings, and where to look for them.

A secret may leave in clear, or as a URL, a JSON string, HTML, base64, hex or
UTF-16 writes it, whole or in a part. Base64 of it inside a longer text begins
at one of three places of a quantum, so all three are looked for.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import os
import threading
from pathlib import Path
from urllib.parse import quote, quote_plus

#: Of a longer secret its beginning is enough to know it again.
_PART = 16


def encodings(secret: str) -> dict[str, set[bytes]]:
    """Return what to look for, by encoding."""
    found: dict[str, set[bytes]] = {}

    def add(name: str, *texts: str | bytes) -> None:
        for text in texts:
            data = text.encode() if isinstance(text, str) else text
            found.setdefault(name, set()).add(data)

    whole = {secret, secret[:_PART]} if len(secret) > _PART + 4 else {secret}
    for text in whole:
        raw = text.encode()
        add("plain", text)
        add("URL", quote(text, safe=""), quote(text), quote_plus(text), quote(quote(text, safe="")))
        add("JSON", json.dumps(text)[1:-1], text.replace("&", r"\u0026").replace("=", r"\u003d"))
        add("HTML", html.escape(text), html.escape(text, quote=False))
        for before in range(3):
            code = base64.b64encode(bytes(before) + raw).decode()
            core = code[(0, 2, 3)[before] : (len(raw) + before) // 3 * 4]
            add("base64", core, core.replace("+", "-").replace("/", "_"))
        add("hex", raw.hex(), raw.hex().upper())
        add("UTF-16", text.encode("utf-16-le"), text.encode("utf-16-be"))
    return found


def hits(sinks: dict[str, bytes], secrets: dict[str, str]) -> list[str]:
    """Return every find as ``sink: secret as encoding``; the secret itself is not told."""
    looked = {name: encodings(secret) for name, secret in secrets.items()}
    return [
        f"{sink}: {name} as {encoding}"
        for sink, data in sinks.items()
        for name, forms in looked.items()
        for encoding, texts in forms.items()
        if any(text in data for text in texts)
    ]


def tree(folder: Path, skip: set[Path] = frozenset()) -> bytes:
    """Return names and contents of all files below a folder."""
    parts = []
    for path in sorted(folder.rglob("*")):
        if path in skip or path.is_symlink() or not path.is_file():
            continue
        with contextlib.suppress(OSError):
            parts += [str(path.relative_to(folder)).encode(), path.read_bytes()]
    return b"\n".join(parts)


class Watcher:
    """Looks at arguments and environments of all processes with our home, many times a second."""

    def __init__(self, home: Path) -> None:
        self._mark = str(home).encode()
        self._over = threading.Event()
        self.arguments: set[bytes] = set()
        self.environments: set[bytes] = set()
        self.processes: set[str] = set()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        mine = str(os.getpid())
        while not self._over.wait(0.02):
            for process in Path("/proc").iterdir():
                if not process.name.isdigit() or process.name == mine:
                    continue
                with contextlib.suppress(OSError):
                    environment = (process / "environ").read_bytes()
                    if self._mark in environment:
                        self.environments.add(environment)
                        self.arguments.add((process / "cmdline").read_bytes())
                        self.processes.add(process.name)

    def close(self) -> None:
        self._over.set()
        self._thread.join(30)
