"""Presets: their own pace, what pulses do to them, and the organoid's answer."""

from __future__ import annotations

import numpy as np
import pytest

import organoid
from organoid.culture import PRESETS
from organoid.culture.all_or_none import ANSWERED
from organoid.errors import ModelError
from organoid.stimulation import Pulse

WIDTH = 200e-6


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_live_at_their_own_pace(name: str) -> None:
    culture = organoid.preset(name)
    rec = organoid.simulate(culture, 120.0, seed=1)
    rates = np.bincount(rec.spike_units, minlength=rec.n_units) / rec.duration
    assert 0.2 < rates.mean() < 5.0
    assert (rates > 0.02).mean() > (0.7 if name == "organoid_64" else 0.99)
    assert rec.metadata["runaway"] is False
    assert rec.metadata["network"]["preset"] == name
    crowd = rec.counts(0.1).sum(axis=1)
    assert (crowd.max() > 6 * crowd.mean()) == (name != "asynchronous_culture")
    assert len(rec.electrodes) == 64
    assert culture.describe() == organoid.preset(name).describe()


def test_bursting_preset_has_bursts_that_pulses_can_ignite() -> None:
    culture = organoid.preset("bursting_culture")
    rec = organoid.simulate(culture, 120.0, seed=2)
    crowd = rec.counts(0.1).sum(axis=1) > 30
    onsets = np.flatnonzero(crowd[1:] & ~crowd[:-1])
    assert 10 <= onsets.size <= 45
    times = np.arange(2.0, 118.0, 2.0)
    evoked = []
    for amplitude in (0.3e-6, 5e-6):
        stimulated = organoid.simulate(
            culture, 120.0, seed=2, stimuli=[(t, Pulse.biphasic(27, amplitude, WIDTH)) for t in times]
        )
        begin, end = (np.searchsorted(stimulated.spike_times, times + lag) for lag in (0.02, 0.2))
        evoked.append(float(np.mean(end - begin)))
    assert evoked[1] > 3 * evoked[0]


def test_unknown_presets_name_the_choices() -> None:
    with pytest.raises(ModelError, match="asynchronous_culture"):
        organoid.preset("sleeping_culture")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_stay_near_their_own_rates_however_they_are_pulsed(name: str) -> None:
    """Spikes of the first 5 ms are the pulses' own; all others are the network's."""
    culture = organoid.preset(name)
    rest = organoid.simulate(culture, 60.0, seed=5)
    volts = culture.stimulus is not None
    pulse = Pulse.biphasic(list(range(10, 26)), 0.6 if volts else 2e-6, WIDTH, unit="V" if volts else "A")
    times = 5.0 + np.arange(400) / 20.0
    rec = organoid.simulate(culture, 45.0, stimuli=[(float(t), pulse) for t in times], seed=6)
    assert not rec.metadata["runaway"]
    last = np.maximum(np.searchsorted(times, rec.spike_times, side="right") - 1, 0)
    since = rec.spike_times - times[last]
    forced = (since >= 0) & (since < 5e-3)
    own = rec.replace(spike_times=rec.spike_times[~forced], spike_units=rec.spike_units[~forced])
    highest, pulsed = rest.counts(10.0).sum(1).max(), own.counts(10.0).sum(1)
    assert pulsed[-1] < 1.5 * highest
    if not volts:  # an answer of the organoid alone has more spikes than ten seconds of rest
        assert pulsed.max() < 1.5 * highest
    assert own.counts(5.0)[-3:].mean() < 1.5 * rest.counts(5.0).mean()


def test_the_organoid_answers_all_or_none_with_the_recorded_course() -> None:
    culture = organoid.preset("organoid_64")
    times = 10.0 + 15.0 * np.arange(30)
    after = {}
    for amplitude in (0.2, 0.6):
        pulse = Pulse.biphasic(5, amplitude, WIDTH, unit="V")
        rec = organoid.simulate(culture, 465.0, stimuli=[(float(t), pulse) for t in times], seed=3)
        after[amplitude] = rec.spike_times[:, None] - times
    weak, strong = (((found > 0.0) & (found < 0.5)).sum(0) for found in after.values())
    assert weak.mean() < 0.2 * strong.mean() and strong.min() > 60
    course = np.histogram(after[0.6], np.arange(0.0, 0.751, 0.05))[0]
    assert np.corrcoef(course, ANSWERED)[0, 1] > 0.95
    assert 0.15 <= 0.05 * course.argmax() <= 0.25 and course[12:].sum() < 0.05 * course.sum()
