"""Several rules over one pool: what each drops, and what is left."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

from pydantic import Field

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import apply_overrides, build, did_you_mean, kinds_of
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.filters.base import Candidate, Rule
from mmpretrain.data.filters.basic import Basic
from mmpretrain.data.filters.clip_score import ClipScore
from mmpretrain.data.filters.listed import Listed
from mmpretrain.data.filters.text_based import TextBased
from mmpretrain.data.images import open_image
from mmpretrain.data.rewrite import Source
from mmpretrain.data.samples import Reading, ShardReader, decode_texts, find_picture

Filter = Annotated[Basic | TextBased | ClipScore | Listed, Field(discriminator="kind")]
KINDS: dict[str, Any] = {kinds_of(variant)[0]: variant for variant in get_args(get_args(Filter)[0])}


def build_filters(kinds: Sequence[str], overrides: Sequence[str]) -> dict[str, Filter]:
    """The settings of each rule, from names and `basic.min_side=64`.

    Raises:
        ConfigError: an unknown rule or setting, or a setting of a rule that was not asked for.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"--keep: unknown rule {kind!r}{did_you_mean(kind, KINDS)}")
    for override in overrides:
        kind = override.partition(".")[0]
        if kind not in kinds:
            raise ConfigError(f"{override}: no rule {kind!r} was asked for; add --keep {kind} or drop the setting")
    trees = apply_overrides({kind: {} for kind in kinds}, overrides)
    return {kind: _build(kind, tree) for kind, tree in trees.items()}


def _build(kind: str, tree: dict[str, Any]) -> Filter:
    try:
        built: Filter = build(KINDS[kind], tree, kind)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{kind}.{line}" for line in str(error).splitlines())) from error
    return built


Found = tuple[Source, Candidate | BadSample]
"""A sample as rules see it, or what is wrong with it."""


@dataclass(kw_only=True)
class Verdict:
    """What is kept of a pool, and what dropped the rest."""

    kept: list[Source] = field(default_factory=list)
    alone: Counter[str] = field(default_factory=Counter)
    """Samples that a rule drops by itself."""
    first: Counter[str] = field(default_factory=Counter)
    """Samples that a rule drops and none before it did."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(rule, reason) of every drop."""


def judge(pool: Iterable[Found], rules: Mapping[str, Rule]) -> Verdict:
    """Ask every rule about every sample; what cannot be read is dropped by `damaged`, a rule that is always there."""
    verdict = Verdict()
    for source, candidate in pool:
        if isinstance(candidate, BadSample):
            drops = {"damaged": candidate.reason}
        else:
            drops = {name: reason for name, rule in rules.items() if (reason := rule(candidate)) is not None}
        verdict.alone.update(drops.keys())
        verdict.first.update(list(drops)[:1])
        verdict.reasons.update(drops.items())
        if not drops:
            verdict.kept.append(source)
    return verdict


def candidates(pool: Dataset) -> Iterator[Found]:
    """Every sample of the pool with its caption and the size of its picture, or what is wrong with it."""
    reader, reading, number = ShardReader(), Reading(), 0
    for name, shard in zip(pool.names, pool.shards, strict=True):
        for row, key in enumerate(shard.keys):
            try:
                members = reader.read(shard, row)
                texts = decode_texts(pool.card, members, reading)
                picture = find_picture(members, pool.card)
                width, height = open_image(picture, reading.limits.image).size if picture is not None else (0, 0)
            except BadSample as error:
                yield (shard, row), error
            else:
                yield (
                    (shard, row),
                    Candidate(number=number, uid=(name, key), caption=texts.caption, width=width, height=height),
                )
            number += 1
