"""Responses of the whole server, Streamlit's routes included, to requests of other sites."""

from __future__ import annotations

import base64
import http.client
import os
import socket
from pathlib import Path

import pytest

from tests.browser.conftest import Served, serving

SOCKET = "/_stcore/stream"
STREAMLITS_OWN = (
    "/",
    "/_stcore/health",
    "/_stcore/host-config",
    "/_stcore/upload_file/session/file",
    "/media/0.png",
    "/component/x/index.html",
    "/_stcore/message?hash=0",
    "/_stcore/agent/interact",
    "/_stcore/agent/mcp",
    "/visnec/cards?rows=0",
)


def handshake(server: Served, **headers: str) -> int:
    """Return the status of a WebSocket handshake with these headers."""
    own = f"127.0.0.1:{server.port}"
    given = {"Host": own} | {name.replace("_", "-"): value for name, value in headers.items()}
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {SOCKET} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Protocol: streamlit", "", ""]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode())
        status = connection.recv(4096).split(b" ", 2)[1]
    return int(status)


def test_only_own_pages_open_the_socket(demo_server: Served) -> None:
    own = f"127.0.0.1:{demo_server.port}"
    assert handshake(demo_server, Origin=f"http://{own}") == 101
    for origin in (
        "http://attacker.invalid",
        f"http://attacker.invalid:{demo_server.port}",
        f"http://{own}.attacker.invalid",
        f"http://127.0.0.1:{demo_server.port + 1}",
        f"http://localhost:{demo_server.port}",
        "null",
        "file://",
    ):
        assert handshake(demo_server, Origin=origin) in (400, 403), origin
    foreign = f"attacker.invalid:{demo_server.port}"
    assert handshake(demo_server, Host=foreign, Origin=f"http://{foreign}") in (400, 403, 421)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", STREAMLITS_OWN)
def test_a_request_from_another_site_changes_nothing(
    demo_server: Served, path: str, method: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", demo_server.port, timeout=30)
    headers = {
        "Origin": "http://attacker.invalid",
        "Sec-Fetch-Site": "cross-site",
        "Content-Type": "text/plain",
    }
    connection.request(method, path, body=b"x=1", headers=headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.getheader("Access-Control-Allow-Origin") in (None, demo_server.address)
    if method != "OPTIONS":
        assert answer.status >= 400


def test_pages_are_served_to_browsers_only(
    demo_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's own Streamlit settings do not matter."""
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text("[server]\nenableAgentApi = true\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(demo_built, tmp_path / "log.txt") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/_stcore/agent/interact", body=b"{}", headers=headers)
        assert connection.getresponse().status in (403, 404, 405)
