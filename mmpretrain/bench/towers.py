"""Row 5: an image tower's forward and backward against the machine's limit, and open_clip's tower beside it."""

from collections.abc import Iterator, Sequence

import open_clip
import torch
from torch import Tensor, nn

from mmpretrain.bench import limit
from mmpretrain.bench.costs import counted
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.turns import in_turns, timed
from mmpretrain.bench.works import Asked
from mmpretrain.towers.open_clip_image import OpenClipImage

NAME, BATCH, SIZE = "ViT-B-32", 32, 224
GOALS = {torch.float32: 0.8, torch.bfloat16: 0.75}
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}
ROUNDS = 5
WARM_UP = 3
"""Memory has its final shape from the third step on."""
WHY = {
    torch.float32: "of its time 0.89 is matrix products, which reach 0.9 of the peak",
    torch.bfloat16: (
        "of its time 0.70 is matrix products, which reach 0.6 of the peak of square ones (gradients of weights, over "
        "1,600 tokens, 0.5); types converted 0.06, softmax 0.04, GELU 0.06, layer norms 0.04; copies of queries, keys "
        "and values, patches as a convolution and the fused attention's backward are gone, which took 0.45 of the time"
    ),
}
"""By torch.profiler; where the rest of the time goes, should a goal be missed."""


def measure(asked: Asked) -> Iterator[Row]:
    """A row for each kind of numbers."""
    batch = 2 if asked.small else BATCH
    ours, theirs = OpenClipImage(name=NAME, size=SIZE).build(), open_clip.create_model(NAME, pretrained=None).visual
    ours.trunk.load_state_dict(theirs.state_dict())
    images_BCHW = torch.randint(0, 256, (batch, 3, SIZE, SIZE), dtype=torch.uint8)
    pixels_BCHW = ours.pixels(images_BCHW).contiguous()
    flops = batch * counted(lambda: theirs(pixels_BCHW[:2]), theirs)
    for dtype, goal in GOALS.items():
        if asked.wants(f"5 {NAMES[dtype]}"):
            yield row_of(dtype, goal, flops, ((ours, images_BCHW), (theirs, pixels_BCHW)), asked)


def row_of(
    dtype: torch.dtype, goal: float, flops: float, towers: Sequence[tuple[nn.Module, Tensor]], asked: Asked
) -> Row:
    """Args: towers: ours and theirs, each with its pictures."""
    rounds = asked.turns(ROUNDS)
    contenders = {
        "ours": timed(lambda: step(*towers[0], dtype)),
        "theirs": timed(lambda: step(*towers[1], dtype)),
        "limit": limit.turn(dtype),
    }
    seconds = in_turns(contenders, rounds, warm_up=0 if asked.small else WARM_UP)
    # its best turn: the limit does not vary, what takes time from it does
    least = [flops * min(seconds["limit"])] * rounds
    share = Ratio.of(least, seconds["ours"])
    return Row(
        row=f"5 {NAMES[dtype]}",
        work=f"image tower forward and backward, {NAME}, batch {len(towers[0][1])}, {NAMES[dtype]}",
        peer="large matrix product",
        measure="of its rate",
        ratio=share,
        goal=Goal(goal),
        rounds=rounds,
        difference=apart(towers, dtype),
        flops=flops,
        share=share.median,
        peer_share=Ratio.of(least, seconds["theirs"]).median,
        remarks=(WHY[dtype],) if not Goal(goal).met_by(share.median) else (),
    )


def step(tower: nn.Module, images_BCHW: Tensor, dtype: torch.dtype) -> None:
    pooled(tower, images_BCHW, dtype).float().sum().backward()
    tower.zero_grad()


def pooled(tower: nn.Module, images_BCHW: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        found = tower(images_BCHW)
    vectors_BD: Tensor = found[1] if isinstance(found, tuple) else found
    return vectors_BD


@torch.no_grad()
def apart(towers: Sequence[tuple[nn.Module, Tensor]], dtype: torch.dtype) -> str:
    """How far vectors are from those of open_clip's tower in fp32, and how far its own are in these numbers."""
    exact_BD = pooled(*towers[1], torch.float32)
    ours, theirs = (float((pooled(*each, dtype) - exact_BD).norm() / exact_BD.norm()) for each in towers)
    return f"vectors {ours:.0e} relative" + ("" if dtype == torch.float32 else f" (open_clip's bf16 {theirs:.0e})")
