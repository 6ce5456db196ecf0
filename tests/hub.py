"""A small hub in memory that ``huggingface_hub`` and ``datasets`` can push to and read from.

It knows dataset repositories with one branch or several: create, branch, commit, tree, paths-info,
resolve with ranges, and large files by LFS. Other files travel inside the commit
(``HF_HUB_DISABLE_XET=1``).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

TOKEN = "hf_" + "t" * 34  # any text that is not the read-only one
READER = "hf_" + "r" * 34
"""Token of a user who may read and not write."""

LARGE_SUFFIXES, LARGE_BYTES = (".parquet", ".arrow", ".tar", ".png", ".jpg"), 10 << 20
"""Files that are uploaded by LFS."""

Files = dict[str, bytes]


@dataclass
class Repository:
    """The files of every commit, and the commit of every branch."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)

    def commit(self, files: Files, branch: str = "main") -> str:
        """Make ``files`` the content of a branch and return the commit."""
        text = repr(sorted((name, _digest(data)) for name, data in files.items()))
        commit = _digest(f"{len(self.commits)} {text}".encode())
        self.commits[commit] = dict(files)
        self.branches[branch] = commit
        return commit

    def resolve(self, revision: str) -> str | None:
        """Return the commit of a branch or commit, None if there is none."""
        return self.branches.get(revision, revision if revision in self.commits else None)

    @property
    def files(self) -> Files:
        """The files on main."""
        return self.commits[self.branches["main"]]


