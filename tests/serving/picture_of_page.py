"""The picture of the page in the README: python -m tests.serving.picture_of_page RUN FILE.

RUN has an index, `mmpretrain search index RUN emoji:unseen`; FILE is a PNG of few colours, small enough to be kept.
"""

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.serving.process import serving
from tests.serving.test_served_page import BROWSER, OPTIONS, Visit

QUERY = "red heart"
COLOURS = 256
SIZE = (1280, 800)


def photograph(run: Path, out: Path) -> None:
    """Search by words in a real browser, and keep what it shows."""
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as place,
        serving([run.resolve()], Path(place)) as server,
        sync_playwright() as started,
    ):
        browser: Any = started.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        visit = Visit(browser, f"http://127.0.0.1:{server.port}", "desktop")
        visit.page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})
        visit.do("search", text=QUERY)
        visit.page.click(".found >> nth=0")  # what was found is the picture that is looked for next
        visit.page.wait_for_selector("#preview:not([hidden])")
        visit.page.wait_for_selector(".busy", state="detached")
        visit.page.wait_for_load_state("networkidle")
        shot = visit.page.screenshot(full_page=True)
        browser.close()
    with Image.open(io.BytesIO(shot)) as picture:
        out.parent.mkdir(parents=True, exist_ok=True)
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    photograph(Path(sys.argv[1]), Path(sys.argv[2]))
