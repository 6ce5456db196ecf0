"""Hostile text on every page: none of it runs or is fetched, and all of it is shown as text.

One visit per page opens everything that is folded and then reads all text, components included.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import urlencode

from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from scoring.database.filters import Filter
from tests.browser.conftest import Watched
from tests.browser.hostile import (
    ALL,
    ATTACKS,
    IMPORTED_RUN,
    MAIN_RUN,
    PRINTABLE,
    RUN_ID,
    SETTINGS,
    SUBSET,
    as_file,
    break_subset,
)

# All text of the page in order, without scripts and styles.
_READ = """() => {
    const found = [];
    const read = (node) => {
        if (node.nodeType === Node.TEXT_NODE) found.push(node.data);
        if (node.nodeName === "SCRIPT" || node.nodeName === "STYLE") return;
        if (node.nodeName === "INPUT" || node.nodeName === "TEXTAREA") found.push(node.value);
        if (node.shadowRoot) read(node.shadowRoot);
        node.childNodes.forEach(read);
    };
    read(document.body);
    return found.join("");
}"""
_DROPPED = re.compile("[\0\ufffd]")  # what a browser leaves out of HTML
_ALL_SHOWN = f"""wanted => {{
    const shown = ({_READ})().replace(/[\\0\\ufffd]/g, "");
    return wanted.every((one) => shown.includes(one));
}}"""
_FIRST = "?" + urlencode({"run": MAIN_RUN})


def assert_read(watched: Watched, texts: Iterable[str]) -> None:
    """Check that the page shows all of these texts literally and ran none of them."""
    page, wanted = watched.page, list(texts)
    assert page.evaluate("window.attacked ?? null") is None
    expect(page.locator("h1").first).to_be_visible()
    watched.assert_sound()
    try:  # some parts of a page are drawn after the page
        page.wait_for_function(_ALL_SHOWN, arg=[_DROPPED.sub("", one) for one in wanted])
    except PlaywrightTimeoutError:
        shown = _DROPPED.sub("", page.evaluate(_READ))
        assert [one for one in wanted if _DROPPED.sub("", one) not in shown] == [], shown


def append_each(*endings: str, attacks: Iterable[str] = ATTACKS) -> list[str]:
    """Return every attack with each of the endings."""
    return [f"{attack}{ending}" for attack in attacks for ending in endings]


def as_reviewer(watched: Watched, query: str) -> Page:
    """Open Review with a name."""
    page = watched.open("review", query)
    page.get_by_label("Your name").fill("Ann")
    page.keyboard.press("Enter")
    expect(page.locator("article.card").first).to_be_visible()
    watched.settle()
    return page


def unfold(watched: Watched, *names: str) -> None:
    """Open the expanders of these names."""
    for name in names:
        expanders = watched.page.locator('[data-testid="stExpander"]')
        expanders.locator("summary", has_text=name).click()
    watched.settle()


def test_overview(attacked: Watched) -> None:
    attacked.open("overview", _FIRST)
    expect(attacked.page.locator(".live")).to_be_visible()
    facts = [f"{ALL} {name}" for name in ("model", "template", "dtype", "device", "notice")]
    assert_read(attacked, [*ATTACKS, ALL, *facts])
    which = Filter(source=ATTACKS)
    attacked.open("overview", f"{_FIRST}&{urlencode({'group': 'cluster', 'filter': str(which)})}")
    assert_read(attacked, [*ATTACKS, *append_each(" cluster")])


def test_explore_with_an_open_sample(attacked: Watched) -> None:
    page = attacked.open("explore", f"{_FIRST}&size=48")
    expect(page.locator(".tile").last).to_be_visible()
    assert_read(attacked, [*append_each(" Question"), *append_each(" answer")])
    page = attacked.open("explore", f"{_FIRST}&sample=0")
    expect(page.locator('article.card[data-row="0"]')).to_be_visible()
    unfold(attacked, "History")
    page.get_by_role("button", name="Raw record").click()
    assert_read(
        attacked,
        [
            *(f"{ALL} {one}" for one in ("question", "answer", "blind", "seeing")),
            *append_each(" note", " queue"),
            *append_each(" brought", attacks=PRINTABLE),
            f"{ATTACKS[0]} cluster",
            as_file(ATTACKS[0]),
            json.dumps(ALL),
        ],
    )
    page.get_by_role("button", name="Next", exact=False).first.click()
    expect(page.locator('article.card[data-row="0"]')).to_have_count(0)
    attacked.open("explore", f"{_FIRST}&sample=4")  # a row that has no score
    expect(page.locator('article.card[data-row="4"]')).to_be_visible()
    assert_read(attacked, [f"{ATTACKS[4]} reason"])


def test_compare(attacked: Watched) -> None:
    page = attacked.open("compare", f"{_FIRST}&{urlencode({'other': f'{RUN_ID}/none'})}")
    expect(page.locator(".tile").last).to_be_visible()
    assert_read(attacked, [MAIN_RUN, RUN_ID, *append_each(" Question"), *append_each(" answer")])


def test_evaluate(attacked: Watched) -> None:
    attacked.open("evaluate", _FIRST)
    unfold(attacked, "Imported predictions")
    assert_read(attacked, [*ATTACKS, ALL, as_file(ATTACKS[2]), f"run of {ALL} model"])


def test_review_with_keys_and_with_buttons(attacked: Watched) -> None:
    page = as_reviewer(attacked, f"{_FIRST}&queue=row_idx&who=all&row=0")
    expect(page.locator('article.card[data-row="0"]')).to_be_visible()
    said = [f"{ALL} {one}" for one in ("question", "answer", "blind", "seeing")]
    assert_read(attacked, [*said, f"{as_file(ATTACKS[1])}@laptop"])
    card = page.locator("article.card")
    assert card.locator("script, iframe, style, img:not(.picture)").count() == 0
    for attack in ATTACKS:  # each has a row in the table of reviewers
        name = _DROPPED.sub("", attack)
        expect(page.locator("td").get_by_text(name, exact=True).first).to_be_visible()
    attacked.open("review", f"{_FIRST}&queue=row_idx&who=all&row=0&buttons=1")
    expect(page.get_by_text("Sample 1 of")).to_be_visible()
    assert_read(attacked, said)


def test_subset_with_its_exports(attacked: Watched) -> None:
    page = attacked.open("subset", f"{_FIRST}&rule=per-source&panel=compare")
    folders = [as_file(attack) for attack in PRINTABLE]
    assert_read(attacked, [*ATTACKS, ALL, *append_each(" cluster"), SUBSET, *folders])
    assert_read(attacked, [f"run {ALL}", as_file(f"{ATTACKS[0]} spoilt")])
    for container, button in ((f"saved-{SUBSET}", "Export"), ("export-of-", "Files")):
        box = page.locator(f'[class*="st-key-{container}"]').first
        box.get_by_role("button", name=button).click()
        expect(page.locator('[data-testid="stPopoverBody"]')).to_be_visible()
        attacked.settle()
        assert_read(attacked, [SUBSET])
        page.keyboard.press("Escape")
    break_subset(attacked.server.root)
    attacked.open("subset", _FIRST)
    assert_read(attacked, ["broken.json", *folders])
    (attacked.server.root / "subsets" / "broken.json").unlink()


def test_runs(attacked: Watched) -> None:
    attacked.open("runs", f"?run={RUN_ID}")
    told = [f"{ALL} {name}" for name in ("model", "notice", "version", *SETTINGS)]
    brought = [IMPORTED_RUN, f"{as_file(ATTACKS[0])}.csv", RUN_ID, ATTACKS[1]]
    reasons = [f"{ATTACKS[i % len(ATTACKS)]} reason" for i in (4, 9, 14, 19)]
    assert_read(attacked, [*told, *brought, *reasons])
