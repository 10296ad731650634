"""The table of speed: works measured side by side with what users would pick instead, and what became slower."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from mmpretrain.bench.peer import PINS
from mmpretrain.bench.row import Goal, is_slower
from mmpretrain.bench.works import Asked, Work, works
from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.run import environment, now
from mmpretrain.recipes.looks import say, write
from mmpretrain.recipes.readme_table import put_table, require_place


def bench_speed(
    rows: Sequence[str],
    out: Path,
    readme: Path | None,
    rounds: int | None,
    small: bool,
    console: Console,
) -> dict[str, Any]:
    """Measure, write after each work, and say what is slower than what was committed last.

    Args:
        rows: numbers of the rows that are wanted, `4` or `4 resnet_50 bf16`; empty: all.
        out: the figures, as JSON; rows that are not measured stay as they are.
        readme: a text whose table of that name is made anew; None: none.
        rounds: turns of every contender; None: as many as each row has by itself.
        small: shapes of a second, to see that everything runs; nothing is written.

    Raises:
        ConfigError: no such row, or no place for the table in the text.
        MmpretrainError: a row is slower than when it was committed; all are written first.
    """
    if readme is not None:
        require_place(readme, out.as_posix())
    asked = Asked(rounds=rounds, small=small, rows=rows)
    before = committed(out)
    kept = read(out)
    measured: list[dict[str, Any]] = []
    for work in chosen(rows):
        for row in work.measure(asked):
            record = {**row.as_dict(), "date": now()[:10]}
            measured.append(record)
            say(console, line(record))
            kept = merged(kept, record)
            if not small:
                write(out, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    refuse_unmeasured(asked, [record["row"] for record in measured])
    console.print(shown(measured))
    if readme is not None and not small:
        put_table(readme, out.as_posix(), markdown(kept))
    refuse_slower(measured if not small else [], before)
    return {**kept, "rows": measured}


def chosen(rows: Sequence[str]) -> list[Work]:
    """Raises ConfigError: no work has a row of that number."""
    every = works()
    known = [str(number) for work in every for number in work.numbers]
    numbers = {row.split()[0] for row in rows}
    unknown = sorted(numbers.difference(known))
    if unknown:
        raise ConfigError(f"bench speed: there is no row {unknown[0]}; there are {', '.join(known)}")
    return [work for work in every if not rows or numbers.intersection(map(str, work.numbers))]


def refuse_unmeasured(asked: Asked, measured: Sequence[str]) -> None:
    """Raises ConfigError: a work has no part of that name."""
    nowhere = [row for row in asked.rows if not any(replace(asked, rows=[row]).wants(name) for name in measured)]
    if nowhere:
        raise ConfigError(f"bench speed: row {nowhere[0].split()[0]} has no part {nowhere[0]!r}; ask for the whole row")


def read(out: Path) -> dict[str, Any]:
    """What stands in the file of figures."""
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"rows": []}
    return found


def committed(out: Path) -> dict[str, Any]:
    """The file of figures as it was committed last; empty where there is none or no git."""
    command = ["git", "-C", str(out.resolve().parent), "show", f"HEAD:./{out.name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"rows": []}
    except (OSError, subprocess.TimeoutExpired):
        return {"rows": []}
    return found


def merged(kept: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """With one row put in its place, and versions and hardware of now."""
    others = [each for each in kept["rows"] if each["row"] != record["row"]]
    rows = sorted([*others, record], key=lambda each: (int(each["row"].split()[0]), each["row"]))
    return {"environment": {**environment(), "peers": list(PINS)}, "rows": rows}


def refuse_slower(measured: Sequence[dict[str, Any]], before: dict[str, Any]) -> None:
    """Raises MmpretrainError: names the rows."""
    old = {each["row"]: each for each in before["rows"]}
    slower = [each for each in measured if each["row"] in old and is_slower(each, old[each["row"]])]
    if slower:
        told = "; ".join(f"row {each['row']}: {interval(each)}, was {interval(old[each['row']])}" for each in slower)
        raise MmpretrainError(f"bench speed: slower than committed: {told}; measure these rows again, or mend it")


def interval(record: dict[str, Any]) -> str:
    return f"{number(record['ratio'])} [{number(record['low'])} {number(record['high'])}]"


def number(ratio: float) -> str:
    """Three figures at most."""
    return f"{ratio:.3f}" if ratio < 0.1 else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def goal(record: dict[str, Any]) -> str:
    return str(Goal(record["goal"], record["at_least"]))


def line(record: dict[str, Any]) -> str:
    """While it runs."""
    verdict = "met" if record["met"] else "missed"
    return (
        f"row {record['row']}: {record['work']}: {interval(record)} {record['measure']}, goal {goal(record)}: {verdict}"
    )


def shown(records: Sequence[dict[str, Any]]) -> Table:
    """For a terminal."""
    table = Table("row", "work", "ratio", "goal", "", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for each in records:
        mark = "met" if each["met"] else "missed"
        table.add_row(each["row"].split()[0], each["work"], interval(each), goal(each), mark)
    return table


def markdown(kept: dict[str, Any]) -> str:
    """A row each, and below it where and when."""
    lines = [
        "| # | work | ahead of | ratio [least most] | goal | of the peak | numbers |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in kept["rows"]:
        share = "" if each["share"] is None else f"{100 * each['share']:.0f} %"
        other = "" if each["peer_share"] is None else f" ({100 * each['peer_share']:.0f} %)"
        ratio = f"{interval(each)} {each['measure']}" if each["met"] else f"**{interval(each)}** {each['measure']}"
        cells = [
            each["row"].split()[0],
            each["work"],
            each["peer"],
            ratio,
            goal(each),
            share + other,
            each["difference"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    facts = kept["environment"]
    dates = sorted({each["date"] for each in kept["rows"]})
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    packages = ", ".join(f"{name} {facts['packages'][name]}" for name in ("torch", "timm"))
    where = f"{facts['processor'].partition(' (')[0]}, {facts['cores']} cores"
    lines += ["", f"`make bench`, {when}, {where}; {packages}; beside {', '.join(facts['peers'])}.", ""]
    return "\n".join(lines)
