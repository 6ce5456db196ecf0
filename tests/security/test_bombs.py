"""Small files that decompress into huge ones are refused with a message, in bounded memory.

Each is tried in its own process, which reports its peak memory. (The peak that ``getrusage``
returns starts at that of the parent process.)
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

MIB = 1 << 20
N_MIB = 272  # just above the limit of a record, far below what compression can reach
RECORD = b'{"image":"a.png","conversations":[{"from":"human","value":"'
MOST_MIB = 1100  # a record of 256 MiB is in memory as bytes and as text while it is read
_IMPORT = """
import json, sys
from pathlib import Path
from scoring.errors import InputError
from scoring.dataset.importing import import_dataset
from scoring.workspace import create_workspace
try:
    import_dataset(create_workspace(Path(sys.argv[2])), [sys.argv[1]])
    output = ""
except InputError as error:
    output = str(error)
status = Path("/proc/self/status").read_text()
print(json.dumps([output, int(status.partition("VmHWM:")[2].split()[0]) // 1024]))
"""
_OPEN = """
import json, resource, sys
from pathlib import Path
from scoring.images.decode import ImageProblem, open_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_image(Path(sys.argv[1]))
    output = ""
except ImageProblem as problem:
    output = f"{problem.status}: {problem}"
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([output, (after - before) // 1024]))
"""


def run_and_measure(code: str, *arguments: Path) -> tuple[str, int]:
    """Return the output of the process and its peak MiB (for an image: the increase)."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    output, most = json.loads(ended.stdout)
    return output, most


def write_gzip(path: Path, head: bytes, fill: bytes) -> None:
    """Write consecutive gzip members, which unpack as one stream."""
    path.write_bytes(gzip.compress(head) + gzip.compress(fill * MIB) * N_MIB)


def write_zstd(path: Path, head: bytes, fill: bytes) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        file.write(head)
        for _ in range(N_MIB):
            file.write(fill * MIB)


@pytest.mark.parametrize(
    ("name", "head", "fill", "why"),
    [
        ("text.json.gz", b"[" + RECORD, b"a", "record is longer than 256 MiB"),
        ("text.json.zst", b"[" + RECORD, b"a", "record is longer than 256 MiB"),
        ("line.jsonl.gz", RECORD, b"a", "line 1 is longer than 256 MiB"),
        ("space.json.gz", b"[", b" ", "expected a record, found the end of the file"),
        ("depth.json.gz", b"", b"[", "recursion"),
        ("table.tsv.gz", b"image\tquestion\tanswer\n", b"a", "Decompress it first"),
        ("zeros.json.gz", b"", b"\0", "Supported formats"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_a_decompression_bomb_is_refused(
    tmp_path: Path, name: str, head: bytes, fill: bytes, why: str
) -> None:
    path = tmp_path / name
    (write_zstd if name.endswith(".zst") else write_gzip)(path, head, fill)
    assert path.stat().st_size < 2 * MIB
    output, most = run_and_measure(_IMPORT, path, tmp_path / "ws")
    assert name in output
    assert why in output
    assert most < MOST_MIB
    assert [path.name for path in (tmp_path / "ws").iterdir()] == ["workspace.json"]


# ---- images --------------------------------------------------------------------------------------


def tiff(width: int, height: int) -> bytes:
    """Return a grey TIFF of the given size with one strip of packed zeros."""
    strip = b"\x81\0" * (width * height // 128 // 1024)  # only the start; the rest is missing
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 32773),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(strip)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(strip))
    return head + strip + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def webp(width: int, height: int) -> bytes:
    """Return a single-colour lossless WebP of the given size: a header and five codes."""
    size = (width - 1) | (height - 1) << 14
    body = b"\x2f" + struct.pack("<I", size) + b"\x88\x88\x08\0\0\0"
    body += b"\0" * (len(body) % 2)
    chunk = b"VP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def gif(width: int, height: int) -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)
    image = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0x80) + b"\0\0\0\xff\xff\xff"
    return screen + image + b"\x02\x02\x44\x01\0;"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tiff", tiff(60_000, 60_000)),
        ("a.webp", webp(16_383, 16_383)),
        ("a.bmp", bmp(60_000, 60_000)),
        ("a.gif", gif(60_000, 60_000)),
        ("just-over.tiff", tiff(10_001, 10_000)),
        ("just-over.webp", webp(10_001, 10_000)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_image_with_too_many_pixels_is_not_decoded(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    output, added = run_and_measure(_OPEN, path)
    assert output.startswith("bad_image: ")
    assert "limit of 100,000,000" in output
    assert added < 100


@pytest.mark.parametrize(("kind", "n_chunks"), [(b"iCCP", 4), (b"zTXt", 100)])
def test_metadata_bombs_take_bounded_memory(tmp_path: Path, kind: bytes, n_chunks: int) -> None:
    """One profile of 1 GiB; or 100 comments of 15 MiB, each within the limit."""
    size = 1 << 30 if kind == b"iCCP" else 15 * MIB
    body = b"name\0\0" + zlib.compress(bytes(size))
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    sound = io.BytesIO()
    Image.new("L", (1, 1)).save(sound, "PNG")
    content = sound.getvalue()
    (tmp_path / "a.png").write_bytes(content[:33] + chunk * n_chunks + content[33:])
    output, added = run_and_measure(_OPEN, tmp_path / "a.png")
    assert output == "bad_image: a.png: its colour profile or comment is larger than 16 MiB"
    assert added < 300


def test_the_same_image_within_the_limit_is_decoded(tmp_path: Path) -> None:
    """Only the size is refused."""
    (tmp_path / "a.webp").write_bytes(webp(64, 48))
    assert run_and_measure(_OPEN, tmp_path / "a.webp")[0] == ""