def _digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@dataclass
class Hub:
    """The repositories by name, and every request so far as ``METHOD /path``."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Files uploaded by LFS, by their digest."""
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of each file that were read."""

    def add(self, name: str, files: Files, **options: Any) -> str:
        """Add a repository with these files and return its commit."""
        repository = self.repositories.setdefault(name, Repository(**options))
        return repository.commit(files)

    def downloads(self) -> list[str]:
        """Return the paths of the files that were read, in order."""
        pattern = re.compile(r"GET /datasets/[^/]+/[^/]+/resolve/[^/]+/(.+)")
        return [unquote(match[1]) for text in self.requests if (match := pattern.match(text))]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(self._read_chunks())
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        for pattern, answer in _ROUTES:
            if match := re.fullmatch(pattern, path):
                answer(self, *map(unquote, match.groups()))
                return
        self._send(404, {"error": f"no route {path}"})

    def _read_chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        self._send(status, {"error": code}, {"X-Error-Code": code, "X-Error-Message": message})

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def may_write(self) -> bool:
        """Return whether the token may write, after refusing it if not."""
        if not self.token:
            self._refuse(401, "", "Invalid username or password.")
        elif self.token == READER:
            self._refuse(403, "", "You don't have the rights to write here.")
        return self.token not in ("", READER)

    def find(self, name: str, revision: str) -> tuple[Repository, str] | None:
        """Return a repository and a commit of it, after answering that there is none if so."""
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self.token):
            self._refuse(404 if self.token else 401, "RepoNotFound")
        elif (commit := repository.resolve(revision)) is None:
            self._refuse(404, "RevisionNotFound")
        else:
            return repository, commit
        return None


def _answer_identity(request: _Handler) -> None:
    if request.token:
        request._send(200, {"name": "me", "auth": {"accessToken": {"role": "write"}}})
    else:
        request._refuse(401, "", "Invalid username or password.")


def _create(request: _Handler) -> None:
    value = json.loads(request.body)
    name = f"{value['organization']}/{value['name']}"
    if not request.may_write():
        return
    if name in request.hub.repositories:
        request._send(409, {"error": "You already created this dataset repo"})
        return
    private = value.get("visibility") == "private" or bool(value.get("private"))
    request.hub.add(name, {".gitattributes": b"*.parquet filter=lfs\n"}, private=private)
    request._send(200, {"url": f"{request.hub.url}/datasets/{name}"})


def _create_branch(request: _Handler, name: str, branch: str) -> None:
    repository = request.hub.repositories[name]
    if not request.may_write():
        return
    if branch in repository.branches:
        request._send(409, {"error": "Reference already exists"})
        return
    repository.branches[branch] = repository.branches["main"]
    request._send(200, {})


def _answer_info(request: _Handler, name: str, revision: str = "main") -> None:
    if found := request.find(name, revision):
        repository, commit = found
        siblings = [{"rfilename": path} for path in repository.commits[commit]]
        facts = {"private": repository.private, "gated": repository.gated, "disabled": False}
        value = {"id": name, "_id": "0", "sha": commit, "siblings": siblings, "tags": []}
        request._send(200, {**value, **facts, "downloads": 0, "likes": 0})


def _describe(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(content), "oid": _digest(content)}


def _answer_tree(request: _Handler, name: str, revision: str, folder: str = "") -> None:
    if not (found := request.find(name, revision)):
        return
    recursive = parse_qs(urlsplit(request.path).query).get("recursive") == ["true"]
    prefix, entries = folder.strip("/") + "/" if folder.strip("/") else "", dict[str, Any]()
    for path, content in found[0].commits[found[1]].items():
        if not path.startswith(prefix):
            continue
        *folders, _ = path.removeprefix(prefix).split("/")
        for depth in range(1, len(folders) + 1 if recursive else min(len(folders), 1) + 1):
            inner = prefix + "/".join(folders[:depth])
            entries[inner] = {"type": "directory", "path": inner, "size": 0, "oid": "0" * 40}
        if recursive or not folders:
            entries[path] = _describe(path, content)
    if prefix and not entries:
        request._refuse(404, "EntryNotFound")
    else:
        request._send(200, list(entries.values()))


def _answer_paths(request: _Handler, name: str, revision: str) -> None:
    if not (found := request.find(name, revision)):
        return
    files, entries = found[0].commits[found[1]], []
    for path in parse_qs(request.body.decode()).get("paths", []):
        if path in files:
            entries.append(_describe(path, files[path]))
        elif any(name.startswith(f"{path}/") for name in files):
            entries.append({"type": "directory", "path": path, "size": 0, "oid": "0" * 40})
    request._send(200, entries)


def _answer_preupload(request: _Handler, name: str, revision: str) -> None:
    if not request.may_write() or not (found := request.find(name, revision)):
        return
    files, answers = found[0].commits[found[1]], []
    for asked in json.loads(request.body)["files"]:
        path = asked["path"]
        is_large = path.endswith(LARGE_SUFFIXES) or asked["size"] > LARGE_BYTES
        mode = "lfs" if is_large else "regular"
        answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        if path in files and is_large:
            answer["oid"] = hashlib.sha256(files[path]).hexdigest()
        elif path in files:
            blob = b"blob %d\0" % len(files[path]) + files[path]
            answer["oid"] = _digest(blob)
        answers.append(answer)
    request._send(200, {"files": answers})


def _commit(request: _Handler, name: str, revision: str) -> None:
    if not request.may_write() or not (found := request.find(name, revision)):
        return
    files = dict(found[0].commits[found[1]])
    for line in request.body.splitlines():
        operation = json.loads(line)
        value = operation["value"]
        if operation["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif operation["key"] == "lfsFile":
            files[value["path"]] = request.hub.blobs[value["oid"]]
        elif operation["key"] == "deletedFile":
            del files[value["path"]]
    commit = found[0].commit(files, revision)
    url = f"{request.hub.url}/datasets/{name}/commit/{commit}"
    request._send(200, {"commitUrl": url, "commitOid": commit, "success": True})


def _resolve(request: _Handler, name: str, revision: str, path: str) -> None:
    if not (found := request.find(name, revision)):
        return
    repository, commit = found
    content = repository.commits[commit].get(path)
    if repository.gated and request.token != TOKEN:
        request._refuse(403, "GatedRepo", "Access to this dataset is restricted.")
        return
    if content is None:
        request._refuse(404, "EntryNotFound")
        return
    headers = {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
    if asked is None:
        if request.command == "GET":
            request.hub.sent[path] += len(content)
        request._send(200, content, headers)
        return
    first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    request.hub.sent[path] += last + 1 - first
    request._send(206, content[first : last + 1], headers)


def _plan_uploads(request: _Handler, name: str) -> None:
    if not request.may_write() or not request.find(name, "main"):
        return
    objects = json.loads(request.body)["objects"]
    for each in objects:
        if each["oid"] not in request.hub.blobs:
            each["actions"] = {"upload": {"href": f"{request.hub.url}/lfs/{each['oid']}"}}
    request._send(200, {"transfer": "basic", "objects": objects})


def _store_blob(request: _Handler, oid: str) -> None:
    if hashlib.sha256(request.body).hexdigest() == oid:
        request.hub.blobs[oid] = request.body
        request._send(200, {})
    else:
        request._send(400, {"error": "not the content of this digest"})


def _validate(request: _Handler) -> None:
    request._send(200, {"errors": [], "warnings": []})


_NAME = r"/api/datasets/([^/]+/[^/]+)"
_ROUTES: list[tuple[str, Callable[..., None]]] = [
    ("/api/whoami-v2", _answer_identity),
    ("/api/validate-yaml", _validate),
    ("/api/repos/create", _create),
    (f"{_NAME}/branch/([^/]+)", _create_branch),
    (f"{_NAME}/revision/([^/]+)", _answer_info),
    (f"{_NAME}/tree/([^/]+)", _answer_tree),
    (f"{_NAME}/tree/([^/]+)/(.+)", _answer_tree),
    (f"{_NAME}/paths-info/([^/]+)", _answer_paths),
    (f"{_NAME}/preupload/([^/]+)", _answer_preupload),
    (f"{_NAME}/commit/([^/]+)", _commit),
    (_NAME, _answer_info),
    (r"/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", _plan_uploads),
    (r"/lfs/([0-9a-f]{64})", _store_blob),
    (r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", _resolve),
]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Yield a hub that answers on a port of this machine until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def hub_variables(hub: Hub, home: Path, token: str = TOKEN) -> dict[str, str]:
    """Return the environment of a process that uses this hub and no network."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home)}
    variables |= {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    return variables | {"HF_TOKEN": token, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def use_hub(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, token: str = TOKEN) -> None:
    """Make this process use the hub; ``huggingface_hub`` reads its variables only once."""
    from huggingface_hub import constants

    values = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_TOKEN_PATH": str(home / "token"),
    }
    for name, value in values.items():
        monkeypatch.setattr(constants, name, value)
    for name, text in hub_variables(hub, home, token).items():
        monkeypatch.setenv(name, text)
