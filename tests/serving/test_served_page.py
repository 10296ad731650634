"""The page in a real browser, on a desktop's and on a phone's screen, against a real server of two runs."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmpretrain.serving.app import PAGE
from tests.conftest import toy_picture
from tests.serving.process import serving

BROWSER = shutil.which("chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
SCREENS = {"desktop": (1280, 860), "phone": (390, 844)}
pytestmark = pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def address(able: Path, plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving([able, plain], tmp_path_factory.mktemp("page")) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield found
        found.close()


class Visit:
    """A page that was opened, what it asked for, and what went wrong in it."""

    def __init__(self, browser: Any, address: str, screen: str) -> None:
        width, height = SCREENS[screen]
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda told: self.wrong.append(told.text) if told.type == "error" else None)
        self.page.goto(address)
        self.page.wait_for_selector("#facts:not(:empty)")

    def do(self, task: str, **fields: str) -> Any:
        """Open a tab, fill fields in, send; the results, once all columns are done."""
        self.page.click(f"#tab-{task}")
        for name, value in fields.items():
            self.page.fill(f"#{task} [name={name}]", value)
        self.page.click(f"#{task} button[type=submit]")
        self.page.wait_for_selector("#results article")
        self.page.wait_for_selector(".busy", state="detached", timeout=30_000)
        return self.page.locator("#results")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("screen", SCREENS)
def test_a_picture_is_uploaded_and_every_question_is_answered(
    screen: str, address: str, browser: Any, tmp_path: Path
) -> None:
    picture = tmp_path / "red.png"
    picture.write_bytes(toy_picture("red", "square", 1, 32))
    visit = Visit(browser, address, screen)
    page = visit.page
    assert page.locator("#caption button[type=submit]").is_disabled(), "there is no picture to describe yet"
    found = visit.do("search", text="a red square")
    assert found.locator(".found img").count() == 12
    page.set_input_files("#file", picture)
    assert page.locator("#preview").is_visible()
    shares = visit.do("classify", labels="red square, blue circle\ngreen").locator(".value").all_inner_texts()
    assert len(shares) == 3
    assert sum(float(share.split()[0]) for share in shares) == pytest.approx(100, abs=2)
    page.select_option("#second", "plain")
    columns = visit.do("caption").locator("article").all_inner_texts()
    assert ["has not learned to write captions" in told for told in columns] == [False, True]
    assert "\n" in visit.do("answer", question="what color is it?").locator("article").first.inner_text()
    assert visit.do("explain", text="red square").locator("article").first.locator(".heat img").count() == 3
    page.click("#tab-search")
    page.click("#alike")
    page.wait_for_selector(".found img")
    with page.expect_response("**/v1/search"):
        page.locator(".found").first.click()
    page.wait_for_selector(".busy", state="detached")
    page.wait_for_selector(".found img")
    assert page.locator("#results article").first.locator(".found img").count() == 12
    assert page.evaluate(FITS)
    assert visit.wrong == []
    assert [url for url in visit.asked if not url.startswith((address, "blob:", "data:"))] == []
    page.close()


HANDED = """([place, type, content]) => {
    const hand = new DataTransfer();
    hand.items.add(new File([Uint8Array.from(content)], "red.png", { type: "image/png" }));
    const event = type === "drop"
        ? new DragEvent(type, { dataTransfer: hand, bubbles: true, cancelable: true })
        : new ClipboardEvent(type, { clipboardData: hand, bubbles: true });
    document.querySelector(place).dispatchEvent(event);
}"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("place", "event"), [("#drop", "drop"), ("body", "paste")])
def test_a_picture_that_is_dropped_or_pasted_is_asked_about(place: str, event: str, address: str, browser: Any) -> None:
    visit = Visit(browser, address, "desktop")
    visit.page.evaluate(HANDED, [place, event, list(toy_picture("red", "square", 1, 32))])
    visit.page.wait_for_selector("#preview", state="visible")
    shares = visit.do("classify", labels="red square, blue circle").locator(".value")
    assert shares.count() == 2
    assert visit.wrong == []
    visit.page.close()


@pytest.mark.timeout(120)
def test_a_refusal_stands_where_the_answer_would_and_the_keyboard_is_enough(
    address: str, browser: Any, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    visit = Visit(browser, address, "desktop")
    page = visit.page
    page.focus("#tab-search")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-classify", "aria-selected") == "true"
    page.keyboard.press("ArrowLeft")
    page.focus("#search [name=text]")
    page.keyboard.type("blue")
    page.keyboard.press("Enter")
    page.wait_for_selector(".found img")
    page.set_input_files("#file", broken)
    said = visit.do("classify").locator(".wrong").inner_text()
    assert said.startswith("image: ")
    page.close()


@pytest.mark.timeout(120)
def test_a_busy_server_is_asked_once_more_and_one_that_is_gone_is_told(address: str, browser: Any) -> None:
    visit = Visit(browser, address, "phone")
    page, seen = visit.page, []

    def busy_once(route: Any) -> None:
        seen.append(route.request.url)
        busy = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": "too much at a time"}}
        route.continue_() if len(seen) > 1 else route.fulfill(**busy)

    page.route("**/v1/search", busy_once)
    assert visit.do("search", text="red").locator(".found").count() == 12
    assert len(seen) == 2
    page.unroute("**/v1/search")
    page.route("**/v1/search", lambda route: route.abort())
    assert visit.do("search", text="red").locator(".wrong").inner_text().startswith("The server does not answer")
    page.close()


@pytest.mark.timeout(120)
def test_what_a_model_never_learned_has_a_reason_and_no_form(address: str, browser: Any) -> None:
    page = Visit(browser, address, "phone").page
    assert page.locator("[role=tab]").last.bounding_box()["x"] < SCREENS["phone"][0] - 40, "all tabs are in sight"
    page.select_option("#first", "plain")
    page.click("#tab-caption")
    assert page.locator("#caption").is_hidden()
    assert page.inner_text("#results") == "plain has not learned to write captions. Choose able."
    page.select_option("#first", "able")
    assert page.locator("#caption").is_visible()
    page.close()


def test_the_page_is_small_and_names_no_other_place() -> None:
    files = [path for path in PAGE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 100_000
    assert [path.name for path in files if "http://" in path.read_text() or "https://" in path.read_text()] == []
