"""Row 9: the training loader on one core, against webdataset with Pillow and torchvision."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmpretrain.bench.data import (
    CROP,
    DECODERS,
    NORMALISED,
    SAMPLES,
    SIZE,
    TIMED,
    WARM_UP,
    pixel_difference,
    turn,
    write_pictures,
)
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.turns import in_turns, one_core
from mmpretrain.bench.works import Asked

PEER = "webdataset, Pillow, torchvision"


class Case(NamedTuple):
    """Pictures, and what reads them."""

    size: tuple[int, int]
    ours: str
    goal: float
    difference: float
    """From Pillow's pixels at most, in 255ths."""


CASES = (
    Case((512, 384), "this loader", 2.7, 0.05),
    Case((1024, 768), "this loader, scaled decoding", 3.5, 2.0),
)


def measure(asked: Asked) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, one_core():
        for case in CASES:
            name = f"9 {case.size[0]}x{case.size[1]} {DECODERS[case.ours]}"
            if asked.wants(name):
                yield row_of(name, case, Path(folder), asked)


def row_of(name: str, case: Case, folder: Path, asked: Asked) -> Row:
    rounds = asked.turns(3)
    place = write_pictures(folder, case.size, 64 if asked.small else SAMPLES)
    batches = (1, 1) if asked.small else (WARM_UP, TIMED)
    contenders = (case.ours, case.ours + NORMALISED, PEER)
    found = in_turns({who: turn(who, place, *batches) for who in contenders}, rounds, warm_up=0)
    normalised = Ratio.of(found[PEER], found[case.ours + NORMALISED])
    differs = pixel_difference(place, DECODERS[case.ours])
    allowed = "at most" if differs <= case.difference else "MORE THAN"
    return Row(
        row=name,
        work=(
            f"loader, JPEG {case.size[0]} x {case.size[1]} in a tar to crops of {SIZE} px ({CROP[0]:g} to {CROP[1]:g} "
            f"of the area), {DECODERS[case.ours]} decoding, one core"
        ),
        peer=PEER,
        measure="samples/s over theirs",
        ratio=Ratio.of(found[PEER], found[case.ours]),
        goal=Goal(case.goal),
        rounds=rounds,
        difference=f"pixels {differs:.3f}/255 ({allowed} {case.difference:g})",
        remarks=(
            "training process and loader process on the same core; ours hands over uint8, theirs normalised floats: "
            f"with the normalisation, which is the first step of our image tower, {normalised.median:.2f} times",
        ),
    )
