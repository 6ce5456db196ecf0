"""Every page on the demo and with hostile links; requests that the server refuses."""

from __future__ import annotations

import http.client
import re
from dataclasses import fields
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Page, expect

from dashboard.charts.theme import ACCENT, PANEL, PAPER
from dashboard.view.state import View
from tests.browser.conftest import PAGES, Served, Watched
from tests.browser.hostile import ATTACKS

# Other states of a page.
QUERIES = {
    "overview": ("", "?group=cluster&filter=source:scenes", "?group=turn"),
    "explore": ("", "?layout=cut&size=24", "?sample=3"),
    "review": ("?queue=row_idx",),
}
HOSTILE_LINKS = (
    {
        "filter": "source:<script>window.attacked='link'</script> visnec:nan..inf",
        "sample": "-1",
        "row": "1e9",
        "cut": "nan",
        "low": "inf",
        "share": "2",
        "count": "-5",
        "sort": "visnec; DROP",
        "rule": "none",
        "seed": "9" * 30,
        "reviewer": "\u202e" * 300,
    },
    {
        "filter": "cluster:99999999999999999999 text:'; DROP TABLE scores; --",
        "run": "<img src=x onerror=window.attacked='run'>",
        "baseline": "![x](http://e.invalid/x)",
    },
    {"sample": "999999999", "row": "999999999", "page": ">nan,-7", "queue": "../../etc/passwd"},
)


def rgb(colour: str) -> str:
    """Return a colour as the browser's computed style writes it."""
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


def enter(watched: Watched, name: str, query: str = "") -> Page:
    """Open a page; on Review also enter a name, which the deck needs."""
    page = watched.open(name, query)
    if name == "review":
        field = page.get_by_label("Your name")
        sample = page.locator("article.card, .vn .end")
        expect(field.or_(sample).first).to_be_visible()
        if field.is_visible():
            field.fill("Ann")
            page.keyboard.press("Enter")
        expect(sample.first).to_be_visible()
    return page


def assert_nothing_ran(watched: Watched) -> None:
    """Check that no attack ran in the page or its frames and the page is still visible."""
    assert watched.page.evaluate("window.attacked ?? null") is None
    expect(watched.page.locator("h1").first).to_be_visible()
    watched.assert_sound()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_and_requests_no_other_host(demo: Watched, name: str) -> None:
    page = enter(demo, name)
    expect(page.locator("h1").first).to_have_text(name.capitalize())
    demo.assert_sound()


def test_no_page_is_wider_than_a_narrow_window(demo: Watched) -> None:
    """In light and dark; an open page follows a change."""
    for name in PAGES:
        for query in QUERIES.get(name, ("",)):
            demo.page.set_viewport_size({"width": 900, "height": 900})
            demo.page.emulate_media(color_scheme="light")
            enter(demo, name, query)
            assert_fits(demo, "light", (name, query))
            demo.page.emulate_media(color_scheme="dark")
            assert_fits(demo, "dark", (name, query))
            demo.page.set_viewport_size({"width": 1100, "height": 900})
            assert_fits(demo, "dark", (name, query))


def test_popovers_and_buttons_follow_the_theme(demo: Watched) -> None:
    demo.page.emulate_media(color_scheme="dark")
    page = demo.open("subset")
    demo.press(page.locator(".st-key-saved-clean").get_by_role("button", name="Arms"))
    heading = page.get_by_test_id("stPopoverBody").locator("th").first
    save = page.get_by_role("button", name="Save arms")
    for scheme in ("dark", "light"):
        is_dark = scheme == "dark"
        demo.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        expect(heading).to_have_css("background-color", rgb(PANEL.of(is_dark)))
        expect(save).to_have_css("background-color", rgb(ACCENT.of(is_dark)))
        expect(save.locator("p")).to_have_css("color", rgb(PAPER.of(is_dark)))
    demo.assert_sound()


