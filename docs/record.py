"""Record the pictures of README and docs from the demo: ``python docs/record.py`` in a clone.

Needs Chromium and the development environment. Writes demo.webp, overview.png and review.png.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from scoring.demo.build import build_demo  # noqa: E402
from tests.browser.conftest import ARGUMENTS, serving  # noqa: E402
from tests.chromium import find_chromium  # noqa: E402

DOCS = ROOT / "docs"
SIZE = {"width": 1280, "height": 960}
FRAME_SIZE = (896, 672)
FRAME_MS = 90


def main() -> None:
    """Build the demo, serve it, and record all pictures."""
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        workspace = build_demo(Path(folder) / "demo")
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGUMENTS))
        with serving(workspace.root, Path(folder) / "log") as served:
            page = browser.new_page(viewport=SIZE)
            page.goto(served.address)
            expect(page.locator(".handle.cut")).to_be_visible(timeout=60_000)
            page.wait_for_timeout(2_000)
            page.screenshot(path=DOCS / "overview.png")
            save_animation(record_demo(page))
            record_review(page, served.address)
        browser.close()


def record_demo(page: Page) -> list[tuple[Image.Image, int]]:
    """Drag the threshold to the right and back, then open a sample; return frames and times."""
    frames = [(take_frame(page), 900)]
    box = page.locator(".handle.cut .grip").bounding_box()
    if box is None:
        raise RuntimeError("the threshold is not drawn")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for offset in [*range(0, 160, 16), *range(160, -60, -20)]:
        page.mouse.move(x + offset, y)
        page.wait_for_timeout(40)
        frames.append((take_frame(page), FRAME_MS))
    page.mouse.up()
    page.wait_for_timeout(1_500)
    frames.append((take_frame(page), 1_200))
    page.get_by_role("link", name="Explore").click()
    tile = page.locator("button.tile").first
    expect(tile).to_be_visible(timeout=60_000)
    page.wait_for_timeout(2_000)
    frames.append((take_frame(page), 1_200))
    tile.click()
    expect(page.locator("article.card img.picture")).to_be_visible(timeout=60_000)
    page.wait_for_timeout(1_500)
    frames.append((take_frame(page), 2_500))
    return frames


def record_review(page: Page, address: str) -> None:
    """Decide about four samples and picture the fifth."""
    page.goto(f"{address}/review")
    page.get_by_label("Your name").fill("Ada")
    page.keyboard.press("Enter")
    expect(page.locator("article.card img.picture")).to_be_visible(timeout=60_000)
    for key in "kdku":
        page.keyboard.press(key)
        page.wait_for_timeout(600)
    page.wait_for_timeout(1_500)
    page.screenshot(path=DOCS / "review.png")


def take_frame(page: Page) -> Image.Image:
    """Return a screenshot in the size of the animation."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return picture.resize(FRAME_SIZE, Image.Resampling.LANCZOS)


def save_animation(frames: list[tuple[Image.Image, int]]) -> None:
    """Write the frames and their times in milliseconds as an animated WebP file."""
    pictures = [frame for frame, _ in frames]
    times = [time for _, time in frames]
    pictures[0].save(
        DOCS / "demo.webp",
        save_all=True,
        append_images=pictures[1:],
        duration=times,
        loop=0,
        quality=70,
        method=6,
    )


if __name__ == "__main__":
    main()
