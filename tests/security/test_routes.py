"""Every route that the dashboard adds is guarded; a new unguarded route fails here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from dashboard.server.guard import guard_middleware
from dashboard.server.routes import ROUTES
from dashboard.view.links import KEY, PREFIX

OWN = "http://127.0.0.1:8501"


@pytest.fixture
def client() -> Iterator[TestClient]:
    guard = guard_middleware("127.0.0.1")
    with TestClient(Starlette(routes=ROUTES, middleware=guard), base_url=OWN) as opened:
        yield opened


def address(route: Route) -> str:
    """Return the route's path with 0 for each parameter."""
    return str(route.url_path_for(route.name, **dict.fromkeys(route.param_convertors, 0)))


def test_all_routes_only_read() -> None:
    assert len(ROUTES) >= 3
    for route in ROUTES:
        assert type(route) is Route, "a mount or a WebSocket needs tests of its own"
        assert route.path.startswith(f"{PREFIX}/")
        assert route.methods == {"GET", "HEAD"}, "routes must not change anything"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
@pytest.mark.parametrize(
    ("headers", "key", "status"),
    [
        ({}, "", 403),
        ({}, "guessed", 403),
        ({"origin": "http://attacker.invalid"}, KEY, 403),
        ({"origin": "null"}, KEY, 403),
        ({"origin": "https://127.0.0.1:8501"}, KEY, 403),
        ({"origin": "http://127.0.0.1:8502"}, KEY, 403),
        ({"sec-fetch-site": "cross-site"}, KEY, 403),
        ({"sec-fetch-site": "same-site", "origin": OWN}, KEY, 403),
        ({"host": "attacker.invalid"}, KEY, 400),
        ({"host": "127.0.0.1.attacker.invalid:8501"}, KEY, 400),
    ],
    ids=lambda value: "key" if value == KEY else None,  # the key differs in each process
)
def test_each_route_refuses_requests_from_other_pages(
    client: TestClient, route: Route, headers: dict[str, str], key: str, status: int
) -> None:
    for method in ("GET", "HEAD"):
        answer = client.request(method, address(route), params={"key": key}, headers=headers)
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers
        assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_each_route_refuses_writes(client: TestClient, route: Route, method: str) -> None:
    foreign = {"origin": "http://attacker.invalid", "sec-fetch-site": "cross-site"}
    for headers in (foreign, {"origin": OWN, "sec-fetch-site": "same-origin"}):
        answer = client.request(method, address(route), params={"key": KEY}, headers=headers)
        assert answer.status_code in (403, 405)
        assert not any(name.startswith("access-control") for name in answer.headers)
