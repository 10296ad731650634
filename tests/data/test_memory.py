"""The loader holds no more after thousands of steps than after hundreds."""

import resource
from pathlib import Path

import pytest

from mmpretrain.core.distributed import World
from mmpretrain.data.index import SUFFIX
from mmpretrain.data.loader import training_loader
from mmpretrain.data.tokenizer import WordPieceTokenizer
from mmpretrain.data.training import Data, TrainingData

ROOT = Path(__file__).parents[2]
STEPS = 2000
MEGABYTE = 2**20


def resident() -> int:
    """Bytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_is_flat_over_two_thousand_steps(shapes: Path):
    data = TrainingData(Data(name=str(shapes), batch=4, workers=0))
    tokenizer = WordPieceTokenizer(context_length=12, vocabulary=100).build(data.captions())
    batches = training_loader(data, tokenizer, 16, World(), 1, 0)
    for _ in range(STEPS // 4):
        next(batches)
    early = resident()
    for _ in range(STEPS - STEPS // 4):
        next(batches)
    assert resident() - early < 8 * MEGABYTE


def test_indexes_take_less_than_a_fiftieth_of_their_shards():
    for shard in (ROOT / "data_shards" / "emoji").glob("*.tar"):
        assert shard.with_name(shard.name + SUFFIX).stat().st_size < 0.02 * shard.stat().st_size
