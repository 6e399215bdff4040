"""The shared drive: the simulated one against its equations, and what is found of it in recordings."""

from __future__ import annotations

from pathlib import Path

import escape_oracle as oracle
import h5py
import numpy as np
import pytest
from random_networks import dense, random_parameters

import organoid
from organoid.errors import FitError, ModelError
from organoid.fitting.free_run import latent_drive as module
from organoid.fitting.free_run.comparison import free_run
from organoid.fitting.free_run.latent_drive import correlate, drive_autocovariance, first_factor, fit_drive
from organoid.models.serialization import read_network, write_network
from organoid.models.spike_response.network import SpikeResponseNetwork, SpikeResponseParameters, plain_parameters
from organoid.models.spike_response.terms.latent_drive import NO_DRIVE, LatentDrive

N, DT = 20, 1e-3


def box_muller(key: int, step: int) -> float:
    """The first Gaussian number of a step in double precision, from the definition of the stream."""
    bits = oracle.mix((key + (step + 1) * 0x9E3779B97F4A7C15) & ((1 << 64) - 1))
    u = ((bits >> 33) + 0.5) / 2**31
    low = bits & 0xFFFFFFFF
    angle = np.pi / 2 * (((low & 0x3FFFFFFF) - 2**29) / 2**30) + np.pi / 2 * (low >> 30)
    return float(np.sqrt(-2 * np.log(u)) * np.cos(angle))


def course(p: SpikeResponseParameters, seed: int, n_steps: int) -> np.ndarray:
    key = oracle.key_of(seed, "escape_lif")
    x, keep = [box_muller(oracle.key_of(key, "latent drive starts"), 0)], np.exp(-p.dt / p.latent.tau)
    for t in range(n_steps):
        x.append(keep * x[-1] + np.sqrt(1 - keep**2) * box_muller(oracle.key_of(key, "latent drive"), t))
    return np.array(x)


def driven(seed: int, tau: float = 0.02) -> SpikeResponseParameters:
    p = random_parameters(seed)
    return p._replace(latent=LatentDrive(tau, np.random.default_rng(seed).normal(0.5, 0.5, p.bias.size)))


def network(bias: float = -6.0) -> SpikeResponseParameters:
    """Units of 2 to 3 Hz with a reset and nothing between them."""
    weights = np.zeros((1, N, N))
    weights[0, np.arange(N), np.arange(N)] = -2.0
    rng = np.random.default_rng(0)
    return plain_parameters(dt=DT, tau=np.array([0.005]), weights=weights, bias=rng.normal(bias, 0.5, N))


# --- simulation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3, 5, 1002])
def test_spike_for_spike_as_the_reference(seed: int) -> None:
    p = driven(seed)
    net, x = SpikeResponseNetwork(p), course(p, seed, 300)
    done = net.advance(net.initial_state(seed), 300)
    reference = oracle.simulate(p, oracle.key_of(seed, "escape_lif"), 300, extra=np.outer(x[:-1], p.latent.loadings))
    assert np.array_equal(dense(net.n_units, done), reference.counts)
    assert done.state.latent == pytest.approx(x[-1], abs=1e-5) and abs(x[-1]) > 0.01
    plain = SpikeResponseNetwork(p._replace(latent=NO_DRIVE))
    assert not np.array_equal(dense(net.n_units, plain.advance(plain.initial_state(seed), 300)), reference.counts)


def test_a_run_cut_into_pieces_is_the_same_run() -> None:
    net = SpikeResponseNetwork(driven(3))
    whole, state, parts = net.advance(net.initial_state(1), 300), net.initial_state(1), []
    for n in (7, 1, 150, 142):
        part = net.advance(state, n)
        parts.append(dense(net.n_units, part))
        state = part.state
    assert np.array_equal(np.concatenate(parts), dense(net.n_units, whole)) and state.latent == whole.state.latent


def test_the_drive_has_variance_one_and_its_time_constant() -> None:
    net = SpikeResponseNetwork(network()._replace(latent=LatentDrive(0.004, np.full(N, 0.1))))
    state, x = net.initial_state(2), []
    for _ in range(4000):
        x.append(state.latent)
        state = net.advance(state, 4).state
    z = np.array(x)
    assert z.var() == pytest.approx(1.0, abs=0.15) and (z[1:] * z[:-1]).mean() == pytest.approx(np.exp(-1), abs=0.08)


