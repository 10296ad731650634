"""The contract on one process, where every verb can be looked at; the other engines are held to this one."""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.engines.base import Engine, OptimizerState, Options, ScaledPrecision
from mmpretrain.engines.single import Single


class Line(nn.Module):
    """y = b a x with a frozen offset and a counter that is saved and one that is not."""

    def __init__(self, slope: float = 2.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([slope]))
        self.gain = nn.Parameter(torch.ones(1))
        self.offset = nn.Parameter(torch.tensor([slope]), requires_grad=False)
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)

    def forward(self, phase: str, x: Tensor) -> Tensor:
        return (self.gain * self.slope * x + self.offset).sum()


def engine_of(
    module: nn.Module, ema: float | None = None, clip: float | None = None, precision: ScaledPrecision = "fp32"
) -> Engine:
    def optimizer(module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1)

    options = Options(device=torch.device("cpu"), clip_norm=clip, ema=ema)
    return Single(precision=precision).build(module, optimizer, options)


def take_step(engine: Engine, x: float = 1.0) -> float:
    engine.backward(engine.forward("live", torch.tensor([x])))
    return engine.step()


def test_the_norm_is_that_before_clipping_with_and_without_a_bound() -> None:
    for clip in (None, 0.5):
        assert take_step(engine_of(Line(), clip=clip), 3.0) == pytest.approx((3**2 + 6**2) ** 0.5)


