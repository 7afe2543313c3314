"""Who may speak to the page's server: only a browser or program that holds the token, from the page's own address."""

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""Nothing is loaded from elsewhere, shown inside another page, or kept on the disk by a browser."""

MOST = 65_536
"""Bytes of a request that is no mask: those are a few words. The app limits masks, which are PUT, by their image."""


class Guard:
    """Wraps an app: checks host, origin and token of every request before the app sees it, and adds safe headers.

    The printed address holds the token; opened once, it becomes a cookie and leaves the address bar. Programs send
    ``Authorization: Bearer TOKEN``.

    Args:
        app: an ASGI app.
        token: the secret.
        hosts: every ``HOST:PORT`` that the server is called by; None accepts any, since behind ``--host 0.0.0.0`` a
            machine has names that it does not know itself. The token is asked for all the same.
        cookie: name of the cookie; cookies do not tell ports apart, so it holds the port.
    """

    def __init__(self, app: Any, *, token: str, hosts: frozenset[str] | None, cookie: str) -> None:
        self.app, self.token, self.hosts, self.cookie = app, token, hosts, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts is not None and host not in self.hosts:
            await refuse(
                send, 403, "this address is not the page's own; open the address that `criinet review` printed."
            )
        elif origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            await refuse(send, 403, "requests of other pages are refused.")
        elif scope["path"] == "/" and self.holds(
            parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        ):
            cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            await answer(send, 303, b"", ((b"location", b"/"), (b"set-cookie", cookie.encode("latin-1"))))
        elif not self.allowed(headers):
            sentence = "the token is missing or old; open the address that `criinet review` printed last."
            await (refuse_page if scope["path"] == "/" else refuse)(send, 401, sentence)
        elif scope["method"] == "POST" and not headers.get("content-length", "").isdecimal():
            await refuse(send, 411, "say how long the request is.")
        elif scope["method"] == "POST" and int(headers["content-length"]) > MOST:
            await refuse(send, 413, f"the request is longer than {MOST:,} bytes.")
        else:
            await self.app(scope, receive, with_headers(send))

    def allowed(self, headers: MutableMapping[str, str]) -> bool:
        """Say whether the headers hold the token."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.holds(given):
            return True
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        return any(name == self.cookie and self.holds(value) for name, _, value in pairs)

    def holds(self, given: str) -> bool:
        """Compare a token in constant time."""
        return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), self.token.encode())


def with_headers(send: Send) -> Send:
    """Add the safe headers to what the app answers."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return sending


async def refuse(send: Send, status: int, sentence: str) -> None:
    """Answer with a sentence."""
    body = json.dumps({"error": sentence}).encode()
    await answer(send, status, body, ((b"content-type", b"application/json"),))


async def refuse_page(send: Send, status: int, sentence: str) -> None:
    """Answer who opens the page with a sentence to be read there."""
    said = f"{sentence[0].upper()}{sentence[1:]}"
    body = f'<!doctype html><html lang="en"><title>criinet review</title><p>{said}</p></html>'.encode()
    await answer(send, status, body, ((b"content-type", b"text/html; charset=utf-8"),))


async def answer(send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """Answer a request here."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, *HEADERS]})
    await send({"type": "http.response.body", "body": body})
