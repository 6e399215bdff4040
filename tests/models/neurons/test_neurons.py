"""AdEx, Izhikevich and readout cells: against plain loops, an adaptive solver, closed forms and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor

import organoid
from organoid.errors import ModelError
from organoid.fitting.methods.gradient import GradientSettings, fit_gradient
from organoid.models import AdEx, AdExParameters, Izhikevich, IzhikevichParameters, LeakyReadout, LIFParameters
from organoid.models.neurons.adex import AdExCell
from organoid.models.neurons.izhikevich import IzhikevichCell
from organoid.models.surrogate import FastSigmoid

Array = NDArray[np.float64]
DT = 0.001
CELLS = {"adex": (AdExCell, AdExParameters), "izhikevich": (IzhikevichCell, IzhikevichParameters)}
NETWORKS = {"adex": AdEx, "izhikevich": Izhikevich}


def draw(*shape: int, seed: int = 0, scale: float = 1.0, offset: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return offset + scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def run_cell(name: str, drive: Array, dt: float, parameters: Any = None) -> tuple[Array, Any]:
    make, settings = CELLS[name]
    cell: Any = make(drive.shape[1], dt, parameters or settings(), FastSigmoid()).double()
    x = torch.from_numpy(drive)[None]
    with torch.no_grad():
        spikes, _, state = cell.scan(x, cell.initial_state(1, x))
    return spikes[0].numpy(), state


# Against plain loops in numpy: a scalar at a time, written from the equations


def adex_loop(drive: Array, dt: float, p: AdExParameters) -> tuple[Array, Array, Array]:
    n_parts = math.ceil(dt / p.max_part - 1e-9)
    h = dt / n_parts
    out, v_end, w_end = np.zeros_like(drive), np.zeros(drive.shape[1]), np.zeros(drive.shape[1])
    for i in range(drive.shape[1]):
        v = w = left = 0.0
        for t in range(len(drive)):
            for _ in range(n_parts):
                if v >= p.peak:
                    break
                goal = drive[t, i] - w + p.slope * math.exp((v - 1) / p.slope)
                w_now = p.coupling * v + (w - p.coupling * v) * math.exp(-h / p.tau_adapt)
                if left == 0:
                    v = goal + (v - goal) * math.exp(-h / p.lif.tau_mem)
                w = w_now
            left = max(left - 1, 0)
            if v >= p.peak:
                out[t, i], v, w, left = 1, p.reset_voltage, w + p.jump, round(p.lif.refractory / dt)
        v_end[i], w_end[i] = v, w
    return out, v_end, w_end


def izhikevich_loop(drive: Array, dt: float, p: IzhikevichParameters) -> tuple[Array, Array, Array]:
    n_parts = math.ceil(dt / p.max_part - 1e-9)
    h, rest = 1000 * dt / n_parts, min(np.roots([0.04, 5 - p.b, 140]))
    out, v_end, u_end = np.zeros_like(drive), np.zeros(drive.shape[1]), np.zeros(drive.shape[1])
    for i in range(drive.shape[1]):
        v, u = rest, p.b * rest
        for t in range(len(drive)):
            for _ in range(n_parts):
                if v < 30:
                    fast = 0.04 * v * v + 5 * v + 140 - u + drive[t, i] * ((5 - p.b) ** 2 / 0.16 - 140)
                    v, u = v + h * fast, u + h * p.a * (p.b * v - u)
            if v >= 30:
                out[t, i], v, u = 1, p.c, u + p.d
        v_end[i], u_end[i] = v, u
    return out, v_end, u_end


@pytest.mark.parametrize("dt", [0.0002, 0.001, 0.004])
@pytest.mark.parametrize("refractory", [0.0, 0.004])
def test_adex_is_the_plain_loop(dt: float, refractory: float) -> None:
    p = AdExParameters(LIFParameters(tau_mem=0.01, refractory=refractory), jump=0.3, reset_voltage=0.4)
    drive = draw(400, 4, scale=2.0, offset=1.5).numpy()
    spikes, state = run_cell("adex", drive, dt, p)
    expected, v, w = adex_loop(drive, dt, p)
    assert expected.sum() > 10
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_allclose(state.voltage[0], v, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(state.adaptation[0], w, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dt", [0.0002, 0.001, 0.004])
@pytest.mark.parametrize("kind", [{}, {"a": 0.1, "d": 2.0}, {"c": -50.0, "d": 2.0}])
def test_izhikevich_is_the_plain_loop(dt: float, kind: dict[str, float]) -> None:
    p = IzhikevichParameters(**kind)  # type: ignore[arg-type]
    drive = draw(400, 4, scale=2.0, offset=2.5).numpy()
    spikes, state = run_cell("izhikevich", drive, dt, p)
    expected, v, u = izhikevich_loop(drive, dt, p)
    assert expected.sum() > 10
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_allclose(state.voltage[0], v, rtol=1e-5)
    np.testing.assert_allclose(state.recovery[0], u, rtol=1e-5)


# Against an adaptive solver of the equations themselves


def spike_times(
    rule: Callable[[float, Array], list[float]], start: list[float], peak: float, reset: Any, duration: float
) -> Array:
    """Integrate to the next peak, reset, go on; times in the unit of the rule."""

    def reached(t: float, y: Array) -> float:
        return float(y[0] - peak)

    reached.terminal, reached.direction = True, 1.0  # type: ignore[attr-defined]
    times, t, y = [], 0.0, start
    while t < duration:
        out = solve_ivp(rule, (t, duration), y, events=reached, rtol=1e-9, atol=1e-10)
        t = float(out.t[-1])
        if out.status == 1:
            times.append(t)
            y = reset(out.y[:, -1])
    return np.array(times)


@pytest.mark.parametrize("drive", [1.5, 3.0])
@pytest.mark.slow
def test_fine_adex_has_the_spike_times_of_the_equations(drive: float) -> None:
    p = AdExParameters(LIFParameters(tau_mem=0.01, refractory=0.0))

    def rule(t: float, y: Array) -> list[float]:
        v, w = y
        fast = -v + p.slope * math.exp((v - 1) / p.slope) - w + drive
        return [fast / p.lif.tau_mem, (p.coupling * v - w) / p.tau_adapt]

    exact = spike_times(rule, [0.0, 0.0], p.peak, lambda y: [p.reset_voltage, y[1] + p.jump], 0.1)
    spikes, _ = run_cell("adex", np.full((20_000, 1), drive), 5e-6, p)
    times = (np.flatnonzero(spikes[:, 0]) + 1) * 5e-6
    assert len(exact) > 2
    assert np.diff(exact)[-1] > 1.1 * np.diff(exact)[0]  # it adapts
    np.testing.assert_allclose(times, exact, rtol=2e-3)


@pytest.mark.parametrize("kind", [{}, {"a": 0.1, "d": 2.0}])
@pytest.mark.slow
def test_fine_izhikevich_has_the_spike_times_of_the_equations(kind: dict[str, float]) -> None:
    p = IzhikevichParameters(**kind)  # type: ignore[arg-type]

    def rule(t: float, y: Array) -> list[float]:
        v, u = y
        return [0.04 * v**2 + 5 * v + 140 - u + 2.5 * p.rheobase, p.a * (p.b * v - u)]

    exact = spike_times(rule, [p.rest, p.b * p.rest], 30.0, lambda y: [p.c, y[1] + p.d], 100.0)
    spikes, _ = run_cell("izhikevich", np.full((20_000, 1), 2.5), 5e-6, p)
    assert len(exact) > 2
    np.testing.assert_allclose((np.flatnonzero(spikes[:, 0]) + 1) * 5e-3, exact, rtol=5e-3)  # Euler: 0.35 %


# Closed forms


def test_adex_fires_above_its_rheobase_only() -> None:
    p = AdExParameters(coupling=0.0)
    rheobase = 1 - p.slope  # the largest V - slope e^((V - 1) / slope), at V = 1
    below, above = (run_cell("adex", np.full((1000, 1), k * rheobase), 0.0005, p)[0].sum() for k in (0.95, 1.05))
    assert below == 0
    assert above > 0


def test_izhikevich_units_are_those_of_the_paper() -> None:
    p = IzhikevichParameters()
    assert p.rest == pytest.approx(-70)
    assert p.rheobase == pytest.approx(4)
    resting, state = run_cell("izhikevich", np.full((2000, 1), 0.0), DT)
    assert not resting.any()
    assert state.voltage.item() == pytest.approx(-70)
    assert run_cell("izhikevich", np.full((2000, 1), 1.05), DT)[0].any()


def test_izhikevich_settings_make_other_cells() -> None:
    def intervals(**kind: float) -> Array:
        p = IzhikevichParameters(**kind)  # type: ignore[arg-type]
        return np.diff(np.flatnonzero(run_cell("izhikevich", np.full((1500, 1), 2.5), 0.0005, p)[0][:, 0]))

    regular, fast, chattering = intervals(), intervals(a=0.1, d=2.0), intervals(c=-50.0, d=2.0)
    assert fast.mean() < regular.mean() / 2  # steps
    assert chattering.max() > 5 * chattering.min()  # bursts
    assert regular[2:].max() < 1.5 * regular[2:].min()


# Networks


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("dt", [0.001, 0.002, 0.005])
def test_networks_keep_the_contract_at_any_step(name: str, dt: float) -> None:
    organoid.check_model(NETWORKS[name](4, dt, seed=1))


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.slow
def test_gradients_of_long_runs_are_finite_under_any_drive(name: str) -> None:
    model = NETWORKS[name](3, 0.002, seed=0)
    for scale in (0.0, 5.0, 50.0, 500.0):
        x = draw(2, 300, 3, scale=scale).float()
        model.zero_grad()
        model.trajectory(x).spikes.sum().backward()
        assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_learn_bursts(name: str) -> None:
    rng = np.random.default_rng(0)
    onset = np.zeros(6000)
    onset[np.cumsum(rng.integers(120, 300, 40))[:28]] = 1
    burst = np.convolve(onset, np.ones(40))[: len(onset), None] * rng.uniform(0.1, 0.5, 5)
    counts = (rng.random((6000, 5)) < 0.002 + burst).astype(int)
    settings = GradientSettings(n_steps=25, batch=16, window=0.25, warmup=0.1, learning_rate=0.03, free_run=False)
    fit = fit_gradient(counts, model=name, loss="van_rossum", bin_width=0.004, settings=settings, progress=False)
    held_out = fit.curve.held_out_loss.dropna()
    assert held_out.iloc[-1] < 0.9 * held_out.iloc[0]
    assert fit.held_out["fitted"] < fit.held_out["silent"]


# Readout


def test_readout_keeps_the_contract_and_is_the_plain_loop() -> None:
    readout = LeakyReadout(4, 4, DT, seed=1).double()
    organoid.check_model(readout)
    wide = LeakyReadout(5, 2, DT, tau=0.01, seed=2).double()
    x, start = draw(3, 130, 5), draw(3, 2, seed=1)
    y, got = start.numpy(), []
    for t in range(130):
        goal = x[:, t].numpy() @ wide.weight.detach().numpy() + wide.bias.detach().numpy()
        y = goal + (y - goal) * math.exp(-DT / 0.01)
        got.append(y)
    potentials, end = wide.run(x, start)
    np.testing.assert_allclose(potentials.detach(), np.stack(got, 1), atol=1e-12)
    np.testing.assert_allclose(end.detach(), y, atol=1e-12)


@pytest.mark.slow
def test_readout_passes_finite_differences() -> None:
    readout, x = LeakyReadout(3, 2, DT).double(), draw(2, 70, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: readout.run(v)[0], (x,))


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdExParameters(slope=0.0),
        lambda: AdExParameters(peak=0.9),
        lambda: AdExParameters(reset_voltage=2.0),
        lambda: AdExParameters(LIFParameters(reset="subtract")),
        lambda: AdEx(0, DT),
        lambda: IzhikevichParameters(b=0.3),
        lambda: IzhikevichParameters(c=31.0),
        lambda: IzhikevichParameters(d=0.0),
        lambda: Izhikevich(2, 0.0),
        lambda: LeakyReadout(0, 2, DT),
        lambda: LeakyReadout(2, 2, DT, tau=0.0),
        lambda: LeakyReadout(2, 2, DT).run(torch.zeros(1, 5, 3)),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ModelError):
        make()
