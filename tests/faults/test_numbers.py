"""Wrong numbers: a loss that is not finite on any rank never reaches the weights, and a bit that flips is found."""

import itertools
from collections.abc import Callable

import pytest

from mmpretrain.core.files import read_json_lines
from tests.faults.conftest import FULL, SEED, engine
from tests.faults.harness import Account, Trial, same, sample

BATCH = 12
KINDS = ("ddp", "zero1", "zero2", "zero3")
QUICK = ("train.steps=5", "train.save_every=5", "evaluation=[]", "towers.text.dropout=0.0")


@pytest.mark.faults
@pytest.mark.timeout(2400 if FULL else 300)
def test_a_step_that_is_not_finite_is_as_if_it_had_not_been(
    trial: Callable[..., Trial], account: Callable[[str, str], Account]
) -> None:
    row = account("NaN or infinity on one rank", "weights equal those of the run without that step; its samples named")
    cases = list(itertools.product(KINDS, ("fp32", "bf16"), ("nan", "inf"), (0, 1))) + list(
        itertools.product(KINDS, ("fp32", "bf16"), ("nan",), (0, 1))
    )
    wholes: dict[tuple[str, str, int], Trial] = {}
    for number, (kind, precision, value, rank) in enumerate(sample(cases, None if FULL else 4, SEED)):
        micros = 3 if number >= 32 or number % 2 else 1
        more = [*engine(2, kind), f"engine.precision={precision}", f"train.micro_batches={micros}"]
        key = (kind, precision, micros)
        if key not in wholes:
            wholes[key] = trial("-".join(map(str, key)), *QUICK)
            assert wholes[key].go(2, more=more, left_out=[3]).codes == [0, 0]
        broken = trial(f"broken{number}", *QUICK)
        ended = broken.go(2, f"loss={value}@{2 * micros + 1}#{rank}", more)
        skips = read_json_lines(broken.run.skips)
        own = broken.keys()[3][rank * BATCH // 2 :][: BATCH // 2]
        named = [each["step"] for each in skips] == [3] and set(skips[0]["keys"]) <= set(own) and skips[0]["keys"]
        fine = ended.codes == [0, 0] and bool(named) and same(broken.final(), wholes[key].final())
        row.note(fine, f"{kind} {precision} {value} rank {rank} x{micros}: {ended.codes} {skips} {ended.output[-800:]}")


@pytest.mark.faults
@pytest.mark.timeout(120)
@pytest.mark.parametrize("ranks", [2, 3])
def test_a_bit_that_flips_in_one_copy_of_the_weights_is_found(trial: Callable[..., Trial], ranks: int) -> None:
    flipped = trial("flipped", *QUICK, "train.compare_every=1")
    ended = flipped.go(ranks, "weights=flip@2#1", engine(ranks))
    assert set(ended.codes) == {1}
    who = "rank 1 differ from the others" if ranks == 3 else "the ranks differ from each other"
    assert f"step 2: the weights of {who}" in ended.output
    assert flipped.go(ranks, more=engine(ranks)).codes == [0] * ranks


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_a_full_disk_costs_one_checkpoint_and_no_step(
    trial: Callable[..., Trial], account: Callable[[str, str], Account]
) -> None:
    row = account("full disk while a checkpoint is written", "training goes on, the last good checkpoint stays")
    whole = trial("whole")
    assert whole.go().codes == [0]
    places = ["save.file=nospace@4", "save.manifest=nospace@2", "save.rename=nospace@2", "save.latest=nospace@2"]
    for number, (place, beside) in enumerate(itertools.product(places, ("true", "false"))):
        full = trial(f"full{number}")
        ended = full.go(fault=place, more=[f"train.save_beside={beside}"])
        told = "the checkpoint of step 4 was not written" in ended.output
        row.note(ended.codes == [0] and told and same(full.final(), whole.final()), f"{place}: {ended.output[-800:]}")
    for count, what in ((5, "metrics.jsonl: the line of step 3"), (14, "results.jsonl: the retrieval of step 8")):
        full = trial(f"lines{count}")
        ended = full.go(fault=f"append=nospace@{count}")
        told = f"{what} was not kept" in ended.output
        row.note(ended.codes == [0] and told and same(full.final(), whole.final()), f"{what}: {ended.output[-800:]}")
