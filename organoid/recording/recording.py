"""`SpikeRecording`: spikes of one recording, when they could be seen, and what is known around them."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError
from organoid.recording import validation as checks
from organoid.recording.selection import rows_between, stimuli_of_well
from organoid.recording.tables import ELECTRODE_COLUMNS, EVENT_COLUMNS, Table, conform, framed
from organoid.recording.ticks import DEFAULT_TICK_RATE, BinGrid, holds_between, to_ticks

Units = Sequence[int] | Sequence[str] | NDArray[Any]
_TABLES = ("_units", "_electrodes", "_stimuli", "_events")


class SpikeRecording:
    """Spike times of several units inside one half-open window ``[t_start, t_stop)``.

    Parameters
    ----------
    spike_times : array_like, shape (n_spikes,), s
        Any order; stored sorted in time (equal times keep their order).
    spike_units : array_like of int, shape (n_spikes,)
        Unit index of each spike, ``0 .. n_units - 1``.
    n_units : int, optional
        Number of units, silent ones included. Default: rows of `units`, else the largest index + 1.
    t_start, t_stop : float, optional, s
        Recording window. Default: 0 (or the first spike if that is negative), and one tick after
        the last spike, with a note saying that the end is inferred.
    sampling_rate : float, optional, Hz
        Sets the tick (one sample); unknown means ticks of 1 us.
    units : DataFrame or mapping of columns, optional
        One row per unit: name, channel, electrode, x_um, y_um, well; further columns are kept.
    electrodes : DataFrame or mapping of columns, optional
        One row an electrode, silent ones included: channel, electrode, x_um, y_um, well, can_stimulate.
    stimuli : DataFrame or mapping of columns, optional
        One row per pulse: time_s, duration_s, electrode, channel, amplitude, amplitude_unit ("A" or
        "V"), waveform_id; unknown values missing.
    events : DataFrame or mapping of columns, optional
        One row per mark that is not a stimulus (camera frames, digital ports, notes of the user):
        time_s, kind, label.
    observed : array_like, shape (n, 2), optional, s
        When spikes could be seen: half-open intervals; holes are pauses, lost frames, blanking.
        Default: the whole window.
    metadata : mapping, optional
        JSON-able values.
    notes : sequence of str, optional
        What a reader inferred, kept, dropped or doubts.

    Raises
    ------
    RecordingError
        If anything does not fit together; the message names what came and what was expected.

    Examples
    --------
    >>> rec = SpikeRecording([0.1, 0.4, 0.2], [0, 0, 1], t_stop=1.0)
    >>> rec.counts(0.5).tolist()
    [[2, 1], [0, 0]]
    """

    __slots__ = (
        "_events",
        "_given_electrodes",
        "_metadata",
        "_n_units",
        "_notes",
        "_observed",
        "_sampling_rate",
        "_stimuli",
        "_t_start",
        "_t_stop",
        "_ticks",
        "_times",
        "_unit_index",
        "_unit_table",
    )

    def __init__(
        self,
        spike_times: ArrayLike | checks.Rising,
        spike_units: ArrayLike,
        *,
        n_units: int | None = None,
        t_start: float | None = None,
        t_stop: float | None = None,
        sampling_rate: float | None = None,
        units: Table | None = None,
        electrodes: Table | None = None,
        stimuli: Table | None = None,
        events: Table | None = None,
        observed: ArrayLike | None = None,
        metadata: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._sampling_rate = checks.check_sampling_rate(sampling_rate)
        self._times, self._unit_index = checks.spikes_in_order(spike_times, spike_units)
        self._ticks: NDArray[np.int64] | None = None
        self._n_units = checks.check_n_units(n_units, units, self._unit_index)
        self._notes: tuple[str, ...] = tuple(str(note) for note in notes)
        self._t_start, self._t_stop, said = checks.check_window(self._times, t_start, t_stop, self.tick_rate)
        self._notes += said
        self._observed = checks.check_observed(observed, self._t_start, self._t_stop)
        self._unit_table = checks.unit_columns(units, self._n_units)
        self._given_electrodes = None if electrodes is None else conform(electrodes, ELECTRODE_COLUMNS, "electrodes")
        self._stimuli = checks.stimulus_table(stimuli)
        self._events = checks.timed_table(events, EVENT_COLUMNS, "events")
        self._metadata = checks.check_metadata(metadata)

    @property
    def spike_times(self) -> NDArray[np.float64]:
        """Spike times, s, sorted; read-only, shape (n_spikes,)."""
        return self._times

    @property
    def spike_units(self) -> NDArray[np.int64]:
        """Unit index of each spike; read-only, shape (n_spikes,)."""
        self._unit_index = checks.widened(self._unit_index)  # kept as short as it came until requested
        return self._unit_index

    @property
    def spike_ticks(self) -> NDArray[np.int64]:
        """Spike times in whole ticks (samples, or us where no sampling rate is known); read-only."""
        if self._ticks is None:
            ticks = to_ticks(self._times, self.tick_rate)
            ticks.flags.writeable = False
            self._ticks = ticks
        return self._ticks

    @property
    def tick_rate(self) -> float:
        """Ticks per second, Hz: the sampling rate, or 1e6 where unknown."""
        return self._sampling_rate or DEFAULT_TICK_RATE

    @property
    def n_units(self) -> int:
        """Number of units, silent ones included."""
        return self._n_units

    @property
    def n_spikes(self) -> int:
        """Number of spikes."""
        return int(self._times.size)

    @property
    def t_start(self) -> float:
        """Start of the window, s (included)."""
        return self._t_start

    @property
    def t_stop(self) -> float:
        """End of the window, s (not included)."""
        return self._t_stop

    @property
    def duration(self) -> float:
        """Length of the window, s."""
        return self._t_stop - self._t_start

    @property
    def sampling_rate(self) -> float | None:
        """Sampling rate, Hz, or None where unknown."""
        return self._sampling_rate

    @property
    def units(self) -> pd.DataFrame:
        """Table of units (a copy): name, channel, electrode, x_um, y_um, well, ..."""
        return self._units.copy()

    @property
    def _units(self) -> pd.DataFrame:
        """The table of units, made a frame when first requested."""
        self._unit_table = framed(self._unit_table)
        return self._unit_table

    @property
    def electrodes(self) -> pd.DataFrame:
        """Table of electrodes (a copy): channel, electrode, x_um, y_um, well, can_stimulate, ..."""
        return self._electrodes.copy()

    @property
    def _electrodes(self) -> pd.DataFrame:
        """The table given, or, made when first requested, the electrodes of the units."""
        if self._given_electrodes is None:
            self._given_electrodes = checks.electrode_table(None, self._units)
        return self._given_electrodes

    @property
    def stimuli(self) -> pd.DataFrame:
        """Table of stimuli (a copy): time_s, duration_s, electrode, channel, amplitude, amplitude_unit, ..."""
        return self._stimuli.copy()

    @property
    def events(self) -> pd.DataFrame:
        """Table of marks that are not stimuli (a copy): time_s, kind, label, ..."""
        return self._events.copy()

    @property
    def observed(self) -> NDArray[np.float64]:
        """When spikes could be seen: half-open intervals, s; read-only, shape (n, 2)."""
        return self._observed

    @property
    def observed_duration(self) -> float:
        """Total time in which spikes could be seen, s."""
        return float(np.sum(self._observed[:, 1] - self._observed[:, 0]))

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says besides spikes (a copy)."""
        return copy.deepcopy(self._metadata)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader inferred, kept, dropped or doubts."""
        return self._notes

    @property
    def wells(self) -> tuple[str, ...]:
        """Names of the wells (cultures) the units lie in; empty where the file knows none."""
        return tuple(str(well) for well in self._units["well"].dropna().unique())

    def is_observed(self, ticks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each tick whether spikes could be seen then."""
        return holds_between(to_ticks(self._observed, self.tick_rate), ticks, ticks + 1)

    def bin_grid(self, bin_width: float, t_start: float | None = None, t_stop: float | None = None) -> BinGrid:
        """Return the bins `counts` uses; see there for the parameters."""
        start = self._t_start if t_start is None else t_start
        stop = self._t_stop if t_stop is None else t_stop
        begin, end = (int(tick) for tick in to_ticks([start, stop], self.tick_rate))
        return BinGrid(begin, end, bin_width, self.tick_rate)

    def counts(self, bin_width: float, t_start: float | None = None, t_stop: float | None = None) -> NDArray[np.int64]:
        """Count spikes in half-open bins; a last partial bin is dropped.

        Spikes are counted wherever they lie, also outside `observed`; see `observed_bins`.

        Parameters
        ----------
        bin_width : float, s
        t_start, t_stop : float, optional, s
            Part of the window; default: all of it.

        Returns
        -------
        ndarray of int64, shape (n_bins, n_units)
        """
        grid = self.bin_grid(bin_width, t_start, t_stop)
        bins = grid.index(self.spike_ticks)
        keep = bins >= 0
        flat = bins[keep] * self._n_units + self._unit_index[keep]
        counts = np.bincount(flat, minlength=grid.n_bins * self._n_units)
        return counts.astype(np.int64).reshape(grid.n_bins, self._n_units)

    def observed_bins(
        self, bin_width: float, t_start: float | None = None, t_stop: float | None = None
    ) -> NDArray[np.bool_]:
        """Return for each bin of `counts` whether all of it was observed; shape (n_bins,)."""
        return self.observed_between(self.bin_grid(bin_width, t_start, t_stop).edges())

    def observed_between(self, edges: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each pair of neighbouring edges (ticks) whether all between them was observed."""
        return holds_between(to_ticks(self._observed, self.tick_rate), edges[:-1], edges[1:])

    def select(
        self,
        units: Units | None = None,
        well: str | None = None,
        t_start: float | None = None,
        t_stop: float | None = None,
    ) -> "SpikeRecording":
        """Return part of the recording; units are renumbered in the order given.

        Parameters
        ----------
        units : sequence of int or str, or bool array, optional
            Unit indices, unit names, or a mask.
        well : str, optional
            Name of one well.
        t_start, t_stop : float, optional, s
            Half-open part of the window; windows that share an edge share no spike.

        Returns
        -------
        SpikeRecording

        Raises
        ------
        RecordingError
            If a unit or well does not exist (the choices are named) or the window is not inside.
        """
        chosen = np.arange(self._n_units) if units is None else checks.unit_indices(units, self._units["name"])
        if well is not None:
            in_well = np.flatnonzero((self._units["well"] == checks.check_well(well, self.wells)).to_numpy(dtype=bool))
            chosen = chosen[np.isin(chosen, in_well)]
        start = self._t_start if t_start is None else float(t_start)
        stop = self._t_stop if t_stop is None else float(t_stop)
        if not self._t_start <= start <= stop <= self._t_stop:
            raise RecordingError(
                f"cannot select [{start}, {stop}) s from a recording of [{self._t_start}, {self._t_stop}) s"
            )
        renumber = np.full(self._n_units, -1, dtype=np.int64)
        renumber[chosen] = np.arange(chosen.size)
        begin, end = np.searchsorted(self.spike_ticks, to_ticks([start, stop], self.tick_rate))
        new_units = renumber[self._unit_index[begin:end]]
        keep = new_units >= 0
        return SpikeRecording(
            self._times[begin:end][keep],
            new_units[keep],
            n_units=chosen.size,
            t_start=start,
            t_stop=stop,
            sampling_rate=self._sampling_rate,
            units=self._units.iloc[chosen].reset_index(drop=True),
            electrodes=self._electrodes if well is None else checks.rows_of_well(self._electrodes, well),
            stimuli=rows_between(stimuli_of_well(self._stimuli, self._electrodes, well), start, stop, self.tick_rate),
            events=rows_between(self._events, start, stop, self.tick_rate),
            observed=checks.clip(self._observed, start, stop),
            metadata=self._metadata,
            notes=self._notes,
        )

    def replace(self, **changes: Any) -> "SpikeRecording":
        """Return a copy in which some of what the constructor takes is different.

        Parameters
        ----------
        **changes
            Named as in the constructor: ``stimuli=``, ``notes=``, ``sampling_rate=``, ...

        Returns
        -------
        SpikeRecording

        Examples
        --------
        >>> rec = SpikeRecording([0.1, 0.4], [0, 0], t_stop=1.0)
        >>> rec.replace(stimuli={"time_s": [0.2]}).stimuli["time_s"].tolist()
        [0.2]
        """
        held: dict[str, Any] = {
            "spike_times": self._times,
            "spike_units": self._unit_index,
            "n_units": self._n_units,
            "t_start": self._t_start,
            "t_stop": self._t_stop,
            "sampling_rate": self._sampling_rate,
            "units": self._unit_table,
            "electrodes": self._given_electrodes,
            "stimuli": self._stimuli,
            "events": self._events,
            "observed": self._observed,
            "metadata": self._metadata,
            "notes": self._notes,
        }
        unknown = sorted(set(changes) - set(held))
        if unknown:
            raise RecordingError(f"a recording has no {unknown[0]!r}; it has {', '.join(held)}")
        return SpikeRecording(**{**held, **changes})

    def culture(self, well: str | None = None) -> "SpikeRecording":
        """Return the recording of one culture: itself, or the well requested.

        Raises
        ------
        RecordingError
            If it holds several wells and none is named; the choices are listed.
        """
        if well is not None:
            return self.select(well=well)
        checks.check_one_culture(self.wells)
        return self

    def equals(self, other: "SpikeRecording") -> bool:
        """Return whether two recordings hold exactly the same, bit for bit."""
        return (
            self._n_units == other._n_units
            and (self._t_start, self._t_stop) == (other._t_start, other._t_stop)
            and self._sampling_rate == other._sampling_rate
            and np.array_equal(self._times, other._times)
            and np.array_equal(self._unit_index, other._unit_index)
            and np.array_equal(self._observed, other._observed)
            and all(getattr(self, name).equals(getattr(other, name)) for name in _TABLES)
            and checks.same_metadata(self._metadata, other._metadata)
            and self._notes == other._notes
        )

    def __repr__(self) -> str:
        wells = f", {len(self.wells)} wells" if len(self.wells) > 1 else ""
        stimuli = f", {len(self._stimuli)} stimuli" if len(self._stimuli) else ""
        return (
            f"SpikeRecording({self._n_units} units, {self.n_spikes} spikes{stimuli}{wells}, "
            f"[{self._t_start:g}, {self._t_stop:g}) s)"
        )
