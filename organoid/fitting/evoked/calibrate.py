"""Calibrate the response of a fitted network to pulses on recordings with stimuli."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import FitError
from organoid.fitting.data.stimuli import phase_widths
from organoid.fitting.evoked.dose import LearnedDose, learn_dose
from organoid.fitting.evoked.fatigue import learn_resource
from organoid.fitting.evoked.filters import (
    FilterBasis,
    as_forced,
    bits_per_spike,
    filter_basis,
    forced_filters,
    pulse_trials,
)
from organoid.fitting.evoked.scores import score_responses
from organoid.fitting.evoked.sessions import Session, seen_to_fit, session
from organoid.fitting.evoked.settings import EvokedSettings
from organoid.fitting.evoked.stage import Evoked, evoked_stage
from organoid.fitting.fitted_networks import as_fitted, with_response
from organoid.fitting.free_run.comparison import free_run
from organoid.fitting.free_run.recorded_range import with_driven_range
from organoid.fitting.teacher_forced.notes import UNCALIBRATED_RESPONSE
from organoid.models.spike_response.fatigue import Resource, strengths
from organoid.recording import SpikeRecording

if TYPE_CHECKING:
    from organoid.fitting.result import FitResult

Array = NDArray[np.float64]

CHECK_DURATION = 60.0  # s
MAX_BASELINE = 10.0  # s after a pulse: baselines last no longer, so that a culture is itself again soon
MAX_MISSING = 0.1  # of the fit's units in a stimulated recording
_CHECK_SEED = 4000


def calibrate(
    result: "FitResult",
    stimulated: SpikeRecording | Sequence[SpikeRecording],
    *,
    n_pulses: int | None = None,
    seed: int = 0,
    settings: EvokedSettings | None = None,
) -> "FitResult":
    """Return a copy of a fit whose responses to pulses are calibrated; see `FitResult.calibrate`."""
    options = settings or EvokedSettings()
    recordings = recordings_of(result, stimulated)
    check_lives(result, options)
    sessions = [session(rec, result.bin_width, n_pulses, held) for rec, held in recordings]
    if not any(one.training.any() and (~one.training).any() for one in sessions):
        raise FitError("no pulse is left to be held out; record at least two pulses of an electrode")
    found = _Calibration(
        result, sessions, [phase_widths(rec.stimuli)[one.rows] for (rec, _), one in zip(recordings, sessions)], options
    )
    return found.run(seed)


def recordings_of(
    result: "FitResult", stimulated: SpikeRecording | Sequence[SpikeRecording]
) -> list[tuple[SpikeRecording, NDArray[np.bool_]]]:
    """Return the recordings with the units of the fit, matched by name, in its order, and which of these they hold.

    Raises
    ------
    FitError
        If one has no stimuli or lacks many units of the fit.
    """
    given = [stimulated] if isinstance(stimulated, SpikeRecording) else list(stimulated)
    if not given:
        raise FitError("no recording to calibrate on; give a recording with stimuli, or a list of them")
    names = [str(name) for name in result.units["name"]]
    found = []
    for number, rec in enumerate(given):
        if not len(rec.stimuli):
            raise FitError(f"recording {number} to calibrate on has no stimuli; give recordings with test pulses")
        own = [str(name) for name in rec.units["name"]]
        missing = [name for name in names if own.count(name) != 1]
        if len(missing) > MAX_MISSING * len(names):
            raise FitError(
                f"recording {number} lacks {len(missing)} of the fit's {len(names)} units ({', '.join(missing[:5])}); "
                f"units are matched by name, and at most {MAX_MISSING:.0%} of them may be missing"
            )
        found.append(_with_units(rec, own, names))
    return found


def _with_units(rec: SpikeRecording, own: list[str], names: list[str]) -> tuple[SpikeRecording, NDArray[np.bool_]]:
    """Return a recording with units of these names, silent where it lacks one, and which it holds."""
    held = np.array([own.count(name) == 1 for name in names])
    if own == names:
        return rec, held
    part = rec.select(units=[name for name in names if own.count(name) == 1])
    if held.all():
        return part, held
    return SpikeRecording(
        part.spike_times,
        np.flatnonzero(held)[part.spike_units],
        n_units=len(names),
        t_start=part.t_start,
        t_stop=part.t_stop,
        sampling_rate=part.sampling_rate,
        units=pd.DataFrame({"name": names}),
        electrodes=part.electrodes,
        stimuli=part.stimuli,
        observed=part.observed,
    ), held


def check_lives(result: "FitResult", settings: EvokedSettings) -> None:
    """Reject a network that is silent, or runs away, without pulses: no filter can repair it.

    Raises
    ------
    FitError
    """
    network = with_response(as_fitted(result.network), None)
    simulated, runaway = free_run(network, CHECK_DURATION, _CHECK_SEED)
    recorded = float(result.per_unit["rate_hz"].mean())
    ratio = simulated.n_spikes / (simulated.duration * network.n_units) / max(recorded, 1e-9)
    if runaway or ratio > settings.highest_rate:
        raise FitError(
            f"the network runs away in free run ({'stopped' if runaway else f'{ratio:.1f} times the recorded rate'}); "
            "its response to pulses cannot be calibrated: fit a network that passes the free-run check first"
        )
    if ratio < settings.lowest_rate:
        raise FitError(
            f"the network is silent in free run ({ratio:.2f} times the recorded rate): a pulse could only be answered "
            "by its filter, not by the culture; fit a network that passes the free-run check first"
        )


@dataclass(frozen=True)
class _Calibration:
    """One calibration on some sessions."""

    result: "FitResult"
    sessions: list[Session]
    widths: list[Array]
    settings: EvokedSettings

    def run(self, seed: int) -> "FitResult":
        """Fit filters on recorded history, then in free run; judge them on pulses that were held out."""
        result, settings = self.result, self.settings
        basis = filter_basis(self.sessions, settings)
        dose = learn_dose(self.sessions, self.widths)
        own, forced = as_fitted(result.network), as_fitted(result.forced)
        capacity = forced.parameters.capacity
        trials = pulse_trials(self.sessions, forced, basis.n_lags)
        training = np.concatenate([one.training for one in self.sessions])
        used = trials.some(np.flatnonzero(training & np.concatenate(dose.answered)))
        start = forced_filters(used, capacity, basis, settings)
        resource = learn_resource(self.sessions, used, capacity, basis, start)
        bits = bits_per_spike(trials, training, capacity, basis, start)
        sizes = [
            strengths(resource, one.bins * result.bin_width, one.electrodes) * answered
            for one, answered in zip(self.sessions, dose.answered)
        ]
        brake = with_driven_range(own.parameters.brake, [seen_to_fit(one) for one in self.sessions])
        network = with_response(own, None, brake)
        found = evoked_stage(network, self.sessions, sizes, basis, start, settings, seed)
        steps = self._baseline_steps()
        per_session = [
            basis.kernels(found.weights, np.tile(row, (basis.electrodes.size, 1)), steps) for row in found.baseline
        ]
        scores = score_responses(network, self.sessions, sizes, basis, per_session, settings.background, seed)
        if scores["runaway"]:
            raise FitError("the network runs away under the recorded pulses once its response to them is as recorded")
        kernels = basis.kernels(found.weights, self._baselines(found, basis), steps)
        together = max(int(np.unique(one.bins, return_counts=True)[1].max()) for one in self.sessions if one.bins.size)
        known: dict[str, Any] = {
            "together": float(together),
            "resource": resource,
            "dose": dose.dose,
            "scores": summary(scores, basis),
            "amplitude_unit": self._unit(),
        }
        scores |= {"bits_per_spike": bits[0], "bits_per_spike_without_filters": bits[1], "misfit": list(found.misfit)}
        evoked = {**self._described(basis, resource, dose), **scores}
        forced_kernels = as_forced(basis.kernels(start, np.zeros((basis.electrodes.size, network.n_units)), 0))
        return replace(
            result,
            network=with_response(network, replace(kernels, **known)),
            forced=with_response(forced, forced_kernels),
            evoked=evoked,
            scores=self._scores(evoked),
            notes=(*(note for note in result.notes if note != UNCALIBRATED_RESPONSE), *notes(evoked)),
        )

    def _unit(self) -> str:
        """Return the unit of all amplitudes; empty where they differ or are unknown."""
        units = {str(unit) for one in self.sessions for unit in one.history.pulses.units}
        return units.pop() if len(units) == 1 else ""

    def _baseline_steps(self) -> int:
        """Return how long a baseline lasts: a fifth longer than pulses were apart, 10 s at most."""
        width = self.result.bin_width
        gaps = np.concatenate([np.diff(np.unique(one.bins)) for one in self.sessions])
        longest = float(np.median(gaps)) * 1.2 if gaps.size else MAX_BASELINE / width
        return max(1, round(min(longest, MAX_BASELINE / width)))

    def _baselines(self, found: Evoked, basis: FilterBasis) -> Array:
        """Return the baseline of each electrode: that of its sessions, by their pulses."""
        pulses = [[one.chosen(int(e), True).size for one in self.sessions] for e in basis.electrodes]
        share = np.array(pulses, dtype=np.float64)
        return np.asarray(share / np.maximum(share.sum(1, keepdims=True), 1.0) @ found.baseline)

    def _described(self, basis: FilterBasis, resource: Resource, dose: LearnedDose) -> dict[str, Any]:
        """Return what the calibration rests on."""
        finite = {**resource._asdict(), "interval": resource.interval if np.isfinite(resource.interval) else None}
        return {
            "status": "calibrated",
            "n_pulses": int(basis.n_pulses.sum()),
            "electrodes": basis.electrodes.tolist(),
            "pulses_per_electrode": basis.n_pulses.tolist(),
            "dose": None if dose.dose is None else {**dose.dose._asdict(), "chronaxie_learned": dose.chronaxie_learned},
            "resource": finite,
            "blanked_s": basis.blanked * self.result.bin_width,
        }

    def _scores(self, evoked: dict[str, Any]) -> "pd.Series[Any]":
        """Return the scores of the fit with those of the responses beside them, and the pulses that were held out."""
        test = [
            {"recording": k, "electrode": int(one.electrodes[at]), "time_s": float(one.times[at])}
            for k, one in enumerate(self.sessions)
            for at in np.flatnonzero(~one.training)
        ]
        early, late = evoked["20_100ms"], evoked["100_500ms"]
        further = {
            "heldout_bits_per_spike_evoked": evoked["bits_per_spike"],
            "heldout_bits_per_spike_evoked_without_filters": evoked["bits_per_spike_without_filters"],
            "heldout_evoked_r": early["r"],
            "heldout_evoked_site_r": early["site_r"],
            "heldout_evoked_amount_ratio": amount_ratio(early),
            "heldout_evoked_r_late": late["r"],
            "n_response_pulses": evoked["n_pulses"],
            "n_response_electrodes": len(evoked["electrodes"]),
            "test_pulses": test,
        }
        found: dict[str, Any] = {str(k): v for k, v in self.result.scores.items() if k not in further}
        return pd.Series(found | further, dtype=object)


def summary(scores: dict[str, Any], basis: FilterBasis) -> dict[str, Any]:
    """Return the held-out scores that travel with the kernels, as plain numbers."""
    early, late = scores["20_100ms"], scores["100_500ms"]
    found = {
        "n_pulses": int(basis.n_pulses.sum()),
        "n_electrodes": int(basis.electrodes.size),
        "r_20_100ms": early["r"],
        "site_r_20_100ms": early["site_r"],
        "site_r_training_20_100ms": early["site_r_training"],
        "r_100_500ms": late["r"],
        "amount_ratio_20_100ms": amount_ratio(early),
        "sham_recorded": float(np.mean(scores["sham"]["recorded"])),
        "sham_simulated": float(np.mean(scores["sham"]["simulated"])),
    }
    return {name: value for name, value in found.items() if value is not None and np.isfinite(value)}


def amount_ratio(window: dict[str, Any]) -> float | None:
    """Return what is evoked in free run, summed over electrodes, relative to the training pulses."""
    pairs = [(s, t) for s, t in zip(window["simulated"], window["training"]) if s is not None and t is not None]
    total = sum(t for _, t in pairs)
    return sum(s for s, _ in pairs) / total if total else None


def notes(evoked: dict[str, Any]) -> tuple[str, ...]:
    """Return what a user must know about a calibrated response."""
    n, where = evoked["n_pulses"], len(evoked["electrodes"])
    found = [
        f"the response to pulses is calibrated on {n} pulses of {where} electrode{'s' if where > 1 else ''}, and "
        "judged on pulses that were held out; other electrodes answer with the mean of these responses: which units "
        "answer there is better than chance, the amount cannot be known (off by 0.4 to 5 times on cultures at hand)"
    ]
    if not evoked["resource"]["learned"]:
        found.append(
            f"how responses tire is assumed (a pulse uses {evoked['resource']['utilisation']:.0%} of a resource that "
            f"recovers with {evoked['resource']['recovery']:g} s): the recorded pulses are too far apart to show it"
        )
    return tuple(found)
