"""A browser without a screen: cookies by host and path, SameSite rules, one redirect at a time.

The cookie rules are RFC 6265 bis as far as a login needs them. What a real
browser does is the business of the Chromium tests.
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urljoin, urlsplit


@dataclass
class Answer:
    """What came back."""

    url: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def location(self) -> str:
        return urljoin(self.url, self.headers["Location"])


@dataclass
class Browser:
    """Cookies, and requests that carry them as a browser would."""

    cookies: dict[tuple[str, str, str], tuple[str, str]] = field(default_factory=dict)

    def send(
        self, method: str, url: str, body: bytes | str | dict[str, str] = b"", *,
        cross_site: bool = False, **headers: str,
    ) -> Answer:  # fmt: skip
        """Send one request.

        Parameters
        ----------
        cross_site
            Another site caused it: only a GET that opens a page then carries Lax cookies.
        """
        parts = urlsplit(url)
        if isinstance(body, dict):
            body = urlencode(body)
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        if isinstance(body, str):
            body = body.encode()
        sent = "; ".join(
            f"{name}={value}"
            for (host, path, name), (value, same_site) in self.cookies.items()
            if host == parts.hostname and parts.path.startswith(path)
            and not (cross_site and (method != "GET" or same_site == "strict"))
        )  # fmt: skip
        given = {"Cookie": sent, **{name.replace("_", "-"): v for name, v in headers.items()}}
        connection = http.client.HTTPConnection(parts.netloc, timeout=100)
        try:
            where = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, where, body, {k: v for k, v in given.items() if v})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie") or ():
            for name, morsel in SimpleCookie(line).items():
                key = parts.hostname or "", morsel["path"] or "/", name
                if morsel["max-age"] == "0" or not morsel.value or "1970" in morsel["expires"]:
                    self.cookies.pop(key, None)
                else:
                    self.cookies[key] = morsel.value, morsel["samesite"].lower() or "lax"
        return Answer(url, answer.status, answer.headers, data)

    def cookie(self, name: str) -> str:
        """Return the value of a cookie."""
        return next(value for (_, _, known), (value, _) in self.cookies.items() if known == name)
