"""Who may see a page: what the server asks of every request before it answers."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

#: Names by which a browser reaches its own machine.
OWN = ("localhost", "127.0.0.1", "::1")
_COOKIE = "purify3d"


@dataclass(frozen=True)
class Reply:
    """What is answered in place of the page.

    Attributes:
        status: HTTP; headers and text as they are sent.
    """

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_instead(
    path: str, headers: Sequence[tuple[str, str]], *, token: str | None, port: int
) -> Reply | None:
    """Look at a request, of a file or of a web socket, before it is served.

    A page of another site must not read the scan through the client's browser: a request that names an
    origin must come from the page itself. Without a token the server must have been reached as this very
    machine, which a foreign name that was made to point here (DNS rebinding) is not. With a token, it must be
    in the address once, and in a cookie from then on.

    Args:
        path: of the request, with its query.
        headers: as sent.
        token: None: a server that only this machine reaches.
        port: of the server; a part of the cookie's name, as cookies are not told apart by ports.

    Returns:
        None where the request may be served.
    """
    hosts = _all(headers, "host")
    if len(hosts) != 1:
        return Reply(400, "expected one Host")
    origins = _all(headers, "origin")
    if any(urlsplit(origin).netloc.lower() != hosts[0].lower() for origin in origins):
        return Reply(403, "asked for by another site")
    if token is None:
        known = (urlsplit(f"//{hosts[0]}").hostname or "") in OWN
        return None if known else Reply(403, "open this page as localhost")
    name = f"{_COOKIE}-{port}"
    given = parse_qs(urlsplit(path).query).get("token", [])
    if any(_same(value, token) for value in given):
        cookie = f"{name}={token}; Path=/; HttpOnly; SameSite=Lax"
        return Reply(303, "", {"Location": "/", "Set-Cookie": cookie, "Referrer-Policy": "no-referrer"})
    if any(_same(value, token) for header in _all(headers, "cookie") for value in _cookies(header, name)):
        return None
    return Reply(403, "expected the address with its token, as 'purify3d view' prints it")


def _all(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name]


def _cookies(header: str, name: str) -> list[str]:
    try:
        found = SimpleCookie(header)
    except CookieError:
        return []
    return [found[name].value] if name in found else []


def _same(given: str, token: str) -> bool:
    """In a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
