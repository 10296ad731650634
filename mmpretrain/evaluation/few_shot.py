"""Few-shot classification on what the run says of pictures: k examples a class, drawn several times.

Suffixes: N rows asked about, M shots, C classes, D channels, S seeds, R samples of rows and seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mmpretrain.core.counter import counter_hash, name_to_int
from mmpretrain.core.distributed import on_main
from mmpretrain.core.settings import settings
from mmpretrain.evaluation.base import Found
from mmpretrain.evaluation.class_sentences import Saying, SaysClasses, class_embeddings
from mmpretrain.evaluation.features import Embedder
from mmpretrain.evaluation.interval import Figure, figure, resampled
from mmpretrain.evaluation.learned import Labelled, Learns, labelled_rows, not_learned, require_scikit_learn
from mmpretrain.evaluation.shots import Answer, Setting, prototypes, shot_probe
from mmpretrain.evaluation.tip_adapter import TipAdapter

Method = Literal["probe", "prototypes", "tip_adapter"]
Way = Callable[[Setting], Answer]
_DRAW = name_to_int("few_shot.draw")


@settings
class FewShot(Learns, SaysClasses):
    """Learn classes from k pictures each, and name those of another split."""

    kind: Literal["few_shot"] = "few_shot"
    shots: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1)] = field(
        default_factory=lambda: [1, 2, 4, 8, 16]
    )
    """Examples of each class; those of a smaller number are among those of a larger one."""
    seeds: Annotated[int, Field(gt=0)] = 5
    """Draws of the examples."""
    methods: list[Method] = field(default_factory=lambda: ["probe", "prototypes", "tip_adapter"])
    """probe: logistic regression; prototypes: the nearest mean of a class; tip_adapter: what is said of the classes and
    similar examples, without training (Zhang et al. 2022, arXiv 2207.09519), left out for a run without features."""
    alpha: Annotated[float, Field(ge=0)] | None = None
    """tip_adapter: weight of the examples; None: chosen on them, each left out in turn."""
    beta: Annotated[float, Field(gt=0)] | None = None
    """tip_adapter: how much more near examples count than far ones; None: chosen likewise."""

    def __post_init__(self) -> None:
        Learns.__post_init__(self)
        SaysClasses.__post_init__(self)

    def build(self) -> "FewShotEvaluator":
        return FewShotEvaluator(self)


class FewShotEvaluator:
    """METHOD_kK_acc1: the mean over draws, with an interval over draws and samples; zero_shot_acc1 beside tip_adapter.

    Vectors are of unit length. Chance is the best constant answer.
    """

    name = "few_shot"

    def __init__(self, settings: FewShot) -> None:
        require_scikit_learn(self.name)
        self.split = settings.split
        self.headline: Sequence[str] = [f"{each}_k{settings.shots[-1]}_acc1" for each in settings.methods]
        self._settings = settings
        self._saying = Saying(settings)

    def run(self, model: Embedder) -> Found:
        """Draw, learn and ask.

        Raises:
            ConfigError: a split has no classes, or none of those that are asked about.
        """
        own, vectors = self._settings, self._settings.vectors_of(model)
        split = model.seen(self.split, vectors)
        asked = labelled_rows(split, split.classes)
        learned = labelled_rows(model.seen(own.learned, vectors), split.classes)
        ways: dict[str, Way] = {"probe": shot_probe, "prototypes": prototypes}
        if "tip_adapter" in own.methods and vectors == "features":
            spoken = self._saying.sentences(split.dataset, split.classes, split.descriptions, split.templates)
            class_CD = class_embeddings(model, spoken).double().numpy()
            ways["tip_adapter"] = TipAdapter(class_CD, model.scale(), own.alpha, own.beta)
        told = on_main(lambda: self._learn(learned, asked, len(split.classes), ways))
        names = self._saying.names(split.dataset, split.classes)
        metrics = few_shot_figures(told.hits, asked.label_N)
        return Found(
            metrics=metrics,
            samples={
                "key": [asked.keys[row] for row in asked.rows],
                "label": [names[c] for c in asked.label_N],
                **{name: hits_SN.mean(axis=0).tolist() for name, hits_SN in told.hits.items()},
            },
            facts={"vectors": vectors, "learned_from": own.learned, "seeds": own.seeds, "chosen": told.chosen},
            remarks=[
                *fewer(learned, names, max(own.shots)),
                *not_learned(learned, asked, names),
                *(["tip_adapter needs features of texts; left out."] if set(own.methods) - set(ways) else []),
            ],
            shown={"curves": curves(metrics, told.hits), "n": len(asked.rows)},
        )

    def _learn(self, learned: Labelled, asked: Labelled, classes: int, ways: Mapping[str, Way]) -> "Learned":
        own, found = self._settings, Learned(hits={}, chosen={})
        learned_MD, asked_ND = unit(learned.vector_ND), unit(asked.vector_ND)
        adapter = ways.get("tip_adapter")
        if isinstance(adapter, TipAdapter):
            found.hits["zero_shot_acc1"] = np.array([adapter.zero_shot(asked_ND) == asked.label_N], dtype=float)
        draws = [drawn(learned, classes, seed) for seed in range(own.seeds)]
        for k in own.shots:
            rows = [np.concatenate([of_class[:k] for of_class in by_class]) for by_class in draws]
            given = [Setting(learned_MD[each], learned.label_N[each], asked_ND, classes, k) for each in rows]
            for method in own.methods:
                if method in ways:
                    answers = [ways[method](each) for each in given]
                    name = f"{method}_k{k}_acc1"
                    found.hits[name] = np.array([each.named_N == asked.label_N for each in answers], dtype=float)
                    found.chosen[name] = [each.chosen for each in answers if each.chosen]
        return found


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What the main rank found out."""

    hits: dict[str, np.ndarray]
    """By metric, 1.0 where a row was named rightly after a draw, S x N."""
    chosen: dict[str, list[Any]]
    """What each draw chose on its examples."""


