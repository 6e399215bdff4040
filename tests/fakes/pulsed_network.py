"""A small network with known responses to pulses on two electrodes, what it records, and a fit that is the network."""

import numpy as np
import pandas as pd
from synthetic_recordings import DT, known_network

from organoid import FitResult, SpikeRecording
from organoid.culture import simulate
from organoid.fitting.evoked.settings import EvokedSettings
from organoid.models.spike_response.network import SpikeResponseNetwork
from organoid.models.spike_response.terms.stimulus import StimulusKernels

N = 8
ELECTRODES = np.array([3, 5])
SHORT = EvokedSettings(reach=0.2, rounds=8, polish_rounds=4, polish_copies=2, background=(0.5, 1.4))


def truth() -> SpikeResponseNetwork:
    """Electrode 3 drives units 0 to 3 after 10 ms, electrode 5 the others after 30 ms and holds unit 0 down."""
    t = (np.arange(120) + 0.5) * DT
    bump = [np.exp(-0.5 * ((np.log(t) - np.log(peak)) / 0.5) ** 2) for peak in (0.012, 0.03)]
    curves = np.zeros((2, t.size, N))
    curves[0, :, :4] = 3.5 * bump[0][:, None]
    curves[1, :, 4:] = 3.0 * bump[1][:, None]
    nothing = np.full(N, 50.0)
    kernels = StimulusKernels(DT, ELECTRODES, np.arange(2), np.array([40, 40]), curves, -nothing, nothing)
    return SpikeResponseNetwork(known_network(-4.0).parameters, kernels)


def pulsed(seed: int, duration: float = 90.0) -> SpikeRecording:
    """Pulses on both electrodes in turn every 1.5 s, amplitudes unknown, the first 4 ms after each hidden."""
    times = np.arange(1.0, duration - 1.0, 1.5) + 0.0003
    table = pd.DataFrame({"time_s": times, "electrode": np.tile(ELECTRODES, times.size)[: times.size]})
    rec = simulate(truth(), duration, stimuli=table, seed=seed)
    holes = np.stack([times - 0.001, times + 0.004], axis=1)
    spans = np.concatenate([[0.0], holes.ravel(), [duration]]).reshape(-1, 2)
    hidden = np.searchsorted(holes[:, 0], rec.spike_times, side="right") - 1
    keep = (hidden < 0) | (rec.spike_times >= holes[hidden, 1])
    return SpikeRecording(
        rec.spike_times[keep],
        rec.spike_units[keep],
        n_units=N,
        t_stop=duration,
        sampling_rate=rec.sampling_rate,
        units=pd.DataFrame({"name": [f"u{k}" for k in range(N)]}),
        stimuli=table,
        observed=spans,
    )


def plain_result() -> FitResult:
    """A fit of the spontaneous network that is the network itself."""
    network = SpikeResponseNetwork(known_network(-4.0).parameters)
    rest = simulate(network, 60.0, seed=9)
    rates = np.bincount(rest.spike_units, minlength=N) / 60.0
    names = [f"u{k}" for k in range(N)]
    none = pd.DataFrame()
    return FitResult(
        network=network,
        forced=network,
        uncoupled=network,
        scores=pd.Series({"heldout_bits_per_spike": 0.1, "heldout_bits_per_spike_uncoupled": 0.0}, dtype=object),
        free_run={},
        edges=none,
        per_unit=pd.DataFrame({"name": names, "rate_hz": rates}),
        units=pd.DataFrame({"name": names}),
        electrodes=none,
        bin_width=DT,
        notes=(),
        settings={},
    )
