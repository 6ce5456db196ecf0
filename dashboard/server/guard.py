"""Middleware that decides which requests reach Streamlit and our own routes.

Streamlit checks the Host header of its WebSocket only, and never that of added routes; here every
request is checked, so that a rebound DNS name reaches nothing. The content policy lets a page load
from this server alone: even dataset text that got through as Markdown could not fetch an image.
"""

from __future__ import annotations

import secrets
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
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


def guard_middleware(address: str) -> list[Middleware]:
    """Return the middleware for a server bound to ``address``, the outermost first."""
    return [
        Middleware(GuardMiddleware),
        Middleware(
            TrustedHostMiddleware, allowed_hosts=list(allowed_hosts(address)), www_redirect=False
        ),
    ]


def allowed_hosts(address: str) -> tuple[str, ...]:
    """Return the Host names accepted by a server bound to ``address``."""
    loopback = ("localhost", "127.0.0.1", "[::1]")
    return loopback if address in ("127.0.0.1", "localhost", "::1") else (*loopback, address)


class GuardMiddleware:
    """Adds the security headers to every HTTP response and closes WebSockets of other origins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; close a foreign WebSocket before it opens."""
        if scope["type"] == "websocket" and not is_own_origin(Headers(scope=scope)):
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def is_own_origin(headers: Headers) -> bool:
    """Return whether a request with an Origin comes from a page of this very host and port.

    Pages of other servers on this machine are foreign too: Streamlit compares names only.
    """
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


def is_own_page(request: Request) -> bool:
    """Return whether a request for one of our routes comes from a page that this server sent."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    key = request.query_params.get("key", "")
    return (
        site == "same-origin"
        and origin in (None, own)
        and secrets.compare_digest(key.encode(), KEY.encode())
    )
