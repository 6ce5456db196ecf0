"""The images that replace a sample's own are the same in every process."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scoring.engine.baselines import (
    BLUR,
    GRAY,
    SHUFFLED,
    BaselineImages,
    BaselineSettings,
    ShuffledImages,
    write_shuffled_images,
)
from scoring.errors import InputError
from scoring.images.decode import ImageProblem
from scoring.samples import Status

COLOURS = ["red", "green", "blue", "white"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for colour in COLOURS:
        Image.new("RGB", (4, 2), colour).save(tmp_path / f"{colour}.png")
    return tmp_path


def shuffled_images(folder: Path, images: list[str | None], seed: int = 1) -> ShuffledImages:
    path = folder / f"cycle-{seed}.arrow"
    write_shuffled_images(path, in_pieces(images), seed)
    return ShuffledImages(path, seed)


def in_pieces(images: list[str | None], size: int = 3) -> Iterator[list[str | None]]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def baseline_images(
    root: Path, shuffled: ShuffledImages | None = None, sigma: float = 0.25
) -> BaselineImages:
    settings = BaselineSettings((GRAY, BLUR, SHUFFLED), blur_sigma=sigma)
    return BaselineImages(settings, (10, 20, 30), [root], shuffled)


def opened(root: Path, names: Iterable[str]) -> list[Image.Image]:
    return [Image.open(root / name).convert("RGB") for name in names]


def test_baselines_have_a_fixed_order() -> None:
    settings = BaselineSettings(("gray", "none", "gray"))
    assert settings.names == ("none", "gray")
    assert settings.primary == "none"
    assert settings == BaselineSettings(("none", "gray"))


def test_only_deciding_parameters_are_recorded() -> None:
    assert BaselineSettings(("none", "gray")).run_parameters() == {}
    both = BaselineSettings(("blur", "shuffled"), blur_sigma=0.1, shuffle_seed=7)
    assert both.run_parameters() == {"blur_sigma": 0.1, "shuffle_seed": 7}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BaselineSettings(("noise",)),
            r"Unknown baseline 'noise'\. Choose from: none,",
        ),
        (lambda: BaselineSettings(()), "A run needs a baseline"),
        (lambda: BaselineSettings(("blur",), blur_sigma=0), "above 0 and at most 1; got 0"),
    ],
)
def test_invalid_settings_are_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]


def test_gray_is_the_neutral_colour_in_the_size_of_the_image(root: Path) -> None:
    images = opened(root, ["red.png", "blue.png"])
    first, second = baseline_images(root).make_images(GRAY, ["red.png", "blue.png"], images)
    assert (first.size, first.getpixel((3, 1))) == ((4, 2), (10, 20, 30))
    assert first is second  # equal images are processed once


def test_blur_is_as_wide_as_its_share_of_the_longer_side(root: Path) -> None:
    edge = np.zeros((20, 101, 3), np.uint8)
    edge[:, 51:] = 255
    (soft,) = baseline_images(root, sigma=0.05).make_images(BLUR, ["a"], [Image.fromarray(edge)])
    profile = np.asarray(soft, dtype=float)[10, :, 0]
    slope = np.diff(profile)
    centre = (slope * np.arange(100)).sum() / slope.sum()
    width = np.sqrt((slope * (np.arange(100) - centre) ** 2).sum() / slope.sum())
    assert width == pytest.approx(0.05 * 101, rel=0.1)
    (even,) = baseline_images(root, sigma=0.05).make_images(BLUR, ["a"], opened(root, ["red.png"]))
    assert even.getcolors() == [(8, (255, 0, 0))]


def test_shuffled_shows_each_image_to_another_sample(root: Path) -> None:
    names = [f"{colour}.png" for colour in COLOURS]
    shuffled = shuffled_images(root, names)  # type: ignore[arg-type]
    followers = [next(shuffled.images_after(name)) for name in names]
    assert sorted(followers) == sorted(names)  # a permutation
    assert all(own != other for own, other in zip(names, followers, strict=True))
    (shown,) = baseline_images(root, shuffled).make_images(
        SHUFFLED, names[:1], opened(root, names[:1])
    )
    expected = opened(root, followers[:1])[0].getpixel((0, 0))
    assert shown.getpixel((0, 0)) == expected != (255, 0, 0)


def test_the_order_depends_on_the_images_and_the_seed_alone(tmp_path: Path) -> None:
    images: list[str | None] = [f"{n}.png" for n in range(50)]
    again = [None, *images[25:], images[3], None, *images[:25]]
    first, second = shuffled_images(tmp_path, images), shuffled_images(tmp_path, again)
    assert len(first) == len(second) == 50
    assert list(first.images_after("7.png")) == list(second.images_after("7.png"))
    assert "7.png" not in set(first.images_after("7.png"))
    other = shuffled_images(tmp_path, images, seed=2)
    assert list(other.images_after("7.png")) != list(first.images_after("7.png"))


def test_no_seed_leaves_an_image_with_itself(tmp_path: Path) -> None:
    images: list[str | None] = [f"{n}.png" for n in range(5)]
    for seed in range(40):
        shuffled = shuffled_images(tmp_path, images, seed)
        assert all(next(shuffled.images_after(str(image))) != image for image in images)


def test_a_sample_with_several_images_gets_the_same_number(root: Path) -> None:
    names = [f"{colour}.png" for colour in COLOURS]
    shuffled = shuffled_images(root, names)  # type: ignore[arg-type]
    own = names[:2]
    shown = baseline_images(root, shuffled).make_images(SHUFFLED, own, opened(root, own))
    colours = {image.getpixel((0, 0)) for image in shown}
    assert colours == {(0, 0, 255), (255, 255, 255)}  # each of the two others once


def test_images_that_cannot_be_opened_are_skipped(root: Path) -> None:
    (root / "pointer.png").write_bytes(b"version https://git-lfs")
    images: list[str | None] = ["red.png", "gone.png", "../out.png", "pointer.png", "blue.png"]
    for seed in range(8):
        shuffled = shuffled_images(root, images, seed)
        (shown,) = baseline_images(root, shuffled).make_images(
            SHUFFLED, ["red.png"], opened(root, ["red.png"])
        )
        assert shown.getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize("copy", ["copied.png", "written_again.bmp"])
def test_the_same_image_under_another_name_is_skipped(root: Path, copy: str) -> None:
    if copy == "copied.png":
        shutil.copy(root / "red.png", root / copy)
    else:
        Image.open(root / "red.png").save(root / copy)
    for seed in range(4):
        alone = shuffled_images(root, ["red.png", copy], seed)
        with pytest.raises(ImageProblem, match="too few other images"):
            baseline_images(root, alone).make_images(
                SHUFFLED, ["red.png"], opened(root, ["red.png"])
            )
        shuffled = shuffled_images(root, ["red.png", copy, "blue.png"], seed + 10)
        (shown,) = baseline_images(root, shuffled).make_images(
            SHUFFLED, ["red.png"], opened(root, ["red.png"])
        )
        assert shown.getpixel((0, 0)) == (0, 0, 255)


def test_without_a_neutral_colour_there_is_no_gray(root: Path) -> None:
    without = BaselineImages(BaselineSettings((GRAY,)), None, [root])
    with pytest.raises(ImageProblem, match="the colour that the model maps to zero is not known"):
        without.make_images(GRAY, ["red.png"], opened(root, ["red.png"]))


def test_the_same_file_under_another_name_is_skipped(root: Path) -> None:
    shuffled = shuffled_images(root, ["red.png", "./red.png"])
    with pytest.raises(ImageProblem, match="too few other images") as problem:
        baseline_images(root, shuffled).make_images(
            SHUFFLED, ["red.png"], opened(root, ["red.png"])
        )
    assert problem.value.status is Status.MISSING_IMAGE


def test_without_another_image_the_reason_is_reported(root: Path) -> None:
    with pytest.raises(ImageProblem, match="too few other images"):
        baseline_images(root, shuffled_images(root, ["red.png"])).make_images(
            SHUFFLED, ["red.png"], opened(root, ["red.png"])
        )
    with pytest.raises(ImageProblem, match=r"last problem: 'gone\.png' is in none of"):
        baseline_images(root, shuffled_images(root, ["red.png", "gone.png"])).make_images(
            SHUFFLED, ["red.png"], opened(root, ["red.png"])
        )


def test_a_dataset_without_images_has_an_empty_order(tmp_path: Path) -> None:
    assert len(shuffled_images(tmp_path, [None, None])) == 0
    assert list(shuffled_images(tmp_path, [None, None]).images_after("a.png")) == []
