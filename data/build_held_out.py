"""Writes questions for trials on the demo: about pictures, and for text alone, none in the demo.

    python -m data.build_held_out [--out data/held-out]

All are answered correctly and have one turn. No picture and no text-only question is one of the
demo's.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from data.build_demo import Album, Record, conversations, image_record, write_json
from data.synthetic.facts import ALL_FAMILIES, random_fact
from data.synthetic.palette import seeded
from data.synthetic.pictures import describe_picture, random_picture

HERE = Path(__file__).parent
SEED = 20_261
PICTURES_PER_SOURCE, QUESTIONS_PER_PICTURE = 12, 2
SOURCES = ("scenes", "charts", "words")
TEXT_ONLY = 36


def build(out: Path, demo: Path) -> tuple[list[Record], list[Record]]:
    """Write the records with and without images into a folder and return both."""
    shutil.rmtree(out / "images", ignore_errors=True)
    rng = seeded(SEED)
    shown = list(json.loads((demo / "pictures.json").read_text("utf-8")).values())
    asked = {
        record["conversations"][0]["value"]
        for record in json.loads((demo / "records.json").read_text("utf-8"))
    }
    pictured: list[Record] = []
    for source in SOURCES:
        album = Album(out / "images", source)
        while len(album.contents) < PICTURES_PER_SOURCE:
            picture = random_picture(rng, source, for_demo=True)
            if (description := describe_picture(picture)) in shown:
                continue
            shown.append(description)
            image = album.add(picture)
            pictured += [
                image_record(rng, source, "vision_critical", image, [question])
                for question in rng.sample(picture.questions(rng), QUESTIONS_PER_PICTURE)
            ]
    facts: dict[str, Record] = {}
    while len(facts) < TEXT_ONLY:
        fact = random_fact(rng, ALL_FAMILIES, for_demo=True)
        if fact.text not in asked:
            turns = conversations([(fact.text, fact.answer)])
            facts[fact.text] = {"id": "", "conversations": turns, "source": "chat"}
    texts = list(facts.values())
    for name, records in (("image", pictured), ("text", texts)):
        for number, record in enumerate(records, start=1):
            record["id"] = f"held-out-{name}-{number:03}"
        write_json(out / f"{name}.json", records)
    return pictured, texts


def main() -> None:
    """Build the questions and print how many there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "held-out")
    pictured, texts = build(parser.parse_args().out, HERE / "demo")
    print(json.dumps({"image": len(pictured), "text": len(texts)}))


if __name__ == "__main__":
    main()
