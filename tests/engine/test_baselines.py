"""What stands in for the image, and that it is the same whoever asks."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scoring.engine.baselines import BLUR, GRAY, SHUFFLED, BaselineImages, BaselineSettings
from scoring.engine.shuffled_images import ShuffledImages, write_shuffled_images
from scoring.errors import InputError
from scoring.images.decode import ImageProblem
from scoring.samples import Status

COLOURS = ["red", "green", "blue", "white"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for colour in COLOURS:
        Image.new("RGB", (4, 2), colour).save(tmp_path / f"{colour}.png")
    return tmp_path


def cycle_of(folder: Path, images: list[str | None], seed: int = 1) -> ShuffledImages:
    path = folder / f"cycle-{seed}.arrow"
    write_shuffled_images(path, lambda: in_pieces(images), seed)
    return ShuffledImages(path, seed)


def in_pieces(images: list[str | None], size: int = 3) -> Iterator[list[str | None]]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def stand_ins(
    root: Path, cycle: ShuffledImages | None = None, sigma: float = 0.25
) -> BaselineImages:
    settings = BaselineSettings((GRAY, BLUR, SHUFFLED), blur_sigma=sigma)
    return BaselineImages(settings, (10, 20, 30), [root], cycle)


def opened(root: Path, names: Iterable[str]) -> list[Image.Image]:
    return [Image.open(root / name).convert("RGB") for name in names]


def test_baselines_stand_in_one_order_whatever_the_order_of_the_options() -> None:
    settings = BaselineSettings(("gray", "none", "gray"))
    assert settings.names == ("none", "gray")
    assert settings.primary == "none"
    assert settings == BaselineSettings(("none", "gray"))


def test_only_what_decides_a_run_is_recorded() -> None:
    assert BaselineSettings(("none", "gray")).parameters() == {}
    both = BaselineSettings(("blur", "shuffled"), blur_sigma=0.1, shuffle_seed=7)
    assert both.parameters() == {"blur_sigma": 0.1, "shuffle_seed": 7}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BaselineSettings(("noise",)), "unknown baseline 'noise'; known are none, ref"),
        (lambda: BaselineSettings(()), "a run needs a baseline"),
        (lambda: BaselineSettings(("blur",), blur_sigma=0), "above 0 and at most 1; got 0"),
    ],
)
def test_settings_that_are_none_are_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]


def test_gray_is_the_neutral_colour_in_the_size_of_the_image(root: Path) -> None:
    images = opened(root, ["red.png", "blue.png"])
    first, second = stand_ins(root).make(GRAY, ["red.png", "blue.png"], images)
    assert (first.size, first.getpixel((3, 1))) == ((4, 2), (10, 20, 30))
    assert first is second  # what is the same is looked at once


def test_blur_is_as_wide_as_its_share_of_the_longer_side(root: Path) -> None:
    edge = np.zeros((20, 101, 3), np.uint8)
    edge[:, 51:] = 255
    (soft,) = stand_ins(root, sigma=0.05).make(BLUR, ["a"], [Image.fromarray(edge)])
    profile = np.asarray(soft, dtype=float)[10, :, 0]
    slope = np.diff(profile)
    centre = (slope * np.arange(100)).sum() / slope.sum()
    width = np.sqrt((slope * (np.arange(100) - centre) ** 2).sum() / slope.sum())
    assert width == pytest.approx(0.05 * 101, rel=0.1)
    (even,) = stand_ins(root, sigma=0.05).make(BLUR, ["a"], opened(root, ["red.png"]))
    assert even.getcolors() == [(8, (255, 0, 0))]


def test_shuffled_shows_each_image_to_another_sample(root: Path) -> None:
    names = [f"{colour}.png" for colour in COLOURS]
    cycle = cycle_of(root, names)  # type: ignore[arg-type]
    followers = [next(cycle.after(name)) for name in names]
    assert sorted(followers) == sorted(names)  # a permutation
    assert all(own != other for own, other in zip(names, followers, strict=True))
    (shown,) = stand_ins(root, cycle).make(SHUFFLED, names[:1], opened(root, names[:1]))
    expected = opened(root, followers[:1])[0].getpixel((0, 0))
    assert shown.getpixel((0, 0)) == expected != (255, 0, 0)


def test_the_order_depends_on_the_images_and_the_seed_alone(tmp_path: Path) -> None:
    images: list[str | None] = [f"{n}.png" for n in range(50)]
    again = [None, *images[25:], images[3], None, *images[:25]]
    first, second = cycle_of(tmp_path, images), cycle_of(tmp_path, again)
    assert len(first) == len(second) == 50
    assert list(first.after("7.png")) == list(second.after("7.png"))
    assert "7.png" not in set(first.after("7.png"))
    other = cycle_of(tmp_path, images, seed=2)
    assert list(other.after("7.png")) != list(first.after("7.png"))


def test_no_seed_leaves_an_image_with_itself(tmp_path: Path) -> None:
    images: list[str | None] = [f"{n}.png" for n in range(5)]
    for seed in range(40):
        cycle = cycle_of(tmp_path, images, seed)
        assert all(next(cycle.after(str(image))) != image for image in images)


def test_a_sample_of_several_images_gets_as_many_others(root: Path) -> None:
    names = [f"{colour}.png" for colour in COLOURS]
    cycle = cycle_of(root, names)  # type: ignore[arg-type]
    own = names[:2]
    shown = stand_ins(root, cycle).make(SHUFFLED, own, opened(root, own))
    colours = {image.getpixel((0, 0)) for image in shown}
    assert colours == {(0, 0, 255), (255, 255, 255)}  # each of the two others once


def test_what_cannot_be_opened_is_passed_over(root: Path) -> None:
    (root / "pointer.png").write_bytes(b"version https://git-lfs")
    images: list[str | None] = ["red.png", "gone.png", "../out.png", "pointer.png", "blue.png"]
    for seed in range(8):
        cycle = cycle_of(root, images, seed)
        (shown,) = stand_ins(root, cycle).make(SHUFFLED, ["red.png"], opened(root, ["red.png"]))
        assert shown.getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize("copy", ["copied.png", "written_again.bmp"])
def test_the_same_picture_under_another_name_is_not_another_image(root: Path, copy: str) -> None:
    if copy == "copied.png":
        shutil.copy(root / "red.png", root / copy)
    else:
        Image.open(root / "red.png").save(root / copy)
    for seed in range(4):
        alone = cycle_of(root, ["red.png", copy], seed)
        with pytest.raises(ImageProblem, match="too few other images"):
            stand_ins(root, alone).make(SHUFFLED, ["red.png"], opened(root, ["red.png"]))
        cycle = cycle_of(root, ["red.png", copy, "blue.png"], seed + 10)
        (shown,) = stand_ins(root, cycle).make(SHUFFLED, ["red.png"], opened(root, ["red.png"]))
        assert shown.getpixel((0, 0)) == (0, 0, 255)


def test_without_a_neutral_colour_there_is_no_gray(root: Path) -> None:
    without = BaselineImages(BaselineSettings((GRAY,)), None, [root])
    with pytest.raises(ImageProblem, match="no colour is known that the model maps to zero"):
        without.make(GRAY, ["red.png"], opened(root, ["red.png"]))


def test_the_same_file_by_another_name_is_no_other_image(root: Path) -> None:
    cycle = cycle_of(root, ["red.png", "./red.png"])
    with pytest.raises(ImageProblem, match="too few other images") as problem:
        stand_ins(root, cycle).make(SHUFFLED, ["red.png"], opened(root, ["red.png"]))
    assert problem.value.status is Status.MISSING_IMAGE


def test_without_another_image_the_reason_is_told(root: Path) -> None:
    with pytest.raises(ImageProblem, match="too few other images"):
        stand_ins(root, cycle_of(root, ["red.png"])).make(
            SHUFFLED, ["red.png"], opened(root, ["red.png"])
        )
    with pytest.raises(ImageProblem, match=r"lastly: 'gone\.png' is in none of"):
        stand_ins(root, cycle_of(root, ["red.png", "gone.png"])).make(
            SHUFFLED, ["red.png"], opened(root, ["red.png"])
        )


def test_a_dataset_without_images_has_an_empty_order(tmp_path: Path) -> None:
    assert len(cycle_of(tmp_path, [None, None])) == 0
    assert list(cycle_of(tmp_path, [None, None]).after("a.png")) == []
