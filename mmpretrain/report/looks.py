"""What the model looks at: heat maps of pictures, texts with the share of each word, and how faithful the maps are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmpretrain.report import wording
from mmpretrain.report.folder import Record

STRONG = 80
"""Percent of its colour that the word has which counts most."""
KINDS = {
    "similarity": "similarity",
    "match": "log-odds of a match",
    "caption": "log-probability of the text",
    "head": "logit",
}
"""What a score is."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One picture in front of whoever reads; PNGs in base64."""

    name: str
    picture: str
    asked: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A method in the chart of deletion: how much earlier the score is lost than by an order without a look."""

    name: str
    over: str
    text: str
    interval: str
    left: float
    right: float
    value: float
    """On an axis from 0 to 100."""
    is_sure: bool
    """The interval leaves 0 out."""


@dataclass(frozen=True, kw_only=True)
class Faithful:
    """The methods measured on one split."""

    label: str
    facts: str
    zero: float
    gains: list[Gain]
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Looks:
    """The section."""

    pictures: list[Look]
    against: str
    legend: str
    faithful: list[Faithful]


def build_looks(record: Record) -> Looks | None:
    """None where nothing was explained, and nothing measured."""
    found = [build_faithful(record, result) for result in record.newest("explanation")]
    if not record.explained and not found:
        return None
    return looks_of(record.explained, found)


def looks_of(facts: Mapping[str, Any], faithful: Sequence[Faithful] = ()) -> Looks:
    """The facts of `mmpretrain explain` as a page shows them."""
    return Looks(
        pictures=[build_look(each) for each in facts.get("pictures", [])],
        against=facts.get("against", ""),
        legend=facts.get("legend", ""),
        faithful=list(faithful),
    )


def build_look(picture: Mapping[str, Any]) -> Look:
    asked = [
        {
            "text": one["text"],
            "score": f"{KINDS.get(one['by'], one['by'])} {one['score']:.2f}",
            "maps": [{**each, "method": wording.METHODS.get(each["method"], each["method"])} for each in one["maps"]],
            "shares": coloured(one["shares"]),
        }
        for one in picture["asked"]
    ]
    return Look(name=picture["name"], picture=picture["picture"], asked=asked)


def coloured(shares: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Words with how strong their colour is, the one that counts most as `STRONG`."""
    most = max((abs(each["share"]) for each in shares), default=0.0) or 1.0
    return [
        {
            "word": each["word"],
            "share": f"{each['share']:+.2f}",
            "speaks": "for" if each["share"] >= 0 else "against",
            "strength": round(STRONG * abs(each["share"]) / most),
        }
        for each in shares
    ]


def build_faithful(record: Record, result: Mapping[str, Any]) -> Faithful:
    """Bars of what deletion gains over both orders without a look, and a table of all figures."""
    metrics, methods = result["metrics"], result["methods"]
    methods = sorted(methods, key=lambda name: metrics[f"{name}_deletion"]["value"])
    found = [(name, prior, metrics[f"{name}_deletion_above_{prior}"]) for name in methods for prior in PRIORS]
    low = min(0.0, *(each["low"] for *_, each in found))
    span = max(0.0, *(each["high"] for *_, each in found)) - low or 1.0
    n, fill = metrics[f"{methods[0]}_deletion"]["n"], result["settings"]["fill"]
    kinds = [kind for kind in COLUMNS if f"{methods[0]}_{kind}" in metrics]
    return Faithful(
        label=record.label(result["dataset"], result["split"]),
        facts=f"{wording.count(n)} pictures, {wording.count(result['captions'])} captions; removed pixels are "
        f"{FILLS.get(fill, fill)}. Evaluated at step {wording.count(result['step'])}, seed {result['seed']}.",
        zero=100 * -low / span,
        gains=[build_gain(name, prior, each, low, span) for name, prior, each in found],
        columns=[*(COLUMNS[kind] for kind in kinds), "ms a picture"],
        rows=[row_of(name, result, kinds) for name in (*methods, *reversed(PRIORS))],
    )


PRIORS = ("random", "centre")
FILLS = {"blur": "blurred", "mean": "given the mean colour"}
COLUMNS = {
    "deletion": "deletion ↓",
    "insertion": "insertion ↑",
    "pointing": "most inside the mask",
    "mass": "share inside",
}


def build_gain(name: str, prior: str, found: Mapping[str, float], low: float, span: float) -> Gain:
    return Gain(
        name=wording.METHODS.get(name, name),
        over=wording.METHODS[prior],
        text=f"{found['value']:+.3f}",
        interval=f"{found['low']:+.3f} to {found['high']:+.3f}",
        left=100 * (found["low"] - low) / span,
        right=100 * (found["high"] - low) / span,
        value=100 * (found["value"] - low) / span,
        is_sure=found["low"] > 0 or found["high"] < 0,
    )


def row_of(name: str, result: Mapping[str, Any], kinds: Sequence[str]) -> list[str]:
    """Name and figures, shares in percent."""
    values = {kind: result["metrics"][f"{name}_{kind}"]["value"] for kind in kinds}
    texts = [
        wording.percent(value, 0) if kind in ("pointing", "mass") else f"{value:.3f}" for kind, value in values.items()
    ]
    speed = result["milliseconds"].get(name)
    return [wording.METHODS.get(name, name), *texts, "" if speed is None else wording.number(speed)]
