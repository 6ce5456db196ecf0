"""Download of remote images into the workspace's cache, only on explicit request.

A dataset may contain any URL, so a download must not open a way into the local network (SSRF). The
host is resolved once, all of its addresses must be public, and the connection goes to the address
that was checked, so a name that resolves differently later changes nothing. Redirects are checked
like the first URL. Resolving references reads only the cache and never opens a connection.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from scoring.image_references import quote_path
from scoring.samples import Status
from scoring.unicode_text import replace_surrogates

MAX_BYTES: Final = 32 << 20
MAX_SECONDS: Final = 60.0
MAX_REDIRECTS: Final = 5
_STEP_SECONDS: Final = 15.0  # for one step: connecting, or waiting for the next bytes
_STEP_BYTES: Final = 1 << 16
_MAX_URL: Final = 4096
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_MOVED: Final = (301, 302, 303, 307, 308)
_SAFE_IN_URL: Final = "%/:=&?~#+!$,;'@()*[]"

Resolve = Callable[[str, int], list[str]]
"""(host, port) -> addresses of the host."""
Connect = Callable[[str, int, float], socket.socket]
"""(address, port, timeout in seconds) -> connection to exactly that address."""


class RemoteProblem(Exception):
    """Why an image was not downloaded: ``refused_path`` or ``missing_image``, and the reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def is_public(address: str) -> bool:
    """Return whether ``address`` is public: not loopback, private, link-local, and so on.

    IPv6 addresses that wrap IPv4 addresses (mapped, 6to4, Teredo, NAT64) are judged by the wrapped
    addresses, because that is where packets are delivered.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # with a zone: a link-local address
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        wrapped = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if parsed in _NAT64:
            wrapped.append(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        inner = [str(ipv4) for ipv4 in wrapped if ipv4 is not None]
        if inner:
            return all(map(is_public, inner))
        if parsed.is_site_local:
            return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved)


def resolve_host(host: str, port: int) -> list[str]:
    """Return all addresses of ``host`` from one look-up. Raises OSError."""
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Downloads URLs within limits of size, time and number of redirects."""

    max_bytes: int = MAX_BYTES
    max_seconds: float = MAX_SECONDS
    resolve: Resolve = resolve_host
    connect: Connect = lambda address, port, seconds: socket.create_connection(
        (address, port), seconds
    )
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def fetch(self, url: str) -> bytes:
        """Return the content of ``url``. Raises RemoteProblem."""
        deadline = time.monotonic() + self.max_seconds
        current = url
        for _ in range(MAX_REDIRECTS + 1):
            response = self._fetch_once(_parse_url(current, url), deadline, url)
            if isinstance(response, bytes):
                return response
            target = urljoin(current, response)
            if current.lower().startswith("https:") and not target.lower().startswith("https:"):
                raise _refused(url, "redirects to an unencrypted URL")
            current = target
        raise _refused(url, f"redirects more than {MAX_REDIRECTS} times")

    def _fetch_once(self, parts: SplitResult, deadline: float, url: str) -> bytes | str:
        """Return the content, or the target of a redirect."""
        raw = self._connect_checked(parts, deadline, url)
        is_late = threading.Event()

        def shut_down() -> None:
            is_late.set()
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

        # A server that sends single bytes slowly would never exceed the timeout of one step.
        timer = threading.Timer(max(deadline - time.monotonic(), 0), shut_down)
        timer.daemon = True
        timer.start()
        try:
            response: bytes | str | RemoteProblem = self._request(raw, parts, url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            response = _missing(url, f"could not be downloaded: {_error_text(error)}")
        except RemoteProblem as problem:
            response = problem
        finally:
            timer.cancel()
            raw.close()
        if is_late.is_set():
            raise _missing(url, f"took longer than {self.max_seconds:g} s")
        if isinstance(response, RemoteProblem):
            raise response
        return response

    def _connect_checked(self, parts: SplitResult, deadline: float, url: str) -> socket.socket:
        """Connect to a checked address of the host. Raises RemoteProblem."""
        host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = self._look_up(host, port, deadline)
        except (OSError, UnicodeError) as error:
            raise _missing(url, f"has an unknown host: {_error_text(error)}") from error
        if not addresses:
            raise _missing(url, "has a host without an address")
        if not_public := [address for address in addresses if not is_public(address)]:
            raise _refused(url, f"leads to {not_public[0]}, which is not a public address")
        seconds = min(_STEP_SECONDS, max(deadline - time.monotonic(), 0.001))
        try:
            return self.connect(addresses[0], port, seconds)
        except OSError as error:
            raise _missing(url, f"cannot be reached: {_error_text(error)}") from error

    def _look_up(self, host: str, port: int, deadline: float) -> list[str]:
        """Return the addresses of a host within the remaining time; the system has no timeout."""
        results: list[list[str] | Exception] = []

        def look_up() -> None:
            try:
                results.append(list(self.resolve(host, port)))
            except Exception as error:  # noqa: BLE001 - raised again by the caller
                results.append(error)

        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        thread.join(min(_STEP_SECONDS, max(deadline - time.monotonic(), 0.001)))
        if not results:
            raise TimeoutError("resolving its name takes too long")
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def _request(self, raw: socket.socket, parts: SplitResult, url: str) -> bytes | str:
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port or 80)
        secure = parts.scheme == "https"
        connection.sock = (
            self.context.wrap_socket(raw, server_hostname=parts.hostname) if secure else raw
        )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc, "Accept": "image/*", "Accept-Encoding": "identity"}
        headers |= {"Connection": "close", "User-Agent": "visnec-studio"}
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            if response.status in _MOVED and (target := response.getheader("Location")):
                return target
            if response.status != 200:
                raise _missing(url, f"returns HTTP status {response.status}")
            if response.getheader("Content-Encoding", "identity").lower() != "identity":
                raise _missing(url, "returns compressed content, which was not requested")
            too_large = f"is larger than {self.max_bytes:,} bytes"
            if (response.length or 0) > self.max_bytes:
                raise _refused(url, too_large)
            content = bytearray()
            while piece := response.read(_STEP_BYTES):
                content += piece
                if len(content) > self.max_bytes:
                    raise _refused(url, too_large)
            if response.length:
                raise _missing(url, "ended before its full length")
            return bytes(content)
        finally:
            connection.close()


