"""Record the pictures of README and docs from the demo: ``python docs/record.py`` in a clone.

Needs Chromium and the development environment. Writes demo.gif, overview.png and review.png.
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
GIF_SIZE = (896, 672)
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
            save_gif(record_demo(page))
            record_review(page, served.address)
        browser.close()


def record_demo(page: Page) -> list[tuple[Image.Image, int]]:
    """Drag the threshold to the right and back, then open a sample; return frames and times."""
    frames = [(take_frame(page), 900)]
    page.locator(".handle.cut .grip").hover()
    x, y = page.locator(".handle.cut .grip").evaluate(
        "(grip) => { const box = grip.getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; }"
    )
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
    return picture.resize(GIF_SIZE, Image.Resampling.LANCZOS)


def save_gif(frames: list[tuple[Image.Image, int]]) -> None:
    """Write the frames with one palette, so only changed pixels are stored."""
    sheet = Image.new("RGB", (GIF_SIZE[0], GIF_SIZE[1] * 3))
    for i, (frame, _) in enumerate([frames[0], *frames[-2:]]):
        sheet.paste(frame, (0, i * GIF_SIZE[1]))
    palette = sheet.quantize(256)
    pictures = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame, _ in frames]
    times = [time for _, time in frames]
    file = DOCS / "demo.gif"
    pictures[0].save(
        file, save_all=True, append_images=pictures[1:], duration=times, loop=0, optimize=True
    )


if __name__ == "__main__":
    main()
