"""Measures how well and how fast near-duplicates are found, on data with known copies.

    python -m benchmarks.duplicates [--questions 1000000] [--images 1000000] [--pictures 200]
        [--vectors 100000]

Quality: generated pictures and questions, edited copies of them, and hard cases that are no copies
(bar charts of the same layout, questions that differ in one word). Rates: questions from text to
groups, picture files to hashes, and hashes and vectors to groups. Times are CPU time of one
thread. Results: benchmarks/results/duplicates.md.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from benchmarks.clustering import Watch, private_memory
from scoring.clustering.image_embedder import DEFAULT_SIMILARITY
from scoring.clustering.vector_parts import find_keys, map_parts, read_parts, write_part
from scoring.dataset.image_index import index_image
from scoring.duplicates.find import DifferentTexts
from scoring.duplicates.image_vectors import PART_IMAGES, ImageVectors
from scoring.duplicates.near_images import find_near, group_pictures
from scoring.duplicates.near_vectors import group_vectors
from scoring.duplicates.texts import split_words
from scoring.image_references import ImageRoots
from scoring.images.perceptual import N_COLOURS, PictureHashes, hash_picture

Picture = Image.Image
DISTANCES = (4, 6, 8)
BATCH = 1000


def draw_scene(seed: int) -> Picture:
    """Return a picture of shapes on a gradient, with noise, of a size of its own."""
    draw = np.random.default_rng(seed)
    width, height = draw.integers(240, 640, 2).tolist()
    ends = draw.integers(0, 255, (2, 3))
    slope = np.linspace(0, 1, width)[None, :, None]
    pixels = np.broadcast_to(ends[0] * (1 - slope) + ends[1] * slope, (height, width, 3))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    canvas = ImageDraw.Draw(image)
    for _ in range(int(draw.integers(5, 25))):
        x, y = draw.integers((-60, -60), (width, height)).tolist()
        w, h = draw.integers(15, 220, 2).tolist()
        shape = canvas.ellipse if draw.random() < 0.5 else canvas.rectangle
        shape((x, y, x + w, y + h), tuple(draw.integers(0, 255, 3).tolist()))
    noisy = np.asarray(image) + draw.normal(0, 10, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def draw_chart(seed: int) -> Picture:
    """Return a bar chart; all have the same axes, colours and number of bars."""
    draw = np.random.default_rng(seed)
    image = Image.new("RGB", (480, 360), "white")
    canvas = ImageDraw.Draw(image)
    canvas.line((40, 20, 40, 320, 460, 320), "black", 2)
    for bar, height in enumerate(draw.integers(20, 290, 6).tolist()):
        left = 60 + 66 * bar
        canvas.rectangle((left, 320 - height, left + 44, 319), "steelblue")
    return image


def save_as_jpeg(image: Picture, quality: int) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def crop(image: Picture, share: float) -> Picture:
    """Cut half of ``share`` from each side."""
    x, y = (round(side * share / 2) for side in image.size)
    return image.crop((x, y, image.width - x, image.height - y))


EDITS: dict[str, Callable[[Picture], Picture]] = {
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "JPEG, quality 40": lambda image: save_as_jpeg(image, 40),
    "mirrored": ImageOps.mirror,
    "5 % cropped": lambda image: crop(image, 0.05),
    "10 % cropped": lambda image: crop(image, 0.1),
    "all four": lambda image: save_as_jpeg(
        crop(ImageOps.mirror(image), 0.05).resize((image.width // 2, image.height // 2)), 40
    ),
    "grey": lambda image: image.convert("L"),
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
}


def hash_all(images: Iterator[Picture]) -> PictureHashes:
    hashes = [hash_picture(image) for image in images]
    return PictureHashes.collect([each for each in hashes if each is not None])


def match(queries: PictureHashes, hashes: PictureHashes, distance: int) -> set[tuple[int, int]]:
    """Return the pairs of pictures that are near-duplicates, as they are or mirrored."""
    return {
        (i % len(queries), j)
        for ours, theirs in find_near(queries.add_mirrored(), hashes, distance)
        for i, j in zip(ours.tolist(), theirs.tolist(), strict=True)
    }


def measure_pictures(n: int) -> None:
    print(f"\n## Pictures: {n} scenes and their edited copies\n")
    print("Recall: copies that match their original. Precision: of all matches of these copies")
    print(f"with any of the {n} originals, those with their own.\n")
    heads = "".join(f" recall, {d} bits | precision |" for d in DISTANCES)
    print(f"| edit |{heads}\n|---|" + "---|---|" * len(DISTANCES))
    scenes = [draw_scene(seed) for seed in range(n)]
    originals = hash_all(iter(scenes))
    for name, edit in EDITS.items():
        copies = hash_all(edit(scene) for scene in scenes)
        cells = []
        for distance in DISTANCES:
            pairs = match(copies, originals, distance)
            right = sum(i == j for i, j in pairs)
            cells += [f"{right / n:.1%}", f"{right / len(pairs):.1%}" if pairs else "-"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print("\nNo copies: pairs that match although the pictures differ.\n")
    print("| pictures | pairs |" + "".join(f" {d} bits |" for d in DISTANCES))
    print("|---|---|" + "---|" * len(DISTANCES))
    charts = hash_all(map(draw_chart, range(n)))
    for name, hashes in (("scenes", originals), ("bar charts of one layout and colour", charts)):
        wrong = [sum(i < j for i, j in match(hashes, hashes, distance)) for distance in DISTANCES]
        print(f"| {name} | {n * (n - 1) // 2:,} | {' | '.join(f'{each:,}' for each in wrong)} |")


@dataclass(frozen=True, slots=True)
class Question:
    """A text, and the number of the question that it is a copy of."""

    words: list[str]
    original: int
    edit: str


TEXT_EDITS = ("case and punctuation", "a word added in front", "last word changed", "middle word")


def write_questions(n: int, share: float = 0.1) -> Iterator[Question]:
    """Yield questions of 8 to 30 words, of which a share are edited copies of the one before."""
    draw = random.Random(5)  # noqa: S311
    vocabulary = [f"word{number}" for number in range(20_000)]
    weights = np.cumsum(1 / np.arange(1, 20_001) ** 0.8).tolist()
    words: list[str] = []
    original = 0
    for number in range(n):
        if number and draw.random() < share:
            edit = draw.choice(TEXT_EDITS)
            yield Question(edit_words(words, edit, draw.choice(vocabulary)), original, edit)
        else:
            original = number
            words = draw.choices(vocabulary, cum_weights=weights, k=draw.randrange(8, 31))
            yield Question(words, number, "")


def edit_words(words: list[str], edit: str, other: str) -> list[str]:
    if edit == "case and punctuation":
        return [word.upper() for word in words[:-1]] + [f"{words[-1]}!"]
    if edit == "a word added in front":
        return [other, *words]
    position = len(words) // 2 if edit == "middle word" else -1
    return [*words[:position], other, *(words[position:][1:])]


def measure_questions(n: int) -> None:
    print(f"\n## Questions: {n:,}, 10 % of them edited copies of another\n")
    positions, edits, originals = [], [], []
    with tempfile.TemporaryDirectory() as folder, Watch() as watch:
        texts, spent = DifferentTexts(Path(folder), 0.8), 0.0
        batch: list[str] = []
        for question in write_questions(n):
            edits.append(question.edit)
            originals.append(question.original)
            batch.append(" ".join(question.words))
            if len(batch) == BATCH or len(edits) == n:
                begun = time.process_time()
                positions.append(texts.add((split_words(text), ()) for text in batch))
                spent += time.process_time() - begun
                batch = []
        begun = time.process_time()
        labels = texts.group_similar()
        grouping = time.process_time() - begun
    group = labels[np.concatenate(positions)]
    print("| step | CPU seconds | questions per second |\n|---|---|---|")
    print(f"| words, shingles, MinHash | {spent:.1f} | {n / spent:,.0f} |")
    print(f"| comparing and grouping | {grouping:.1f} | {n / grouping:,.0f} |")
    print(f"\nPeak private memory: {watch.peak >> 20} MB, of it the lists of this script.\n")
    print("| copy | number | in the group of its original |\n|---|---|---|")
    kinds = np.array(edits)
    same = group == group[np.array(originals)]
    for edit in TEXT_EDITS:
        rows = np.flatnonzero(kinds == edit)
        print(f"| {edit} | {len(rows):,} | {same[rows].mean():.1%} |")
    apart = np.flatnonzero(kinds == "")
    n_merged = len(apart) - len(np.unique(group[apart]))
    print(f"\nOf {len(apart):,} different questions, {n_merged:,} are in the group of another.")


def measure_rates(n: int, n_files: int) -> None:
    print("\n## Images: rates\n\n| step | CPU seconds | per second |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.jpg" for number in range(n_files)]
        for seed, path in enumerate(paths):
            draw_scene(seed).resize((640, 480)).save(path, quality=90)
        roots = ImageRoots((Path(folder),))
        for hashed, step in ((False, "digests only"), (True, "digests and hashes")):
            begun = time.process_time()
            for path in paths:
                index_image(path.name, roots, hashed)
            spent = time.process_time() - begun
            files = f"{n_files} JPEG files of 640 x 480: {step}"
            print(f"| {files} | {spent:.2f} | {n_files / spent:,.0f} |", flush=True)
    draw = np.random.default_rng(3)
    bits = draw.integers(0, 2**64, n, np.uint64, endpoint=False)
    copies = n // 10
    bits[-copies:] = bits[:copies] ^ (
        np.uint64(1) << draw.integers(0, 64, copies).astype(np.uint64)
    )
    colours = np.full((n, N_COLOURS), 128, np.uint8)
    begun = time.process_time()
    with Watch() as watch:
        group = group_pictures(PictureHashes(bits, colours), 8)
    spent = time.process_time() - begun
    found = (group[-copies:] == group[:copies]).mean()
    print(f"| {n:,} random hashes to groups, 8 bits | {spent:.1f} | {n / spent:,.0f} |")
    n_wrong = n - copies - len(np.unique(group))
    print(
        f"\nPeak private memory of the grouping: {watch.peak >> 20} MB. {found:.2%} of {copies:,}"
    )
    print(f"copies with one other bit were found. {n_wrong:,} other pairs were within 8 bits by")
    print("accident: all hashes of this measurement have the same colours.")


def measure_vectors(n: int, dimensions: int = 512) -> None:
    """Group random vectors; a tenth of them are noisy copies of others."""
    print(
        "\n## Vectors of images: rates\n\n| step | CPU seconds | pairs per second |\n|---|---|---|"
    )
    draw = np.random.default_rng(7)
    copies = n // 10
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, n, PART_IMAGES):
            keys = np.arange(first, min(first + PART_IMAGES, n), dtype=np.uint64)
            base = np.where(keys >= n - copies, keys - np.uint64(n - copies), keys)
            rows = [np.random.default_rng(each).standard_normal(dimensions) for each in base]
            noise = draw.standard_normal((len(keys), dimensions)) * 0.1
            write_part(Path(folder), keys, (np.array(rows) + noise).astype(np.float16))
        parts = read_parts(Path(folder))
        rows_of_keys = find_keys(parts, np.arange(n, dtype=np.uint64))
        vectors = ImageVectors(np.arange(n), rows_of_keys, map_parts(parts))
        group_vectors(
            ImageVectors(np.arange(2), rows_of_keys[:2], map_parts(parts)), 1.0
        )  # imports
        begun, before = time.process_time(), private_memory()
        with Watch() as watch:
            group = group_vectors(vectors, DEFAULT_SIMILARITY)
        spent = time.process_time() - begun
    n_pairs = n * (n - 1) // 2
    print(f"| {n:,} vectors of {dimensions} to groups | {spent:.1f} | {n_pairs / spent:,.0f} |")
    share = (group[-copies:] == group[:copies]).mean()
    n_wrong = n - copies - len(np.unique(group))
    print(
        f"\nPeak private memory above the start: {(watch.peak - before) >> 20} MB. {share:.2%} of"
    )
    print(f"{copies:,} noisy copies were found, and {n_wrong:,} other pairs.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--vectors", type=int, default=100_000)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()},")
    print(f"load average {os.getloadavg()[0]:.1f}.")
    if options.pictures:
        measure_pictures(options.pictures)
    if options.images:
        measure_rates(options.images, 200)
    if options.vectors:
        measure_vectors(options.vectors)
    if options.questions:
        measure_questions(options.questions)


if __name__ == "__main__":
    main()
