"""Another number of ranks, of loader processes, another engine: the same samples and the same losses."""

import hashlib
import itertools
import random
from collections.abc import Callable

import pytest

from tests.faults.conftest import FULL, SEED, engine
from tests.faults.harness import Account, Trial, sample

KINDS = {1: ("single",), 2: ("ddp", "zero1", "zero2", "zero3"), 3: ("ddp", "zero2"), 4: ("ddp", "zero1", "zero3")}
SEGMENTS = 4
SMOOTH = {
    "kind": "open_clip",
    "name": "ViT-B-32",
    "size": 32,
    "options": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
}
GENTLE = {"schedule": {"rate": 3e-4, "warmup": 2}}
"""Sums in another order differ in their last bits, and training makes such differences grow. Where a ReLU's input is
within rounding of zero they jump, and a high rate multiplies them: the toy ResNet at 1e-3 is 1e-3 off after 40 steps of
one layout against another, none of them interrupted. GELU at 3e-4 stays within 4e-6 over 200, and learns."""


def paths() -> list[list[tuple[int, str, int]]]:
    """24 ways of four parts each, as (ranks, engine, loader processes), neighbours with different ranks."""
    draw = random.Random(SEED)
    orders = itertools.permutations((1, 2, 3, 4))
    return [[(ranks, draw.choice(KINDS[ranks]), draw.randrange(4)) for ranks in order] for order in orders]


@pytest.mark.faults
@pytest.mark.timeout(2400 if FULL else 300)
def test_a_run_goes_on_in_any_layout_with_the_same_samples_and_losses(
    trial: Callable[..., Trial], account: Callable[[str, str], Account]
) -> None:
    row = account("paths over ranks, workers and engines", "identical sample sequence, losses within 1e-5")
    steps = 200 if FULL else 24
    part = steps // SEGMENTS
    quick = (f"train.steps={steps}", f"train.save_every={part}", "evaluation=[]", "towers.text.dropout=0.0")
    whole = trial("whole", *quick, towers__image=SMOOTH, optim=GENTLE)
    assert whole.go().codes == [0]
    for number, path in enumerate(sample(paths(), None if FULL else 2, SEED)):
        moved = trial(f"moved{number}", *quick, towers__image=SMOOTH, optim=GENTLE)
        codes = []
        for segment, (ranks, kind, workers) in enumerate(path):
            fault = f"data=kill@{part + 1}" if segment < SEGMENTS - 1 else ""
            kind = "ddp" if kind == "single" else kind
            ended = moved.go(ranks, fault, [*engine(ranks, kind), f"data.workers={workers}"])
            codes.append(ended.codes)
        near = moved.losses() == pytest.approx(whole.losses(), rel=1e-5)
        alike = moved.keys() == whole.keys()
        row.note(
            codes[-1] == [0] * path[-1][0] and near and alike, f"{path}: {codes} {alike} {near} {ended.output[-800:]}"
        )


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_in_fixed_order_the_weights_are_the_same_bytes_on_1_2_and_4_ranks(
    trial: Callable[..., Trial], account: Callable[[str, str], Account]
) -> None:
    row = account("train.fixed_parts on 1, 2 and 4 ranks", "one SHA-256 of the final checkpoint's tensors")
    more = {
        "objectives": [
            {"kind": "contrastive"},
            {"kind": "matching", "negatives_within": 3},
            {"kind": "captioning", "weight": 0.5, "words": "seen"},
        ],
        "towers__fusion": {"layers": 1},
        "towers__decoder": {"layers": 1},
    }
    digests = {}
    for ranks in (1, 2, 4):
        fixed = trial(f"fixed{ranks}", "train.fixed_parts=4", **more)
        ended = fixed.go(ranks, more=engine(ranks))
        assert ended.codes == [0] * ranks, ended.output
        digest = hashlib.sha256()
        for name, value in sorted(fixed.final().items()):
            digest.update(name.encode() + value.numpy().tobytes())
        digests[ranks] = digest.hexdigest()
        row.note(digests[ranks] == digests[1], f"{ranks} ranks: {digests}")
