"""The conformance checker of models: each broken model breaks one rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import organoid
from organoid.errors import ModelError
from organoid.models import LIF

DT = 0.001


class Leak(NamedTuple):
    v: Tensor


class Good:
    """The smallest model that keeps the contract."""

    n_units, dt = 3, DT

    def initial_state(self, batch: int = 1) -> Leak:
        return Leak(torch.zeros(batch, 3))

    def step(self, x: Tensor, state: Leak) -> tuple[Tensor, Leak]:
        v = 0.9 * state.v + x
        return (v > 1).float(), Leak(v)

    def run(self, x: Tensor, state: Leak | None = None) -> tuple[Tensor, Leak]:
        state = self.initial_state(x.shape[0]) if state is None else state
        spikes = []
        for part in x.unbind(1):
            out, state = self.step(part, state)
            spikes.append(out)
        return torch.stack(spikes, 1), state


class NoUnits(Good):
    n_units = 0


class NoDt(Good):
    dt = math.nan


class UnitFirst(Good):
    n_units = 4

    def initial_state(self, batch: int = 1) -> Leak:
        return Leak(torch.zeros(4, batch))


class ExtraAxis(Good):
    def step(self, x: Tensor, state: Leak) -> tuple[Tensor, Leak]:
        spikes, state = super().step(x, state)
        return spikes[:, None], state


class TimeFirst(Good):
    def run(self, x: Tensor, state: Leak | None = None) -> tuple[Tensor, Leak]:
        spikes, state = super().run(x, state)
        return spikes.transpose(0, 1), state


class Explodes(Good):
    def step(self, x: Tensor, state: Leak) -> tuple[Tensor, Leak]:
        v = 1e9 * state.v + x
        return (v > 1).float(), Leak(v)


class InPlace(Good):
    def step(self, x: Tensor, state: Leak) -> tuple[Tensor, Leak]:
        state.v.mul_(0.9).add_(x)
        return (state.v > 1).float(), Leak(state.v.clone())


class HiddenNoise(Good):
    def step(self, x: Tensor, state: Leak) -> tuple[Tensor, Leak]:
        return super().step(x + torch.randn_like(x), state)


class BatchNorm(Good):
    def step(self, x: Tensor, state: Leak) -> tuple[Tensor, Leak]:
        return super().step(x - x.mean(0), state)


class ForgetsState(Good):
    def run(self, x: Tensor, state: Leak | None = None) -> tuple[Tensor, Leak]:
        return super().run(x, None)


class LooksAhead(Good):
    def run(self, x: Tensor, state: Leak | None = None) -> tuple[Tensor, Leak]:
        return super().run(x.roll(-1, dims=1), state)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (NoUnits(), "n_units is a positive integer"),
        (NoDt(), "dt is a positive number"),
        (UnitFirst(), "states are batch first"),
        (ExtraAxis(), r"step returns spikes \(batch, unit\)"),
        (TimeFirst(), r"run returns spikes \(batch, time, unit\)"),
        (Explodes(), "everything is finite"),
        (InPlace(), "leaves the state it was given alone"),
        (HiddenNoise(), "same input gives the same output"),
        (BatchNorm(), "copies in a batch are independent"),
        (LooksAhead(), "run equals step by step"),
        (ForgetsState(), "a run in two parts equals the whole"),
    ],
)
def test_checker_names_the_broken_rule(broken: Any, rule: str) -> None:
    organoid.check_model(Good())
    with pytest.raises(ModelError, match=rule):
        organoid.check_model(broken)


class NoGradient(LIF):
    def trajectory(self, x: Tensor, state: Any = None, *, forced: Tensor | None = None) -> Any:
        out = super().trajectory(x, state, forced=forced)
        return out._replace(spikes=out.spikes.detach() + 0 * self.bias)


class IgnoresForcing(LIF):
    def trajectory(self, x: Tensor, state: Any = None, *, forced: Tensor | None = None) -> Any:
        out = super().trajectory(x, state, forced=forced)
        return out if forced is None else out._replace(spikes=out.spikes.roll(1, dims=1))


class OtherTrajectory(LIF):
    def trajectory(self, x: Tensor, state: Any = None, *, forced: Tensor | None = None) -> Any:
        return super().trajectory(x * 1.5, state, forced=forced)

    def run(self, x: Tensor, state: Any = None) -> Any:
        out = super().trajectory(x, state)
        return out.spikes, out.state


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (NoGradient, "gradient reaches every parameter"),
        (IgnoresForcing, "forcing a model with its own spikes"),
        (OtherTrajectory, "trajectory equals run"),
    ],
)
def test_checker_names_the_broken_rule_of_trainable_models(broken: Callable[..., Any], rule: str) -> None:
    with pytest.raises(ModelError, match=rule):
        organoid.check_model(broken(4, DT))
