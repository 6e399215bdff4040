r"""A term of the fitted network that the package does not have, added from outside: a slow adaptation current.

.. math:: V_i(t) \mathrel{-}= g_i a_i(t), \qquad a_i(t+1) = e^{-dt/\tau} a_i(t) + y_i(t)

Two objects, one for the network and one for the fit, and a line in a registry for each: no file of the package changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import escape_oracle
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

import organoid
from organoid import FitResult, ModelError, SpikeRecording
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.teacher_forced.added_terms import FITTED_TERMS, FittedTerm, fit_term
from organoid.fitting.teacher_forced.estimate import ForcedFit
from organoid.fitting.teacher_forced.prediction import expected_counts, potentials_of
from organoid.jit import borrowing
from organoid.models.spike_response.network import SpikeResponseNetwork, SpikeResponseParameters, plain_parameters
from organoid.models.spike_response.stepping import copies_of, state_of_copy
from organoid.models.spike_response.terms.brake import NO_BRAKE
from organoid.models.spike_response.terms.registry import ADDED_TERMS, Term
from organoid.sample_culture import sample_path

Array = NDArray[np.float64]

NAME = "slow adaptation"
TAU = 2.0  # s
DT = 0.001

# --- the term: what a user writes ---------------------------------------------------------------------------------


class SlowAdaptation(NamedTuple):
    """Constants: what is left of a trace after a step, and ``g``, logit per spike, shape (n_units,)."""

    decay: float
    gain: Array

    def check(self, n_units: int) -> None:
        if self.gain.shape != (n_units,) or not 0 < self.decay < 1:
            raise ModelError("slow adaptation needs a gain for each unit and a decay between 0 and 1")


def resting(constants: SlowAdaptation, copies: int) -> Array:
    return np.zeros(copies * constants.gain.size)


@borrowing()
def add(constants: Any, memory: Any, copies: int, v: Any) -> None:
    n = constants.gain.size
    for i in range(copies * n):
        v[i] -= constants.gain[i % n] * memory[i]


@borrowing()
def update(constants: Any, spikes: Any, memory: Any) -> None:
    for i in range(memory.size):
        memory[i] *= constants.decay
    for s in range(spikes.begin[-1]):
        memory[spikes.which[s]] += 1.0


def of_weights(history: History, weights: Array) -> SlowAdaptation:
    return SlowAdaptation(float(np.exp(-history.bin_width / TAU)), -weights)


def note(constants: SlowAdaptation) -> str:
    return f"slow adaptation of {constants.gain.mean():.2g} per spike in the mean"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADDED_TERMS, NAME, Term(SlowAdaptation, resting, add, update))
    monkeypatch.setitem(FITTED_TERMS, NAME, FittedTerm(of_weights, 0.1, note))


# --- plain references ---------------------------------------------------------------------------------------------


def free_run_of(p: SpikeResponseParameters, key: int, n_steps: int) -> NDArray[np.int64]:
    """Counts of a free run, from the equations: the network of the oracle with the trace of adaptation beside it."""
    n, (term,) = p.bias.size, p.added
    s, q, a = np.zeros((p.tau.size, n)), p.fields.mean.copy(), np.zeros(n)
    counts = np.zeros((n_steps, n), dtype=np.int64)
    for t in range(n_steps):
        probability = expit(escape_oracle.potential_of(p, s, q) - term.gain * a)
        draws = np.array([escape_oracle.uniform_at(key, t * n + i) for i in range(n)])
        counts[t] = draws >= 1 - probability
        s = escape_oracle.after_spikes(s * np.exp(-p.dt / p.tau)[:, None], counts[t], p.saturation)
        q = q * p.fields.decay + escape_oracle.entering(p.fields, counts[t])
        a = a * term.decay + counts[t]
    return counts


def network(n: int = 4, gain: float = 0.3) -> SpikeResponseNetwork:
    rng = np.random.default_rng(1)
    plain = plain_parameters(dt=DT, tau=np.array([0.005]), weights=rng.normal(0, 0.5, (1, n, n)), bias=np.full(n, -3.0))
    return SpikeResponseNetwork(plain._replace(added=(SlowAdaptation(float(np.exp(-DT / TAU)), np.full(n, gain)),)))


def culture(duration: float = 60.0) -> SpikeRecording:
    """Independent units that adapt, drawn from the network itself."""
    out = network().advance(network().initial_state(3), round(duration / DT))
    return SpikeRecording((out.steps + 0.5) * DT, out.units, t_start=0.0, t_stop=duration)


# --- tests --------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # compiles the step for the term
def test_a_free_run_is_the_reference_spike_for_spike(registered: None) -> None:
    net, n_steps = network(), 4000
    start = net.initial_state(7)
    out = net.advance(start, n_steps)
    counts = np.zeros((n_steps, net.n_units), dtype=np.int64)
    np.add.at(counts, (out.steps, out.units), 1)
    assert counts.sum() > 60
    assert np.array_equal(counts, free_run_of(net.parameters, start.key, n_steps))
    without = SpikeResponseNetwork(net.parameters._replace(added=()))
    assert without.advance(without.initial_state(7), n_steps).steps.size > 1.5 * out.steps.size


@pytest.mark.slow  # compiles the step for the term
def test_a_run_in_pieces_and_copies_side_by_side_keep_the_memory(registered: None) -> None:
    net = network()
    whole = net.advance(net.initial_state(7), 1000)
    half = net.advance(net.initial_state(7), 500)
    rest = net.advance(half.state, 500)
    assert np.array_equal(np.concatenate([half.steps, rest.steps + 500]), whole.steps)
    states = [half.state, net.advance(net.initial_state(8), 500).state]
    back = [state_of_copy(copies_of(states), k, 2, s.key, s.step, s.activity) for k, s in enumerate(states)]
    for before, after in zip(states, back):
        assert np.array_equal(before.memory.added[0], after.memory.added[0])


@pytest.mark.slow  # compiles the step for the term
def test_predictions_on_recorded_history_hold_the_term(registered: None) -> None:
    net, history = network(), bin_history(culture(5.0), DT)
    (term,), counts = net.parameters.added, bin_history(culture(5.0), DT).counts(0, 5000)
    trace = np.zeros(net.n_units)
    wanted = np.empty(counts.shape)
    plain = np.concatenate([v for _, v in potentials_of(history, net.parameters._replace(added=()), 0, 5000)])
    for t, now in enumerate(counts):
        wanted[t] = expit(plain[t] - term.gain * trace)
        trace = trace * term.decay + now
    found = np.concatenate([mu for _, mu in expected_counts(history, net.parameters, 0, 5000)])
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    late = np.concatenate([mu for _, mu in expected_counts(history, net.parameters, 3000, 5000)])
    np.testing.assert_allclose(late, wanted[3000:], rtol=1e-12)


@pytest.mark.slow  # compiles the step for the term
def test_the_fit_of_a_term_is_the_maximum_that_scipy_finds(registered: None) -> None:
    rec = culture()
    history = bin_history(rec, DT)
    plain = network().parameters._replace(added=())
    forced: Any = ForcedFit(np.empty(0), plain, plain, "", np.empty(0, dtype=str), {}, 0.0, 0.0, True)
    found = fit_term(history, plain, forced, FITTED_TERMS[NAME])
    (term,) = found.added
    counts = history.counts(0, history.n_bins)[:, 0]
    v = np.concatenate([v for _, v in potentials_of(history, plain, 0, history.n_bins)])[:, 0]
    x, trace = np.empty(counts.size), 0.0
    for t, now in enumerate(counts):
        x[t] = -trace
        trace = trace * term.decay + now

    def loss(theta: Array) -> float:
        eta = v + theta[0] + theta[1] * x
        return float(np.logaddexp(0, eta).sum() - (counts * eta).sum() + 0.05 * theta[1] ** 2)

    best = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000})
    assert found.bias[0] - plain.bias[0] == pytest.approx(best.x[0], abs=1e-5)
    assert term.gain[0] == pytest.approx(best.x[1], abs=1e-5)
    assert term.gain[0] == pytest.approx(0.3, abs=0.1)  # what the culture was drawn with


def test_a_saved_network_needs_the_term_to_come_back(
    registered: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import h5py

    from organoid.models.serialization import read_network, write_network

    net = network()
    with h5py.File(tmp_path / "network.h5", "w") as file:
        write_network(file.create_group("network"), net)
        back = read_network(file["network"])
        assert back.describe() == net.describe()
        assert net.describe() != network(gain=0.31).describe()
        monkeypatch.delitem(ADDED_TERMS, NAME)
        with pytest.raises(ModelError, match="term 'slow adaptation', which is not registered here"):
            read_network(file["network"])
        with pytest.raises(ModelError, match="SlowAdaptation"):
            network()


@pytest.mark.slow
def test_the_sample_is_fitted_with_the_term_saved_loaded_and_simulated(registered: None, tmp_path: Path) -> None:
    rec = organoid.read_recording(sample_path()).select(t_start=0.0, t_stop=120.0)
    result = organoid.fit(rec, free_run=False)
    assert isinstance(result, FitResult)
    (term,) = result.network.parameters.added
    assert np.ptp(term.gain) > 0
    assert note(term) in result.notes
    result.save(tmp_path / "fit.h5")
    back = organoid.load_fit(tmp_path / "fit.h5")
    assert back.network.describe() == result.network.describe()
    runs = [organoid.simulate(network, 10.0, seed=2) for network in (result, back)]
    assert np.array_equal(runs[0].spike_times, runs[1].spike_times)
    p = result.network.parameters._replace(brake=NO_BRAKE, capacity=np.ones(rec.n_units, dtype=np.int64))
    net = SpikeResponseNetwork(p)
    out = net.advance(net.initial_state(4), 2000)
    counts = np.zeros((2000, net.n_units), dtype=np.int64)
    np.add.at(counts, (out.steps, out.units), 1)
    assert counts.sum() > 20
    assert np.array_equal(counts, free_run_of(p, net.initial_state(4).key, 2000))
