"""Damaged shards: nothing is lost in silence, and what is intact is read."""

import os
import random
import shutil
from pathlib import Path

import pytest

from mmpretrain.core.errors import DataError
from mmpretrain.data.faults import BadSample
from mmpretrain.data.index import SUFFIX, ShardIndex
from mmpretrain.data.samples import ShardReader
from mmpretrain.data.scan import scan, scan_damaged
from mmpretrain.data.shards import open_index
from tests.conftest import toy_samples, write_tar

SAMPLES = 50
MUTANTS = int(os.environ.get("FUZZ_MUTANTS", "60"))
"""Of each kind; `make fuzz` sets 200, which with five kinds is a thousand."""


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shard") / "00000.tar"
    write_tar(path, toy_samples(SAMPLES))
    open_index(path)
    return path


@pytest.fixture(scope="module")
def truth(shard: Path) -> dict[str, dict[str, bytes]]:
    return read_all(open_index(shard))[0]


def read_all(index: ShardIndex) -> tuple[dict[str, dict[str, bytes]], set[str]]:
    """(samples that can be read, keys of those that cannot)."""
    reader, found, lost = ShardReader(), {}, set()
    for row, key in enumerate(index.keys):
        try:
            found[key] = reader.read(index, row)
        except BadSample:
            lost.add(key)
    return found, lost


def flipped(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def zeroed(content: bytes, draw: random.Random) -> bytes:
    place, length = draw.randrange(len(content)), draw.choice([1, 16, 512, 1024])
    return (content[:place] + bytes(length) + content[place + length :])[: len(content)]


def inserted(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + draw.randbytes(draw.choice([1, 7, 512, 700])) + content[place:]


def doubled(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content)) // 512 * 512
    return content[:place] + content[place : place + 512] + content[place:]


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


KINDS = (flipped, zeroed, inserted, doubled, cut)


def mutants(shard: Path, folder: Path) -> list[Path]:
    content, made = shard.read_bytes(), []
    for kind in KINDS:
        for seed in range(MUTANTS):
            path = folder / f"{kind.__name__}-{seed}.tar"
            path.write_bytes(kind(content, random.Random(f"{kind.__name__} {seed}")))
            made.append(path)
    return made


@pytest.mark.timeout(600)
def test_of_mutated_shards_nothing_is_lost_in_silence_and_most_is_read(
    shard: Path, truth: dict[str, dict[str, bytes]], tmp_path: Path
):
    intact = 0
    made = mutants(shard, tmp_path)
    for path in made:
        shutil.copy(shard.with_name(shard.name + SUFFIX), path.with_name(path.name + SUFFIX))
        found, lost = read_all(open_index(path, verify=True, on_damage="salvage"))
        assert found == {key: truth[key] for key in found}, path
        assert found.keys() | lost == truth.keys(), path
        intact += len(found)
    assert intact >= 0.88 * len(made) * SAMPLES


@pytest.mark.timeout(600)
def test_without_an_index_all_damage_to_the_structure_is_named(
    shard: Path, truth: dict[str, dict[str, bytes]], tmp_path: Path
):
    content = shard.read_bytes()
    index = scan(shard)
    inside = [range(m.offset, m.offset + m.size) for row in range(SAMPLES) for m in index.members(row)]
    for path in mutants(shard, tmp_path):
        changed = path.read_bytes()
        first = next((at for at, pair in enumerate(zip(content, changed, strict=False)) if pair[0] != pair[1]), None)
        only_payload = len(changed) == len(content) and any(first in place for place in inside if first is not None)
        try:
            found, damages = scan_damaged(path)
        except DataError:
            continue
        held = read_all(found)[0]
        if not only_payload and held != truth:
            assert damages, path
        if damages:
            with pytest.raises(DataError, match=path.name):
                open_index(path)


def test_a_shard_cut_at_any_block_names_exactly_the_missing_keys(shard: Path, tmp_path: Path):
    content, index = shard.read_bytes(), open_index(shard)
    ends = {key: max(m.offset + m.size for m in index.members(row)) for row, key in enumerate(index.keys)}
    path = tmp_path / "00000.tar"
    shutil.copy(shard.with_name(shard.name + SUFFIX), path.with_name(path.name + SUFFIX))
    for length in range(512, len(content), 512):
        path.write_bytes(content[:length])
        _, lost = read_all(open_index(path, on_damage="salvage"))
        assert lost == {key for key, end in ends.items() if end > length}


def test_damage_is_refused_with_the_way_to_read_what_is_left(shard: Path, tmp_path: Path):
    path = tmp_path / "00000.tar"
    path.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"cut off.* data\.on_damage=salvage"):
        open_index(path)


def test_a_salvaged_scan_is_not_kept_as_an_index(shard: Path, tmp_path: Path):
    path = tmp_path / "00000.tar"
    path.write_bytes(shard.read_bytes()[:50000])
    assert 0 < len(open_index(path, on_damage="salvage")) < SAMPLES
    assert not path.with_name(path.name + SUFFIX).exists()
