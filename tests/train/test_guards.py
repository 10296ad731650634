import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.core.errors import Interrupted, MmpretrainError
from mmpretrain.train.guards import LEAST, SkipGuard, SpikeGuard, compare_replicas
from mmpretrain.train.loop import Clock, Guards, Train
from mmpretrain.train.step import StepResult


def falling(seed: int, steps: int = 300) -> np.ndarray:
    """A loss curve as training gives it: an exponential fall, and noise of a twentieth."""
    noise = np.random.default_rng(seed).normal(0, 0.05, steps)
    return (1.0 + 4.5 * np.exp(-np.arange(steps) / 60)) * (1 + noise)


def spikes(losses: np.ndarray, guard: SpikeGuard) -> list[int]:
    found = []
    for step, loss in enumerate(losses):
        if guard.spike(float(loss)):
            found.append(step)
        guard.see(float(loss))
    return found


def test_twenty_runs_of_three_hundred_steps_give_no_false_alarm() -> None:
    assert [spikes(falling(seed), SpikeGuard("warn", 8.0)) for seed in range(20)] == [[]] * 20


def test_a_step_with_twice_the_loss_is_found_at_once() -> None:
    found = 0
    for seed in range(50):
        losses = falling(seed)
        step = int(np.random.default_rng(seed).integers(2 * LEAST, 300))
        losses[step] *= 2.5
        found += spikes(losses, SpikeGuard("warn", 8.0)) == [step]
    assert found >= 49


def test_only_the_policy_skip_keeps_a_step_from_the_weights() -> None:
    for policy, complains in (("off", False), ("warn", False), ("skip", True)):
        guard = SpikeGuard(policy, 8.0)  # type: ignore[arg-type]
        for number in range(LEAST):
            guard.see(1.0 + number % 3 / 10)
        assert bool(guard.complaint(9.0)) == complains
        assert bool(guard.spike(9.0)) == (policy != "off")


@given(st.lists(st.floats(0.1, 10), max_size=60), st.integers(0, 3))
def test_what_guards_remember_goes_through_a_checkpoint(losses: list[float], in_a_row: int) -> None:
    first, second = (Guards.of(Train(steps=1)) for _ in range(2))
    first.skips.in_a_row = in_a_row
    first.spikes.recent.extend(losses)
    second.load(first.state())
    assert second.state() == first.state()


def test_a_memory_that_lacks_something_is_refused() -> None:
    with pytest.raises(MmpretrainError, match="guards lack recent_losses"):
        Guards.of(Train(steps=1)).load({"skips_in_a_row": 0})


def refused(reason: str | None) -> StepResult:
    return StepResult(metrics={"loss": 1.0}, grad_norm=1.0, refused=reason, wishes=(), faults=0, suspects=("ada-1",))


def test_only_steps_in_a_row_end_a_run() -> None:
    guard = SkipGuard(2)
    for reason in ("loss nan", None, "loss nan", None):
        guard.see(1, refused(reason))
    guard.see(2, refused("loss nan"))
    with pytest.raises(MmpretrainError, match=r"step 3: loss nan, and 2 steps in a row were skipped.*ada-1") as raised:
        guard.see(3, refused("loss nan"))
    assert raised.value.on_every_rank


class Copy:
    def __init__(self, number: int | None) -> None:
        self.number = number

    def fingerprint(self) -> int | None:
        return self.number


def test_one_copy_agrees_with_itself_and_a_run_without_whole_copies_is_not_asked() -> None:
    compare_replicas(Copy(5), 1)
    compare_replicas(Copy(None), 1)


def test_the_clock_is_due_after_its_minutes_and_never_without() -> None:
    assert not Clock(None).due()
    assert not Clock(60.0).due()
    assert Clock(1e-9).due()


def test_the_exit_code_says_whether_to_start_again() -> None:
    assert Interrupted(signal.SIGTERM, "saved").exit_code == 143
    assert Interrupted(signal.SIGINT, "saved").exit_code == 130
    assert Interrupted(signal.SIGUSR1, "saved").exit_code == 85
