"""A web server on loopback that serves one file, and fails on command."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import struct
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from breeze_lab.settings import Endpoints


def beside_us():
    """Return the environment of a child that imports from this folder."""
    known = os.environ.get("PYTHONPATH")
    paths = [str(Path(__file__).parent), *([known] if known else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class FileServer:
    """Serves `body`; what a fault says happens to as many answers as `times`.

    Attributes
    ----------
    fault
        ``None``, ``"cut"`` (reset after `at` bytes), ``"stall"`` (silent after `at` bytes),
        ``"drip"`` (a byte now and then), ``"long"`` (announces more than it sends),
        ``"short"`` (announces less), ``"html"``, an HTTP status as a number, ``"headerless"``
        (silent before the first word), ``"swap"`` (another file on a Range).
    ranges
        Whether it knows ranges.
    asked
        (method, headers, status, bytes sent) of every request.
    """

    def __init__(self, body: bytes) -> None:
        self.body, self.etag = body, '"one"'
        self.modified = ""
        self.ranges = True
        self.fault, self.at, self.times = None, 0, 0
        self.pause_s = 0.0  # before each 64 KB: a slow line
        self.asked = []
        self.enough = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args):
                pass

            def do_GET(self):
                outer._answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/SecurityMaster.zip"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def serve(self, body, etag):
        self.body, self.etag = body, etag

    def fail(self, fault, at=0, times=10**9):
        self.fault, self.at, self.times = fault, at, times

    def close(self):
        self.enough.set()
        self.http.shutdown()
        self.http.server_close()

    def endpoints(self, name="test", **changes):
        dead = "http://127.0.0.1:9/"
        return Endpoints(**{
            "name": name, "api_url": dead, "v2_url": dead, "stream_url": dead, "feeds_url": dead,
            "ohlc_url": dead, "login_url": dead, "master_url": self.url, **changes,
        })  # fmt: skip

    def _answer(self, request):
        fault = self.fault if self.times > 0 else None
        self.times -= fault is not None
        headers = dict(request.headers)
        if fault == "headerless":
            self._note(headers, 0, 0)
            self.enough.wait(30)
            return
        if isinstance(fault, int) or fault == "html":
            status, body = (200, b"<html>Maintenance</html>") if fault == "html" else (fault, b"no")
            self._note(headers, status, len(body))
            self._head(request, status, {"Content-Length": len(body)})
            request.wfile.write(body)
            return
        tags = {"ETag": self.etag, "Last-Modified": self.modified}
        tags = {name: value for name, value in tags.items() if value}
        if self.etag and headers.get("If-None-Match") == self.etag:
            self._note(headers, 304, 0)
            self._head(request, 304, tags)
            return
        start = self._start(headers)
        body = self.body[start:]
        if fault == "swap" and start:
            body = bytes(len(body))
        status = 206 if start else 200
        said = len(body) + {"long": 50, "short": -len(body) // 2}.get(fault, 0)
        span = {"Content-Range": f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"}
        self._note(headers, status, len(body))
        self._head(request, status, {"Content-Length": said, **tags, **(span if start else {})})
        self._body(request, body, fault)

    def _start(self, headers):
        wanted = headers.get("Range", "")
        if not (self.ranges and wanted):
            return 0
        if headers.get("If-Range") not in (None, self.etag, self.modified):
            return 0
        return int(wanted.removeprefix("bytes=").partition("-")[0])

    def _body(self, request, body, fault):
        stop = self.at if fault in ("cut", "stall", "drip") else len(body)
        with contextlib.suppress(OSError):
            for at in range(0, stop, 65536):
                request.wfile.write(body[at : min(at + 65536, stop)])
                request.wfile.flush()
                time.sleep(self.pause_s)
            if fault == "stall":
                self.enough.wait(30)
            while fault == "drip" and not self.enough.wait(0.05):
                request.wfile.write(b"x")
            if fault in ("cut", "long"):
                if fault == "cut":  # a reset, not an end
                    request.connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                request.connection.close()
                request.close_connection = True

    def _head(self, request, status, headers):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, str(value))
        request.end_headers()

    def _note(self, headers, status, size):
        self.asked.append((headers, status, size))


@contextlib.contextmanager
def serving(body=b""):
    """A server for the length of the block."""
    server = FileServer(body)
    try:
        yield server
    finally:
        server.close()


def members(data):
    """Return {member: bytes} of a zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts, day=(2026, 11, 26), packing=zipfile.ZIP_DEFLATED):
    """Return a zip of {member: bytes}, made on `day` at half past seven."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, content in parts.items():
            archive.writestr(
                zipfile.ZipInfo(name, (*day, 7, 30, 0)), content, compress_type=packing
            )
    return out.getvalue()


def fewer(content, share):
    """Return a member with its header and the first `share` of its rows."""
    lines = content.split(b"\r\n")
    return b"\r\n".join(lines[: 1 + int((len(lines) - 1) * share)])
