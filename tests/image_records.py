"""Records about images in one colour each, as files or embedded in a Parquet file."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from scoring.dataset.importing import import_dataset
from scoring.workspace import Workspace, create_workspace, open_workspace


def png(colour: str) -> bytes:
    """Return an image in one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


def talk(image: Any, n: int) -> dict[str, Any]:
    """Return a record with a question about an image."""
    turns = [{"from": "human", "value": f"<image>\nwhat {n}?"}, {"from": "gpt", "value": f"a {n}"}]
    return {"id": str(n), "image": image, "conversations": turns}


def write_embedded(path: Path, contents: Sequence[bytes]) -> Path:
    """Write a Parquet file with a record per image, which is inside it."""
    rows = [talk({"bytes": content, "path": None}, n) for n, content in enumerate(contents)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_files(path: Path, contents: Sequence[bytes]) -> Path:
    """Write a JSON file with a record per image, and the images as 0.png, 1.png ... next to it."""
    for n, content in enumerate(contents):
        (path.parent / f"{n}.png").write_bytes(content)
    path.write_text(json.dumps([talk(f"{n}.png", n) for n in range(len(contents))]))
    return path


def import_embedded(folder: Path, colours: Sequence[str]) -> Workspace:
    """Import records with embedded images of these colours."""
    return _import(write_embedded(folder / "train.parquet", list(map(png, colours))))


def import_files(folder: Path, colours: Sequence[str]) -> Workspace:
    """Import records with a file each of these colours."""
    return _import(write_files(folder / "a.json", list(map(png, colours))))


def _import(path: Path) -> Workspace:
    import_dataset(create_workspace(path.parent / "ws"), [path])
    return open_workspace(path.parent / "ws")
