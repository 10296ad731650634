"""The README's table of trials, from reliability.json; `.venv/bin/python -m tests.faults.table` puts it there."""

import json
from pathlib import Path
from typing import Any

from mmpretrain.recipes.readme_table import place_of, put_table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "reliability.json"
PLACE = place_of(RESULTS.name)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: what befell a run, how often it ended as it should, and what that is."""
    lines = ["| what befalls a run | passed | goal |", "|---|---|---|"]
    lines += [f"| {row['name']} | {row['passed']:,} of {row['trials']:,} | {row['goal']} |" for row in rows]
    dates = sorted({row["date"][:10] for row in rows})
    first = rows[0]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    where = f"{first['processor'].partition(' (')[0]}, {first['cores']} cores"
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    told = f"`make faults`, {when}, {where}, seed {first['seed']}; {versions}."
    return "\n".join([*lines, "", told, ""])


def main() -> None:
    put_table(ROOT / "README.md", RESULTS.name, table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
