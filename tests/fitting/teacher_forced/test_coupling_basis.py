"""Couplings of finite length: their functions, their columns, the network that lives by them, and whole fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_recordings import DT, known_network, recorded
from typer.testing import CliRunner

import organoid
from organoid import FitResult, SpikeRecording
from organoid.cli import app, work
from organoid.errors import FitError, ModelError
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.free_run import calibration as gate
from organoid.fitting.teacher_forced.coupling_basis import lagged_functions, lagged_rows, lagged_spike_term
from organoid.fitting.teacher_forced.design import forced_design
from organoid.fitting.teacher_forced.estimate import fit_forced
from organoid.fitting.teacher_forced.features import Basis, forced_features
from organoid.fitting.teacher_forced.notes import CHOICES
from organoid.fitting.teacher_forced.prediction import expected_counts
from organoid.models.free_running import Injection
from organoid.models.spike_response.network import SpikeResponseNetwork, plain_parameters
from organoid.sample_culture import sample_path

N = 4


def network(scale: float = 1.0) -> SpikeResponseNetwork:
    """Four units coupled by a trace and by two functions of 5 and 9 steps."""
    rng = np.random.default_rng(1)
    p = plain_parameters(
        dt=DT, tau=np.array([0.02]), weights=scale * rng.normal(size=(1, N, N)), bias=np.full(N, -2.0), saturation=4.0
    )
    lags = np.zeros((2, 9))
    lags[0, 2:5], lags[1] = 1.0, np.linspace(1, 0.1, 9)
    return SpikeResponseNetwork(
        p._replace(
            lags=lags,
            lag_weights=scale * rng.normal(size=(2, N, N)),
            drive_low=np.full(N, -2.0),
            drive_high=np.full(N, 2.5),
        )
    )


def sums_by_hand(counts: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Sums over recent spikes, shape (n_bins, n_lagged, n_units)."""
    out = np.zeros((len(counts), len(lags), counts.shape[1]))
    for t in range(len(counts)):
        for lag in range(1, min(lags.shape[1], t) + 1):
            out[t] += np.outer(lags[:, lag - 1], counts[t - lag])
    return out


@pytest.fixture(scope="module")
def history() -> History:
    rng = np.random.default_rng(0)
    spikes = np.sort(rng.integers(0, 3000, 900))
    observed = np.ones(3000, dtype=bool)
    observed[500:600] = False
    return History(spikes, rng.integers(0, N, 900), 3000, N, DT, observed)


def test_functions_are_what_they_are_called() -> None:
    delayed = lagged_functions("traces", (0.003, 0.01), DT)
    assert delayed.shape == (4, 50)
    assert np.allclose(delayed[0, :6], [0, 0, 0, 1, np.exp(-0.5), np.exp(-1)])
    assert np.allclose(delayed[3, 9:12], [0, 1, np.exp(-1 / 8)])
    cosines = lagged_functions("cosines", (), DT)
    assert cosines.shape == (7, 100) and cosines[0, 0] == 1.0 and cosines[-1, -1] < 0.01
    assert np.allclose(cosines.sum(0)[3:15], 2.0)
    assert lagged_functions("traces", (), DT).size == 0


def test_columns_and_spike_term_against_plain_loops(history: History) -> None:
    lags = network().parameters.lags
    counts = history.counts(0, 3000)
    expected = sums_by_hand(counts, lags).reshape(3000, -1)
    wanted = np.arange(3, 3000, 7)
    assert np.allclose(lagged_rows(history, lags, wanted), expected[wanted])
    edges = np.array([0, 1000, 3000])
    term = lagged_spike_term(history, lags, edges)
    seen = counts * history.observed[:, None]
    for block in range(2):
        part = slice(edges[block], edges[block + 1])
        assert np.allclose(term[block], seen[part].T @ expected[part])


def test_the_columns_of_a_basis_are_in_order(history: History) -> None:
    p = network().parameters
    whole = Basis(p.tau, p.saturation, p.fields, p.lags)
    plain = Basis(p.tau, p.saturation, p.fields)
    rows = np.concatenate([rows for _, rows in forced_features(history, whole, 0, 3000)])
    traces = np.concatenate([rows for _, rows in forced_features(history, plain, 0, 3000)])
    lagged = lagged_rows(history, p.lags, np.arange(3000))
    assert np.array_equal(rows, np.concatenate([traces[:, :N], lagged, traces[:, N:]], axis=1))


def test_drive_and_what_is_still_to_come_follow_the_equations() -> None:
    net = network()
    p, n_steps, longest = net.parameters, 60, 9
    steps, units = np.nonzero(np.random.default_rng(3).integers(0, 2, (n_steps, N)))
    done = net.advance(net.initial_state(0), n_steps, Injection(steps, units, 1.0, np.zeros(n_steps)))
    counts = np.zeros((n_steps, N))
    np.add.at(counts, (np.append(steps, done.steps), np.append(units, done.units)), 1)
    trace = np.zeros(N)
    for row in counts:
        trace = trace * np.exp(-DT / 0.02)
        trace += row * (1 - trace / 4.0)
    assert np.allclose(done.state.drive[0], trace @ p.weights[0])
    to_come = np.zeros((longest, N))
    for later in range(longest):
        for lag in range(later + 1, longest + 1):
            spikes = counts[n_steps + later - lag]
            to_come[(n_steps + later) % longest] += np.einsum("b,j,bji->i", p.lags[:, lag - 1], spikes, p.lag_weights)
    assert np.allclose(done.state.future, to_come)