def test_gradients_do_not_leak_from_a_skipped_step_into_the_next() -> None:
    skipped, plain = engine_of(Line()), engine_of(Line())
    skipped.backward(skipped.forward("live", torch.tensor([100.0])))
    skipped.skip()
    assert take_step(skipped) == take_step(plain)
    assert skipped.weights()["slope"].equal(plain.weights()["slope"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_neither_weights_nor_average_nor_moments(bad: float) -> None:
    engine = engine_of(Line(), ema=0.5)
    take_step(engine)
    before = {**engine.weights(), **engine.optimizer_state().moments}
    average = engine.weights(averaged=True)
    take_step(engine, bad)
    after = {**engine.weights(), **engine.optimizer_state().moments}
    assert all(before[name].equal(after[name]) for name in before)
    assert all(average[name].equal(tensor) for name, tensor in engine.weights(averaged=True).items())


def test_evaluation_sees_the_average_and_training_does_not() -> None:
    engine = engine_of(Line(), ema=0.5)
    take_step(engine)
    live, average = engine.weights(), engine.weights(averaged=True)
    assert average["slope"] == pytest.approx(0.5 * 2.0 + 0.5 * float(live["slope"]))
    with engine.evaluating():
        assert not engine.module.training
        assert engine.module.slope.equal(average["slope"])  # type: ignore[union-attr, operator]
        assert not engine.forward("embed", torch.ones(1)).requires_grad
    assert engine.module.training
    assert engine.weights()["slope"].equal(live["slope"])


def test_evaluation_that_fails_still_puts_the_weights_back() -> None:
    engine = engine_of(Line(), ema=0.5)
    take_step(engine)
    live = engine.weights()["slope"]
    with pytest.raises(KeyError), engine.evaluating():
        raise KeyError
    assert engine.weights()["slope"].equal(live)
    assert engine.module.training


def test_state_holds_buffers_and_frozen_parameters_but_moments_only_of_trainable_ones() -> None:
    engine = engine_of(Line())
    assert set(engine.weights()) == {"slope", "gain", "offset", "seen"}
    assert engine.optimizer_state() == OptimizerState(steps={"slope": 0, "gain": 0})
    take_step(engine)
    state = engine.optimizer_state()
    assert state.steps == {"slope": 1, "gain": 1}
    assert set(state.moments) == {f"{m}.{name}" for m in ("exp_avg", "exp_avg_sq") for name in ("slope", "gain")}


def test_no_average_is_an_empty_one() -> None:
    assert engine_of(Line()).weights(averaged=True) == {}


def test_loading_weights_alone_starts_optimizer_and_average_anew() -> None:
    source, engine = engine_of(Line(3.0)), engine_of(Line(), ema=0.5)
    take_step(engine)
    engine.load(source.weights(), None, {})
    assert engine.optimizer_state().steps == {"slope": 0, "gain": 0}
    assert engine.weights(averaged=True)["slope"].equal(torch.tensor([3.0]))
    assert engine.weights()["offset"].equal(torch.tensor([3.0]))


def test_an_engine_does_not_write_into_what_it_was_given() -> None:
    source = engine_of(Line(3.0), ema=0.5)
    take_step(source)
    given: tuple[Any, ...] = (source.weights(), source.optimizer_state(), source.weights(averaged=True))
    kept = [{name: tensor.clone() for name, tensor in d.items()} for d in (given[0], given[1].moments, given[2])]
    engine = engine_of(Line(), ema=0.5)
    engine.load(*given)
    take_step(engine)
    for tensors, before in zip((given[0], given[1].moments, given[2]), kept, strict=True):
        assert all(tensors[name].equal(before[name]) for name in before)


@pytest.mark.parametrize("change", ["missing", "left over", "other shape"])
def test_weights_that_do_not_fit_are_refused_and_nothing_changes(change: str) -> None:
    engine = engine_of(Line(), ema=0.5)
    weights = engine_of(Line(3.0)).weights()
    average = dict(weights)
    if change == "missing":
        del average["gain"]
    elif change == "left over":
        average["other"] = torch.zeros(1)
    else:
        average["gain"] = torch.zeros(2)
    with pytest.raises(MmpretrainError, match=change):
        engine.load(average, None, {})
    with pytest.raises(MmpretrainError, match=change):
        engine.load(weights, None, average)
    assert engine.weights()["slope"].equal(torch.tensor([2.0]))


def test_a_tensor_with_two_names_is_saved_once_and_loaded_under_both() -> None:
    class Tied(Line):
        def __init__(self, slope: float = 2.0) -> None:
            super().__init__(slope)
            self.again = self.slope

    source, engine = engine_of(Tied(3.0)), engine_of(Tied())
    assert "again" not in source.weights()
    engine.load(source.weights(), source.optimizer_state(), {})
    assert engine.module.again is engine.module.slope
    assert engine.weights()["slope"].equal(torch.tensor([3.0]))


def test_bf16_holds_inside_the_module_whatever_surrounds_the_engine() -> None:
    class Product(nn.Linear):
        def forward(self, phase: str, x: Tensor) -> Tensor:
            return super().forward(x)

    def build(module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(module.parameters())

    options = Options(device=torch.device("cpu"), clip_norm=None, ema=None)
    engine = Single(precision="bf16").build(Product(4, 4), build, options)
    with torch.autocast("cpu", enabled=False):
        assert engine.forward("live", torch.ones(2, 4)).dtype == torch.bfloat16
    assert engine.weights()["weight"].dtype == torch.float32


def test_engines_are_listed_without_importing_deepspeed() -> None:
    code = "import sys, mmpretrain.engines.build; assert 'deepspeed' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_loss_scale_in_fp16_does_not_show_in_the_norm_and_shrinks_after_an_overflow() -> None:
    engine = engine_of(Line(), precision="fp16")
    assert take_step(engine) == pytest.approx(take_step(engine_of(Line())))
    scale = engine.optimizer_state().loss_scale["scale"]
    weights = engine.weights()
    engine.backward(engine.forward("live", torch.tensor([float("inf")])))
    assert not math.isfinite(engine.step())
    assert engine.optimizer_state().loss_scale["scale"] == scale / 2
    assert all(engine.weights()[name].equal(value) for name, value in weights.items())


def test_a_loss_scale_goes_through_a_checkpoint() -> None:
    first, second = (engine_of(Line(), precision="fp16") for _ in range(2))
    for x in (1.0, float("inf"), 1.0):
        take_step(first, x)
    second.load(first.weights(), first.optimizer_state(), {})
    assert second.optimizer_state().loss_scale == first.optimizer_state().loss_scale
    assert engine_of(Line()).optimizer_state().loss_scale == {}


def test_a_state_that_lacks_a_parameter_is_refused_and_changes_nothing() -> None:
    first, second = engine_of(Line()), engine_of(Line(3.0))
    take_step(first)
    state = first.optimizer_state()
    for held in (state.moments, state.steps):
        name = next(iter(held))
        value = held.pop(name)  # type: ignore[attr-defined]
        with pytest.raises(MmpretrainError, match=f"missing.*{name}"):
            second.load(first.weights(), state, {})
        held[name] = value  # type: ignore[index]
    assert second.weights()["slope"] == 3.0


def test_a_fingerprint_changes_with_any_bit_of_the_weights() -> None:
    module = Line()
    engine = engine_of(module)
    before = engine.fingerprint()
    assert before == engine.fingerprint()
    module.gain.data.view(torch.int32)[0] ^= 1
    assert engine.fingerprint() != before
