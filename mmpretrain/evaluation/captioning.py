"""Captions written about every picture of a split, against all captions that people gave it, beside two baselines."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mmpretrain.core.distributed import on_main
from mmpretrain.core.settings import dump, settings
from mmpretrain.data.told import Told
from mmpretrain.evaluation.base import Found, OfSplit
from mmpretrain.evaluation.caption_baselines import Baselines, baselines
from mmpretrain.evaluation.caption_figures import COMPARED, Judged, judge
from mmpretrain.evaluation.caption_tokens import Kind, choose_kind
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.java_scores import JavaScore, reasons_against
from mmpretrain.evaluation.shown import spread
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.write import Generation

EXAMPLES = 24


@settings
class CaptioningTask(OfSplit):
    """Write a caption of every picture and compare it with those that are there."""

    kind: Literal["captioning"] = "captioning"
    generation: Generation = field(default_factory=Greedy)
    """How captions are written."""
    tokenizer: Literal["best", "ptb", "approx"] = "best"
    """What counts as a word. ptb: the Penn Treebank's, by a program in Java, as COCO's evaluation has it; approx:
    nearly the same without Java; best: ptb where it runs. Scores of the two are not compared."""
    java_scores: list[JavaScore] = field(default_factory=lambda: ["METEOR", "SPICE"])
    """Scores that need programs in Java; those that do not run here are not computed, and the result says why."""
    neighbours: Annotated[int, Field(gt=0)] = 50_000
    """Training samples of each source, evenly spread, among which the nearest picture is looked for."""

    def build(self) -> "CaptioningEvaluator":
        return CaptioningEvaluator(self)


class CaptioningEvaluator:
    """Bleu_1 to Bleu_4, ROUGE_L, CIDEr and exact_match of the captions written; CIDEr and exact_match of the baselines,
    and how much better the captions are than these (paired). Chance is the most frequent caption of the training data.

    Raises:
        ConfigError: pycocoevalcap is missing, or Java where it was asked for.
    """

    name = "captioning"
    headline: Sequence[str] = ("CIDEr", "CIDEr_above_nearest_neighbour", "exact_match")

    def __init__(self, settings: CaptioningTask) -> None:
        self.split = settings.split
        self._settings = settings
        self._tokenizer: Kind = on_main(lambda: choose_kind(settings.tokenizer))
        self._not_computed = on_main(lambda: reasons_against(settings.java_scores))

    def run(self, model: Embedder) -> Found:
        """Write and score."""
        asked = pictures(model.told(self.split))
        written = model.write(self.split, asked.rows, self._settings.generation)
        beside = baselines(model, self.split, asked.rows, self._settings.neighbours)
        # on the main rank: others' programs need memory and time
        judged = on_main(lambda: self._judge(asked, written, beside))
        not_computed = {**self._not_computed, **judged.failed}
        return Found(
            metrics=judged.metrics,
            samples={
                "key": [asked.told[row].key for row in asked.rows],
                "written": written,
                "references": asked.references,
                **({"nearest_neighbour": beside.nearest} if beside.nearest else {}),
                **{
                    name if of == "written" else f"{name}_{of}": values_N.tolist()
                    for of, each in judged.scores.items()
                    for name, values_N in each.columns().items()
                    if of == "written" or name in COMPARED
                },
            },
            facts={
                "tokenizer": self._tokenizer,
                "generation": dump(self._settings.generation),
                "baselines": {"most_frequent": beside.most_frequent, "nearest_neighbour": beside.seen_by},
                "not_computed": not_computed,
            },
            remarks=self._remarks(beside, not_computed),
            shown={"examples": examples(asked, written, beside, judged.scores["written"].cider_N), "n": len(written)},
        )

    def _judge(self, asked: "Pictures", written: Sequence[str], beside: Baselines) -> Judged:
        said = {"written": written, "most_frequent": [beside.most_frequent] * len(written)}
        if beside.nearest:
            said["nearest_neighbour"] = beside.nearest
        java = [name for name in self._settings.java_scores if name not in self._not_computed]
        return judge(said, asked.references, self._tokenizer, java)

    def _remarks(self, beside: Baselines, not_computed: dict[str, str]) -> list[str]:
        found = [f"{name} was not computed: {reason}." for name, reason in not_computed.items()]
        if self._tokenizer == "approx":
            found.append("Words were told apart without Java (tokenizer: approx); papers count by ptb.")
        if beside.nearest is None:
            found.append("The training data cannot be read again; chance is the most frequent caption of this split.")
        return found


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Distinct pictures of a split."""

    told: Sequence[Told]
    rows: list[int]
    """The first sample of each."""
    references: list[list[str]]
    """All captions of each picture, every one once."""


def pictures(told: Sequence[Told]) -> Pictures:
    """The pictures with all that samples say of them."""
    rows: dict[int, int] = {}
    captions: dict[int, dict[str, None]] = {}
    for row, each in enumerate(told):
        rows.setdefault(each.image_group, row)
        captions.setdefault(each.image_group, {}).update(dict.fromkeys(each.captions))
    return Pictures(told=told, rows=list(rows.values()), references=[list(captions[group]) for group in rows])


def examples(asked: Pictures, written: Sequence[str], beside: Baselines, cider_N: np.ndarray) -> list[dict[str, Any]]:
    """Pictures spread from the best caption to the worst."""
    order = np.argsort(-cider_N, kind="stable").tolist()
    return [
        {
            "row": asked.rows[place],
            "written": written[place],
            "references": asked.references[place],
            "nearest_neighbour": beside.nearest[place] if beside.nearest else "",
            "CIDEr": float(cider_N[place]),
        }
        for place in spread(order, EXAMPLES)
    ]
