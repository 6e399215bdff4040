"""Responses to pulses: their drive, their fit against known kernels, and what a culture makes of them."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from synthetic_recordings import DT, known_network

import organoid
from organoid import FitResult, SpikeRecording
from organoid.culture import simulate
from organoid.culture.tissue import Tissue
from organoid.errors import ModelError, StimulationError
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.data.stimuli import RecordedPulses
from organoid.fitting.free_run.moments import Plan, fit_free
from organoid.fitting.free_run.recorded_stimuli import with_recorded_pulses
from organoid.fitting.teacher_forced.design import forced_design
from organoid.fitting.teacher_forced.estimate import ForcedFit, fit_forced
from organoid.fitting.teacher_forced.prediction import bits_per_spike
from organoid.fitting.teacher_forced.stimulus import cosines, pulse_columns
from organoid.models.free_running import Injection
from organoid.models.serialization import read_network, write_network
from organoid.models.spike_response.network import SpikeResponseNetwork, plain_parameters
from organoid.models.spike_response.terms.stimulus import StimulusKernels
from organoid.stimulation import Pulse

N, LAGS = 8, 120
ELECTRODES = np.array([3, 5])
NOTHING = np.empty(0, dtype=np.int64)


def kernels_of(curves: np.ndarray, *, reference: float = np.nan, wide: float = 50.0) -> StimulusKernels:
    """Kernels of electrodes 3 and 5 that are hardly clipped."""
    n = curves.shape[2]
    return StimulusKernels(
        DT, ELECTRODES, np.arange(2), np.array([40, 40]), curves, np.full(n, -wide), np.full(n, wide), reference, "A"
    )


def known_kernels() -> StimulusKernels:
    """Electrode 3 drives units 0 to 3 at once, electrode 5 units 4 to 7 after 15 ms, and holds unit 0 down."""
    t = (np.arange(LAGS) + 0.5) * DT
    curves = np.zeros((2, LAGS, N))
    curves[0, :, :4] = (3.0 * np.exp(-t / 0.006))[:, None]
    curves[1, :, 4:] = (2.5 * np.exp(-0.5 * ((np.log(t) - np.log(0.015)) / 0.6) ** 2))[:, None]
    curves[1, :, 0] = -2.0 * np.exp(-t / 0.04)
    return kernels_of(curves)


def pulsed(network: SpikeResponseNetwork, duration: float, seed: int, every: float = 0.35) -> SpikeRecording:
    """A recording with pulses on two electrodes in turn, at random times."""
    rng = np.random.default_rng(seed)
    times = np.round(np.cumsum(every * (0.5 + rng.uniform(size=int(duration / every)))), 3)
    times = times[times < duration - 0.2]
    pulses = [
        (float(t), Pulse.biphasic(int(e), 1e-6, 200e-6)) for t, e in zip(times, rng.choice(ELECTRODES, times.size))
    ]
    return simulate(network, duration, stimuli=pulses, seed=seed)


@pytest.fixture(scope="module")
def truth() -> SpikeResponseNetwork:
    return SpikeResponseNetwork(known_network().parameters, known_kernels())


@pytest.fixture(scope="module")
def rec(truth: SpikeResponseNetwork) -> SpikeRecording:
    return pulsed(truth, 110.0, seed=1)


@pytest.fixture(scope="module")
def fitted(rec: SpikeRecording) -> FitResult:
    result = organoid.fit(rec, free_run=False)
    assert isinstance(result, FitResult)
    return result


def forced_fit(training: History) -> ForcedFit:
    return fit_forced(training, forced_design(training, np.random.default_rng(0)))


def with_stimuli(rec: SpikeRecording, stimuli: pd.DataFrame | None) -> SpikeRecording:
    return SpikeRecording(
        rec.spike_times,
        rec.spike_units,
        n_units=rec.n_units,
        t_start=rec.t_start,
        t_stop=rec.t_stop,
        sampling_rate=rec.sampling_rate,
        electrodes=rec.electrodes,
        stimuli=stimuli,
    )


# --- the drive --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 40])
def test_drive_is_the_clipped_sum_of_kernels(start: int) -> None:
    rng = np.random.default_rng(0)
    kernels = kernels_of(rng.normal(size=(2, 10, 3)), reference=2.0, wide=1.0)
    steps, electrodes = np.sort(rng.integers(0, 60, 12)), rng.choice([3, 5, 6], 12)
    amplitudes = rng.uniform(1, 4, 12)
    expected = np.zeros((90, 3))
    for step, electrode, amplitude in zip(steps, electrodes, amplitudes):
        if electrode != 6:
            expected[step : step + 10] += np.log(1 + amplitude / 2.0) * kernels.curves[[3, 5].index(electrode)]
    got = np.zeros((90, 3))
    at, drive = kernels.drive(kernels.track(steps, electrodes, amplitudes, np.full(12, "A")), start, 90)
    got[start + at] = drive
    assert np.allclose(got[start:], np.clip(expected, -1, 1)[start:])


def test_a_driven_network_spikes_as_one_with_that_bias() -> None:
    bias = np.array([-3.0, -2.0])
    nets = [
        SpikeResponseNetwork(
            plain_parameters(dt=DT, tau=np.array([0.01]), weights=np.zeros((1, 2, 2)), bias=bias + more)
        )
        for more in (0.0, 1.5)
    ]
    steps = np.arange(100, 200)
    driven = Injection(NOTHING, NOTHING, 1.0, np.zeros(400), steps, np.full((100, 2), 1.5))
    plain, more = (net.advance(net.initial_state(4), 400) for net in nets)
    got = nets[0].advance(nets[0].initial_state(4), 400, driven)
    inside = (more.steps >= 100) & (more.steps < 200)
    outside = (plain.steps < 100) | (plain.steps >= 200)
    expected = {*zip(more.steps[inside], more.units[inside]), *zip(plain.steps[outside], plain.units[outside])}
    assert set(zip(got.steps, got.units)) == expected and inside.sum() > plain.steps.size - outside.sum()


@pytest.mark.parametrize(
    ("steps", "drive"),
    [
        (np.array([1, 1]), np.zeros((2, N))),
        (np.array([10]), np.zeros((1, N))),
        (np.array([1]), np.zeros((1, N + 1))),
    ],
)
def test_drives_that_do_not_fit_are_refused(steps: np.ndarray, drive: np.ndarray) -> None:
    net = known_network()
    with pytest.raises(ModelError, match="drive"):
        net.advance(net.initial_state(0), 10, Injection(NOTHING, NOTHING, 1.0, np.zeros(10), steps, drive))


def test_cosines_sum_to_a_constant_between_their_ends() -> None:
    basis = cosines(DT)
    assert basis.shape == (LAGS, 8) and basis.min() >= 0 and basis.max() <= 1
    assert np.allclose(basis[4:25].sum(1), 2.0, atol=1e-9)
    assert basis[-1].max() < 1e-2 and basis[0, 0] == 1.0


# --- in a culture -----------------------------------------------------------------------------------------------


def test_a_fitted_electrode_recruits_nobody_and_others_do(truth: SpikeResponseNetwork) -> None:
    bare = SpikeResponseNetwork(truth.parameters)
    geometry = organoid.culture.place(N)
    with_kernels, without = Tissue(truth, geometry), Tissue(bare, geometry)
    both = Pulse.biphasic((3, 4), 5e-6, 200e-6)
    assert with_kernels.effect(both)[0][3] == 0.0 and without.effect(both)[0][3] > 0.5
    assert with_kernels.effect(both)[0][4] == without.effect(both)[0][4] > 0.5
    block = with_kernels.advance(with_kernels.initial_state(0), 400, [(20, Pulse.biphasic(5, 5e-6, 200e-6))])
    assert not block.direct.any()


def test_responses_without_a_table_of_electrodes_can_be_used(truth: SpikeResponseNetwork) -> None:
    units, nothing = pd.DataFrame(index=range(N)), pd.DataFrame({"channel": [], "electrode": []})
    found = organoid.culture.place(N, units, nothing, ELECTRODES)
    assert found.electrode_numbers.tolist() == ELECTRODES.tolist() and not found.unreachable.size
    tissue = Tissue(truth, found)
    assert tissue.has_kernel(0) and tissue.has_kernel(1)
    block = tissue.advance(tissue.initial_state(0), 400, [(20, Pulse.biphasic(1, 5e-6, 200e-6))])
    assert block.spike_units.size and not block.direct.any()
    assert organoid.culture.place(N, units, nothing, np.array([-1])).n_electrodes == N  # numbers unknown: as usual


def test_a_run_with_kernels_can_be_cut_anywhere(truth: SpikeResponseNetwork) -> None:
    tissue = Tissue(truth, organoid.culture.place(N))
    pulses = [(frame, Pulse.biphasic(int(e), 1e-6, 200e-6)) for frame, e in ((105, 3), (1000, 5), (1010, 3), (4007, 5))]
    whole = tissue.advance(tissue.initial_state(2), 8000, pulses)
    state, frames, units = tissue.initial_state(2), [], []
    for until in (100, 110, 1005, 3999, 4007, 4300, 8000):
        part = tissue.advance(state, until, [p for p in pulses if state.frame <= p[0] < until])
        state = part.state
        frames.append(part.spike_frames)
        units.append(part.spike_units)
    assert np.array_equal(np.concatenate(frames), whole.spike_frames)
    assert np.array_equal(np.concatenate(units), whole.spike_units)


def test_a_pulse_in_another_unit_is_refused_where_amplitudes_count(truth: SpikeResponseNetwork) -> None:
    scaled = SpikeResponseNetwork(truth.parameters, dataclasses.replace(known_kernels(), reference=1e-6))
    tissue = Tissue(scaled, organoid.culture.place(N))
    volts = Pulse.biphasic(3, 0.5, 200e-6, unit="V")
    with pytest.raises(StimulationError, match="fitted to pulses in A"):
        tissue.advance(tissue.initial_state(0), 100, [(0, volts)])
    tissue.advance(tissue.initial_state(0), 100, [(0, dataclasses.replace(volts, electrodes=(4,)))])  # not fitted


def test_kernels_are_stored_with_the_network(truth: SpikeResponseNetwork, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "net.h5", "w") as h5:
        write_network(h5.create_group("a"), truth)
        write_network(h5.create_group("b"), SpikeResponseNetwork(truth.parameters))
        again, bare = read_network(h5["a"]), read_network(h5["b"])
    assert again.describe() == truth.describe() and bare.stimulus is None
    assert again.stimulus.table().equals(truth.stimulus.table())


# --- the fit ----------------------------------------------------------------------------------------------------


def test_pulses_find_their_electrode(rec: SpikeRecording) -> None:
    stimuli = pd.DataFrame(
        {"time_s": [0.5, 0.1, 0.2, 0.3], "electrode": [40, None, None, None], "channel": [1, 7, 9, None]}
    )
    electrodes = pd.DataFrame({"channel": [7, 8], "electrode": [70, 80]})
    made = SpikeRecording([0.05], [0], t_stop=1.0, t_start=0.0, stimuli=stimuli, electrodes=electrodes)
    pulses = bin_history(made, DT).pulses
    assert pulses.bins.tolist() == [100, 200, 300, 500]
    assert pulses.electrodes.tolist() == [70, 9, -1, 40]
    assert np.isnan(pulses.amplitudes).all() and set(pulses.units) == {""}


def test_columns_are_sums_of_cosines_after_pulses(rec: SpikeRecording) -> None:
    training = bin_history(rec, DT).training()
    columns = pulse_columns(training.pulses, DT)
    assert columns is not None and columns.n_own == 2
    bins = np.arange(2000, 4000)
    expected = np.zeros((training.n_bins + LAGS, 3, 8))
    for at, electrode in zip(training.pulses.bins, training.pulses.electrodes):
        for part in (0, 1 + ELECTRODES.tolist().index(electrode)):
            expected[at : at + LAGS, part] += cosines(DT)
    got = columns.rows(bins)
    order = [0, *(columns.curve[np.searchsorted(columns.electrodes, e)] for e in ELECTRODES)]
    assert np.allclose(got.reshape(-1, 3, 8)[:, order], expected[bins])
    term = np.zeros((2, N, columns.width))
    edges = np.array([0, 3000, training.n_bins])
    columns.add_spike_term(training.bins, training.units, training.observed, edges, term)
    for block, (a, b) in enumerate(pairwise(edges)):
        rows = expected[a:b][:, np.argsort(order)].reshape(b - a, -1)
        assert np.allclose(term[block], training.counts(a, b).T @ rows)


def test_known_kernels_are_recovered(truth: SpikeResponseNetwork, fitted: FitResult) -> None:
    found, known = fitted.forced.stimulus, known_kernels()
    assert found is not None and found.electrodes.tolist() == ELECTRODES.tolist()
    assert fitted.scores["n_response_electrodes"] == 2 and fitted.scores["n_response_pulses"] > 150
    shape = (2, 24, 5, N)  # means of 5 ms
    got = found.curves[found.curve].reshape(shape).mean(2)
    expected = known.curves.reshape(shape).mean(2)
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.9
    strong = np.abs(expected) > 0.8
    assert 0.8 < (got * expected)[strong].sum() / (expected**2)[strong].sum() < 1.2


def test_the_response_pays_on_the_test_part_and_is_predicted(rec: SpikeRecording, fitted: FitResult) -> None:
    bare = bin_history(with_stimuli(rec, None), DT)
    alone, _ = bits_per_spike(bare, forced_fit(bare.training()).parameters)
    assert fitted.scores["heldout_bits_per_spike"] > alone + 0.1
    start = 0.8 * rec.duration
    onsets = rec.stimuli.query("electrode == 3 and time_s > @start")["time_s"].to_numpy()
    early = [np.rint((t - start) / DT).astype(int) + np.arange(8) for t in onsets]
    counts, expected = rec.counts(DT, start), fitted.predict(rec, start)
    for units in (slice(0, 4), slice(4, 8)):
        seen, said = (sum(table[rows, units].sum() for rows in early) for table in (counts, expected))
        assert abs(seen - said) < 4 * np.sqrt(said)


@pytest.mark.slow
def test_pulses_that_evoke_nothing_get_no_response(truth: SpikeResponseNetwork) -> None:
    silent = dataclasses.replace(known_kernels(), curves=np.zeros((2, LAGS, N)))
    training = bin_history(pulsed(SpikeResponseNetwork(truth.parameters, silent), 45.0, seed=3), DT).training()
    assert training.pulses.bins.size > 60
    assert forced_fit(training).stimulus is None


def test_no_choice_sees_pulses_of_the_test_part(rec: SpikeRecording) -> None:
    history = bin_history(rec, DT)
    training = history.training()
    assert training.pulses.bins.max() < training.n_bins < history.pulses.bins.max()
    stimuli = rec.stimuli.assign(amplitude=np.resize([1e-6, 2e-6, 4e-6], len(rec.stimuli)))
    late = stimuli["time_s"] >= 0.8 * rec.duration
    columns = [pulse_columns(bin_history(with_stimuli(rec, stimuli), DT).training().pulses, DT)]
    for name, value in (("amplitude_unit", "V"), ("amplitude", np.nan), ("electrode", 4)):
        other = with_stimuli(rec, stimuli.assign(**{name: stimuli[name].where(~late, value)}))
        columns.append(pulse_columns(bin_history(other, DT).training().pulses, DT))
        assert np.isfinite(bin_history(other, DT).pulses.track(columns[0].kernels(np.ones((24, N)), DT)).sizes).all()
    assert columns[0].reference == 2e-6 and columns[0].unit == "A"
    for found in columns[1:]:
        for name, value in vars(columns[0]).items():
            if name != "track":
                assert np.array_equal(getattr(found, name), value)
        assert all(np.array_equal(*pair) for pair in zip(vars(found.track).values(), vars(columns[0].track).values()))


def test_recorded_pulses_come_round_in_free_runs(truth: SpikeResponseNetwork, rec: SpikeRecording) -> None:
    history = bin_history(rec.select(t_stop=3.0), DT)
    network = with_recorded_pulses(truth, history)
    state = network.initial_state(5)
    whole = network.advance(state, 7000)
    first = network.advance(state, 2345)
    second = network.advance(first.state, 7000 - 2345)
    assert np.array_equal(np.concatenate([first.steps, second.steps + 2345]), whole.steps)
    track = history.pulses.track(known_kernels())
    bins, drive = known_kernels().drive(track, 0, 3000 + LAGS)
    once = np.zeros((3000 + LAGS, N))
    once[bins] = drive
    once[:LAGS] += once[3000:]  # what the last pulses of a round do in the next
    steps = np.arange(7000)
    push = once[(state.at + steps) % 3000]
    inner = truth.initial_state(5)
    expected = truth.advance(inner, 7000, Injection(NOTHING, NOTHING, 1.0, np.zeros(7000), steps, push))
    assert np.array_equal(whole.steps, expected.steps) and np.array_equal(whole.units, expected.units)


def test_a_fit_with_a_response_survives_its_file(rec: SpikeRecording, fitted: FitResult, tmp_path: Path) -> None:
    fitted.save(tmp_path / "fit.h5")
    again = organoid.load_fit(tmp_path / "fit.h5")
    assert np.array_equal(again.predict(rec, 0.0, 20.0), fitted.predict(rec, 0.0, 20.0))
    assert again.responses.equals(fitted.responses) and len(again.responses) == 2 * N * LAGS
    stimuli = [(0.5, Pulse.biphasic(3, 1e-6, 200e-6))]
    one, other = (simulate(result, 2.0, stimuli=stimuli, seed=1) for result in (fitted, again))
    assert one.equals(other)


@pytest.mark.slow
def test_a_correction_in_free_run_keeps_the_response(rec: SpikeRecording) -> None:
    training = bin_history(rec.select(t_stop=40.0), DT).training()
    design = forced_design(training, np.random.default_rng(0))
    forced = fit_forced(training, design)
    free = fit_free(training, design, forced, Plan(((0.3, 3),), 6000, True))
    assert np.array_equal(free.theta[design.pulse_places], forced.theta[design.pulse_places])
    assert np.any(forced.theta[design.pulse_places]) and np.all(np.isfinite(free.theta))
    assert not np.array_equal(free.theta[design.network_places], forced.theta[design.network_places])
    assert len(free.moments_off) == 3 and max(free.moments_off) < 1.0


def test_amplitudes_count_where_they_are_known_and_vary() -> None:
    bins, where = np.arange(30) * 200, np.full(30, 3)
    varied = RecordedPulses(bins, where, np.repeat([1e-6, 2e-6, 4e-6], 10), np.full(30, "A"))
    columns = pulse_columns(varied, DT)
    assert columns is not None and columns.reference == 2e-6 and columns.n_own == 0
    assert np.allclose(columns.track.sizes, np.log1p(np.repeat([0.5, 1.0, 2.0], 10)))
    kernels = columns.kernels(np.ones((columns.width, 2)), DT)
    sizes = kernels.sizes(np.array([-4e-6, np.nan, np.inf, 4e-6]), np.array(["A", "A", "A", "V"]))
    assert np.allclose(sizes, np.log([3.0, 2.0, 2.0, 2.0])) and kernels.amplitude_unit == "A"
    assert kernels.high == pytest.approx(2 * np.log(3.0), rel=0.01) and np.all(kernels.low == 0)
    unknown = pulse_columns(dataclasses.replace(varied, amplitudes=np.full(30, np.nan)), DT)
    assert unknown is not None and np.isnan(unknown.reference) and np.all(unknown.track.sizes == 1.0)
    assert pulse_columns(varied.before(2000), DT) is None
