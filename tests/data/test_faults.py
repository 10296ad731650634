"""Bad samples: each is replaced, named in the account, and the same for any number of ranks and workers."""

import itertools
import json
import os
import pickle
import random
from pathlib import Path

import pytest

from mmpretrain.core.batch import Fault
from mmpretrain.core.distributed import World
from mmpretrain.core.errors import DataError
from mmpretrain.core.files import append_json_line, read_json_lines
from mmpretrain.data.faults import BadSample
from mmpretrain.data.ledger import Breaker, Ledger
from mmpretrain.data.loader import evaluation_loader, training_loader
from mmpretrain.data.tokenizer import WordPieceTokenizer
from mmpretrain.data.training import Data, TrainingData
from tests.conftest import toy_samples, write_card, write_tar

TRIALS = int(os.environ.get("FUZZ_LOADERS", "12"))
TOKENIZER = WordPieceTokenizer(context_length=12, vocabulary=100).build(["a red dot", "a blue square"])
BAD = {
    "png": [b"", b"no picture", toy_samples(1)[0]["png"][:70]],
    "txt": [b"", b" \n", b"\xff\xfe\xff"],
    "json": [b"{", b"[]", b'{"concept": "x"}'],
}


def dataset_with_faults(folder: Path, sizes: list[int], bad_share: float, draw: random.Random) -> set[str]:
    """Writes shards in which some samples are bad; returns their keys."""
    bad = set()
    for shard, size in enumerate(sizes):
        samples = toy_samples(size, artist=f"s{shard}")
        for sample in samples:
            if draw.random() < bad_share:
                suffix = draw.choice(list(BAD))
                sample[suffix] = draw.choice(BAD[suffix])
                bad.add(sample["__key__"])
        write_tar(folder / f"{shard:03d}.tar", samples)
    write_card(folder, {"train": ([f"{shard:03d}.tar" for shard in range(len(sizes))], sum(sizes))})
    return bad


