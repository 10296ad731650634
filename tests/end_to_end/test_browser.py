"""The report of a real run in a real browser, where one is installed (`.ci/run` installs Debian's chromium)."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mmpretrain.recipes.datasets.stats import stats
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report.page import write_report
from tests.conftest import ConfigWriter

BROWSER = shutil.which("chromium")
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
