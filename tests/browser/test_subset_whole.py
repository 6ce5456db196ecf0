"""Longer ways through the Subset page: weights with every export option, and arms with an export
that waits, is stopped, and is downloaded as an archive."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from filelock import FileLock
from playwright.sync_api import Locator, Page, expect

from scoring.exports.manifest import read_manifest
from scoring.exports.verify import verify_manifest
from scoring.workspace import open_workspace
from tests.browser.conftest import Watched


def figure(page: Page, name: str) -> Locator:
    """Return the value of a figure."""
    return page.locator(".vn-figure", has_text=name).locator(".vn-value").first


def number(page: Page, name: str) -> int:
    return int(figure(page, name).inner_text().replace(",", ""))


def fill(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")


def test_a_weighted_mixture_is_exported_with_every_option(demo: Watched, tmp_path: Path) -> None:
    page = demo.open("subset", "?rule=weights")
    share = figure(page, "Effective share").inner_text()
    fill(page, "Temperature", "0.2")
    expect(page).to_have_url(re.compile("temperature=0.2"))
    expect(figure(page, "Effective share")).not_to_have_text(share)
    expect(page.get_by_text("Expected mixture by source")).to_be_visible()

    # Decisions of other tests on the same workspace do not count here.
    demo.press(page.locator("label", has_text="Manual decisions override the rule"))
    expect(page).to_have_url(re.compile("hand=0"))
    demo.settle()
    before = number(page, "Samples in the subset")
    switch = page.locator("label", has_text="Include text-only samples")
    n_text_only = int(re.findall(r"\((\d+)\)", switch.inner_text())[0])
    switch.click()
    expect(figure(page, "Samples in the subset")).to_have_text(str(before + n_text_only))
    demo.press(page.locator("label", has_text="Include other samples without a score"))
    expect(page).to_have_url(re.compile("unscored=1"))
    demo.settle()
    demo.save_subset("mixed")

    demo.press(page.locator(".st-key-saved-mixed").get_by_role("button", name="Export"))
    demo.choose("Format", "jsonl")
    demo.choose("Images", "copied next to the records")
    demo.choose("Weights", "as repeated records")
    fill(page, "Records in total", "700")
    demo.choose("Turns", "mask answers outside the limits")
    fill(page, "Key that is false in masked answers", "train_on")
    fill(page, "Answer score from", "")
    fill(page, "Folder on this machine", str(tmp_path / "out"))
    demo.press(page.get_by_role("button", name="Export now"))
    expect(page.get_by_text("--turns mask needs --turn-min or --turn-max")).to_be_visible()
    fill(page, "below", "0.5")
    demo.press(page.get_by_role("button", name="Export now"))
    refused = re.compile(r"^\d+ images are missing, so nothing was exported")
    expect(page.get_by_text(refused)).to_be_visible()
    assert not (tmp_path / "out").exists()
    demo.press(page.locator("label", has_text="Export without missing images"))
    demo.press(page.get_by_role("button", name="Export now"))
    expect(page.get_by_text(re.compile("^Exported .* of mixed"))).to_be_visible()
    manifest = read_manifest(tmp_path / "out")
    n_missing = manifest.n_missing_images
    expect(page.get_by_text(f"{n_missing} images were missing and not exported")).to_be_visible()
    assert manifest.options.to_dict() == {
        "format": "jsonl",
        "images": "copy",
        "weights": "repeat",
        "epoch_size": 700,
        "turns": "mask",
        "turn_max": 0.5,
        "mask_key": "train_on",
        "card": True,
    }
    records = (tmp_path / "out" / "samples.jsonl").read_text("utf-8").splitlines()
    assert len(records) == manifest.counts["written"]["repeats"]["records"] > 100
    assert any('"train_on"' in one for one in records)
    assert (tmp_path / "out" / "README.md").is_file()
    image = next(path for one in records if (path := json.loads(one).get("image")))
    assert (tmp_path / "out" / "images" / image).is_file()
    verify_manifest(tmp_path / "out", open_workspace(demo.server.root))
    demo.assert_sound()


def test_save_arms_stop_a_waiting_export_and_download_an_archive(demo: Watched) -> None:
    page = demo.open("subset", "?rule=paper&share=0.3")
    demo.save_subset("armed")
    saved = page.locator(".st-key-saved-armed")
    demo.press(saved.get_by_role("button", name="Arms"))
    demo.press(page.get_by_role("button", name="Save arms"))
    expect(page.get_by_text("Saved 5 arms")).to_be_visible()
    names = {path.stem for path in (demo.server.root / "subsets").glob("armed*.json")}
    assert len(names) == 6
    expect(page.locator(".st-key-saved-armed-random")).to_be_visible()
    demo.settle()

    exports = demo.server.root / "exports"
    exports.mkdir(exist_ok=True)
    with FileLock(exports / ".export.lock"):
        demo.press(saved.get_by_role("button", name="Export"))
        demo.choose("Images", "copied next to the records")
        expect(page.get_by_test_id("stPopoverBody")).to_have_count(1)  # the arms stay closed
        demo.press(page.get_by_role("button", name="Export now"))
        waits = page.get_by_role(
            "img", name="armed is waiting for another export of this workspace"
        )
        expect(waits).to_be_visible()
        # Streamlit shows a button of this name, too, while a page runs.
        demo.press(page.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True))
        expect(page.get_by_text("The export of armed was stopped")).to_be_visible()
    assert not (exports / "armed").exists()
    demo.press(page.get_by_role("button", name="Dismiss", exact=True))
    expect(page.get_by_text("The export of armed was stopped")).to_have_count(0)

    demo.open("subset")
    demo.press(page.locator(".st-key-saved-armed").get_by_role("button", name="Export"))
    demo.choose("Images", "copied next to the records")
    demo.press(page.get_by_role("button", name="Export now"))
    export = page.locator(".st-key-export-of-armed")
    demo.press(export.get_by_role("button", name="Files"))
    with page.expect_download() as download:
        demo.press(page.get_by_role("button", name=re.compile("^All files")))
    with zipfile.ZipFile(download.value.path()) as archive:
        inside = set(archive.namelist())
        content = archive.read("armed/samples.json")
    assert content == (exports / "armed" / "samples.json").read_bytes()
    on_disk = {f"armed/{one.relative_to(exports / 'armed')}"
               for one in (exports / "armed").rglob("*") if one.is_file()}  # fmt: skip
    assert inside == on_disk
    assert any(one.startswith("armed/images/") for one in inside)
    demo.assert_sound()
