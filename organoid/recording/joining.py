"""Several recordings of one culture as one."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording.recording import SpikeRecording
from organoid.recording.ticks import DEFAULT_TICK_RATE, to_ticks

GAP = 20.0  # s: what is left of an activity trace of 3 s, the slowest a network remembers by, is then 0.1 %
_NAMED = 5


def concatenate(recordings: Sequence[SpikeRecording], *, gap: float = GAP) -> SpikeRecording:
    """Put recordings of one culture behind each other.

    Units are matched by name. The first recording keeps its times; each of the others begins `gap` seconds after the
    one before it ends. Nothing was observed in the gaps, so that rates, bins and likelihoods leave them out.

    Parameters
    ----------
    recordings : sequence of SpikeRecording
        One or more, of the same units (in any order).
    gap : float, s
        Unobserved time between two recordings, 0 or more.

    Returns
    -------
    SpikeRecording
        With the units, in their order, of the first. ``metadata["joined"]`` lists where each one begins and ends, and
        where it began before.

    Raises
    ------
    RecordingError
        If there is nothing to join, or units differ.

    Examples
    --------
    >>> a = SpikeRecording([0.1], [0], n_units=1, t_stop=1.0)
    >>> b = SpikeRecording([0.2], [0], n_units=1, t_stop=1.0)
    >>> concatenate([a, b], gap=2.0).spike_times.tolist()
    [0.1, 3.2]
    """
    if isinstance(recordings, SpikeRecording) or not len(recordings):
        raise RecordingError("expected a list of one recording or more to concatenate")
    if not (np.isfinite(gap) and gap >= 0):
        raise RecordingError(f"gap {gap!r} s; expected a number of seconds, 0 or more")
    matched = match_units(recordings)
    rates = {rec.sampling_rate for rec in matched}
    rate = rates.pop() if len(rates) == 1 else None
    shifts = _shifts(matched, gap, rate or DEFAULT_TICK_RATE)
    first, last = matched[0], matched[-1]
    notes = dict.fromkeys(note for rec in matched for note in rec.notes)
    return SpikeRecording(
        np.concatenate([rec.spike_times + shift for rec, shift in zip(matched, shifts)]),
        np.concatenate([rec.spike_units for rec in matched]),
        n_units=first.n_units,
        t_start=first.t_start,
        t_stop=last.t_stop + shifts[-1],
        sampling_rate=rate,
        units=first.units,
        electrodes=_electrodes(matched),
        stimuli=_stimuli(matched, shifts),
        observed=np.concatenate([rec.observed + shift for rec, shift in zip(matched, shifts)]),
        metadata={**first.metadata, "joined": [_place(rec, shift) for rec, shift in zip(matched, shifts)]},
        notes=tuple(notes),
    )


def match_units(recordings: Sequence[SpikeRecording]) -> list[SpikeRecording]:
    """Return the recordings with their units in the order of the first one's names.

    Raises
    ------
    RecordingError
        If names repeat, or a recording lacks a unit or has one more.
    """
    names = [str(name) for name in recordings[0].units["name"]]
    if len(set(names)) < len(names):
        raise RecordingError("units of several recordings are matched by name, but names repeat in the first recording")
    found = []
    for number, rec in enumerate(recordings):
        own = [str(name) for name in rec.units["name"]]
        if sorted(own) != sorted(names):
            lacking, further = sorted(set(names) - set(own)), sorted(set(own) - set(names))
            raise RecordingError(
                f"recording {number} has other units than the first ({len(own)} and {len(names)}): {_some(lacking)} "
                f"are missing, {_some(further)} are new; select the same units of each with rec.select(units=[names])"
            )
        found.append(rec if own == names else rec.select(units=names))
    return found


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED]) or "none"
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _shifts(recordings: Sequence[SpikeRecording], gap: float, tick_rate: float) -> list[float]:
    """Return what is added to the times of each, s: whole ticks."""
    shifts, end = [0.0], recordings[0].t_stop
    for rec in recordings[1:]:
        shifts.append(int(to_ticks(end + gap - rec.t_start, tick_rate)) / tick_rate)
        end = rec.t_stop + shifts[-1]
    return shifts


def _place(rec: SpikeRecording, shift: float) -> dict[str, float]:
    return {"t_start": rec.t_start + shift, "t_stop": rec.t_stop + shift, "t_start_before": rec.t_start}


def _electrodes(recordings: Sequence[SpikeRecording]) -> pd.DataFrame:
    """Return the electrodes of all, each once."""
    tables = [rec.electrodes for rec in recordings if len(rec.electrodes)]
    if not tables:
        return recordings[0].electrodes
    return pd.DataFrame(pd.concat(tables).drop_duplicates(ignore_index=True))


def _stimuli(recordings: Sequence[SpikeRecording], shifts: Sequence[float]) -> pd.DataFrame:
    tables = [_later(rec.stimuli, shift) for rec, shift in zip(recordings, shifts) if len(rec.stimuli)]
    return pd.DataFrame(pd.concat(tables, ignore_index=True)) if tables else recordings[0].stimuli


def _later(stimuli: pd.DataFrame, shift: float) -> pd.DataFrame:
    times: NDArray[np.float64] = stimuli["time_s"].to_numpy(dtype=np.float64) + shift
    return stimuli.assign(time_s=times)
