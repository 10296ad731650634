"""Conditions such as `parameters<10M` and `task=captions`, and the order of rows."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.recipes.catalogue.entry import Entry, Latency

ONE = "1"
"""The batch whose latency is compared."""


def latency_of(entry: Entry, tower: str) -> float | None:
    found: Latency | None = entry.latency
    return None if found is None else getattr(found, tower).get(ONE)


NUMBERS: dict[str, Callable[[Entry], float | None]] = {
    "parameters": lambda entry: entry.parameters,
    "mb": lambda entry: entry.megabytes,
    "pixels": lambda entry: entry.pixels,
    "tokens": lambda entry: entry.tokens,
    "image_ms": lambda entry: latency_of(entry, "image"),
    "text_ms": lambda entry: latency_of(entry, "text"),
    "score": lambda entry: entry.score.value if entry.score else None,
}
WORDS: dict[str, Callable[[Entry], list[str]]] = {
    "name": lambda entry: [entry.name],
    "kind": lambda entry: [entry.kind],
    "state": lambda entry: [entry.state],
    "modality": lambda entry: [entry.modality],
    "task": lambda entry: entry.tasks,
    "language": lambda entry: entry.languages,
    "licence": lambda entry: entry.licences,
    "weights_licence": lambda entry: [entry.weights_licence],
}
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_CONDITION = re.compile(r"\s*([a-z_]+)\s*(<=|>=|!=|<|>|=)\s*(.*?)\s*")
_NUMBER = re.compile(r"([-+]?[0-9]*\.?[0-9]+)\s*([kmg]?)", re.IGNORECASE)
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda found, wanted: found < wanted,
    ">": lambda found, wanted: found > wanted,
    "<=": lambda found, wanted: found <= wanted,
    ">=": lambda found, wanted: found >= wanted,
    "=": lambda found, wanted: found == wanted,
    "!=": lambda found, wanted: found != wanted,
}


class Condition(NamedTuple):
    """What a row has to be."""

    key: str
    sign: str
    wanted: str

    def holds(self, entry: Entry) -> bool:
        """Whether a row is; what is not known is neither equal, smaller nor larger."""
        if self.key in WORDS:
            there = any(self.wanted.casefold() in word.casefold() for word in WORDS[self.key](entry))
            return there == (self.sign == "=")
        found = NUMBERS[self.key](entry)
        return found is not None and COMPARED[self.sign](found, number(self.wanted))


def read_condition(given: str) -> Condition:
    """`KEY=PART` of words, `KEY<NUMBER` of numbers, with k, M, G behind them.

    Raises:
        ConfigError: says what may stand there.
    """
    match = _CONDITION.fullmatch(given)
    if match is None:
        raise ConfigError(f"--filter: {given!r}: a condition reads task=captions or parameters<10M")
    condition = Condition(*match.groups())
    require_key(condition.key, [*WORDS, *NUMBERS], "--filter")
    if condition.key in WORDS and condition.sign not in ("=", "!="):
        raise ConfigError(f"--filter: {given!r}: {condition.key} is a word; compare it with = or !=")
    if condition.key in NUMBERS and _NUMBER.fullmatch(condition.wanted) is None:
        raise ConfigError(f"--filter: {given!r}: {condition.wanted!r} is no number such as 0.4, 250k or 10M")
    return condition


def number(text: str) -> float:
    match = _NUMBER.fullmatch(text)
    assert match is not None
    return float(match[1]) * UNITS[match[2].lower()]


def ordered(entries: Sequence[Entry], key: str) -> list[Entry]:
    """By a word or a number, smallest first, or largest first by -KEY; what is not known last.

    Raises:
        ConfigError: there is no such key.
    """
    refuse_order(key)
    down, key = key.startswith("-"), key.removeprefix("-")
    value: Callable[[Entry], Any] = NUMBERS[key] if key in NUMBERS else lambda entry: ", ".join(WORDS[key](entry))
    known = [entry for entry in entries if value(entry) not in (None, "")]
    return [*sorted(known, key=value, reverse=down), *(entry for entry in entries if entry not in known)]


def refuse_order(key: str) -> None:
    """Raises ConfigError: there is no such key."""
    if key:
        require_key(key.removeprefix("-"), [*WORDS, *NUMBERS], "--sort")


def require_key(key: str, keys: Sequence[str], option: str) -> None:
    if key not in keys:
        raise ConfigError(f"{option}: unknown key {key!r}{did_you_mean(key, keys)}; there are {', '.join(keys)}")
