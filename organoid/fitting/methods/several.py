"""Several recordings of one culture: spontaneous ones make the network, stimulated ones calibrate its responses."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from organoid.errors import FitError
from organoid.fitting.evoked.settings import EvokedSettings
from organoid.fitting.result import Fit, FitResult
from organoid.recording import SpikeRecording, concatenate

RESPONSE = EvokedSettings().reach  # s after a pulse that are left out where every recording was stimulated


def fit_several(recordings: Sequence[SpikeRecording], run: Callable[[SpikeRecording], Fit], *, seed: int = 0) -> Fit:
    """Fit one network to several recordings of a culture.

    The network is fitted to the recordings without stimuli, joined (`organoid.concatenate`); then its responses to
    pulses are calibrated on those with stimuli (`FitResult.calibrate`). Spontaneous scores are therefore those of the
    spontaneous recordings alone. Where every recording was stimulated, the network is fitted to what lies between
    the responses.

    Parameters
    ----------
    recordings : sequence of SpikeRecording
        Units are matched by name: those of all spontaneous recordings must be the same, a stimulated one may lack a
        few.
    run : callable
        Fits one recording.
    seed : int
        Of the calibration.

    Returns
    -------
    Fit
        Not calibrated, with the reason in ``notes`` and ``evoked``, where the network is silent or runs away.
    """
    if not len(recordings):
        raise FitError("no recording to fit; give one, or a list of them")
    stimulated = [rec for rec in recordings if len(rec.stimuli)]
    spontaneous = [rec for rec in recordings if not len(rec.stimuli)]
    result = run(concatenate(spontaneous or [between_responses(rec) for rec in stimulated]))
    if not stimulated:
        return result
    if not isinstance(result, FitResult):
        raise FitError(
            f"responses to pulses are calibrated for the likelihood fit only; {type(result).__name__} has none: fit "
            "the recordings without stimuli, or with model='escape_lif' and loss='likelihood'"
        )
    try:
        return result.calibrate(stimulated, seed=seed)
    except FitError as error:
        reason = f"responses to pulses were not calibrated: {error}"
        return replace(result, evoked={"status": "uncalibrated", "reason": str(error)}, notes=(*result.notes, reason))


def between_responses(rec: SpikeRecording) -> SpikeRecording:
    """Return a recording without its stimuli, and unobserved for as long as pulses act."""
    times = np.sort(rec.stimuli["time_s"].to_numpy(dtype=np.float64))
    holes = np.stack([times, times + RESPONSE], axis=1)
    spans = [(float(a), float(b)) for a, b in rec.observed]
    for start, stop in holes:
        spans = [part for a, b in spans for part in ((a, min(b, start)), (max(a, stop), b)) if part[0] < part[1]]
    return SpikeRecording(
        rec.spike_times,
        rec.spike_units,
        n_units=rec.n_units,
        t_start=rec.t_start,
        t_stop=rec.t_stop,
        sampling_rate=rec.sampling_rate,
        units=rec.units,
        electrodes=rec.electrodes,
        observed=np.array(spans).reshape(-1, 2),
        metadata=rec.metadata,
        notes=rec.notes,
    )
