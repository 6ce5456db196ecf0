"""Images on other machines: fetched once into the workspace, only when asked for by name.

A dataset may name any address, so a fetch must not become a way into the network it runs in. The
host is resolved once, every address it has must be a public one, and the connection goes to the
address that was checked: a name that answers differently the next time changes nothing. A redirect
is a new address and is checked like the first. Nothing but a fetch asked for by name opens a
connection; whoever resolves references reads what lies in the cache.
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

from scoring.samples import Status
from scoring.unicode_text import replace_surrogates

MAX_BYTES: Final = 32 << 20
MAX_SECONDS: Final = 60.0
MAX_REDIRECTS: Final = 5
_STEP_SECONDS: Final = 15.0  # of one step: connecting, or waiting for the next bytes
_STEP_BYTES: Final = 1 << 16
_MAX_URL: Final = 4096
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_MOVED: Final = (301, 302, 303, 307, 308)
_SAFE_IN_URL: Final = "%/:=&?~#+!$,;'@()*[]"

Resolve = Callable[[str, int], list[str]]
"""(host, port) -> its addresses."""
Connect = Callable[[str, int, float], socket.socket]
"""(address, port, seconds) -> a connection to exactly that address."""


class RemoteProblem(Exception):
    """Why an image was not fetched: ``refused_path`` or ``missing_image``, and the reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def is_public(address: str) -> bool:
    """Whether ``address`` is reachable from anywhere: not loopback, private, link-local, ...

    IPv4 addresses that are wrapped in IPv6 (mapped, 6to4, Teredo, NAT64) are judged by what they
    wrap, for that is where a packet ends up.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # with a zone: an address of one link
        return False
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64:
            wrapped.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        inner = [one for one in wrapped if one is not None]
        if inner:
            return all(is_public(str(one)) for one in inner)
        if found.is_site_local:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved)


def resolve_host(host: str, port: int) -> list[str]:
    """All addresses of ``host``, asked for once. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def connect_to(address: str, port: int, seconds: float) -> socket.socket:
    """A connection to ``address``, which is no name. Raises OSError."""
    return socket.create_connection((address, port), timeout=seconds)


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Gets the bytes behind an address, within limits of size, time and number of redirects."""

    max_bytes: int = MAX_BYTES
    max_seconds: float = MAX_SECONDS
    resolve: Resolve = resolve_host
    connect: Connect = connect_to
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def fetch(self, url: str) -> bytes:
        """The content of ``url``. Raises RemoteProblem."""
        deadline = time.monotonic() + self.max_seconds
        here = url
        for _ in range(MAX_REDIRECTS + 1):
            found = self._get(_checked_url(here, url), deadline, url)
            if isinstance(found, bytes):
                return found
            there = urljoin(here, found)
            if here.lower().startswith("https:") and not there.lower().startswith("https:"):
                raise _refused(url, "is redirected to an address without encryption")
            here = there
        raise _refused(url, f"is redirected more than {MAX_REDIRECTS} times")

    def _get(self, parts: SplitResult, deadline: float, url: str) -> bytes | str:
        """The content, or where it was moved to."""
        raw = self._open(parts, deadline, url)
        # A server that sends a byte now and then would stretch the time of single steps for ever.
        late = threading.Event()
        watch = threading.Timer(max(deadline - time.monotonic(), 0), _hang_up, [raw, late])
        watch.daemon = True
        watch.start()
        try:
            found: bytes | str | RemoteProblem = self._ask(raw, parts, url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            found = _missing(url, f"could not be fetched: {_said(error)}")
        except RemoteProblem as problem:
            found = problem
        finally:
            watch.cancel()
            raw.close()
        if late.is_set():
            raise _missing(url, f"took longer than {self.max_seconds:g} s")
        if isinstance(found, RemoteProblem):
            raise found
        return found

    def _open(self, parts: SplitResult, deadline: float, url: str) -> socket.socket:
        """A connection to an address that was checked. Raises RemoteProblem."""
        host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = self._addresses(host, port, deadline)
        except (OSError, UnicodeError) as error:
            raise _missing(url, f"has a host that is not found: {_said(error)}") from error
        if not addresses:
            raise _missing(url, "has a host without an address")
        if inside := [one for one in addresses if not is_public(one)]:
            raise _refused(url, f"leads to {inside[0]}, which is no public address")
        seconds = min(_STEP_SECONDS, max(deadline - time.monotonic(), 0.001))
        try:
            return self.connect(addresses[0], port, seconds)
        except OSError as error:
            raise _missing(url, f"cannot be reached: {_said(error)}") from error

    def _addresses(self, host: str, port: int, deadline: float) -> list[str]:
        """Of a host, in the time that is left: the system's look-up knows no limit of its own."""
        found: list[list[str] | Exception] = []

        def look_up() -> None:
            try:
                found.append(list(self.resolve(host, port)))
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                found.append(error)

        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        thread.join(min(_STEP_SECONDS, max(deadline - time.monotonic(), 0.001)))
        if not found:
            raise TimeoutError("the look-up of its name takes too long")
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def _ask(self, raw: socket.socket, parts: SplitResult, url: str) -> bytes | str:
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port or 80)
        secure = parts.scheme == "https"
        connection.sock = (
            self.context.wrap_socket(raw, server_hostname=parts.hostname) if secure else raw
        )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {
            "Host": parts.netloc,
            "Accept": "image/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "visnec-studio",
        }
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            if answer.status in _MOVED and (there := answer.getheader("Location")):
                return there
            return self._content(answer, url)
        finally:
            connection.close()

    def _content(self, answer: http.client.HTTPResponse, url: str) -> bytes:
        if answer.status != 200:
            raise _missing(url, f"answers {answer.status}")
        if answer.getheader("Content-Encoding", "identity").lower() != "identity":
            raise _missing(url, "comes compressed, which was not asked for")
        too_large = f"is larger than {self.max_bytes:,} bytes"
        if (answer.length or 0) > self.max_bytes:
            raise _refused(url, too_large)
        content = bytearray()
        while piece := answer.read(_STEP_BYTES):
            content += piece
            if len(content) > self.max_bytes:
                raise _refused(url, too_large)
        if answer.length:
            raise _missing(url, "broke off before its end")
        return bytes(content)


