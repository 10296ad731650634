"""Row 8: the contrastive loss tile by tile, against open_clip's, which holds the matrix of all pairs."""

from collections.abc import Iterator

import torch

from mmpretrain.bench import limit
from mmpretrain.bench.loss import SCALES, peak_of_process, spent
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.works import Asked

ROWS = {8192: 3, 16_384: 2}
"""Pairs of a batch, and the usual rounds."""
SMALL = {2048: 1}
WIDTH = 512
PEER = "open_clip ClipLoss"
OURS, THEIRS = "tiled", "dense"
PRODUCTS, PEER_PRODUCTS = 4, 6
"""Products of rows x rows x width: the logits twice and two for the gradients; theirs computes the logits of pictures
and of texts, and two gradients of each."""


def measure(asked: Asked) -> Iterator[Row]:
    """Time at every scale, and memory, which no scale changes."""
    peak = limit.peak(torch.float32, (256,)) if asked.small else limit.peak(torch.float32)
    for rows, rounds in (SMALL if asked.small else ROWS).items():
        for scale in SCALES:
            name = f"8 time {rows} scale {scale:g}"
            if asked.wants(name):
                yield time_of(name, rows, scale, asked.turns(rounds), peak)
        if asked.wants(f"8 memory {rows}"):
            yield memory_of(f"8 memory {rows}", rows)


def time_of(name: str, rows: int, scale: float, rounds: int, peak: float) -> Row:
    found, values = spent("contrastive", (OURS, THEIRS), rows, WIDTH, scale, rounds)
    product = 2 * rows**2 * WIDTH
    return Row(
        row=name,
        work=f"contrastive loss, {rows:,} pairs of {WIDTH}, forward and backward, scale {scale:g}, fp32",
        peer=PEER,
        measure="time over theirs",
        ratio=Ratio.of(found[OURS], found[THEIRS]),
        goal=Goal(0.9, at_least=False),
        rounds=rounds,
        difference=f"loss {abs(values[OURS] / values[THEIRS] - 1):.0e} relative",
        flops=PRODUCTS * product,
        share=PRODUCTS * product / min(found[OURS]) / peak,
        peer_share=PEER_PRODUCTS * product / min(found[THEIRS]) / peak,
    )


def memory_of(name: str, rows: int) -> Row:
    """Each in a fresh process: freed memory that is used again would not be seen."""
    ours, theirs = (peak_of_process("contrastive", form, rows, WIDTH, SCALES[0]) for form in (OURS, THEIRS))
    return Row(
        row=name,
        work=f"contrastive loss, {rows:,} pairs of {WIDTH}, memory beyond the features, fp32",
        peer=PEER,
        measure="memory over theirs",
        ratio=Ratio.of([ours], [theirs]),
        goal=Goal(0.05, at_least=False),
        rounds=1,
        difference="the same losses",
        remarks=(f"{2 * 4 * rows * WIDTH / 1e6:.0f} MB of it are the gradients of the features, which both return",),
    )
