"""What of many rows a report shows, and what a reader is told of them."""

from collections.abc import Sequence
from typing import Any

NAMED = 5
"""Classes that a remark names."""


def spread(rows: list[int], count: int) -> list[int]:
    """`count` of the rows at equal distances, all of them where there are fewer."""
    if len(rows) <= count:
        return rows
    return [rows[int((place + 0.5) * len(rows) / count)] for place in range(count)]


def without_examples(table: Sequence[dict[str, Any]]) -> list[str]:
    """Classes that the split holds no row of: nothing can be said of them."""
    names = [row["name"] for row in table if not row["n"]]
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"{len(names)} of {len(table)} classes have no example here: {', '.join(names[:NAMED])}{more}."]
