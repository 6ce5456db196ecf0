"""The demo's records: counts, format, images, and separation from the training data."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, UnidentifiedImageError

from data.build_demo import PLAN, build
from data.synthetic.dialogues import random_dialogue
from data.synthetic.digit_sheets import scans_for
from data.synthetic.facts import is_demo_question
from data.synthetic.palette import seeded
from data.synthetic.pictures import SOURCES, describe_picture, is_demo_picture, random_picture
from scoring.demo.digits import write_digit_images

DATA = Path(__file__).parents[2] / "data"
DEMO = DATA / "demo"
IMAGES = DEMO / "images"

Record = dict[str, Any]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    loaded: list[Record] = json.loads((DEMO / "records.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def pictures() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]]
    loaded = json.loads((DEMO / "pictures.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_digit_images(root, DEMO)
    return root


def test_there_are_600_records_made_in_four_ways(records: list[Record]) -> None:
    assert Counter(record["made"] for record in records) == {
        "vision_critical": 310,
        "redundant": 154,
        "misaligned": 96,
        "text_only": 40,
    }


def test_each_source_has_its_own_mixture(records: list[Record]) -> None:
    whole = [record for record in records if "broken" not in record]
    counted = Counter((record["source"], record["made"]) for record in whole)
    planned = {(source, made): n for source, parts in PLAN.items() for made, n in parts.items()}
    assert counted == {**planned, ("chat", "text_only"): 40}
    assert planned[("words", "redundant")] == 80
    assert planned[("digits", "misaligned")] == 34


def test_six_records_are_broken_on_purpose(records: list[Record]) -> None:
    broken = Counter(record["broken"] for record in records if "broken" in record)
    assert broken == {"missing_image": 2, "bad_image": 2, "no_answer": 2}
    for record in records:
        answers = [turn["value"] for turn in record["conversations"] if turn["from"] == "gpt"]
        assert all(answers) == (record.get("broken") != "no_answer")


def test_about_a_quarter_has_several_turns(records: list[Record]) -> None:
    several = sum(len(record["conversations"]) > 2 for record in records)
    assert 0.2 <= several / len(records) <= 0.3


def test_the_answers_differ_in_length(records: list[Record]) -> None:
    words = [
        len(turn["value"].split()) for record in records for turn in record["conversations"][1::2]
    ]
    assert sum(count == 1 for count in words) > 300
    assert sum(count in (2, 3, 4) for count in words) > 100
    assert sum(count >= 5 for count in words) > 20


def test_records_are_llava_json(records: list[Record]) -> None:
    assert len({record["id"] for record in records}) == len(records)
    for record in records:
        speakers = [turn["from"] for turn in record["conversations"]]
        assert speakers == ["human", "gpt"] * (len(speakers) // 2)
        assert len(record["asks"]) == len(speakers) // 2
        placeholders = [turn["value"].count("<image>") for turn in record["conversations"]]
        assert sum(placeholders) == int("image" in record)
        if "image" in record:
            assert record["conversations"][0]["value"].startswith("<image>\n")


def test_the_file_is_ascii(records: list[Record]) -> None:
    assert (DEMO / "records.json").read_bytes().isascii()
    assert records[0]["id"] == "demo-0001"


def test_images_are_there_and_are_256_pixels_wide_and_high(
    records: list[Record], digits: Path
) -> None:
    for record in records:
        if "image" not in record or record.get("broken") in ("missing_image", "bad_image"):
            continue
        root = digits if record["source"] == "digits" else IMAGES
        with Image.open(root / record["image"]) as image:
            assert image.size == (256, 256)
            image.load()


def test_broken_images_are_broken(records: list[Record]) -> None:
    missing = [record["image"] for record in records if record.get("broken") == "missing_image"]
    assert [path for path in missing if (IMAGES / path).exists()] == []
    with pytest.raises(UnidentifiedImageError):
        Image.open(IMAGES / "broken" / "pointer.png")
    with Image.open(IMAGES / "broken" / "truncated.png") as image, pytest.raises(OSError):
        image.load()


def test_every_image_of_the_folder_is_used(records: list[Record]) -> None:
    used = {record["image"] for record in records if "image" in record}
    found = {path.relative_to(IMAGES).as_posix() for path in IMAGES.rglob("*.png")}
    assert found - used == set()


def test_about_two_records_share_an_image(records: list[Record]) -> None:
    images = [record["image"] for record in records if "image" in record]
    assert 1.5 <= len(images) / len(set(images)) <= 2.5


def test_no_question_is_asked_twice_of_an_image(records: list[Record]) -> None:
    asked = Counter(
        (record["image"], turn["value"].removeprefix("<image>\n"))
        for record in records
        if "image" in record
        for turn in record["conversations"][::2]
    )
    assert asked.most_common(1)[0][1] == 1


def test_the_demos_pictures_are_on_the_demos_side(pictures: dict[str, dict[str, Any]]) -> None:
    wrong = [
        name for name, shown in pictures.items() if not is_demo_picture(name.split("/")[0], shown)
    ]
    assert wrong == []


def test_training_pictures_are_on_the_other_side() -> None:
    rng = seeded(11)
    for source in ("scenes", "charts", "words"):
        drawn = [describe_picture(random_picture(rng, source, False)) for _ in range(100)]
        assert not any(is_demo_picture(source, shown) for shown in drawn)


def test_no_scan_of_the_demo_trains_the_model() -> None:
    sheets = json.loads((DEMO / "digits.json").read_text(encoding="utf-8"))
    scans = {mark["scan"] for sheet in sheets for mark in sheet["marks"]}
    assert scans <= set(scans_for(demo=True))
    assert scans.isdisjoint(scans_for(demo=False))
    assert len(scans_for(demo=True)) + len(scans_for(demo=False)) == 1797


def test_questions_without_an_image_are_not_in_the_training(records: list[Record]) -> None:
    for record in records:
        if record["made"] == "text_only":
            questions = [turn["value"] for turn in record["conversations"][::2]]
            assert all(is_demo_question(question) for question in questions)


def test_no_pair_of_picture_and_question_recurs_in_training(
    records: list[Record], pictures: dict[str, dict[str, Any]]
) -> None:
    shown = {name: json.dumps(what, sort_keys=True) for name, what in pictures.items()}
    pairs = {
        (shown.get(record.get("image", "")), turn["value"].removeprefix("<image>\n"))
        for record in records
        for turn in record["conversations"][::2]
        if record.get("image", "") in shown or "image" not in record
    }
    rng = seeded(12)
    for _ in range(1000):
        dialogue = random_dialogue(rng)
        picture = dialogue.picture
        what = picture and json.dumps(describe_picture(picture), sort_keys=True)
        assert not any((what, question) in pairs for question, _ in dialogue.turns)


def test_digit_images_are_the_same_each_time(digits: Path, tmp_path: Path) -> None:
    expected = json.loads((DEMO / "digits.json").read_text(encoding="utf-8"))
    assert write_digit_images(tmp_path, DEMO) == len(expected)
    for sheet in expected:
        again = (tmp_path / "digits" / sheet["file"]).read_bytes()
        assert again == (digits / "digits" / sheet["file"]).read_bytes()


def test_the_committed_demo_is_what_its_script_builds(tmp_path: Path) -> None:
    build(tmp_path)
    for name in ("records.json", "digits.json", "pictures.json"):
        assert (tmp_path / name).read_bytes() == (DEMO / name).read_bytes(), name


def test_the_demo_is_small() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 2_000_000
    assert {path.name for path in IMAGES.iterdir()} == {*SOURCES, "broken"} - {"digits"}