def assert_fits(watched: Watched, scheme: str, where: tuple[str, str]) -> None:
    app = watched.page.get_by_test_id("stApp")
    expect(app).to_have_css("background-color", rgb(PAPER.of(scheme == "dark")))
    watched.settle()
    wide = watched.page.get_by_test_id("stMain").evaluate(
        """main => {
            const scrolls = (one) => /auto|scroll/.test(getComputedStyle(one).overflowX);
            const outside = (root) => [...root.querySelectorAll("*")].flatMap((one) => {
                if (one !== main && scrolls(one)) return [];  // its content may be wider
                if (one.parentElement?.closest(".scroll, .vn-table")) return [];
                const inner = one.shadowRoot ? outside(one.shadowRoot) : [];
                const box = one.getBoundingClientRect();
                const isOut = box.width && (box.right > main.clientWidth + 1 || box.left < -1);
                const isSeen = getComputedStyle(one).visibility === "visible";
                return isOut && isSeen ? [one.outerHTML.slice(0, 120), ...inner] : inner;
            });
            return { page: main.scrollWidth - main.clientWidth, out: outside(main) };
        }"""
    )
    assert wide == {"page": 0, "out": []}, (*where, scheme)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_works_with_a_hostile_link(visited: Watched, name: str) -> None:
    for parameters in HOSTILE_LINKS:
        visited.open(name, f"?{urlencode(parameters)}")
        expect(visited.page.locator("h1").first).to_have_text(name.capitalize())
        assert_nothing_ran(visited)


@pytest.mark.parametrize("name", PAGES)
def test_every_parameter_of_a_link_may_be_hostile(attacked: Watched, name: str) -> None:
    """All at once, each with an attack; then each as long and strange as a link allows."""
    odd = ("\u202e\0" + "9" * 400, "-1e309", "\x1b[31m", "[" * 300, "a" * 1000, "%00%0d%0a")
    for texts in (ATTACKS, odd):
        query = {one: texts[n % len(texts)] for n, one in enumerate(fields(View))}
        attacked.open(name, f"?{urlencode({one.name: text for one, text in query.items()})}")
        expect(attacked.page.locator("h1").first).to_have_text(name.capitalize())
        assert_nothing_ran(attacked)


def test_an_ignored_part_of_a_link_is_reported(visited: Watched) -> None:
    page = visited.open("overview", "?cut=nan")
    expect(page.get_by_text("Parts of this link were ignored")).to_be_visible()


# ---- the server's own routes ---------------------------------------------------------------------


def ask(server: Served, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage]:
    """Send a request with these headers, as no browser would."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers


def own_address(demo: Watched) -> str:
    """Return the address, with its key, of a picture in the deck."""
    page = enter(demo, "review", "?queue=row_idx")
    picture = page.locator("article.card img.picture").first
    expect(picture).to_be_visible()
    address = picture.get_attribute("src")
    assert address is not None
    return address


def test_routes_answer_only_to_their_own_pages(demo: Watched) -> None:
    path, server = own_address(demo), demo.server
    own = f"127.0.0.1:{server.port}"
    assert ask(server, path)[0] == 200
    assert ask(server, path, Host=own, Origin=f"http://{own}")[0] == 200
    assert ask(server, path, Host="attacker.invalid")[0] == 400
    assert ask(server, path, Host=f"attacker.invalid:{server.port}")[0] == 400
    assert ask(server, path, Host=own, Origin="http://attacker.invalid")[0] == 403
    assert ask(server, path, Host=own, Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(server, re.sub(r"key=[^&]*", "key=guessed", path))[0] == 403
    assert ask(server, path.partition("?")[0])[0] == 403


@pytest.mark.parametrize("path", ["/", "/review", "/_stcore/health", "/visnec/cards?rows=1"])
def test_a_foreign_host_name_is_refused_everywhere(demo_server: Served, path: str) -> None:
    assert ask(demo_server, path, Host="rebound.invalid")[0] == 400


def test_responses_have_the_policy_that_keeps_pages_local(demo_server: Served) -> None:
    headers = ask(demo_server, "/")[1]
    assert "connect-src 'self'" in headers["content-security-policy"]
    assert "img-src 'self' data: blob:" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers.get("access-control-allow-origin") is None


def test_no_address_contains_a_file_name(demo: Watched) -> None:
    query = own_address(demo).partition("?")[2]
    for path in (
        "../../etc/passwd",
        quote("../../etc/passwd", safe=""),
        "-1/0",
        "0/99",
        "999999/0",
    ):
        _, headers = ask(demo.server, f"/visnec/image/{path}?{query}")
        assert headers.get_content_type() in ("text/html", "text/plain"), path