def read_steps(folder: Path, steps: int, ranks: int, batch: int, workers: int = 0, start: int = 0) -> tuple:
    """(keys by position, faults) of some steps, over all ranks."""
    training = TrainingData(Data(name=str(folder), batch=batch, workers=workers))
    loaders = [training_loader(training, TOKENIZER, 16, World(rank, ranks), 1, start) for rank in range(ranks)]
    keys, faults = {}, []
    for _ in range(steps):
        batches = [found for loader in loaders for found in next(loader)]
        assert {len(found) for found in batches} == {batch // ranks}
        for found in batches:
            keys.update(zip(found.positions_B.tolist(), found.keys, strict=True))
            faults += found.faults
    return keys, sorted(faults)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("trial", range(TRIALS))
def test_whatever_is_bad_all_ranks_take_equal_steps_and_the_account_is_exact(trial: int, tmp_path: Path):
    draw = random.Random(trial)
    sizes = [draw.randint(1, 40) for _ in range(draw.randint(1, 17))]
    ranks, share = draw.randint(1, 4), draw.choice([0.0, 0.06, 0.3])
    batch = ranks * draw.randint(1, 7)
    bad = dataset_with_faults(tmp_path, sizes, share, draw)
    if len(bad) == sum(sizes) or batch > sum(sizes):
        pytest.skip("nothing to train on")
    steps = -(-2 * sum(sizes) // batch)
    keys, faults = read_steps(tmp_path, steps, ranks, batch, workers=draw.choice([0, 0, 0, 1]))
    assert sorted(keys) == list(range(steps * batch))
    assert not bad & set(keys.values())
    originals = {fault.position: fault.key for fault in faults if fault.attempt == 0}
    assert {fault.key for fault in faults} <= bad
    for epoch in range(2):
        positions = range(epoch * sum(sizes), (epoch + 1) * sum(sizes))
        # seen = trained + skipped: every sample of the epoch once, as itself or in the account
        seen = [originals.get(position, keys[position]) for position in positions]
        assert len(seen) == len(set(seen)) == sum(sizes)
        assert bad == {originals[position] for position in positions if position in originals}


def test_replacements_are_the_same_for_any_cut_and_after_any_stop(tmp_path: Path):
    dataset_with_faults(tmp_path, [30, 20, 10], 0.2, random.Random(1))
    keys, faults = read_steps(tmp_path, 10, 1, 12)
    assert faults
    for ranks, workers in itertools.product((2, 3, 4), (0, 2)):
        assert read_steps(tmp_path, 10, ranks, 12, workers) == (keys, faults)
    for stop in (3, 7):
        first, later = read_steps(tmp_path, stop, 2, 12), read_steps(tmp_path, 10 - stop, 3, 12, start=stop)
        assert ({**first[0], **later[0]}, sorted(first[1] + later[1])) == (keys, faults)


def test_a_fault_names_shard_key_byte_and_reason(tmp_path: Path):
    samples = toy_samples(3)
    samples[1]["txt"] = b"\xff"
    write_tar(tmp_path / "a.tar", samples)
    write_card(tmp_path, {"train": (["a.tar"], 3)})
    _, faults = read_steps(tmp_path, 3, 1, 1)
    assert {(f.shard, f.key, f.reason, f.attempt) for f in faults if f.attempt == 0} == {
        ("a.tar", "ada-0001", "caption_encoding", 0)
    }
    assert {f.offset for f in faults} == {
        next(TrainingData(Data(name=str(tmp_path), batch=1)).datasets[0].shards[0].members(1)).offset
    }


@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [0, 1])
def test_where_nothing_can_be_read_the_run_ends_with_one_line(tmp_path: Path, workers: int):
    dataset_with_faults(tmp_path, [5], 1.0, random.Random(0))
    with pytest.raises(DataError, match="100 samples in a row cannot be used") as caught:
        read_steps(tmp_path, 1, 1, 2, workers)
    assert len(str(caught.value).splitlines()) == 1


def test_an_evaluation_leaves_nothing_out(tmp_path: Path):
    dataset_with_faults(tmp_path, [9], 0.3, random.Random(2))
    dataset = TrainingData(Data(name=str(tmp_path), batch=1)).datasets[0]
    with pytest.raises(DataError, match=r"000\.tar: s0-000\d: \w+: "):
        list(evaluation_loader(dataset, TOKENIZER, 16, World(), 4))


def fault(position: int, attempt: int = 0) -> Fault:
    return Fault(position, attempt, "toys", "a.tar", f"k{position}", 512, "damaged_image", "cut off")


def test_the_breaker_looks_at_the_share_of_the_last_positions():
    ledger = Ledger(Breaker(share=0.05, window=100), batch=10)
    for step in range(1, 31):
        start = (step - 1) * 10
        ledger.account(step, [fault(start)] if step % 2 else [])
        ledger.check()
    ledger.account(31, [fault(300), fault(301, 1), fault(305)])
    with pytest.raises(DataError, match="6 of the last 100 samples cannot be used") as caught:
        ledger.check()
    assert caught.value.on_every_rank


def test_few_faults_at_the_start_break_nothing():
    ledger = Ledger(Breaker(), batch=8)
    records = ledger.account(1, [fault(5), fault(2), fault(2, 1)])
    ledger.check()
    assert [(record["position"], record["attempt"]) for record in records] == [(2, 0), (2, 1), (5, 0)]
    assert json.loads(json.dumps(records[0]))["reason"] == "damaged_image"


def test_a_fault_travels_between_processes():
    sent = pickle.loads(pickle.dumps(BadSample("damaged_image", "cut off")))
    assert (sent.reason, sent.detail) == ("damaged_image", "cut off")


def test_a_name_that_is_no_text_is_accounted_for(tmp_path: Path):
    append_json_line(tmp_path / "ledger.jsonl", {"key": "caf\udce9"}, ascii_only=True)
    assert read_json_lines(tmp_path / "ledger.jsonl") == [{"key": "caf\udce9"}]
    samples = toy_samples(3)
    for sample in samples:
        sample["json"] = json.dumps({"concept": "\ud800", "category": "red", "artist": "ada"}).encode()
    write_tar(tmp_path / "a.tar", samples)
    write_card(tmp_path, {"train": (["a.tar"], 3)})
    keys, faults = read_steps(tmp_path, 1, 1, 3)
    assert (len(keys), faults) == (3, [])


def test_a_resumed_ledger_breaks_where_the_run_would_have():
    whole, resumed = (Ledger(Breaker(share=0.05, window=100), batch=10) for _ in range(2))
    records = [record for step in range(1, 6) for record in whole.account(step, [fault(10 * step - 5)])]
    resumed.refill(json.loads(json.dumps(records)))
    for ledger in (whole, resumed):
        ledger.account(6, [fault(52)])
        with pytest.raises(DataError, match="6 of the last 100"):
            ledger.check()


def test_a_step_larger_than_the_window_is_looked_at_whole():
    ledger = Ledger(Breaker(share=0.05, window=10), batch=100)
    ledger.account(1, [fault(position) for position in range(6)])
    with pytest.raises(DataError, match="6 of the last 100"):
        ledger.check()
