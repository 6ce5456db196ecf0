"""A workspace of any size for measuring the dashboard, created with the public commands only.

Records and scores are written as files that a curator could have (JSONL, the paper's CSV) and
imported by `visnec import` and `visnec import-scores`. All records share 2,000 images of a typical
size: the dashboard is measured, not the disk.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SOURCES = ("scenes", "digits", "charts", "words", "documents", "chat")
WORDS = ("colour", "shape", "number", "sign", "bar", "animal", "letter", "building", "road", "cup")
N_IMAGES = 2_000
_SLICE = 50_000


def make_workspace(folder: Path, rows: int, with_columns: bool = False) -> dict[str, float]:
    """Create ``folder/workspace`` with ``rows`` records; return seconds per step."""
    folder.mkdir(parents=True, exist_ok=True)
    took: dict[str, float] = {}
    workspace = folder / "workspace"
    images, records, scores = folder / "images", folder / "records.jsonl", folder / "scores.csv"
    if not images.exists():
        took["images"] = _time_step(lambda: write_images(images))
    took["files"] = _time_step(lambda: write_files(records, scores, rows))
    took["import"] = _time_step(
        lambda: run_visnec("import", str(records), "-w", str(workspace), "--images", str(images))
    )
    took["import-scores"] = _time_step(
        lambda: run_visnec("import-scores", str(scores), "-w", str(workspace))
    )
    records.unlink()
    scores.unlink()
    if with_columns:
        values = folder / "columns.parquet"
        write_columns(values, rows)
        took["import-columns"] = _time_step(
            lambda: run_visnec("import-columns", str(values), "-w", str(workspace))
        )
        values.unlink()
    return took


def run_visnec(*arguments: str) -> None:
    """Run a command in a process of its own; its messages go to stderr."""
    code = "from scoring.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=sys.stderr)  # noqa: S603


def write_images(folder: Path) -> None:
    """Write JPEGs of 640 x 480 pixels with the detail of a photograph, about 60 KB each."""
    draw = np.random.default_rng(7)
    folder.mkdir(parents=True)
    for number in range(N_IMAGES):
        coarse = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        fine = draw.normal(0, 9, (480, 640, 3))
        smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), np.float32)
        picture = np.clip(smooth + fine, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:04d}.jpg", quality=80)


def renew_images(folder: Path) -> None:
    """Make all cached thumbnails outdated: a further byte behind each JPEG, which decoders ignore.

    Thumbnails are cached by their file's modification time and shared by files of equal content.
    """
    for path in (folder / "images").iterdir():
        with path.open("ab") as file:
            file.write(b"\0")


def write_files(records: Path, scores: Path, rows: int) -> None:
    """Write records and scores, drawn with a fixed seed; 19 of 20 records have a score."""
    draw = np.random.default_rng(11)
    with records.open("w") as out, scores.open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(("row_idx", "id", "image_path", "loss_multimodal", "loss_text", "visnec"))
        for start in range(0, rows, _SLICE):
            n = min(_SLICE, rows - start)
            out.writelines(_records(start, n, draw))
            writer.writerows(_scores(start, n, draw))


def write_columns(path: Path, rows: int) -> None:
    """Write eight columns; every tenth sample has no value in ``clip``."""
    draw = np.random.default_rng(13)
    clip = draw.normal(0.28, 0.05, rows)
    ratings = draw.integers(1, 6, rows)
    table = {
        "row_idx": np.arange(rows),
        "clip": pa.array(clip, mask=np.arange(rows) % 10 == 0),
        "aesthetics": draw.gamma(9.0, 0.6, rows),
        "difficulty": draw.random(rows, np.float32),
        "relevance_min": ratings,
        "visual_dependency_ratings": pa.ListArray.from_arrays(
            pa.array(np.arange(rows + 1, dtype=np.int32)), pa.array(ratings)
        ),
        "n_words": draw.poisson(40, rows),
        "origin": [("web", "coco", "synthetic")[kind] for kind in draw.integers(3, size=rows)],
        "has_text": draw.random(rows) < 0.3,
    }
    pq.write_table(pa.table(table), path)


def image_of(row: int) -> str:
    """Return the image of a record; three neighbours share one."""
    return f"{row // 3 % N_IMAGES:04d}.jpg"


def _records(start: int, n: int, draw: np.random.Generator) -> Iterator[str]:
    numbers, words = draw.integers(1000, size=n), draw.integers(len(WORDS), size=n)
    for row, number, word in zip(range(start, start + n), numbers, words, strict=True):
        source, asked = SOURCES[row % len(SOURCES)], WORDS[word]
        yield (
            f'{{"id": "{row:09d}", "source": "{source}", "image": "{image_of(row)}", '
            '"conversations": [{"from": "human", "value": "<image>\\nWhat is the '
            f'{asked} {number} on the left, and why?"}}, {{"from": "gpt", "value": "It is the '
            f'{asked} {number % 97}, as the label next to it shows."}}]}}\n'
        )


def _scores(start: int, n: int, draw: np.random.Generator) -> Iterator[tuple[object, ...]]:
    multimodal = draw.gamma(2.0, 0.4, n)
    text = np.abs(multimodal + draw.normal(0.35, 0.5, n))
    for row, with_image, without in zip(range(start, start + n), multimodal, text, strict=True):
        if row % 20:
            scored = f"{with_image:.6f}", f"{without:.6f}", f"{without - with_image:.6f}"
            yield row, f"{row:09d}", image_of(row), *scored


def _time_step(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun
