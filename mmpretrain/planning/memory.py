"""From what a step takes and what an engine holds to the most bytes of a rank at a time, by part."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from mmpretrain.engines.ddp import Ddp as DdpSettings
from mmpretrain.engines.deepspeed import DeepSpeed
from mmpretrain.planning.accounts import Account, Ddp, Held, Single
from mmpretrain.planning.ledger import Span
from mmpretrain.planning.walk import Walk, Weight
from mmpretrain.planning.zero_accounts import Zero3, Zero12, busiest

FORWARD = ("embed", "live", "replay")
PARTS = ("weights", "gradients", "optimizer", "average", "buffers", "batch", "activations", "objectives")
"""Of a table of memory. objectives: what objectives make, such as tiles of all pairs and logits over words."""


def account_of(engine: Any, walked: Walk, averages: bool, ranks: int) -> Account:
    """The books of the rank that holds most under an engine's settings."""
    if isinstance(engine, DeepSpeed):
        if engine.stage == 3:
            return Zero3(
                walked.weights,
                averages,
                engine.bucket_elements,
                engine.persistence_threshold,
                ranks,
                ahead=all(span.phase != "embed" for span in walked.spans),
            )
        rank = busiest(walked.weights, ranks)
        return Zero12(walked.weights, averages, engine.stage, engine.bucket_elements, ranks, rank)
    return (Ddp if isinstance(engine, DdpSettings) else Single)(walked.weights, averages)


def fullest(walked: Walk, account: Account) -> dict[str, int]:
    """Bytes by part at the moment when their sum is largest."""
    best: Counter[str] = Counter()
    for moment in moments(walked, account):
        if moment.total() > best.total():
            best = moment
    best += Counter(batch=walked.batch_bytes, weights=walked.buffer_bytes)
    return {part: best[part] for part in PARTS if best[part]}


def moments(walked: Walk, account: Account) -> Iterator[Counter[str]]:
    """What there is, at every moment that may be the fullest; without batch and buffers, which are always there."""
    by_name = {weight.name: weight for weight in walked.weights}
    left = Counter[str]()
    for span in walked.spans:
        if span.phase in FORWARD:
            account.enter(span.phase)
        yield account.held() + grouped(walked, span.most)
        account.turn()
        left = grouped(walked, span.left)
        for extra in changes(account, span, by_name):
            yield moment(account.held(), left, extra)
    for extra in account.step():
        yield moment(account.held(), left, extra)


def changes(account: Account, span: Span, by_name: Mapping[str, Weight]) -> Iterator[int]:
    """What an engine does at the end of a span."""
    if span.gradient:
        yield from account.ready(by_name[span.gradient], span.final)
    elif span.phase == "backward":
        yield from account.close(span.final)


def moment(held: Held, left: Counter[str], extra: int) -> Counter[str]:
    return held + left + Counter(buffers=extra)


def grouped(walked: Walk, live: Mapping[str, int]) -> Counter[str]:
    """Intermediate results of the model's parts as activations, and those of objectives."""
    found: Counter[str] = Counter()
    for part, size in live.items():
        found["objectives" if part in walked.objectives else "activations"] += size
    return found
