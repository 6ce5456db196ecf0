"""Remote images: off by default, and never a way into the local network.

The server of these tests listens on the loopback address. A custom resolver and connector present
it at a public address and record every request.
"""

from __future__ import annotations

import http.server
import io
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from scoring.cli import app
from scoring.dataset.download_images import fetch_images
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.errors import InputError
from scoring.image_references import is_fetchable
from scoring.images.decode import ImageProblem, open_reference, resolve_image
from scoring.images.remote import Fetcher, RemoteProblem, cached_path, is_public, open_cache
from scoring.readers.options import ReadOptions
from scoring.samples import Status
from scoring.workspace import create_workspace, open_workspace

PUBLIC = "93.184.216.34"


def png(colour: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(content, "PNG")
    return content.getvalue()


class Answers(http.server.BaseHTTPRequestHandler):
    """Images, redirects and bad responses, by path."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        network: Network = self.server.network  # type: ignore[attr-defined]
        network.asked.append(f"{self.headers['Host']}{self.path}")
        if path.startswith("/to/"):
            self._answer(302, b"", {"Location": network.redirects[path]})
        elif path == "/slow.png":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            network.stuck.wait(30)
        elif path == "/endless.png":
            self.send_response(200)
            self.end_headers()
            for _ in range(1000):
                try:
                    self.wfile.write(b"\0" * 4096)
                except OSError:
                    return
        elif path == "/cut.png":
            self._answer(200, png()[:30], {"Content-Length": "5000"})
        elif path == "/zipped.png":
            self._answer(200, png(), {"Content-Encoding": "gzip"})
        elif path in CONTENT:
            self._answer(200, CONTENT[path], {})
        else:
            self._answer(404, b"no", {})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


CONTENT = {
    "/red.png": png(),
    "/a b.png": png(),
    "/a%20b.png": png(),
    "/page.png": b"<html><script>alert(1)</script></html>",
    "/drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "/empty.png": b"",
}


@dataclass
class Network:
    """A network with one server: its host names, and the requests made to it."""

    port: int
    names: dict[str, list[list[str]]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)
    stuck: threading.Event = field(default_factory=threading.Event)

    def resolve(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        answers = self.names.get(host)
        if answers is None:
            return [one[4][0] for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        self.connected.append(address)
        assert is_public(address), "nothing but a public address is ever connected to"
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def fetcher(self) -> Fetcher:
        return Fetcher(resolve=self.resolve, connect=self.connect)


@pytest.fixture
def network() -> Iterator[Network]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        network = Network(server.server_port, {"pictures.example": [[PUBLIC]]})
        server.network = network  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield network
        network.stuck.set()
        server.shutdown()


def problem_of(fetcher: Fetcher, url: str) -> RemoteProblem:
    with pytest.raises(RemoteProblem) as problem:
        fetcher.fetch(url)
    return problem.value


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("127.255.0.9", False),
        ("0.0.0.0", False),  # noqa: S104 - an address to refuse
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # metadata service of cloud machines
        ("100.64.0.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        (f"::ffff:{PUBLIC}", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:db8::1", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_public_addresses_are_recognised(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_public_image_is_fetched_from_the_address_that_was_checked(network: Network) -> None:
    assert network.fetcher().fetch("http://pictures.example/red.png?x=1#y") == png()
    assert network.connected == [PUBLIC]
    assert network.asked == ["pictures.example/red.png?x=1"]
    assert network.fetcher().fetch("http://pictures.example:8080/a b.png") == png()
    assert network.asked[1] == "pictures.example:8080/a%20b.png"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/red.png",
        "http://localhost/red.png",
        "http://127.1/red.png",
        "http://2130706433/red.png",
        "http://0x7f000001/red.png",
        "http://[::1]/red.png",
        "http://[::ffff:127.0.0.1]/red.png",
        "http://10.0.0.5/red.png",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/red.png",
        "http://0.0.0.0/red.png",
        "HTTP://127.0.0.1/red.png",
    ],
)
def test_private_addresses_are_never_connected_to(network: Network, url: str) -> None:
    problem = problem_of(network.fetcher(), url)
    assert problem.status in (Status.REFUSED_PATH, Status.MISSING_IMAGE)  # some do not resolve
    assert network.connected == []


@pytest.mark.parametrize(
    "url",
    [
        "http://someone@pictures.example/red.png",
        "http://a:b@pictures.example/red.png",
        "http:///red.png",
        "http://pictures.example:0/red.png",
        "http://pictures.example:99999/red.png",
        "http://[::1/red.png",
        "http://fe80::1%25eth0/red.png",
        "https:red.png",
        "file:///etc/passwd",
        "ftp://pictures.example/red.png",
        "gopher://pictures.example/red.png",
        "http://pictures.example/" + "x" * 5000,
    ],
)
def test_odd_urls_are_refused_before_any_look_up(network: Network, url: str) -> None:
    assert problem_of(network.fetcher(), url).status is Status.REFUSED_PATH
    assert (network.resolved, network.connected) == ([], [])


def test_line_ends_in_a_url_add_no_header(network: Network) -> None:
    with pytest.raises(RemoteProblem):
        network.fetcher().fetch("http://pictures.example/a.png HTTP/1.1\r\nX-Evil: 1\r\n\r\n")
    assert all("\n" not in asked for asked in network.asked)


def test_a_host_with_any_private_address_is_refused(network: Network) -> None:
    network.names["both.example"] = [[PUBLIC, "10.0.0.1"]]
    problem = problem_of(network.fetcher(), "http://both.example/red.png")
    assert "10.0.0.1, which is not a public address" in problem.reason
    assert network.connected == []


def test_a_host_is_resolved_only_once(network: Network) -> None:
    network.names["rebound.example"] = [[PUBLIC], ["127.0.0.1"]]
    assert network.fetcher().fetch("http://rebound.example/red.png") == png()
    assert (network.resolved, network.connected) == (["rebound.example"], [PUBLIC])
    problem = problem_of(network.fetcher(), "http://rebound.example/red.png")
    assert problem.status is Status.REFUSED_PATH
    assert network.connected == [PUBLIC]


@pytest.mark.parametrize(
    "there",
    [
        "http://127.0.0.1/red.png",
        "http://inside.example/red.png",
        "//169.254.169.254/red.png",
        "file:///etc/passwd",
        "ftp://pictures.example/red.png",
        "http://a:b@pictures.example/red.png",
        "data:image/png;base64,aaaa",
        "javascript:alert(1)",
        "/to/again",
    ],
)
def test_a_redirect_is_checked_like_the_first_address(network: Network, there: str) -> None:
    network.names["inside.example"] = [["192.168.0.7"]]
    network.redirects = {"/to/it": there, "/to/again": "/to/again"}
    problem = problem_of(network.fetcher(), "http://pictures.example/to/it")
    assert problem.status is Status.REFUSED_PATH
    assert set(network.connected) == {PUBLIC}


def test_a_redirect_to_another_public_address_is_followed(network: Network) -> None:
    network.names["other.example"] = [["198.41.0.4"]]
    network.redirects = {"/to/it": "http://other.example/red.png"}
    assert network.fetcher().fetch("http://pictures.example/to/it") == png()
    assert network.connected == [PUBLIC, "198.41.0.4"]


def test_a_redirect_to_http_from_https_is_refused(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fetcher, "_fetch_once", lambda *_: "http://pictures.example/red.png")
    problem = problem_of(network.fetcher(), "https://pictures.example/to/it")
    assert "unencrypted URL" in problem.reason


def test_size_and_time_have_limits(network: Network) -> None:
    small = replace(network.fetcher(), max_bytes=100_000)
    assert "larger than 100,000" in problem_of(small, "http://pictures.example/endless.png").reason
    tiny = replace(network.fetcher(), max_bytes=20)
    assert problem_of(tiny, "http://pictures.example/red.png").status is Status.REFUSED_PATH
    short = replace(network.fetcher(), max_seconds=2)
    problem = problem_of(short, "http://pictures.example/slow.png")
    assert (problem.status, "longer than 2 s" in problem.reason) == (Status.MISSING_IMAGE, True)


def test_resolving_a_host_has_a_time_limit(network: Network) -> None:
    def never(host: str, port: int) -> list[str]:
        network.stuck.wait()
        return []

    problem = problem_of(
        replace(network.fetcher(), resolve=never, max_seconds=0.2), "http://pictures.example/1.png"
    )
    assert problem.status is Status.MISSING_IMAGE
    assert "resolving its name takes too long" in problem.reason
    assert network.connected == []


@pytest.mark.parametrize("path", ["/none.png", "/cut.png", "/zipped.png"])
def test_bad_responses_are_missing_images(network: Network, path: str) -> None:
    problem = problem_of(network.fetcher(), f"http://pictures.example{path}")
    assert problem.status is Status.MISSING_IMAGE


# ---- from the records to the scores --------------------------------------------------------------

URLS = (
    "http://pictures.example/red.png",
    "http://127.0.0.1/red.png",
    "http://pictures.example/page.png",
    "http://pictures.example/drawing.png",
    "http://pictures.example/empty.png",
    "http://pictures.example/none.png",
    "ftp://pictures.example/red.png",
    "file:///etc/passwd",
)


def dataset(folder: Path, urls: tuple[str, ...] = URLS) -> Path:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "red"}]
    path = folder / "data.json"
    path.write_text(json.dumps([{"image": url, "conversations": turns} for url in urls]))
    return path


def test_remote_images_are_refused_unless_asked_for(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [dataset(tmp_path)])
    workspace = open_workspace(tmp_path / "ws")
    assert {one.status for one in read_samples(workspace)} == {Status.REFUSED_PATH}
    assert not workspace.remote_dir.exists()
    with pytest.raises(InputError, match="imported without --allow-remote"):
        fetch_images(workspace)
    result = CliRunner().invoke(
        app, ["score", "-w", str(workspace.root), "--model", "tiny-vlm", "--allow-remote"]
    )
    assert isinstance(result.exception, InputError)


def test_downloaded_images_are_decoded_stored_and_reported(
    network: Network, tmp_path: Path
) -> None:
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [dataset(tmp_path)], options=ReadOptions(allow_remote=True))
    workspace = open_workspace(tmp_path / "ws")
    statuses = [one.status for one in read_samples(workspace)]
    assert statuses == [Status.PENDING] * 6 + [Status.REFUSED_PATH] * 2
    assert outcome(URLS[0], workspace.image_roots)[0] is Status.MISSING_IMAGE  # no download yet
    assert network.asked == []

    report = fetch_images(workspace, fetcher=network.fetcher())
    assert (report.fetched, report.present, report.refused, report.failed) == (1, 0, 4, 1)
    assert open_reference(URLS[0], workspace.image_roots).getpixel((0, 0)) == (255, 0, 0)
    outcomes = [outcome(url, workspace.image_roots) for url in URLS[1:6]]
    assert [status for status, _ in outcomes] == [
        Status.REFUSED_PATH,
        Status.BAD_IMAGE,
        Status.BAD_IMAGE,
        Status.BAD_IMAGE,
        Status.MISSING_IMAGE,
    ]
    assert "not a public address" in outcomes[0][1]
    assert "not an image in a supported format" in outcomes[2][1]
    assert "returns HTTP status 404" in outcomes[4][1]

    again = fetch_images(workspace, fetcher=network.fetcher())
    assert (again.fetched, again.present, again.refused, again.failed) == (0, 1, 4, 1)
    assert network.asked.count("pictures.example/red.png") == 1


def outcome(url: str, roots: tuple[Path, ...]) -> tuple[Status, str]:
    with pytest.raises(ImageProblem) as problem:
        resolve_image(url, roots)
    return problem.value.status, problem.value.reason


def test_a_cache_serves_urls_but_not_paths(tmp_path: Path) -> None:
    cache = open_cache(tmp_path / "remote")
    path = cached_path(cache, URLS[0])
    path.parent.mkdir()
    path.write_bytes(png())
    assert resolve_image(URLS[0], [cache]).path == path
    for reference in (f"{path.parent.name}/{path.name}", str(path), "remote.json"):
        assert outcome(reference, (cache,))[0] in (Status.MISSING_IMAGE, Status.REFUSED_PATH)
    assert not is_fetchable("s3://bucket/a.png")
    assert outcome("s3://bucket/a.png", (cache,))[0] is Status.REFUSED_PATH
