"""The page of a compression: size against score, what each step took, and a table; one file that loads nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, FileSystemLoader

from mmpretrain import __version__
from mmpretrain.compression import wording
from mmpretrain.core.files import write_atomic
from mmpretrain.report.compressed import draw_sizes, mean_recall
from mmpretrain.report.page import TEMPLATES, environment
from mmpretrain.report.results import Bar

OWN = Path(__file__).parent / "templates"
Row = dict[str, Any]


def write_page(path: Path, facts: dict[str, Any]) -> Path:
    """Write the page of a table.json."""
    write_atomic(path, render(facts))
    return path


def render(facts: dict[str, Any]) -> str:
    """The page as text."""
    place = environment()
    place.loader = ChoiceLoader([FileSystemLoader(OWN), FileSystemLoader(TEMPLATES)])
    rows = facts["rows"]
    return place.get_template("compression.html").render(
        content={
            "run": facts["run"],
            "split": facts["split"],
            "headline": headline(rows),
            "lead": lead(rows),
            "drawing": draw_sizes(rows),
            "charts": charts(rows),
            "rows": [line(row, rows[0]) for row in rows],
            "environment": facts["environment"],
            "threads": rows[0]["threads"],
        },
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8") + (OWN / "compression.css").read_text("utf-8"),
        version=__version__,
    )


def headline(rows: Sequence[Row]) -> str:
    """What the last step has come to."""
    first, last = rows[0], rows[-1]
    smaller = f"{wording.times_smaller(last, first):.1f} times smaller"
    kept, of = mean_recall(last), mean_recall(first)
    return f"{smaller}, with {100 * kept / of:.0f} % of the R@10" if kept is not None and of else smaller


def lead(rows: Sequence[Row]) -> str:
    """The same in absolute numbers."""
    first, last = rows[0], rows[-1]
    told = f"From {first['bytes'] / 1e6:.2f} MB to {last['bytes'] / 1e6:.2f} MB"
    if mean_recall(first) is not None:
        told += f"; R@10 from {wording.recalls(first, 10)} % to {wording.recalls(last, 10)} %"
    return f"{told}; {wording.beside(last)}." if "beside" in last else f"{told}."


def charts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Bars of what each step takes."""
    return [
        chart("Weights on disk", rows, lambda row: row["bytes"] / 1e6, "{:.2f} MB"),
        chart("Operations of a pair", rows, lambda row: row["flops"] / 1e6, "{:,.0f} MFLOPs"),
        chart("Time of one pair", rows, lambda row: row["times"]["p50_ms"], "{:.2f} ms", "p50_ms"),
        chart("Pairs a second, in batches", rows, lambda row: row["times"]["pairs_per_second"], "{:,.0f}", RATE),
    ]


RATE = "pairs_per_second"


def chart(
    title: str, rows: Sequence[Row], value: Callable[[Row], float], unit: str, of_time: str = ""
) -> dict[str, Any]:
    """Args: of_time: compare with the original as it was in the same turns, not with its row."""
    factors = [value(row) / (row["original_times"][of_time] if of_time else value(rows[0]) or 1) for row in rows]
    columns = [
        {
            "name": row["name"],
            "length": factor / max(factors),
            "count": unit.format(value(row)),
            "share": f"{factor:.2f}×" if factor < 10 else f"{factor:.0f}×",
        }
        for row, factor in zip(rows, factors, strict=True)
    ]
    return {"title": title, "columns": columns}


def line(row: Row, first: Row) -> dict[str, Any]:
    """A row of the table."""
    figure = row["scores"].get("i2t_R@10")
    return {
        "name": row["name"],
        "told": row["told"],
        "parameters": f"{row['parameters'] / 1e6:.2f}",
        "megabytes": f"{row['bytes'] / 1e6:.2f}",
        "compressed": f"{row['gzip_bytes'] / 1e6:.2f}" if row["gzip_bytes"] else "–",
        "zeros": f"{100 * row['zeros']:.0f} %" if row["zeros"] > 0.001 else "–",
        "flops": f"{row['flops'] / 1e6:,.0f}",
        "latency": f"{row['times']['p50_ms']:.2f} / {row['times']['p95_ms']:.2f}",
        "rate": f"{row['times']['pairs_per_second']:,.0f}",
        "recall_1": wording.recalls(row, 1),
        "recall_10": wording.recalls(row, 10),
        "bar": Bar(**{key: figure[key] for key in ("value", "low", "high", "chance")}) if figure else None,
        "drop": wording.drop(row),
        "task": wording.task(row),
        "beside": wording.beside(row) if "beside" in row else "",
    }