def _parse_url(url: str, given: str) -> SplitResult:
    """Return the parts of a URL that may be requested. Raises RemoteProblem."""
    if len(url) > _MAX_URL:
        raise _refused(given, f"is longer than {_MAX_URL:,} characters")
    try:
        parts = urlsplit(quote(url, safe=_SAFE_IN_URL, errors="replace"))
        port = parts.port
    except ValueError as error:
        raise _refused(given, f"is not a valid URL: {error}") from None
    if parts.scheme.lower() not in ("http", "https"):
        scheme = repr(parts.scheme) if parts.scheme else "no scheme"
        raise _refused(given, f"leads to a URL with {scheme}; only http and https are allowed")
    if not parts.hostname or "%" in parts.hostname or port == 0:
        raise _refused(given, "has no host")
    if parts.username is not None or parts.password is not None:
        raise _refused(given, "contains a user name or a password")
    return parts


def _error_text(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:200]


def _refused(url: str, what: str, status: Status = Status.REFUSED_PATH) -> RemoteProblem:
    return RemoteProblem(status, f"{quote_path(url)} {what}")


def _missing(url: str, what: str) -> RemoteProblem:
    return _refused(url, what, Status.MISSING_IMAGE)


def cached_path(folder: Path, url: str) -> Path:
    """Return the path of the image of ``url`` in the cache ``folder``."""
    name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    return folder / name[:2] / name


def open_cache(folder: Path) -> Path:
    """Make ``folder`` a cache of downloaded images, marked as such by a file, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / "remote.json"
    if not marker.exists():
        marker.write_text('{"what": "images fetched from other machines"}\n', "utf-8")
    return folder


def _refusal_path(folder: Path, url: str) -> Path:
    path = cached_path(folder, url)
    return path.with_name(f"{path.name}.problem")


def read_refusal(folder: Path, url: str) -> tuple[Status, str] | None:
    """Return why the image of ``url`` could not be downloaded last time, or None."""
    with suppress(OSError, ValueError):
        status, _, reason = _refusal_path(folder, url).read_text("utf-8").partition("\n")
        return Status(status), reason
    return None


def write_refusal(folder: Path, url: str, problem: RemoteProblem) -> None:
    """Store why the image of ``url`` could not be downloaded."""
    path = _refusal_path(folder, url)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(replace_surrogates(f"{problem.status.value}\n{problem.reason}"), "utf-8")


def delete_refusal(folder: Path, url: str) -> None:
    """Delete the stored reason, because the image has been downloaded."""
    _refusal_path(folder, url).unlink(missing_ok=True)