def test_round_trip_and_name(tmp_path: Path) -> None:
    net = SpikeResponseNetwork(driven(3))
    with h5py.File(tmp_path / "net.h5", "w") as h5:
        write_network(h5.create_group("a"), net)
        again = read_network(h5["a"])
        del h5["a/latent"]
        earlier = read_network(h5["a"])
    assert again.describe() == net.describe()
    assert (
        earlier.describe()
        == SpikeResponseNetwork(net.parameters._replace(latent=NO_DRIVE)).describe()
        != net.describe()
    )


@pytest.mark.parametrize("latent", [LatentDrive(1.0, np.ones(N + 1)), LatentDrive(0.0, np.ones(N))])
def test_drives_that_do_not_fit_are_refused(latent: LatentDrive) -> None:
    with pytest.raises(ModelError, match="latent drive"):
        SpikeResponseNetwork(network()._replace(latent=latent))


# --- estimation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.03, 0.5])
def test_autocovariance_of_bin_means(tau: float) -> None:
    fine = np.arange(500) * module.BIN / 500
    lags = np.arange(module.N_LAGS) * module.BIN
    expected = [np.exp(-np.abs(lag + fine[:, None] - fine) / tau).mean() for lag in lags[:8]]
    np.testing.assert_allclose(drive_autocovariance(tau)[:8], expected, rtol=5e-3, atol=1e-6)


def test_correlations_of_counts_by_hand() -> None:
    rec, _ = free_run(SpikeResponseNetwork(network(-5.0)), 20.0, 1)
    found, z = correlate(rec), rec.counts(module.BIN).astype(float)
    z = (z - z.mean(0)) / z.std(0)
    for k in (0, 3):
        a, b = z[: len(z) - k, 2], z[k:, 7]
        c, d = z[: len(z) - k, 7], z[k:, 2]
        assert found.near[k, 2, 7] == pytest.approx(((a * b).mean() + (c * d).mean()) / 2)
    assert found.near[0, 4, 4] == 0.0


def test_chance_is_no_factor_and_a_clear_one_is_found() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, (60, 60))
    noise = np.triu(noise, 1) + np.triu(noise, 1).T
    assert not first_factor(noise, 0.1).any()
    true = rng.uniform(0.1, 0.8, 60)
    found = first_factor(noise + np.outer(true, true) * (1 - np.eye(60)), 0.1)
    assert np.sqrt(np.mean((found - true) ** 2)) < 0.04


@pytest.mark.slow
def test_a_known_drive_is_found() -> None:
    """Within 0.1 of loadings of about 0.45, and a factor of 1.5 of the time constant, from ten minutes."""
    tau = 0.3
    true = np.random.default_rng(1).uniform(0.1, 0.7, N)
    plain = network()
    rec, _ = free_run(SpikeResponseNetwork(plain._replace(latent=LatentDrive(tau, true))), 600.0, 5)
    found = fit_drive(plain, rec, seed=9, duration=300.0)
    assert np.sqrt(np.mean((found.latent.loadings - true) ** 2)) < 0.1
    assert 1 / 1.5 < found.latent.tau / tau < 1.5
    again, _ = free_run(SpikeResponseNetwork(found), 600.0, 77)
    assert again.n_spikes == pytest.approx(rec.n_spikes, rel=0.06)
    recorded, simulated, without = (
        correlate(r).near[:3].sum() for r in (rec, again, free_run(SpikeResponseNetwork(plain), 600.0, 3)[0])
    )
    assert simulated == pytest.approx(recorded, rel=0.35) and without < 0.2 * recorded


def test_without_a_drive_none_is_found() -> None:
    plain = network()
    rec, _ = free_run(SpikeResponseNetwork(plain), 300.0, 5)
    assert fit_drive(plain, rec, seed=9, duration=300.0) is plain


def test_only_the_likelihood_fit_knows_it() -> None:
    rec, _ = free_run(SpikeResponseNetwork(network()), 20.0, 5)
    with pytest.raises(FitError, match="latent_drive=True belongs to the likelihood fit"):
        organoid.fit(rec, model="lif", loss="rate", latent_drive=True)
