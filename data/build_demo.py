"""Writes the demo: records in LLaVA-1.5 JSON, their images, and the contents of the digit images.

    python -m data.build_demo [--out data/demo]

Every record contains how it was made (``made``), for comparison with its score:
``vision_critical`` (the answer is in the image only), ``redundant`` (the text or common knowledge
answers it), ``misaligned`` (the answer contradicts the image), ``text_only`` (no image). Six
records are broken on purpose (``broken``).

All pictures and all questions that text answers come from the demo's side of the split
(``data.synthetic.pictures``, ``data.synthetic.facts``).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from data.synthetic.dialogues import vary_form
from data.synthetic.digit_sheets import DigitSheet
from data.synthetic.facts import ALL_FAMILIES, random_fact
from data.synthetic.palette import seeded
from data.synthetic.pictures import SOURCES, Picture, describe_picture, random_picture
from data.synthetic.questions import Question

HERE = Path(__file__).parent
SEED = 20_260

PLAN = {
    "scenes": {"vision_critical": 110, "redundant": 24, "misaligned": 26},
    "charts": {"vision_critical": 70, "redundant": 34, "misaligned": 22},
    "words": {"vision_critical": 50, "redundant": 80, "misaligned": 14},
    "digits": {"vision_critical": 74, "redundant": 16, "misaligned": 34},
}
"""Number of records per source and kind: words are mostly redundant, digits have the most wrong
answers."""

TEXT_ONLY_RECORDS = 40

FACTS_OF_SOURCE = {
    "scenes": ("colour", "parts", "mixture", "ability", "group", "stated colour"),
    "charts": ("sum", "difference", "larger", "stated number", "next day"),
    "words": ("opposite", "capital", "first letter", "word length", "next day", "group"),
    "digits": ("sum", "difference", "next number", "larger", "stated number"),
}
STATED_SHARE = 0.4
LISTING_SHARE = 0.07

SHARES, SHARE_WEIGHTS = (1, 2, 3, 4), (25, 35, 25, 15)
"""Number of records that share a picture."""

TURNS, TURN_WEIGHTS = (1, 2, 3), (75, 16, 9)
PALETTE_SIZE = 64
MAX_TRIES = 50

POINTER = """\
version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""

Record = dict[str, Any]


class Album:
    """The pictures of one source: numbers them, draws them, records what they show."""

    def __init__(self, images: Path, source: str) -> None:
        self._images, self._source = images, source
        self.contents: dict[str, Picture] = {}

    def add(self, picture: Picture) -> str:
        """Write a picture (except digits, which are drawn later) and return its path."""
        name = f"{self._source}/{len(self.contents) + 1:04}.png"
        self.contents[name] = picture
        if not isinstance(picture, DigitSheet):
            write_image(picture.draw(), self._images / name)
        return name


def write_image(image: Image.Image, path: Path) -> None:
    """Write a small PNG: 64 colours are enough for flat shapes with smooth edges."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(PALETTE_SIZE, dither=Image.Dither.NONE).save(path, optimize=True)


def draw_source(
    rng: random.Random,
    album: Album,
    source: str,
    numbers: Mapping[str, int],
    for_demo: bool = True,
) -> Iterator[Record]:
    """Yield the records of a source, ``numbers`` of each kind; one to four share a picture.

    Pictures and facts are from the demo's side of the split, or else from the training's.
    """
    kinds = [kind for kind, number in numbers.items() for _ in range(number)]
    rng.shuffle(kinds)
    while kinds:
        picture = random_picture(rng, source, for_demo)
        share = rng.choices(SHARES, SHARE_WEIGHTS)[0]
        image, asked = album.add(picture), set[str]()
        for made in kinds[:share]:
            questions = draw_questions(rng, picture, source, made, asked, for_demo)
            asked.update(question.text for question in questions)
            yield image_record(rng, source, made, image, questions)
        del kinds[:share]


def draw_questions(
    rng: random.Random,
    picture: Picture,
    source: str,
    made: str,
    asked: set[str],
    for_demo: bool = True,
) -> list[Question]:
    """Return random turns of a record: all of one kind, none asked about this picture before."""
    if made != "redundant" and rng.random() < LISTING_SHARE:
        listing = picture.listing_question(rng)
        if listing.text not in asked:
            return [listing]
    number = rng.choices(TURNS, TURN_WEIGHTS)[0]
    questions: dict[str, Question] = {}
    for _ in range(MAX_TRIES):
        question = draw_question(rng, picture, source, made, for_demo)
        is_new = question.kind not in {other.kind for other in questions.values()}
        if is_new and question.text not in asked:
            questions[question.text] = question
        if len(questions) == number:
            break
    return list(questions.values())


def draw_question(
    rng: random.Random, picture: Picture, source: str, made: str, for_demo: bool = True
) -> Question:
    """Return a random question of the kind that a record with this ``made`` asks."""
    if made != "redundant":
        return vary_form(rng, rng.choice(picture.questions(rng)))
    if rng.random() < STATED_SHARE:
        return rng.choice(picture.stated_questions(rng))
    return vary_form(rng, random_fact(rng, FACTS_OF_SOURCE[source], for_demo))


def image_record(
    rng: random.Random, source: str, made: str, image: str, questions: list[Question]
) -> Record:
    """Return a record with an image; in a misaligned one every answer is wrong."""
    answers = [question.answer for question in questions]
    if made == "misaligned":
        answers = [rng.choice(question.wrong) for question in questions]
    turns = list(zip([question.text for question in questions], answers, strict=True))
    turns[0] = ("<image>\n" + turns[0][0], turns[0][1])
    return {
        "id": "",
        "image": image,
        "conversations": conversations(turns),
        "source": source,
        "made": made,
        "asks": [question.kind for question in questions],
    }


def text_record(rng: random.Random, for_demo: bool = True) -> Record:
    """Return a record without an image."""
    facts: dict[str, Question] = {}
    for _ in range(rng.choices(TURNS, TURN_WEIGHTS)[0]):
        fact = random_fact(rng, ALL_FAMILIES, for_demo)
        facts[fact.text] = fact
    return {
        "id": "",
        "conversations": conversations([(fact.text, fact.answer) for fact in facts.values()]),
        "source": "chat",
        "made": "text_only",
        "asks": [fact.kind for fact in facts.values()],
    }


def conversations(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Return the turns as LLaVA writes them."""
    return [
        {"from": speaker, "value": value}
        for question, answer in turns
        for speaker, value in (("human", question), ("gpt", answer))
    ]


