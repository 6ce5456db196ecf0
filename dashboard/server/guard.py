"""Which requests the server answers at all: one middleware in front of Streamlit and of our routes.

Streamlit checks the Host of its WebSocket only, and never that of added routes; this checks every
request, so a rebound DNS name reaches nothing. The content policy lets the page load from this
server alone: even text that slipped through as Markdown could not fetch a picture elsewhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.view.links import KEY

CONTENT_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "frame-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def allowed_hosts(address: str) -> tuple[str, ...]:
    """Host names under which a server bound to ``address`` may be addressed."""
    loopback = ("localhost", "127.0.0.1", "[::1]")
    return loopback if address in ("127.0.0.1", "localhost", "::1") else (*loopback, address)


def host_name(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0].lower() + "]"
    return header.partition(":")[0].lower()


def is_own_origin(headers: Headers) -> bool:
    """Whether the page that asks, if it is one, came from under this very host and port.

    A page of another server on this machine is a stranger too: Streamlit compares names only.
    """
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


class GuardMiddleware:
    """Refuses foreign hosts and adds the security headers to every HTTP answer."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it; WebSockets are closed before they open."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers, is_socket = Headers(scope=scope), scope["type"] == "websocket"
        known = host_name(headers.get("host", "")) in self._hosts
        if not known or (is_socket and not is_own_origin(headers)):
            if is_socket:
                await send({"type": "websocket.close", "code": 1008})
            else:
                refusal = PlainTextResponse("This server answers to its own name only.", 421)
                await refusal(scope, receive, _with_headers(send))
            return
        await self._app(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def is_own_page(request: Request) -> bool:
    """Whether a request for one of our routes comes from a page that this server drew."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    key = request.query_params.get("key", "")
    return (
        site == "same-origin"
        and origin in (None, own)
        and secrets.compare_digest(key.encode(), KEY.encode())
    )