def _checked_url(url: str, given: str) -> SplitResult:
    """The parts of an address that may be asked. Raises RemoteProblem."""
    if len(url) > _MAX_URL:
        raise _refused(given, f"is longer than {_MAX_URL:,} characters")
    try:
        parts = urlsplit(quote(url, safe=_SAFE_IN_URL, errors="replace"))
        port = parts.port
    except ValueError as error:
        raise _refused(given, f"is no address: {error}") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise _refused(given, f"leads to {parts.scheme or 'no'!r}: only http and https are fetched")
    if not parts.hostname or "%" in parts.hostname or port == 0:
        raise _refused(given, "names no host")
    if parts.username is not None or parts.password is not None:
        raise _refused(given, "holds a name or a password")
    return parts


def _hang_up(raw: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):
        raw.shutdown(socket.SHUT_RDWR)


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:200]


def _shown(url: str) -> str:
    return repr(url if len(url) <= 120 else url[:120] + "...")


def _refused(url: str, what: str) -> RemoteProblem:
    return RemoteProblem(Status.REFUSED_PATH, f"{_shown(url)} {what}")


def _missing(url: str, what: str) -> RemoteProblem:
    return RemoteProblem(Status.MISSING_IMAGE, f"{_shown(url)} {what}")


def cached_path(folder: Path, url: str) -> Path:
    """Where the image of ``url`` lies in the cache ``folder``, once it is fetched."""
    name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    return folder / name[:2] / name


def open_cache(folder: Path) -> Path:
    """Makes ``folder`` a cache of fetched images: a file in it says so."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "remote.json"
    if not mark.exists():
        mark.write_text('{"what": "images fetched from other machines"}\n', "utf-8")
    return folder


def _refusal_path(folder: Path, url: str) -> Path:
    path = cached_path(folder, url)
    return path.with_name(f"{path.name}.problem")


def read_refusal(folder: Path, url: str) -> tuple[Status, str] | None:
    """Why the image of ``url`` was not fetched the last time, or None."""
    try:
        status, _, reason = _refusal_path(folder, url).read_text("utf-8").partition("\n")
        return Status(status), reason
    except (OSError, ValueError):
        return None


def keep_refusal(folder: Path, url: str, problem: RemoteProblem) -> None:
    """Notes why the image of ``url`` was not fetched."""
    path = _refusal_path(folder, url)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"{problem.status.value}\n{problem.reason}"
    path.write_text(replace_surrogates(text), "utf-8")


def forget_refusal(folder: Path, url: str) -> None:
    """Forgets it: the image is there now."""
    _refusal_path(folder, url).unlink(missing_ok=True)
