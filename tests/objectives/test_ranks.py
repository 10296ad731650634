"""Two and four ranks give the loss and the gradients of one process, whatever their rows have to do with another."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as processes
from torch import Tensor
from torch.nn.functional import normalize

from mmpretrain.core.batch import Features
from mmpretrain.core.distributed import process_group
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.contrastive import Contrastive
from mmpretrain.objectives.distillation import Distillation
from mmpretrain.objectives.sigmoid import Sigmoid
from mmpretrain.objectives.views import Views


def around(names: Sequence[str] = ()) -> Surroundings:
    return Surroundings(model=None, sources=names)


ROWS, WIDTH = 24, 8
VECTORS = ("image", "text", "first view", "second view")
NAMES = ["a", "b", "c"]
SETTINGS: dict[str, Any] = {
    "contrastive": Contrastive(),
    "contrastive, two sources": Contrastive(sources=["a", "c"]),
    "contrastive, a source of the first rows": Contrastive(sources=["b"]),
    "contrastive, above its bound": Contrastive(scale=3.0, max_scale=3.0),
    "sigmoid": Sigmoid(),
    "sigmoid, two sources": Sigmoid(sources=["a", "c"]),
    "distillation": Distillation(teacher="any", tile=5),
    "distillation, two sources": Distillation(teacher="any", sources=["a", "c"]),
    "distillation, a source of the first rows": Distillation(teacher="any", sources=["b"]),
    "views": Views(tile=5),
    "views, two sources": Views(sources=["a", "c"]),
    "views, a source of the first rows": Views(sources=["b"]),
}


def features() -> Features:
    """Some rows agree and others do not; groups and sources lie across ranks, but for the source b."""
    generator = torch.Generator().manual_seed(0)
    image_BE, noise_BE = (torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
    rows = torch.arange(ROWS)
    # the first rows' texts agree with their pictures and the last ones' with another's: their slopes of the scale
    # have different signs
    text_BE = torch.where(rows[:, None] < ROWS // 2, image_BE, image_BE.roll(1, dims=0)) + 0.1 * noise_BE
    image_group_B, text_group_B = (torch.randint(0, 60, (ROWS,), generator=generator) for _ in range(2))
    source_B = torch.where(rows < 5, rows % 3, rows % 2 * 2)
    more = [normalize(torch.randn(ROWS, 5, generator=generator, dtype=torch.float64), dim=-1) for _ in range(4)]
    pair = normalize(image_BE, dim=-1), normalize(text_BE, dim=-1)
    return Features(*pair, image_group_B, text_group_B, source_B, views=tuple(more[:2]), teacher=tuple(more[2:]))


def learn(name: str, rows: slice) -> dict[str, Tensor]:
    """The share of these rows, with all gradients and the metrics."""
    objective = SETTINGS[name].build(around(NAMES)).double()
    if "above" in name:
        torch.nn.init.constant_(objective.log_scale, 2.0)
    whole = features()
    given = Features(*(part[rows] for part in whole[:5]), *(tuple(part[rows] for part in parts) for parts in whole[5:]))
    given = given.with_vectors([vectors_BE.clone().requires_grad_() for vectors_BE in given.vectors])
    chosen = [NAMES.index(source) for source in SETTINGS[name].sources or NAMES]
    count = torch.isin(features().source_B, torch.tensor(chosen)).sum().double()
    share, metrics = objective(given, count)
    (5 * share).backward()
    learned = {parameter: tensor.grad for parameter, tensor in objective.named_parameters()}
    vectors = zip(VECTORS, given.vectors, strict=True)
    by_row = {name: vectors_BE.grad for name, vectors_BE in vectors if vectors_BE.grad is not None}
    return {**metrics, "share": share.detach(), **by_row, **learned}


def rank(number: int, ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(number), WORLD_SIZE=str(ranks), LOCAL_RANK=str(number), MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = (Path(folder) / "port").read_text()
    size = ROWS // ranks
    with process_group("gloo", 30):
        found = {name: learn(name, slice(number * size, (number + 1) * size)) for name in SETTINGS}
    torch.save(found, Path(folder) / f"{number}.pt")


@pytest.mark.processes
@pytest.mark.timeout(90)
@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.long)])
def test_ranks_together_give_the_loss_and_the_gradients_of_one_process(ranks: int, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    processes.spawn(rank, args=(ranks, str(tmp_path)), nprocs=ranks)
    parts = [torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in range(ranks)]
    for name in SETTINGS:
        for key, expected in learn(name, slice(0, ROWS)).items():
            values = [part[name][key] for part in parts]
            found = torch.cat(values) if key in VECTORS else sum(values)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12, msg=f"{name}: {key}")
    slopes = [part["contrastive, above its bound"]["log_scale"].item() for part in parts]
    assert min(slopes) < 0 < max(slopes), "the bound is put to the test where ranks disagree"