@pytest.mark.slow
def test_one_step_simulations_have_the_predicted_mean() -> None:
    net = network(1.5)
    state = net.initial_state(2)
    first = net.advance(state, 200)
    counts = np.zeros((201, N))
    np.add.at(counts, (first.steps, first.units), 1)
    spikes = np.nonzero(counts)
    history = History(spikes[0], spikes[1], 201, N, DT, np.ones(201, dtype=bool))
    ((_, expected),) = expected_counts(history, net.parameters, 200, 201)
    fired = np.zeros(N)
    for seed in range(3000):
        there = first.state.__class__(**{**vars(first.state), "key": net.initial_state(seed).key})
        np.add.at(fired, net.advance(there, 1).units, 1)
    error = np.sqrt(expected[0] * (1 - expected[0]) / 3000)
    assert np.all(np.abs(fired / 3000 - expected[0]) < 4.5 * error)


def test_a_run_may_be_cut_anywhere() -> None:
    net = network()
    whole = net.advance(net.initial_state(7), 500)
    first = net.advance(net.initial_state(7), 123)
    second = net.advance(first.state, 377)
    assert np.array_equal(np.concatenate([first.steps, second.steps + 123]), whole.steps)
    assert np.array_equal(second.state.future, whole.state.future)


def test_what_does_not_fit_is_refused() -> None:
    p = network().parameters
    with pytest.raises(ModelError, match="lag_weights"):
        SpikeResponseNetwork(p._replace(lag_weights=np.zeros((1, N, N))))
    with pytest.raises(ModelError, match="remembers"):
        network().state_from_traces(np.zeros((1, N)), np.empty(0), 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"basis": "splines"}, "traces"),
        ({"delays": (0.5,)}, "delays"),
        ({"delays": (0.0,)}, "bin"),
        ({"delays": 0.01}, "sequence"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(FitError, match=says):
        organoid.fit(recorded(known_network(), 20.0, 0), **options)  # type: ignore[arg-type]


def test_the_command_line_passes_the_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def stop(rec: SpikeRecording, **options: Any) -> None:
        asked.update(options)
        raise FitError("enough")

    monkeypatch.setattr(work, "fit", stop)
    command = ["fit", str(sample_path()), "--out", "fit.h5"]
    command += ["--basis", "cosines", "--delay", "0.01", "--delay", "0.02"]
    assert isinstance(CliRunner().invoke(app, command).exception, FitError)
    assert (asked["basis"], asked["delays"]) == ("cosines", (0.01, 0.02))


def test_no_correction_in_free_run_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    rec = recorded(known_network(), 30.0, 1)
    training = bin_history(rec, DT).training()
    design = forced_design(training, np.random.default_rng(0), basis="cosines")
    forced = fit_forced(training, design)
    monkeypatch.setattr(gate, "check_free_runs", lambda *_: gate.FreeRunCheck(5.0, False, False))
    weights = gate.choose_free_weights(rec, training, design, forced, seed=0)
    assert weights.choice == "forced, other basis" and weights.parameters is forced.parameters
    assert "plain traces" in CHOICES[weights.choice]


@pytest.fixture(scope="module")
def rec() -> SpikeRecording:
    return recorded(known_network(), 70.0, seed=4)


DELAYED = pytest.param("traces", (0.01,), 6, marks=pytest.mark.slow)


@pytest.mark.parametrize(("basis", "delays", "kinds"), [("cosines", (), 8), DELAYED])
@pytest.mark.slow
def test_a_fit_goes_end_to_end(
    rec: SpikeRecording, basis: str, delays: tuple[float, ...], kinds: int, tmp_path: Path
) -> None:
    fitted = organoid.fit(rec, free_run=False, basis=basis, delays=delays)
    assert isinstance(fitted, FitResult)
    parameters = fitted.forced.parameters
    assert parameters.tau.size + len(parameters.lags) == kinds
    assert fitted.scores["heldout_bits_per_spike"] > fitted.scores["heldout_bits_per_spike_uncoupled"] + 0.05
    assert fitted.settings["basis"] == basis and fitted.settings["delays"] == list(delays)
    fitted.save(tmp_path / "fit.h5")
    again = organoid.load_fit(tmp_path / "fit.h5")
    assert np.array_equal(again.predict(rec, 50.0, 60.0), fitted.predict(rec, 50.0, 60.0))
    one, other = (organoid.simulate(result, 20.0, seed=1) for result in (fitted, again))
    assert one.equals(other) and 0.7 < one.n_spikes / rec.n_spikes * 3.5 < 1.4
