"""The report of a real run in a real browser, where one is installed (`.ci/run` installs Debian's chromium)."""

import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mmpretrain.recipes.datasets.stats import stats
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report.comparison import Side, render
from mmpretrain.report.folder import read_folder
from mmpretrain.report.page import write_report
from tests.conftest import ConfigWriter
from tests.report.conftest import lay_out

BROWSER = shutil.which("chromium")
FITS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def browse(page: Path, *options: str) -> str:
    command = [str(BROWSER), *OPTIONS, f"--user-data-dir={page.parent / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=90, cwd=page.parent).stdout


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [1200, 420])
def test_the_report_opens_in_a_browser_and_shows_its_pictures(toy_config: ConfigWriter, width: int):
    page = write_report(pretrain(toy_config(), [], "auto", Console(quiet=True)))
    shown = browse(page, "--dump-dom")
    for title in ("Verdict", "Results", "Curves", "Data", "Searches", "Reproduce"):
        assert title in shown
    assert "data:image/png;base64," in shown
    browse(page, f"--window-size={width},3000", f"--screenshot={page.parent / 'page.png'}")
    pixels = np.asarray(Image.open(page.parent / "page.png").convert("L"))
    assert pixels.std() > 10
    assert pixels.shape[1] == width


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_the_page_of_a_dataset_opens_in_a_browser(shapes: Path, tmp_path: Path):
    page = tmp_path / "stats.html"
    stats(str(shapes), 40, 0, page, 0, Console(quiet=True))
    shown = browse(page, "--dump-dom")
    for title in ("Overview", "Captions", "Pictures", "Quality", "Datasheet"):
        assert title in shown
    browse(page, "--window-size=420,2000", f"--screenshot={tmp_path / 'page.png'}")
    assert np.asarray(Image.open(tmp_path / "page.png").convert("L")).std() > 10


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_no_page_is_wider_than_a_phone_and_none_asks_for_anything(tmp_path: Path):
    playwright = pytest.importorskip("playwright.sync_api")
    run, compared = lay_out(tmp_path / "run"), tmp_path / "compared.html"
    run.add_event("started", 0, "1 process, single, on a node with quite a long name, and more of that")
    difference = {"value": 0.1, "low": 0.0, "high": 0.2, "chance": 0.0, "n": 9}
    place = {"task": "retrieval", "split": "val", "metric": "mean_R@10", "p": 0.03}
    names = [str(tmp_path / name) for name in ("one", "other")]
    told = {**place, "runs": names[:1], "against": names[1:], "difference": difference}
    compared.write_text(render([Side(label=name, runs=[read_folder(run)]) for name in names], [told]))
    asked: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=list(OPTIONS[1:]))
        for path, width in itertools.product((write_report(run), compared), (390, 1200)):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("request", lambda request: asked.append(request.url))
            page.goto(path.as_uri())
            whole, seen = page.evaluate(FITS)
            assert whole <= seen, f"{path.name} is {whole} wide on {seen}"
            switch = page.locator(".switch input").first
            assert page.locator(".logarithmic").first.is_hidden()
            switch.check()
            assert page.locator(".logarithmic").first.is_visible()
        browser.close()
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
