"""The port of the dashboard: the requested one or an error, by default the first that is free."""

from __future__ import annotations

import socket

import pytest

from scoring.cli import serve
from scoring.errors import InputError


def test_a_requested_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"Port {port} cannot be used.*name another --port"):
            serve._choose_port(port)
    assert serve._choose_port(port) == port
    assert serve._choose_port(0) > 0


def test_without_a_request_the_next_free_port_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]
        monkeypatch.setattr(serve, "_FIRST_PORT", first)
        assert serve._choose_port(None) > first
        monkeypatch.setattr(serve, "_PORTS", 1)
        with pytest.raises(InputError, match=f"The ports {first} to {first} are in use"):
            serve._choose_port(None)
    assert serve._choose_port(None) == first
