"""Short free runs from recorded states: what the network does, against what the culture did.

Many windows start from the traces the recorded spikes leave at their start. In each the network runs
freely; the sums of features over its spikes are compared with those over the recorded spikes of the
same segments. Windows are shared out in a fixed number of parts, so that sums do not depend on the
number of threads.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.history import History
from organoid.fitting.free_run.window_states import RecordedStates, Response, Windows
from organoid.fitting.teacher_forced.features import Basis, add_at_spikes
from organoid.models.rng import stream_key
from organoid.models.spike_response.free_windows import run_windows
from organoid.models.spike_response.network import SpikeResponseParameters
from organoid.models.spike_response.terms.pulse_track import NO_PULSES
from organoid.models.spike_response.terms.stimulus import StimulusKernels, pulse_input

Array = NDArray[np.float64]

_PARTS = 8
_IN_STEP = 4, 16  # windows that run in step, at least (where there are several) and at most


@dataclass(frozen=True)
class Moments:
    """Mean over bins of features times spikes, shape (n_features, n_units); and how windows ended.

    Parameters
    ----------
    simulated, recorded : ndarray, shape (n_features, n_units)
    share_given_up : float
        Share of windows that were given up for firing far too much.
    """

    simulated: Array
    recorded: Array
    share_given_up: float

    @property
    def rate_ratio(self) -> float:
        """Simulated over recorded spikes per bin: the last feature is 1."""
        return float(self.simulated[-1].sum() / max(self.recorded[-1].sum(), 1e-12))


def compare_windows(
    training: History,
    parameters: SpikeResponseParameters,
    states: RecordedStates,
    chosen: NDArray[np.int64],
    n_steps: int,
    seed: int,
    *,
    device: str | None = None,
    stimulus: StimulusKernels | None = None,
) -> Moments:
    """Run windows of `n_steps` bins from the chosen states, and replay the recording beside them.

    Parameters
    ----------
    training : History
    parameters : SpikeResponseParameters
    states : RecordedStates
    chosen : ndarray of int64, shape (n_windows,)
        Which states; the same one may be chosen twice.
    n_steps : int
    seed : int
    device : str, optional
        Where torch runs all windows as one batch ("cpu", "cuda"). Default: compiled loops on the CPU. Both
        draw from the same distribution, not the same spikes.
    stimulus : StimulusKernels, optional
        How the recorded pulses, which come in the windows when they came in the recording, act on the network.
    """
    response = Response.to_recorded(training, stimulus)
    basis = Basis(parameters.tau, parameters.saturation, parameters.fields)
    parts = [part for part in np.array_split(chosen, _PARTS) if part.size]
    few, many = _IN_STEP
    in_step = np.array_split(chosen, max(min(_PARTS, chosen.size // few), -(-chosen.size // many), 1))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        replayed = list(pool.map(lambda part: _replay(training, basis, states, part, n_steps), parts))
        if device is None:
            ran = list(pool.map(lambda part: _run_part(parameters, states, part, n_steps, seed, response), in_step))
        else:
            from organoid.fitting.free_run.windows_torch import run_batch  # torch is only imported for a device

            ran = [run_batch(parameters, states, chosen, n_steps, seed, device, response)]
    simulated = np.sum([part.sums for part in ran], axis=0) / max(sum(part.n_bins for part in ran), 1)
    recorded = np.sum(replayed, axis=0) / (chosen.size * n_steps)
    return Moments(simulated.T, recorded.T, sum(part.n_given_up for part in ran) / chosen.size)


def _replay(training: History, basis: Basis, states: RecordedStates, part: NDArray[np.int64], n_steps: int) -> Array:
    """Return the sums of features over the recorded spikes of some windows, shape (n_units, n_features)."""
    sums = np.zeros((1, training.n_units, basis.n_features(training.n_units)))
    follower = basis.follower(training)
    for state in part:
        follower.put(states.traces[state], states.population[state])
        start = int(states.bins[state])
        add_at_spikes(follower, training, start, start + n_steps, sums)
    return np.asarray(sums[0])


def _run_part(
    parameters: SpikeResponseParameters,
    states: RecordedStates,
    part: NDArray[np.int64],
    n_steps: int,
    seed: int,
    response: Response | None,
) -> Windows:
    n = parameters.bias.size
    keys = np.array([stream_key(seed, int(state)) for state in part], dtype=np.uint64)
    pulses = pulse_input(NO_PULSES, None, n) if response is None else pulse_input(response.track, response.stimulus, n)
    sums, done = run_windows(
        parameters,
        states.traces[part],
        states.population[part],
        keys,
        states.allowed[:n_steps],
        pulses,
        states.bins[part],
    )
    return Windows(sums, int(done.sum()), int((done < n_steps).sum()))
