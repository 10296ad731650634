"""What of many rows a report shows."""


def spread(rows: list[int], count: int) -> list[int]:
    """`count` of the rows at equal distances, all of them where there are fewer."""
    if len(rows) <= count:
        return rows
    return [rows[int((place + 0.5) * len(rows) / count)] for place in range(count)]
