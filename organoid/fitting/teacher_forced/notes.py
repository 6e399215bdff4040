"""What a fit by likelihood says in words: which weights to use for what, and what it cannot know."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.history import History
from organoid.fitting.data.stimuli import UNKNOWN
from organoid.fitting.teacher_forced.coupling_drive import MAX_COUPLED
from organoid.fitting.teacher_forced.estimate import CONSTANT, ForcedFit
from organoid.fitting.teacher_forced.regions import MIN_UNITS, places
from organoid.recording import SpikeRecording

SAMPLING_ERROR = 0.01  # bits/spike above which a note tells of it
NOT_CALIBRATED = "not calibrated in free run: the network was fitted to predict the next spike, not to run freely"
_FORCED = "in free run, the network fitted on recorded history is"
_NOT_NEAR = f"{_FORCED} not near enough to the recording"
CHOICES = {
    "forced": f"{_FORCED} near enough to the recording; it is used as it is",
    "rates": f"{_NOT_NEAR}; in `network` (for simulation) the biases were corrected in free run, in `forced` (for "
    "prediction and edges) not",
    "free": f"{_NOT_NEAR}; `network` (for simulation) was corrected in free run, `forced` (for prediction and edges) "
    "was not",
    "between": "`network` (for simulation) lies part of the way from the forced weights to those corrected in free run",
    "forced, other basis": f"{_NOT_NEAR}, and corrections in free run are made for plain traces (basis='traces', no "
    f"delays, no added terms) only: {NOT_CALIBRATED}",
    "simpler": f"{_NOT_NEAR}; `network` (for simulation) has no products of population features and was "
    "corrected in free run, `forced` (for prediction and edges) was not",
    "culture_lif": f"{_NOT_NEAR}, nor is it after correction; `network` (for simulation) is a culture LIF network "
    "fitted to the same spikes, `forced` (for prediction and edges) is not",
    "driven": f"{_NOT_NEAR}; with the shared drive of `network` (for simulation) it is",
    "forced, not alive": f"no weights were found with which free runs match the culture: {NOT_CALIBRATED}",
}
UNCALIBRATED_RESPONSE = "the response to pulses is not calibrated: spontaneous spikes alone do not determine it"


def of_response(history: History, forced: ForcedFit) -> Iterator[str]:
    """Yield what is known of the response to pulses."""
    n = history.training().pulses.bins.size
    if forced.stimulus is None:
        if n:
            yield f"the {n} stimuli of the training part are too few, or predict too little, for a response to them"
        yield UNCALIBRATED_RESPONSE
        return
    kernels = forced.stimulus
    sharing = int((kernels.curve == 0).sum())
    shared = f" ({sharing} with few pulses share one)" if sharing > 1 else ""
    yield (
        f"the response to pulses rests on {int(kernels.n_pulses.sum())} pulses on {kernels.electrodes.size} "
        f"electrode{'s' * (kernels.electrodes.size != 1)}{shared}; pulses on other electrodes, or unlike the recorded "
        "ones, are not calibrated"
    )
    if kernels.has(UNKNOWN):
        yield (
            "pulses that name no electrode have a response that predictions use; in simulation every pulse names one, "
            "so they do not"
        )
    if np.isnan(kernels.reference):
        yield "amplitudes of pulses are unknown, or hardly vary: the response does not depend on them"


def of_fit(rec: SpikeRecording, history: History, forced: ForcedFit, refit: bool) -> Iterator[str]:
    """Yield what a user should know of the forced fit, and the recording's own notes."""
    if forced.chosen == "own history only":
        yield "couplings between units did not help in validation; every unit follows its own history only"
    elif not forced.coupled.all():
        n = int((~forced.coupled).sum())
        yield f"coupling did not help {n} of {forced.coupled.size} units in validation; they follow their own history"
    constant = int((forced.kind == CONSTANT).sum())
    if constant:
        yield f"own history did not help {constant} units in validation; they have constant rates"
    unknown = int((~np.isfinite(places(rec)).all(axis=1)).sum())
    if rec.n_units >= MIN_UNITS and 0 < unknown < rec.n_units:
        yield (
            f"{unknown} of {rec.n_units} units have no position: fields of regions need that of every unit and "
            "were not tried"
        )
    if rec.n_units > MAX_COUPLED:
        yield (
            f"{rec.n_units} units are too many for couplings between all pairs (at most {MAX_COUPLED}): units follow "
            "their own history and the population, and no edges are given; for couplings fit a part, such as "
            "rec.select(units=...) of the most active units or of one region"
        )
    if forced.sampling_error > SAMPLING_ERROR:
        yield (
            f"sampling of bins costs about {forced.sampling_error:.2g} bits/spike of the training part; "
            "exact=True uses every bin"
        )
    if not forced.converged:
        yield f"the solver stopped at a relative gradient of {forced.gradient_norm:.2g}; treat weights with care"
    yield from of_recording(rec, history, forced.parameters.capacity)
    if refit:
        yield "refitted on the whole recording; the scores are those of the fit to its first 80 %"
    yield from rec.notes


def of_recording(rec: SpikeRecording, history: History, capacity: NDArray[np.int64]) -> Iterator[str]:
    """Yield what of the recording limits a fit: several spikes in a bin, silent units, bins that were not observed."""
    several = capacity > 1
    if several.any():
        n = int(several.sum())
        yield f"{n} units have several spikes in one bin (several neurons on an electrode): counted, not clipped"
    silent = np.bincount(history.training().units, minlength=rec.n_units) == 0
    if silent.any():
        yield f"{int(silent.sum())} units have no spike in the training part; they stay all but silent"
    if not history.observed.all():
        yield f"{int((~history.observed).sum())} of {history.n_bins} bins were not fully observed and are left out"
