"""Which settings do not go together: refused before anything is read or built."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.data.training import TrainingData
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.write import Generation
from mmpretrain.objectives.base import Objective
from mmpretrain.objectives.combine import needs_of
from mmpretrain.objectives.masked_language import MaskedLanguage
from mmpretrain.objectives.matching import Matching
from mmpretrain.objectives.next_sentence import NextSentence
from mmpretrain.objectives.pairs import PairObjective
from mmpretrain.objectives.text_distillation import TextDistillation
from mmpretrain.towers.model import LOOKS_AT_PICTURES, Towers
from mmpretrain.train.loop import Train

TRAINS_FEATURES = ("contrastive", "sigmoid", "distillation", "custom")


NOT_ASKED = (*TRAINS_FEATURES, "views", "text_distillation")


def refuse_objectives(objectives: Sequence[Any], sources: Sequence[str]) -> None:
    """Objectives that stand twice, or name sources that are not there.

    Raises:
        ValueError: names the objective and the remedy.
    """
    names = [objective.called for objective in objectives]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(
            f"objectives: {', '.join(doubled)} stands twice; set its weight instead, or give heads a name each"
        )
    for place, objective in enumerate(objectives):
        for name in set(objective.sources) - set(sources):
            raise ValueError(f"objectives.{place}.sources: {name!r} is no source{did_you_mean(name, sources)}")
    for place, objective in enumerate(objectives):
        if getattr(objective, "inside", "text") == "pair":
            refuse_pairs(place, objective, objectives, sources)


def refuse_pairs(place: int, objective: Any, objectives: Sequence[Any], sources: Sequence[str]) -> None:
    """Words hidden in pairs of passages that no objective makes, or makes of other sources.

    Raises:
        ValueError: names the objective and the remedy.
    """
    pairing = next((each for each in objectives if isinstance(each, NextSentence)), None)
    if pairing is None:
        raise ValueError(
            f"objectives.{place}.inside: pair hides words in the rows of next_sentence, and there is none; add "
            "{kind: next_sentence}, or use inside: text"
        )
    if set(objective.sources or sources) != set(pairing.sources or sources):
        raise ValueError(
            f"objectives.{place}.sources: inside: pair reads the rows of next_sentence, which learns from "
            f"{', '.join(pairing.sources) or 'all sources'}; name the same ones for both, or use inside: text"
        )


def refuse_towers(towers: Towers, objectives: Sequence[Any]) -> None:
    """Objectives whose part of the model is missing, and parts that no objective trains.

    Raises:
        ValueError: names the part and the remedy.
    """
    kinds = {objective.kind for objective in objectives}
    for objective in objectives:
        for part in ("fusion", "decoder"):
            if part in objective.needs and getattr(towers, part) is None:
                raise ValueError(f"towers.{part}: {objective.kind} needs it; add towers.{part}={{}} or leave it out")
        if objective.needs & LOOKS_AT_PICTURES and towers.image is None:
            raise ValueError(f"towers.image: {objective.kind} looks at pictures; give an image tower, or leave it out")
    needs = needs_of(objectives)
    for part in ("fusion", "decoder"):
        if getattr(towers, part) is not None and part not in needs:
            raise ValueError(f"towers.{part}: no objective trains it; leave it out, or add one that does")
    if towers.image is not None and not needs & LOOKS_AT_PICTURES:
        raise ValueError(f"towers.image: none of {', '.join(sorted(kinds))} trains it; set towers.image=null")
    if "features" in needs and not kinds & set(TRAINS_FEATURES):
        raise ValueError(
            "objectives: matching draws its wrong partners by features that nothing trains; add contrastive or "
            "sigmoid, or set its scale to 0"
        )
    if "causal_language" in kinds and towers.text.kind != "causal":
        raise ValueError("towers.text.kind: causal_language needs causal: a tower that looks ahead sees the answer")
    for kind in ("masked_image", "segmentation"):
        if kind in kinds and towers.image and towers.image.patch_dropout:
            raise ValueError(f"towers.image.patch_dropout: {kind} needs all patches; set it to 0")
    if any(getattr(each, "prefix", 0) for each in objectives) and towers.decoder and towers.decoder.start == "text":
        raise ValueError("objectives: captioning with a prefix needs towers.decoder.start=embedding")


def refuse_text_distillation(towers: Towers, objectives: Sequence[Any]) -> None:
    """What a student's text tower has not, of that which a teacher is to teach it.

    Raises:
        ValueError: names the setting and the remedy.
    """
    for place, objective in enumerate(objectives):
        if not isinstance(objective, TextDistillation):
            continue
        key, text = f"objectives.{place}", towers.text
        words = next((each for each in objectives if isinstance(each, MaskedLanguage)), None)
        if objective.logits and words is None:
            raise ValueError(f"{key}.logits: softens the answers of masked_language; add it, or set logits to 0")
        if objective.logits and words is not None and words.inside == "pair":
            raise ValueError(
                f"{key}.logits: the teacher reads texts, and masked_language hides words in pairs of them; use "
                "inside: text"
            )
        if objective.logits and text.kind == "causal":
            raise ValueError(f"{key}.logits: hidden words are read both ways; use towers.text.kind=bidirectional")
        related = [objective.relation_layers] if objective.relation_layers else []
        for setting, pairs in (("layers", objective.layers), ("relation_layers", related)):
            deepest = max((student for student, _ in pairs), default=0)
            if deepest > text.layers:
                raise ValueError(
                    f"{key}.{setting}: the student's tower has no layer {deepest}; towers.text.layers is {text.layers}"
                )
        if text.width % (objective.relation_heads or 1):
            raise ValueError(
                f"{key}.relation_heads: towers.text.width {text.width} does not divide by {objective.relation_heads}"
            )


def refuse_evaluation(evaluation: Sequence[Any], objectives: Sequence[Any]) -> None:
    """Evaluators of what is not there.

    Raises:
        ValueError: names the evaluator and the remedy.
    """
    has_features = "features" in needs_of(objectives)
    for place, evaluator in enumerate(evaluation):
        if evaluator.kind in ("retrieval", "zero_shot") and not has_features:
            raise ValueError(
                f"evaluation.{place}: {evaluator.kind} compares features that no objective trains; add contrastive "
                "or sigmoid, or leave it out"
            )
        if evaluator.kind in ("probe", "few_shot") and not needs_of(objectives) & LOOKS_AT_PICTURES:
            raise ValueError(
                f"evaluation.{place}: {evaluator.kind} looks at pictures, and the run has no image tower; leave it out"
            )
        if getattr(evaluator, "vectors", "") == "features" and not has_features:
            raise ValueError(
                f"evaluation.{place}.vectors: the run has no features, which pictures share with texts; use image"
            )
        if getattr(evaluator, "rerank", 0) and all(each.kind != "matching" for each in objectives):
            raise ValueError(
                f"evaluation.{place}.rerank: the objective matching judges pairs, and the run has not learned it; add "
                "it, or set rerank to 0"
            )
        if evaluator.kind == "captioning":
            refuse_mute(f"evaluation.{place}", objectives, evaluator.generation)
        if hasattr(evaluator, "head"):
            refuse_heads(place, evaluator, objectives)
        if evaluator.kind == "question_answering":
            heads = [each for each in objectives if each.kind in evaluator.asks]
            head = next(each for each in heads if evaluator.head in ("", each.called))
            refuse_unwritten(f"evaluation.{place}.generation", head, evaluator.answers, evaluator.generation)
        # heads have evaluators of their own
        if evaluator.kind == "held_out" and all(each.kind in NOT_ASKED or is_head(each) for each in objectives):
            raise ValueError(f"evaluation.{place}: held_out asks none of these objectives anything; leave it out")


def is_head(objective: Any) -> bool:
    return bool(getattr(objective, "learns_from", ()))


def refuse_mute(setting: str, objectives: Sequence[Any], generation: Generation) -> None:
    """Captions asked of a run that has not learned to begin one, or to judge them where it shall.

    Args:
        setting: who asks, for the message.
        generation: how it shall write.

    Raises:
        ValueError: names what was learned and the remedy.
    """
    captioning = next((each for each in objectives if each.kind == "captioning"), None)
    if captioning is None:
        raise ValueError(
            f"{setting}: learned {', '.join(each.kind for each in objectives)} and has no decoder that writes captions;"
            " train one with the objective captioning and towers.decoder"
        )
    if captioning.prefix:
        raise ValueError(
            f"{setting}: learned to continue captions behind {captioning.prefix} given words, not to begin them; train "
            "one with captioning and prefix: 0"
        )
    if getattr(generation, "likeness", 0) and not any(isinstance(each, PairObjective) for each in objectives):
        raise ValueError(
            f"{setting}: likeness asks what a contrastive objective says of picture and text, and none was learned; "
            "train with contrastive or sigmoid beside captioning, or leave likeness at 0"
        )


def refuse_unwritten(setting: str, head: Any, answers: str, generation: Generation) -> None:
    """Ways of writing asked of a head that chooses, or of one that writes no captions.

    Raises:
        ValueError: names the head and the remedy.
    """
    if head.kind != "answer_writing" and generation != Greedy():
        raise ValueError(f"{setting}: {head.called} chooses among its classes and writes nothing; leave it out")
    if answers == "listed" and generation != Greedy():
        raise ValueError(f"{setting}: with answers: listed nothing is written; leave one of them out")
    if getattr(generation, "likeness", 0):
        raise ValueError(f"{setting}.likeness: compares captions with pictures, and no answers; leave it out")


def refuse_unlisted(setting: str, head: str, classes: Sequence[str]) -> None:
    """Listed answers asked of a head whose card lists none.

    Raises:
        ConfigError: names the head and the remedy.
    """
    if not classes:
        raise ConfigError(
            f"{setting}: the cards that {head} learned from list no answers (`classes`) or different ones, so none can "
            "be ranked; use answers: written"
        )


def refuse_heads(place: int, evaluator: Any, objectives: Sequence[Any]) -> None:
    """An evaluator of a head that is not there, or of which there are several.

    Raises:
        ValueError: names the evaluator and the remedy.
    """
    kind, names = evaluator.kind, [each.called for each in objectives if each.kind in evaluator.asks]
    if not names:
        kinds = ", ".join(dict.fromkeys(each.kind for each in objectives))
        raise ValueError(
            f"evaluation.{place}: {kind} asks a head of that kind, and the run learned {kinds} alone; add "
            f"{{kind: {kind}}} to the objectives, or leave it out"
        )
    if evaluator.head and evaluator.head not in names:
        raise ValueError(
            f"evaluation.{place}.head: no {kind} head is called {evaluator.head!r}{did_you_mean(evaluator.head, names)}"
        )
    if not evaluator.head and len(names) > 1:
        raise ValueError(f"evaluation.{place}.head: there are the heads {', '.join(names)}; name one of them")


def refuse_best(train: Train, evaluation: Sequence[Any]) -> None:
    """A best checkpoint that no evaluation would find.

    Raises:
        ValueError: names the setting and the remedy.
    """
    if train.keep_best is None:
        if train.patience is not None:
            raise ValueError("train.patience: better by which metric? Set train.keep_best=SPLIT/METRIC")
        return
    split, slash, metric = train.keep_best.partition("/")
    if not (split and slash and metric):
        raise ValueError(f"train.keep_best: {train.keep_best!r} is not SPLIT/METRIC, such as val/t2i_R@10")
    splits = [evaluator.split for evaluator in evaluation]
    # the training dataset's may be given with its name or without
    if split.rpartition(":")[2] not in {each.rpartition(":")[2] for each in splits}:
        there = ", ".join(dict.fromkeys(splits)) or "none"
        raise ValueError(f"train.keep_best: no evaluation is of {split!r}; those of this config are of {there}")
    if train.evaluate_every is None:
        raise ValueError("train.keep_best: only the last step would be evaluated; set train.evaluate_every")


def refuse_data(objectives: Sequence[Any], data: TrainingData) -> None:
    """Objectives that would learn from what their sources do not hold.

    Raises:
        ConfigError: names the objective and its source.
    """
    every = [part.name for part in data.settings.parts]
    for place, objective in enumerate(objectives):
        lacking = data.without_pictures if objective.needs & LOOKS_AT_PICTURES else []
        held = "which holds texts alone"
        if "pair" in objective.needs:
            lacking, held = data.without_following, "whose card names no passage that follows (`next`)"
        if keys := getattr(objective, "learns_from", ()):
            lacking, held = data.without(keys), f"whose card names no {' or '.join(keys)}"
        for name in set(objective.sources or every) & set(lacking):
            others = [each for each in every if each not in lacking]
            remedy = f"name others in objectives.{place}.sources" if others else "leave the objective out"
            raise ConfigError(f"objectives.{place}: {objective.kind} cannot learn from {name}, {held}; {remedy}")


def refuse_ranks(engine: Any, ranks: int) -> None:
    """Several ranks under the engine of one process.

    Raises:
        ConfigError: names the engines of several.
    """
    if engine.kind == "single" and ranks > 1:
        raise ConfigError(
            f"engine.kind: single runs one process, not {ranks} ranks; use engine.kind=ddp or engine.kind=deepspeed"
        )


def refuse_cut(objectives: Sequence[Objective], batch: int, ranks: int, micros: int) -> None:
    """Batches whose cut would move the groups among which matching draws.

    Raises:
        ConfigError: names the objective and a batch that works.
    """
    rows = batch // (ranks * micros)
    for objective in objectives:
        if isinstance(objective, Matching | NextSentence) and rows % objective.negatives_within:
            whole = -(-rows // objective.negatives_within) * objective.negatives_within * ranks * micros
            raise ConfigError(
                f"objectives: {objective.kind} draws among {objective.negatives_within} neighbours, and {rows} rows of "
                f"a rank and micro-batch do not divide by that; use a divisor, or data.batch={whole}"
            )
