import itertools
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import World
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.settings import build
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.loader import training_loader
from mmpretrain.data.samples import Limits
from mmpretrain.data.storage import Storage
from mmpretrain.data.tokenizer import WordPieceTokenizer
from mmpretrain.data.training import TrainingData
from tests.conftest import toy_samples, write_card, write_tar
from tests.data.object_server import serving
from tests.data.test_loader import settings_for

pytestmark = pytest.mark.timeout(60)
KEYS = {sample["__key__"] for sample in toy_samples(48)}
ALONE = World()
TOKENIZER = WordPieceTokenizer(context_length=12, vocabulary=100)


def stream(folder: Path, world: World = ALONE, start: int = 0, **more: object) -> Iterator[list[Batch]]:
    data = settings_for(folder, order="streaming", **more)
    return training_loader(TrainingData(data), TOKENIZER.build(["a red square"]), 16, world, 1, start)


def batches(folder: Path, count: int, **more: object) -> list[Batch]:
    return [batch for (batch,) in itertools.islice(stream(folder, **more), count)]


def keys_of(found: list[Batch]) -> list[str]:
    return [key for batch in found for key in batch.keys]


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Ten shards of which one is cut off, one has a damaged header, one is no tar, and one is empty."""
    samples = toy_samples(50)
    for number in range(10):
        write_tar(tmp_path / f"{number:05d}.tar", samples[5 * number : 5 * number + 5])
    first, second, third, fourth = (tmp_path / f"{number:05d}.tar" for number in range(4))
    first.write_bytes(first.read_bytes()[:3000])
    content = bytearray(second.read_bytes())
    with tarfile.open(second) as tar:
        content[tar.getmembers()[6].offset + 3] ^= 0xFF
    second.write_bytes(content)
    third.write_bytes(b"no tar at all" * 200)
    fourth.write_bytes(bytes(10_240))
    write_card(tmp_path, {"train": (["{00000..00009}.tar"], 50)})
    return tmp_path


def test_a_stream_gives_the_samples_of_the_shards_without_reading_an_index(shapes: Path, tmp_path: Path):
    for path in shapes.glob("train-*.tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write_card(tmp_path, {"train": (["train-{00000..00002}.tar"], 48)})
    assert set(keys_of(batches(tmp_path, 60))) == KEYS
    assert not list(tmp_path.glob("*.index"))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_is_the_same_stream_and_another_is_another(shapes: Path, workers: int):
    first, again, other = (batches(shapes, 8, workers=workers, seed=seed) for seed in (0, 0, 1))
    assert keys_of(first) == keys_of(again) != keys_of(other)
    assert all(torch.equal(a.images_BCHW, b.images_BCHW) for a, b in zip(first, again, strict=True))


def test_ranks_and_workers_draw_apart_and_take_equal_steps(shapes: Path):
    streams = [keys_of(batches(shapes, 8, world=World(rank, 3), workers=2)) for rank in range(3)]
    assert len({tuple(keys) for keys in streams}) == 3
    assert {len(keys) for keys in streams} == {8 * 12 // 3}
    ones = [keys_of(batches(shapes, 8, workers=2)[worker::2]) for worker in range(2)]
    assert ones[0] != ones[1]


def test_positions_are_those_of_the_exact_order_so_that_randomness_stays_keyed(shapes: Path):
    found = [batches(shapes, 10, world=World(rank, 2), workers=2, start=3) for rank in range(2)]
    positions = torch.cat([batch.positions_B for part in found for batch in part])
    assert sorted(positions.tolist()) == list(range(36, 36 + 120))


def test_a_resumed_stream_draws_anew(shapes: Path):
    assert keys_of(batches(shapes, 5, start=0)) != keys_of(batches(shapes, 5, start=5))


def test_damaged_shards_are_counted_and_the_others_go_on(damaged: Path):
    found = batches(damaged, 100, batch=10)
    reasons = Counter(fault.reason for batch in found for fault in batch.faults)
    assert reasons["damaged_shard"] > 10
    assert reasons["empty_shard"] > 1
    assert {fault.shard for batch in found for fault in batch.faults} == {f"{n:05d}.tar" for n in range(4)}
    whole = {sample["__key__"] for sample in toy_samples(50)[20:]}
    assert whole <= set(keys_of(found))


def test_bad_samples_are_skipped_and_counted(tmp_path: Path):
    samples = toy_samples(40)
    for sample in samples[::4]:
        sample["png"] = b"no picture"
    write_tar(tmp_path / "a.tar", samples)
    write_card(tmp_path, {"train": (["a.tar"], 40)})
    found = batches(tmp_path, 40)
    bad = {sample["__key__"] for sample in samples[::4]}
    assert {fault.key for batch in found for fault in batch.faults} == bad
    assert {fault.reason for batch in found for fault in batch.faults} == {"unknown_image"}
    assert not bad & set(keys_of(found))


@pytest.mark.parametrize("content", [bytes(10_240), b"garbage" * 1000])
def test_shards_without_anything_good_end_in_an_error_and_not_in_a_wait(tmp_path: Path, content: bytes):
    (tmp_path / "a.tar").write_bytes(content)
    write_card(tmp_path, {"train": (["a.tar"], 40)})
    with pytest.raises(DataError, match="in a row cannot be used"):
        batches(tmp_path, 1)


def test_members_that_claim_more_than_a_picture_may_have_are_skipped(tmp_path: Path):
    samples = toy_samples(12)
    write_tar(tmp_path / "a.tar", samples)
    write_card(tmp_path, {"train": (["a.tar"], 12)})
    limits = {"image": {"max_bytes": 20}, "json_bytes": 60}
    with pytest.raises(DataError, match="large_member"):
        batches(tmp_path, 1, limits=build(Limits, limits))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_over_http_reads_each_drawn_shard_from_front_to_back_and_keeps_nothing(
    shapes: Path, tmp_path: Path, workers: int
):
    with serving() as server:
        for path in shapes.glob("train-*.tar"):
            server.objects[path.name] = path.read_bytes()
        write_card(tmp_path, {"train": ([server.url("train-{00000..00002}.tar")], 48)})
        storage = Storage(cache=str(tmp_path / "cache"), chunk_bytes=65_536, stall_seconds=10)
        far = batches(tmp_path, 8, workers=workers, storage=storage)
    assert keys_of(far) == keys_of(batches(shapes, 8, workers=workers))
    assert not (tmp_path / "cache").exists()


def test_a_tokenizer_that_learns_from_all_captions_is_refused(shapes: Path):
    dataset = Dataset(str(shapes), "train", indexed=False)
    with pytest.raises(ConfigError, match=r"use data\.tokenizer\.kind=clip"):
        TOKENIZER.build(dataset.captions())
