"""Only our own pages under our own host name get a response."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dashboard.data.context import Context
from dashboard.server.guard import CONTENT_POLICY, allowed_hosts
from dashboard.view import links
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.necessity import Bands
from scoring.samples import Status


def row_with(context: Context, status: Status) -> int:
    rows = matching_rows(context.store.selection(context.scope, Filter(status=(status,))))
    return int(rows[0])


def test_an_image_is_sent_re_encoded(client: TestClient, context: Context) -> None:
    row = row_with(context, Status.SCORED)
    answer = client.get(links.image_url(row, 0, "edition"))
    assert answer.status_code == 200
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (128, 96)
    assert answer.headers["cache-control"].startswith("private")
    small = client.get(links.thumbnail_url(row, "edition"))
    assert small.headers["content-type"] == "image/jpeg"


def test_several_thumbnails_come_in_one_response(client: TestClient, context: Context) -> None:
    shown, missing = row_with(context, Status.SCORED), row_with(context, Status.MISSING_IMAGE)
    alone = links.thumbnail_url(shown, "edition")
    together = alone.replace(f"thumbnail/{shown}", "thumbnails")
    answer = client.get(f"{together}&rows={shown},{missing},{10**9},{shown}")
    one = f"data:image/jpeg;base64,{base64.b64encode(client.get(alone).content).decode()}"
    assert answer.json() == [one, None, None, one]
    assert answer.headers["cache-control"] == "no-store"  # a missing image may appear later
    assert client.get(f"{together}&rows={shown}").headers["cache-control"].startswith("private")
    for rows, status in (("", 400), ("a", 400), ("1,,2", 400), (str(10**40), 404)):
        assert client.get(f"{together}&rows={rows}").status_code == status
    many = client.get(f"{together}&rows={','.join([str(missing)] * 100)}")
    assert many.json() == [None] * 32


def test_an_unavailable_image_has_a_reason(client: TestClient, context: Context) -> None:
    for status, words in (
        (Status.MISSING_IMAGE, "in none of the image folders"),
        (Status.BAD_IMAGE, ".png"),
        (Status.TEXT_ONLY, "has no image 1"),
    ):
        answer = client.get(links.image_url(row_with(context, status), 0, "edition"))
        assert answer.status_code == 404
        assert words in answer.text
    for row in (10**15, 10**40):
        beyond = client.get(links.image_url(row, 0, "edition"))
        assert (beyond.status_code, "Traceback" in beyond.text) == (404, False)


def test_every_response_has_the_content_policy(client: TestClient, context: Context) -> None:
    for address in (links.thumbnail_url(row_with(context, Status.SCORED), "e"), "/nowhere"):
        headers = client.get(address).headers
        assert headers["content-security-policy"] == CONTENT_POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
)
def test_other_sites_are_refused(
    client: TestClient, context: Context, headers: dict[str, str]
) -> None:
    address = links.thumbnail_url(row_with(context, Status.SCORED), "edition")
    assert client.get(address, headers=headers).status_code == 403
    own = {"origin": "http://127.0.0.1:8501", "sec-fetch-site": "same-origin"}
    assert client.get(address, headers=own).status_code == 200


@pytest.mark.parametrize("key", ["", "wrong", "é", links.KEY[:-1]], ids=range(4))
def test_the_key_is_required(client: TestClient, key: str) -> None:
    assert client.get("/visnec/thumbnail/0", params={"key": key}).status_code == 403
    for place in ("cards", "thumbnails"):
        assert client.get(f"/visnec/{place}", params={"key": key, "rows": "0"}).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8501", "127.0.0.1.evil.example", ""]
)
def test_foreign_host_names_are_refused(client: TestClient, host: str) -> None:
    answer = client.get("/anything", headers={"host": host})
    assert (answer.status_code, answer.text) == (400, "Invalid host header")
    assert answer.headers["content-security-policy"] == CONTENT_POLICY


@pytest.mark.parametrize("host", ["LocalHost:8501", "127.0.0.1", "[::1]:8501"])
def test_every_loopback_host_name_is_accepted(client: TestClient, host: str) -> None:
    assert client.get("/anything", headers={"host": host}).status_code == 404


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://evil.example", 1008),
        ("http://127.0.0.1:9999", 1008),
        ("null", 1008),
        ("http://127.0.0.1:8501", 1000),  # reaches the router, which has no WebSocket here
    ],
)
def test_websockets_of_other_origins_are_closed(client: TestClient, origin: str, code: int) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        client.websocket_connect("ws://127.0.0.1:8501/stream", headers={"origin": origin}),
    ):
        pass
    assert closed.value.code == code


def test_allowed_hosts() -> None:
    assert allowed_hosts("127.0.0.1") == ("localhost", "127.0.0.1", "[::1]")


def test_cards_come_in_the_requested_order(client: TestClient, context: Context) -> None:
    address = links.cards_url(context.scope, context.bands, "1")
    answer = client.get(f"{address}&rows=5,2,5")
    assert [card["row_idx"] for card in answer.json()] == [5, 2, 5]
    assert answer.headers["cache-control"] == "no-store"


def test_cards_use_the_band_limits_of_the_page(client: TestClient, context: Context) -> None:
    row = matching_rows(context.store.selection(context.scope, parse_filter("visnec:0.25..")))[0]
    for bands, category in ((context.bands, "vision-critical"), (Bands(0.0, 1e5), "redundant")):
        address = links.cards_url(context.scope, bands, "1")
        assert client.get(f"{address}&rows={row}").json()[0]["category"] == category


@pytest.mark.parametrize("rows", ["", "x", "1,,2", "99999999", "-1", "1" * 400])
def test_missing_rows_are_refused_with_a_message(
    client: TestClient, context: Context, rows: str
) -> None:
    answer = client.get(f"{links.cards_url(context.scope, context.bands, '1')}&rows={rows}")
    assert answer.status_code in (400, 404)
    assert "Traceback" not in answer.text
