"""The data of ``benchmarks.proof``: records to train on and questions to test with.

They are drawn as those of the demo (``data.build_demo``). What is trained on is from the training
side of the split of pictures and facts, the test from the demo's side.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data.build_demo import (
    Album,
    Record,
    draw_questions,
    draw_source,
    image_record,
    text_record,
    write_image,
    write_json,
)
from data.synthetic.digit_sheets import DigitSheet
from data.synthetic.palette import seeded
from data.synthetic.pictures import SOURCES, random_picture

WORLD_SEED = 15
MADE = ("vision_critical", "redundant", "misaligned", "text_only")
SOURCE_SHARES = {"scenes": 0.30, "charts": 0.26, "digits": 0.24, "words": 0.20}
VISION_CRITICAL, TEXT_ONLY = 0.35, 0.10
"""Their shares of every pool. Misaligned samples replace redundant ones."""
QUESTIONS_PER_PICTURE = 2
WARM_MISALIGNED = 0.15


@dataclass(frozen=True)
class WorldSizes:
    """Numbers of records; ``test`` is by kind, of which redundant ones are shown a picture."""

    stock: Mapping[str, int] = field(
        default_factory=lambda: dict(zip(MADE, (6000, 5600, 3200, 1000), strict=True))
    )
    pool: int = 6000
    warm: int = 790
    test: Mapping[str, int] = field(
        default_factory=lambda: {"vision_critical": 1600, "redundant": 400, "text_only": 300}
    )


def draw_world(folder: Path, sizes: WorldSizes) -> None:
    """Write the stock that pools are drawn from, the records of the warm scorer, and the test."""
    rng = seeded(WORLD_SEED)
    albums: list[Album] = []
    stock = draw_records(rng, folder, "stock", sizes.stock, albums)
    warm = draw_records(rng, folder, "warm", mix_sizes(sizes.warm, WARM_MISALIGNED), albums)
    test = draw_test(rng, folder, sizes.test, albums)
    for album in albums:
        for name, picture in album.contents.items():
            if isinstance(picture, DigitSheet):  # an album leaves these to the demo's build
                write_image(picture.draw(), folder / "images" / name)
    for name, records in {"stock": stock, "warm": warm, "test": test}.items():
        for number, record in enumerate(records, start=1):
            record["id"] = f"{name}-{number:05}"
        write_json(folder / f"{name}.json", records)


def draw_records(
    rng: random.Random, folder: Path, name: str, sizes: Mapping[str, int], albums: list[Album]
) -> list[Record]:
    """Return training records in random order; their images are in ``images/<name>/``."""
    records = [text_record(rng, for_demo=False) for _ in range(sizes["text_only"])]
    for source in SOURCES:
        numbers = {
            made: round(SOURCE_SHARES[source] * sizes[made]) for made in MADE if made != "text_only"
        }
        albums.append(Album(folder / "images", f"{name}/{source}"))
        records += draw_source(rng, albums[-1], source, numbers, for_demo=False)
    rng.shuffle(records)
    return records


def draw_test(
    rng: random.Random, folder: Path, sizes: Mapping[str, int], albums: list[Album]
) -> list[Record]:
    """Return questions of one turn; each text-only question occurs once."""
    records: list[Record] = []
    for source in SOURCES:
        albums.append(Album(folder / "images", f"test/{source}"))
        made = ["vision_critical"] * (sizes["vision_critical"] // len(SOURCES))
        made += ["redundant"] * (sizes["redundant"] // len(SOURCES))
        while made:
            picture, asked = random_picture(rng, source, for_demo=True), set[str]()
            image = albums[-1].add(picture)
            for kind in made[:QUESTIONS_PER_PICTURE]:
                question = draw_questions(rng, picture, source, kind, asked)[0]
                asked.add(question.text)
                records.append(image_record(rng, source, kind, image, [question]))
            del made[:QUESTIONS_PER_PICTURE]
    facts: dict[str, Record] = {}
    while len(facts) < sizes["text_only"]:
        record = text_record(rng)
        record["conversations"], record["asks"] = record["conversations"][:2], record["asks"][:1]
        facts[record["conversations"][0]["value"]] = record
    return records + list(facts.values())


def mix_sizes(n: int, misaligned: float) -> dict[str, int]:
    """Return the number of records of each kind in a pool of ``n``."""
    sizes = {
        "vision_critical": round(VISION_CRITICAL * n),
        "misaligned": round(misaligned * n),
        "text_only": round(TEXT_ONLY * n),
    }
    return {**sizes, "redundant": n - sum(sizes.values())}


def draw_pool(stock: list[Record], n: int, misaligned: float, seed: int) -> list[Record]:
    """Return the pool of a seed; pools of other mixes have the same records where they can."""
    pool: list[Record] = []
    for made, size in mix_sizes(n, misaligned).items():
        rows = [record for record in stock if record["made"] == made]
        seeded(seed).shuffle(rows)
        if len(rows) < size:
            raise ValueError(f"The stock has {len(rows)} records of kind {made}, not {size}")
        pool += rows[:size]
    seeded(seed).shuffle(pool)
    return pool


def read_records(path: Path) -> list[Record]:
    """Return the records of a JSON array or of JSON lines."""
    text = path.read_text("utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    records: list[Record] = json.loads(text)
    return records