def draw_broken(rng: random.Random, albums: dict[str, Album], images: Path) -> list[Record]:
    """Return six records that cannot be scored: no file, not an image, or no answer."""
    write_broken_images(albums["scenes"], images)
    cases = (
        ("scenes", "missing_image", "scenes/9001.png"),
        ("charts", "missing_image", "charts/9002.png"),
        ("scenes", "bad_image", "broken/truncated.png"),
        ("words", "bad_image", "broken/pointer.png"),
        ("charts", "no_answer", None),
        ("words", "no_answer", None),
    )
    return [broken_record(rng, albums[source], source, why, path) for source, why, path in cases]


def broken_record(
    rng: random.Random, album: Album, source: str, why: str, image: str | None
) -> Record:
    """Return a normal record with its image or its answer broken."""
    picture = random_picture(rng, source, for_demo=True)
    questions = draw_questions(rng, picture, source, "vision_critical", set())[:1]
    record = image_record(rng, source, "vision_critical", image or album.add(picture), questions)
    if why == "no_answer":
        record["conversations"][1]["value"] = ""
    return {**record, "broken": why}


def write_broken_images(scenes: Album, images: Path) -> None:
    """Write a truncated PNG, and a text file where an image should be."""
    folder = images / "broken"
    folder.mkdir(parents=True, exist_ok=True)
    whole = (images / next(iter(scenes.contents))).read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "pointer.png").write_text(POINTER, encoding="utf-8")


def build(out: Path) -> list[Record]:
    """Write the demo into a folder and return its records."""
    images = out / "images"
    shutil.rmtree(images, ignore_errors=True)
    rng = seeded(SEED)
    albums = {source: Album(images, source) for source in SOURCES}
    records = [
        record
        for source in SOURCES
        for record in draw_source(rng, albums[source], source, PLAN[source])
    ]
    records += [text_record(rng) for _ in range(TEXT_ONLY_RECORDS)]
    records += draw_broken(rng, albums, images)
    rng.shuffle(records)
    for number, record in enumerate(records, start=1):
        record["id"] = f"demo-{number:04}"
    write_json(out / "records.json", records)
    write_json(out / "digits.json", describe_digits(albums["digits"]))
    write_json(out / "pictures.json", describe_pictures(albums))
    return records


def describe_digits(album: Album) -> list[dict[str, Any]]:
    """Return what ``scoring.demo.digits`` needs to draw the digit images."""
    return [
        {
            "file": Path(name).name,
            "background": sheet.background,
            "marks": [asdict(mark) for mark in sheet.marks()],
        }
        for name, sheet in album.contents.items()
        if isinstance(sheet, DigitSheet)
    ]


def describe_pictures(albums: dict[str, Album]) -> dict[str, dict[str, Any]]:
    """Return what each scene, chart and sign shows, by its path."""
    return {
        name: describe_picture(picture)
        for source, album in albums.items()
        if source != "digits"
        for name, picture in album.contents.items()
    }


def write_json(path: Path, values: list[Any] | dict[str, Any]) -> None:
    """Write JSON with one entry per line, to keep diffs short."""
    pairs = enumerate(values) if isinstance(values, list) else values.items()
    is_list = isinstance(values, list)
    lines = [
        json.dumps(value) if is_list else f"{json.dumps(key)}: {json.dumps(value)}"
        for key, value in pairs
    ]
    opening, closing = "[]" if is_list else "{}"
    text = opening + "\n" + ",\n".join(lines) + "\n" + closing + "\n"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Build the demo and print how many records and images it has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "demo")
    out = parser.parse_args().out
    records = build(out)
    sizes = [path.stat().st_size for path in (out / "images").rglob("*.png")]
    print(json.dumps({"records": len(records), "images": len(sizes), "bytes": sum(sizes)}))


if __name__ == "__main__":
    main()