def unit(vector_ND: np.ndarray) -> np.ndarray:
    """Of length 1."""
    length_N1 = np.linalg.norm(vector_ND, axis=1, keepdims=True)
    scaled_ND: np.ndarray = vector_ND / np.maximum(length_N1, 1e-12)
    return scaled_ND


def drawn(learned: Labelled, classes: int, seed: int) -> list[np.ndarray]:
    """The distinct pictures of each class in an order that is a function of the seed and the picture."""
    first = np.unique(learned.group_N, return_index=True)[1]
    order = first[np.argsort(counter_hash(_DRAW, seed, learned.group_N[first]), kind="stable")]
    return [order[learned.label_N[order] == c] for c in range(classes)]


def few_shot_figures(hits: Mapping[str, np.ndarray], label_N: np.ndarray) -> dict[str, Figure]:
    """Means over draws and rows; resamples draw both, the same rows and draws for all metrics."""
    n = len(label_N)
    chance = float(np.bincount(label_N).max() / n)
    generator = np.random.default_rng(1)

    def statistic(weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        draws = {len(hits_SN) for hits_SN in hits.values()}
        weights = {s: generator.multinomial(s, [1 / s] * s, size=len(weights_RN)) / s for s in sorted(draws)}
        return {
            name: ((weights_RN @ hits_SN.T / n) * weights[len(hits_SN)]).sum(axis=1) for name, hits_SN in hits.items()
        }

    spread = resampled(statistic, n)
    return {name: figure(float(hits_SN.mean()), spread[name], chance, n) for name, hits_SN in hits.items()}


def fewer(learned: Labelled, names: Sequence[str], most: int) -> list[str]:
    """Classes with fewer examples than are asked for: all of theirs are taken."""
    distinct_M = np.unique(learned.group_N, return_index=True)[1]
    counts_C = np.bincount(learned.label_N[distinct_M], minlength=len(names))
    short = [name for name, count in zip(names, counts_C, strict=True) if 0 < count < most]
    if not short:
        return []
    named = ", ".join(short[:5])
    return [f"{len(short)} of {len(names)} classes have fewer than {most} examples, such as {named}: all were taken."]


def curves(metrics: Mapping[str, Figure], hits: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Each point with its interval and what each draw gave; k 0 is zero-shot."""
    found = []
    for name, own in metrics.items():
        method, _, k = name.removesuffix("_acc1").rpartition("_k")
        point = {"method": method or "zero_shot", "k": int(k) if method else 0}
        found.append({**point, **own.as_dict(), "seeds": hits[name].mean(axis=1).tolist()})
    return found
