"""Hostile pictures, captions, member names and addresses; `pytest -m fuzz` (make fuzz) runs them in full."""

import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.settings import build
from mmpretrain.data.captions import CaptionLimits, decode_caption
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.images import decode_image
from mmpretrain.data.samples import ShardReader
from mmpretrain.data.scan import scan
from mmpretrain.data.storage import Storage
from mmpretrain.data.streaming import Account, read_tar
from mmpretrain.data.tokenizer import ClipTokenizer, Tokenizer, WordPieceTokenizer
from mmpretrain.data.training import Data
from tests.conftest import write_card
from tests.data import hostile

ROOT = Path(__file__).parents[2]
SEED = 0
FULL = pytest.mark.fuzz

# -- nothing is started ----------------------------------------------------------------------------------------

STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile"}
_started: list[str] = []
_listening = False


def _hook(event: str, arguments: tuple) -> None:
    if _listening and event in STARTS:
        _started.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_hook)  # for good: hooks cannot be removed


@pytest.fixture
def started() -> Iterator[list[str]]:
    """Every process that is started during the test, seen by the interpreter itself."""
    global _listening
    _started.clear()
    _listening = True
    yield _started
    _listening = False


def test_the_audit_sees_processes(started: list[str]):
    subprocess.run(["true"], check=True)
    assert started


# -- pictures --------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("count", "seed"), [(75, 1), pytest.param(600, SEED, marks=FULL)])
def test_hostile_pictures_neither_crash_a_worker_nor_fill_its_memory(count: int, seed: int):
    # a process of its own: a crash in a decoder would end it, and its memory is nobody else's
    done = subprocess.run(
        [sys.executable, "-m", "tests.data.hostile_worker", str(count), str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    assert answer["crashes"] == []
    assert sum(answer["answers"].values()) == count
    assert answer["growth_mib"] < 64, done.stderr[-2000:]
    assert answer["slowest"] < 10, "something hangs"


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=FULL)])
@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "WEBP"])
def test_no_part_of_a_cut_off_picture_is_ever_taken_for_the_picture(kind: str, count: int):
    draw = random.Random(f"{kind} {SEED}")
    for _ in range(count // 4):
        options = {"progressive": True} if kind == "progressive" else {}
        content = hostile.saved(hostile.photo(draw), "JPEG" if kind == "progressive" else kind, **options)
        whole = decode_image(content)
        try:
            part = decode_image(content[: int(len(content) * draw.uniform(0.01, 0.999))])
        except BadSample:
            continue
        assert torch.equal(part, whole)


def test_no_other_format_and_no_program_is_reached_through_the_name_of_a_picture(started: list[str]):
    draw = random.Random(SEED)
    for content in [*hostile.FOREIGN, *(hostile.other_format(draw) for _ in range(60))]:
        with pytest.raises(BadSample, match=r"unknown_image|empty_image"):
            decode_image(content)
    assert not started


# -- captions --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizers() -> list[Tokenizer]:
    captions = ["a red square", "a blue dot"]
    return [
        ClipTokenizer(context_length=16).build(captions),
        WordPieceTokenizer(context_length=16, vocabulary=60).build(captions),
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=FULL)])
def test_hostile_captions_become_text_of_bounded_length_or_a_named_fault(tokenizers: list[Tokenizer], step: int):
    count, reasons = 0, set()
    for number, (kind, content) in enumerate(hostile.captions(SEED)):
        count += 1
        if number % step and kind not in ("50 MB", "marks", "long"):
            continue
        for limits in (CaptionLimits(), CaptionLimits(encoding="cp1252")):
            began = time.perf_counter()
            try:
                text = decode_caption(content, limits)
            except BadSample as error:
                reasons.add(error.reason)
                continue
            assert 0 < len(text.encode()) <= 3 * limits.max_bytes, "NFC of three bytes is at most nine"
            assert not any(character < " " and character not in "\t\n\v\f\r" for character in text)
            for tokenizer in tokenizers:
                tokens_BL, mask_BL = tokenizer([text])
                assert tokens_BL.shape == mask_BL.shape
                assert tokens_BL.shape[1] <= 16
            assert time.perf_counter() - began < 10, f"{kind} {number} hangs"
    assert count == 1_300
    assert reasons <= {"caption_encoding", "empty_caption"}


# -- members of tars -------------------------------------------------------------------------------------------


def everything_below(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("count", [60, pytest.param(200, marks=FULL)])
def test_hostile_member_names_are_never_paths(tmp_path: Path, started: list[str], count: int):
    inside = tmp_path / "a" / "b" / "c"
    inside.mkdir(parents=True)
    shard = inside / "hostile.tar"
    before, complaints = everything_below(tmp_path), []
    for number in range(count):
        shard.write_bytes(hostile.hostile_tar(number, SEED))
        reader = ShardReader()
        try:
            index = scan(shard)
            keys = {key: reader.read(index, row) for row, key in enumerate(index.keys)}
        except (MmpretrainError, BadSample) as error:
            complaints.append(str(error))
        else:
            assert keys["first"] == {"txt": b"a red square"}
            assert keys["last"] == {"txt": b"a blue dot"}
        account = Account(Path("hostile"))
        streamed = dict(read_tar(shard, frozenset({"txt", "jpg", "png", "json"}), 1_000_000, account))
        assert streamed["first.txt"] == b"a red square"
        assert streamed.get("last.txt") == b"a blue dot" or account.take(0)
        assert everything_below(tmp_path) - before <= {str(shard)}
    assert all("hostile.tar" in complaint or "checksum" in complaint for complaint in complaints)
    assert not started


def test_links_and_devices_are_no_samples(tmp_path: Path):
    shard = tmp_path / "links.tar"
    with tarfile.open(shard, "w") as tar:
        for kind in (b"1", b"2", b"3", b"4", b"5", b"6"):  # links, devices, a folder, a pipe
            info = tarfile.TarInfo(f"{kind.decode()}.txt")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("good.txt")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"text"))
    assert scan(shard).keys == ["good"]
    assert dict(read_tar(shard, frozenset({"txt"}), 1_000, Account(Path("links")))) == {"good.txt": b"text"}


# -- addresses -------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", ["shards", "streaming", "name", "s3_endpoint", "schemes", "cache"])
def test_a_hostile_address_starts_nothing_and_is_named(tmp_path: Path, started: list[str], place: str):
    mark, longest = tmp_path / "mark", 0
    one_try = Storage(tries=1, backoff_seconds=0, deadline_seconds=2, stall_seconds=1, cache=str(tmp_path / "cache"))
    assert len(hostile.URLS) >= 60
    for number, pattern in enumerate(hostile.URLS):
        url = pattern.replace("{mark}", str(mark))
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            if place in ("shards", "streaming"):
                write_card(folder, {"train": ([url], 5)})
                Dataset(str(folder), "train", storage=one_try, indexed=place == "shards")
            elif place == "name":
                Dataset(url, "train", storage=one_try)
            else:
                value = [url] if place == "schemes" else url
                tree = {"name": "x", "batch": 2, "storage": {"schemes": ["file"], place: value}}
                build(Data, tree)
                assert place == "cache" or url.startswith(("http://", "https://"))
                continue
        except MmpretrainError as error:
            longest = max(longest, len(str(error)))
            continue
        assert place == "streaming", url
    assert longest < 12_000
    assert not mark.exists()
    assert not started
