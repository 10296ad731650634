"""A rank that dies, raises or stands still, and signals: everyone is gone in time, and nothing is lost."""

import contextlib
import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mmpretrain.core.run import step_of
from mmpretrain.train import checkpoint
from mmpretrain.train.watch import BEAT_SECONDS, SILENCE_SECONDS
from tests.faults.conftest import FULL, SEED, engine
from tests.faults.harness import Account, Trial, same, sample, wait_for

PHASES = ("load", "data", "forward", "backward", "step", "save", "evaluate")
WAYS = ("kill", "raise", "stop")
LIMIT = 15.0
FAILURES = list(itertools.product(PHASES, WAYS, (0, 1)))
SHORT = ("train.steps=6", "train.save_every=2", "train.evaluate_every=3")


@pytest.mark.faults
@pytest.mark.timeout(2400 if FULL else 300)
def test_when_one_rank_fails_all_are_gone_in_time_and_it_is_named(
    trial: Callable[..., Trial], account: Callable[[str, str], Account]
) -> None:
    row = account(
        "one rank killed, raising or stopped, in each phase", f"all gone in {LIMIT:.0f} s, rank and phase named"
    )
    for number, (phase, way, rank) in enumerate(sample(FAILURES, None if FULL else 4, SEED)):
        failing = trial(f"failing{number}", *SHORT)
        failing.beat, failing.silence = BEAT_SECONDS, SILENCE_SECONDS
        count = 1 if phase in ("load", "save", "evaluate") else 4
        ended = failing.go(2, f"{phase}={way}@{count}#{rank}", engine(2))
        seconds = since_fault(failing)
        named = re.search(rf"rank {rank} (failed|was killed or stands still) in {phase} of step \d+", ended.output)
        stacks = list(failing.run.logs.glob("rank_*.stacks"))
        fine = not ended.hung and 0 not in ended.codes and seconds <= LIMIT and bool(named) and bool(stacks)
        row.note(fine, f"{phase} {way} rank {rank}: {ended.codes} after {seconds:.1f} s: {ended.output[-1500:]}")


def since_fault(failing: Trial) -> float:
    """Seconds between the fault, which leaves a file, and the end of the last process."""
    begun = failing.run.logs / "fault"
    return 0.0 if not begun.exists() else failing.ended_at - begun.stat().st_mtime


SIGNALS = [
    *itertools.product((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1), ("all", 0, 1), range(2, 8), (2,)),
    *itertools.product((signal.SIGTERM, signal.SIGUSR1), ("all",), (3, 5, 7), (1,)),
]


@pytest.mark.faults
@pytest.mark.timeout(2400 if FULL else 300)
def test_a_signal_loses_no_step(trial: Callable[..., Trial], account: Callable[[str, str], Account]) -> None:
    row = account("signals", "zero steps lost: saved at the step that was under way, then as if nothing had happened")
    steps = ("train.steps=12", "train.save_every=12", "evaluation=[]")
    chosen = sample(SIGNALS, None if FULL else 4, SEED)
    wholes = {}
    for ranks in sorted({ranks for *_, ranks in chosen}):
        whole = trial(f"whole{ranks}", *steps)
        assert whole.go(ranks, more=engine(ranks)).codes == [0] * ranks
        wholes[ranks] = whole.final()
    for number, (sent, to, step, ranks) in enumerate(chosen):
        stopped = trial(f"stopped{number}", *steps)
        ended = stopped.go(ranks, more=engine(ranks), during=send(stopped, sent, to, step))
        taken = len(stopped.losses())
        newest, _ = checkpoint.find_newest(stopped.run.checkpoints)
        done = stopped.run.complete.exists()
        lost = taken - (step_of(newest) if newest else 0)
        # a rank that got no signal says SIGTERM; that the allocation ends, all say
        right = {0} if done else {85} if sent == signal.SIGUSR1 else {128 + sent, 128 + signal.SIGTERM}
        told = set(ended.codes) <= right
        again = ended if done else stopped.go(ranks, more=engine(ranks))
        fine = lost == 0 and told and set(again.codes) == {0} and same(stopped.final(), wholes[ranks])
        row.note(fine, f"{sent.name} to {to} of {ranks} at {step}: {ended.codes}, lost {lost}: {again.output[-1500:]}")


def send(trial: Trial, sent: signal.Signals, to: Any, step: int) -> Callable[[Sequence[Any]], None]:
    """A signal to all ranks or one, once a step is done."""

    def act(processes: Sequence[Any]) -> None:
        wait_for(trial.run.metrics, step)
        for rank, process in enumerate(processes):
            if to in ("all", rank):
                with contextlib.suppress(ProcessLookupError):  # it may just have ended
                    os.kill(process.pid, sent)

    return act


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_a_second_signal_ends_the_run_at_once(trial: Callable[..., Trial]) -> None:
    stuck = trial("stuck", "train.steps=6", "evaluation=[]")

    def twice(processes: Sequence[Any]) -> None:
        wait_for(stuck.run.metrics, 2)
        os.kill(processes[0].pid, signal.SIGTERM)
        processes[0].join(3.0)
        assert processes[0].is_alive()  # it sleeps in the middle of a step
        os.kill(processes[0].pid, signal.SIGTERM)

    ended = stuck.go(fault="forward=sleep@5", during=twice)
    assert ended.codes == [128 + signal.SIGTERM]
    assert ended.seconds < 5


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_ranks_that_stand_still_end_and_say_where(trial: Callable[..., Trial]) -> None:
    stuck = trial("stuck", "train.steps=6", "evaluation=[]")
    ended = stuck.go(2, "data=sleep@3#1", [*engine(2), "engine.timeout_seconds=6"])
    assert not ended.hung
    assert set(ended.codes) == {1}
    told = "no progress for 6 s: rank 1 in data of step 3; rank 0 in data of step 3, waiting for others; stacks"
    assert told in ended.output
    stacks = [file.read_text() for file in stuck.run.logs.glob("rank_*.stacks")]
    assert len(stacks) == 2
    assert all("loop.py" in text for text in stacks)


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_a_run_that_a_queue_suspends_goes_on(trial: Callable[..., Trial]) -> None:
    suspended = trial("suspended", "train.steps=300", "train.save_every=300", "evaluation=[]")
    suspended.beat, suspended.silence = BEAT_SECONDS, SILENCE_SECONDS

    def suspend(processes: Sequence[Any]) -> None:
        wait_for(suspended.run.metrics, 2)
        os.kill(processes[1].pid, signal.SIGSTOP)
        time.sleep(2 * BEAT_SECONDS)  # the main rank has heard all that the other one has said
        os.kill(processes[0].pid, signal.SIGSTOP)
        time.sleep(SILENCE_SECONDS)
        assert not suspended.run.complete.exists()
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.5)

    ended = suspended.go(2, "", engine(2), during=suspend)
    assert ended.codes == [0, 0], ended.output


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_one_process_group_trains_a_run_at_a_time(trial: Callable[..., Trial]) -> None:
    first, second = trial("run", "train.steps=30"), trial("run", "train.steps=30")
    found = []

    def start_another(processes: Sequence[Any]) -> None:
        wait_for(first.run.metrics, 2)
        found.append(second.go())
        os.kill(processes[0].pid, signal.SIGKILL)

    first.go(during=start_another)
    assert found[0].codes == [1]
    assert "another process trains this run (process" in found[0].output
    assert second.go().codes == [0]
