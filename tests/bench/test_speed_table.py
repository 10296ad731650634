"""The table of speed: what a ratio is, which rows are asked for, what is kept, and what counts as slower."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mmpretrain.bench import works as all_works
from mmpretrain.bench.limit import peak
from mmpretrain.bench.row import Goal, Ratio, Row, is_slower
from mmpretrain.bench.turns import in_turns, timed
from mmpretrain.bench.works import Asked, Work
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.recipes import bench_speed as recipe

QUIET = Console(quiet=True)


def row(name: str = "1", *, median: float = 2.0, low: float = 1.9, high: float = 2.1, at_least: bool = True) -> Row:
    return Row(
        row=name,
        work=f"work {name}",
        peer="a peer",
        measure="times its samples/s",
        ratio=Ratio(median, low, high),
        goal=Goal(1.5 if at_least else 2.5, at_least),
        rounds=3,
        difference="losses equal to 1e-6",
        share=0.81,
        peer_share=0.5,
    )


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Row]:
    """Two works of three rows whose figures a test sets."""
    rows = {name: row(name) for name in ("1", "2 large", "2 small")}

    def measure(number: str) -> object:
        def rows_of(asked: Asked) -> Iterator[Row]:
            yield from (each for name, each in rows.items() if name.split()[0] == number and asked.wants(name))

        return rows_of

    works = (Work((1,), measure("1")), Work((2,), measure("2")))  # type: ignore[arg-type]
    monkeypatch.setattr(recipe, "works", lambda: works)
    return rows


def measure(out: Path, *rows: str, readme: Path | None = None, small: bool = False) -> list[str]:
    found = recipe.bench_speed(rows, out=out, readme=readme, rounds=None, small=small, console=QUIET)
    return [each["row"] for each in found["rows"]]


def test_a_ratio_is_the_median_of_neighbours_in_time():
    assert Ratio.of([3, 4, 10], [1, 2, 1]) == (3, 2, 10)


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_a_goal_is_met_on_its_own_side_only(value: float, ratio: float):
    assert Goal(value).met_by(ratio) == (ratio >= value)
    assert Goal(value, at_least=False).met_by(ratio) == (ratio <= value)


def test_contenders_take_turns_after_a_warm_up():
    seen: list[str] = []
    turns = {name: timed(lambda name=name: seen.append(name)) for name in "ab"}
    found = in_turns(turns, rounds=2)
    assert seen == list("ababab")
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 2, "b": 2}


def test_a_row_is_slower_where_its_best_round_is_clearly_worse_than_the_worst_one_committed():
    old = row().as_dict()
    assert not is_slower(row(median=1.8, low=1.6, high=1.75).as_dict(), old)
    assert is_slower(row(median=1.6, low=1.5, high=1.7).as_dict(), old)
    assert not is_slower(row(median=9, low=8, high=10).as_dict(), old)
    most = row(at_least=False).as_dict()
    assert is_slower(row(median=2.5, low=2.4, high=3, at_least=False).as_dict(), most)
    assert not is_slower(row(median=1, low=0.9, high=1.1, at_least=False).as_dict(), most)


def test_rows_are_chosen_by_number_or_by_name_and_others_stay(table: dict[str, Row], tmp_path: Path):
    out = tmp_path / "results.json"
    assert measure(out) == ["1", "2 large", "2 small"]
    table["2 small"] = row("2 small", median=3.0, high=3.1)
    assert measure(out, "2 small") == ["2 small"]
    kept = json.loads(out.read_text())
    assert [(each["row"], each["ratio"]) for each in kept["rows"]] == [("1", 2.0), ("2 large", 2.0), ("2 small", 3.0)]
    assert kept["environment"]["peers"]
    assert all(each["met"] and each["goal"] == 1.5 for each in kept["rows"])
    with pytest.raises(ConfigError, match="there is no row 7; there are 1, 2"):
        measure(out, "7")
    with pytest.raises(ConfigError, match="row 2 has no part '2 tiny'"):
        measure(out, "2 tiny")


def test_a_row_that_got_slower_than_committed_is_named_and_written_all_the_same(table: dict[str, Row], tmp_path: Path):
    out = tmp_path / "results.json"
    measure(out)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "figures"]):
        subprocess.run([*git, *command], check=True, timeout=20)
    table["1"] = row("1", median=1.2, low=1.1, high=1.3)
    for _ in range(2):  # against what is committed, not against the file that the first time wrote
        with pytest.raises(MmpretrainError, match=r"row 1: 1\.20 \[1\.10 1\.30\], was 2\.00 \[1\.90 2\.10\]; measure"):
            measure(out)
    assert json.loads(out.read_text())["rows"][0]["ratio"] == 1.2


def test_the_table_of_the_readme_is_made_from_the_figures_and_small_shapes_write_nothing(
    table: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    out, readme = Path("results.json"), Path("README.md")
    after = "<!-- end -->\nafter\n<!-- other.json -->\n| other |\n<!-- end -->\n"
    readme.write_text(f"before\n<!-- results.json -->\n{after}")
    measure(out, readme=readme, small=True)
    assert not out.exists()
    table["1"] = row("1", median=1.2, low=1.1, high=1.3)
    measure(out, readme=readme)
    text = readme.read_text()
    assert "| 1 | work 1 | a peer | **1.20 [1.10 1.30]** times its samples/s | ≥ 1.5 | 81 % (50 %) | losses" in text
    assert "| 2 | work 2 large | a peer | 2.00 [1.90 2.10] times its samples/s | ≥ 1.5 |" in text
    assert text.startswith("before\n")
    assert text.endswith(after), "what comes after an empty table stays"


def test_a_text_without_a_place_for_the_table_is_refused_before_anything_is_measured(
    table: dict[str, Row], tmp_path: Path
):
    (tmp_path / "README.md").write_text("no marks\n")
    with pytest.raises(ConfigError, match="put them there"):
        measure(tmp_path / "results.json", readme=tmp_path / "README.md")
    assert not (tmp_path / "results.json").exists()


def test_the_works_name_every_row_once():
    numbers = [number for work in all_works.works() for number in work.numbers]
    assert numbers == sorted(set(numbers))


def test_a_peak_is_a_rate():
    import torch

    assert peak(torch.float32, sides=(64,), turns=1) > 0
