"""Responses to pulses of a culture LIF network: calibrated as those of the network it is a limit of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pulsed_network import SHORT, N, plain_result, pulsed
from synthetic_recordings import DT, known_network

import organoid
from organoid import FitError, FitResult, SpikeRecording
from organoid.culture import simulate
from organoid.fitting.data.history import bin_history
from organoid.fitting.evoked.filters import filter_basis, forced_filters, pulse_trials
from organoid.fitting.evoked.sessions import session
from organoid.fitting.fitted_networks import expected_on_record, with_response
from organoid.models.culture_lif.network import CultureLIFNetwork, CultureLIFParameters
from organoid.models.spike_response.network import SpikeResponseNetwork


def limit() -> CultureLIFNetwork:
    """The known network as a culture LIF network without membrane, reset and depression."""
    p = known_network(-4.0).parameters
    shared = {name: getattr(p, name) for name in CultureLIFParameters._fields if name in p._fields}
    n_types = p.tau.size
    return CultureLIFNetwork(
        CultureLIFParameters(
            **shared,
            use=np.zeros(n_types),
            recovery=np.ones(n_types),
            membrane_decay=0.0,
            hard_reset=False,
            threshold=np.zeros(N),
            threshold_tau=np.empty(0),
            threshold_steps=np.empty((0, N)),
        )
    )


@pytest.fixture(scope="module")
def rec() -> SpikeRecording:
    return pulsed(1)


@pytest.fixture(scope="module")
def result() -> FitResult:
    return replace(plain_result(), network=limit(), forced=limit())


@pytest.fixture(scope="module")
def calibrated(result: FitResult, rec: SpikeRecording) -> FitResult:
    return result.calibrate(rec, settings=SHORT)


def test_filters_on_recorded_history_are_those_of_the_same_network_without_membrane(rec: SpikeRecording) -> None:
    sessions = [session(rec, DT)]
    basis = filter_basis(sessions, SHORT)
    filters = [
        forced_filters(pulse_trials(sessions, network, basis.n_lags), network.parameters.capacity, basis, SHORT)
        for network in (known_network(-4.0), limit())
    ]
    assert np.abs(filters[0]).max() > 1.0
    np.testing.assert_allclose(filters[1], filters[0], atol=1e-3)


def test_predictions_hold_what_pulses_do(calibrated: FitResult, rec: SpikeRecording) -> None:
    kernels = calibrated.forced.stimulus
    assert kernels is not None
    plain = SpikeResponseNetwork(known_network(-4.0).parameters, kernels)
    history = bin_history(rec, DT)
    (_, mu), *_ = expected_on_record(history, calibrated.forced, 2000, 4000)
    (_, same), *_ = expected_on_record(history, plain, 2000, 4000)
    (_, deaf), *_ = expected_on_record(history, with_response(calibrated.forced, None), 2000, 4000)
    np.testing.assert_allclose(mu, same, atol=1e-6)
    assert np.abs(mu - deaf).max() > 0.01


def test_it_answers_held_out_pulses_and_is_itself_without_any(calibrated: FitResult, result: FitResult) -> None:
    early = calibrated.evoked["20_100ms"]
    assert isinstance(calibrated.network, CultureLIFNetwork)
    assert early["r"] > 0.85
    assert np.sum(early["simulated"]) == pytest.approx(np.sum(early["training"]), rel=0.3)
    before, after = (simulate(each, 20.0, seed=3) for each in (result, calibrated))
    assert np.array_equal(before.spike_times, after.spike_times)


def test_it_is_saved_and_stimulated_as_any_fit(calibrated: FitResult, tmp_path: Path) -> None:
    calibrated.save(tmp_path / "fit.h5")
    again = organoid.load_fit(tmp_path / "fit.h5")
    assert isinstance(again, FitResult)
    assert again.network.describe() == calibrated.network.describe()
    assert again.calibration_status == calibrated.calibration_status == "calibrated (30 pulses, 2 electrodes)"
    device = organoid.SimulatedCulture(again)
    assert device.info.description["calibration"]["status"] == calibrated.calibration_status


def test_a_network_of_another_kind_is_refused(result: FitResult, rec: SpikeRecording) -> None:
    from organoid.models.simulators.dense_lif import LIFSimulator

    other = object.__new__(LIFSimulator)
    with pytest.raises(FitError, match="LIFSimulator, whose response to pulses cannot be calibrated"):
        replace(result, network=other).calibrate(rec)  # type: ignore[arg-type]
