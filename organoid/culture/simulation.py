"""`simulate`: let a network spike, with or without pulses, and return a recording."""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from organoid.culture.calibration import StimulationCalibration
from organoid.culture.energy import synaptic_operations
from organoid.culture.geometry import place, with_stimulated
from organoid.culture.recruitment import TIRING, Recruitment
from organoid.culture.source import find_source
from organoid.culture.tissue import AnyPulse, Tissue
from organoid.culture.tissue_state import TissueBlock, TissueState
from organoid.errors import ModelError, StimulationError
from organoid.recording import SpikeRecording
from organoid.recording.ticks import to_ticks
from organoid.stimulation import Pulse, RecordedPulse, pulses_from_table, stimulus_table

Stimuli = pd.DataFrame | Sequence[tuple[float, Pulse]]
Planned = list[tuple[int, AnyPulse]]
Index = NDArray[np.int64]

_CHUNK_S = 2.0
_PROGRESS_AFTER_S = 2.0
_IMPOSSIBLE_RATE = 500.0  # Hz per unit, over a whole chunk; a choice far above any culture


def simulate(
    network_or_result: Any,
    duration: float,
    *,
    stimuli: Stimuli | None = None,
    seed: int = 0,
    recruitment: Recruitment | None = None,
    calibration: StimulationCalibration | None = None,
) -> SpikeRecording:
    """Run a network freely for some time.

    Parameters
    ----------
    network_or_result : FreeRunningNetwork, FitResult or preset
    duration : float, s
    stimuli : DataFrame or sequence of (time in s, Pulse), optional
        Pulses to give on the way; a table is read as `SpikeRecording.stimuli`. Electrode indices of
        a `Pulse` are rows of the result's ``.electrodes``. Where the response of the network was fitted to pulses,
        those of a recording's table are played as they were recorded, with unknown amplitudes and electrodes.
    seed : int
        Same seed, same spikes, bit for bit; spikes before the first pulse do not depend on it.
    recruitment : Recruitment, optional
        How pulses recruit units directly; default: `organoid.culture.recruitment.TIRING`.
    calibration : StimulationCalibration, optional
        How strongly pulses enter the population drive; default: the result's own, else uncalibrated.

    Returns
    -------
    SpikeRecording
        At 20 kHz. Where artefacts hid the first milliseconds after each pulse from the fit, they are holes in
        ``observed`` here, too. A network that counts its work adds it to the metadata: ``synaptic_operations`` and
        ``neuron_updates``. If the network runs away, up to that time only, with a note and
        ``metadata["runaway"]`` true.

    Raises
    ------
    ModelError, StimulationError
        If the network, the duration or a stimulus cannot be used.

    Examples
    --------
    >>> import organoid
    >>> recording = organoid.simulate(organoid.preset("bursting_culture"), 2.0, seed=1)
    >>> recording.duration
    2.0
    """
    source = find_source(network_or_result)
    electrodes = source.electrodes
    if isinstance(stimuli, pd.DataFrame) and source.responding is not None:
        electrodes, stimuli = with_stimulated(electrodes, stimuli, source.network.n_units, source.responding)
    geometry = place(source.network.n_units, source.units, electrodes, source.responding, source.all_respond)
    tissue = Tissue(source.network, geometry, recruitment or TIRING, calibration or source.calibration)
    n_frames = _frames_of(duration, tissue)
    planned = _plan(stimuli, tissue, n_frames)
    parts = []
    for block in _run(tissue, n_frames, planned, seed):
        parts.append((block.spike_frames, block.spike_units))
        state = block.state  # the last one alone: that of a large network is large
    frames, units = (np.concatenate(column) for column in zip(*parts, strict=True))
    given = [frame for frame, _ in planned if frame < state.frame]
    hidden = _hidden(tissue, np.array(given, dtype=np.int64))
    if len(hidden):
        seen = np.searchsorted(hidden[:, 0], frames, side="right") - 1
        seen = (seen < 0) | (frames >= hidden[seen, 1])
        frames, units = frames[seen], units[seen]
    return _recording(tissue, frames, units, state, planned, n_frames, seed, hidden)


def _hidden(tissue: Tissue, pulses: Index) -> Index:
    """Return the frames after pulses whose spikes the fit could not see, joined where they overlap, shape (n, 2)."""
    blanked = 0 if tissue.kernels is None else tissue.kernels.blanked * tissue.frames_per_step
    if not blanked or not pulses.size:
        return np.empty((0, 2), dtype=np.int64)
    starts = np.unique(pulses)
    first = np.append(True, np.diff(starts) > blanked)
    last = np.append(first[1:], True)
    return np.stack([starts[first], starts[last] + blanked], axis=1)


def _frames_of(duration: float, tissue: Tissue) -> int:
    if not (isinstance(duration, int | float | np.number) and math.isfinite(duration) and duration > 0):
        raise ModelError(f"duration {duration!r}; expected a positive number of seconds")
    return max(1, int(to_ticks(duration, tissue.rate)))


def _plan(stimuli: Stimuli | None, tissue: Tissue, n_frames: int) -> Planned:
    """Return (frame, pulse) in order of frames; pulses after the end are an error."""
    if stimuli is None:
        return []
    pairs: Any = stimuli
    if isinstance(stimuli, pd.DataFrame):
        pairs = pulses_from_table(stimuli, tissue.geometry.electrodes, as_recorded=tissue.kernels is not None)
    planned: Planned = []
    for pair in pairs:
        try:
            time, pulse = pair
        except (TypeError, ValueError):
            raise StimulationError(f"stimulus {pair!r}; expected (time in s, Pulse)") from None
        if not isinstance(pulse, Pulse | RecordedPulse):
            raise StimulationError(f"stimulus at {time} s is {type(pulse).__name__}; expected a Pulse")
        frame = int(to_ticks(time, tissue.rate))
        if not 0 <= frame < n_frames:
            raise StimulationError(f"a pulse at {time:g} s; the simulation runs from 0 to {n_frames / tissue.rate:g} s")
        planned.append((frame, pulse))
    return sorted(planned, key=lambda entry: entry[0])


def _run(tissue: Tissue, n_frames: int, planned: Planned, seed: int) -> Iterator[TissueBlock]:
    """Yield what happens in chunks; stop where the network runs away."""
    state, next_pulse = tissue.initial_state(seed), 0
    chunk = max(1, round(_CHUNK_S / tissue.network.dt)) * tissue.frames_per_step
    seconds = n_frames / tissue.rate
    with tqdm(
        total=round(seconds, 1), unit="s", desc="simulating", delay=_PROGRESS_AFTER_S, disable=not sys.stderr.isatty()
    ) as bar:
        while state.frame < n_frames and not state.runaway:
            until, first = min(state.frame + chunk, n_frames), next_pulse
            while next_pulse < len(planned) and planned[next_pulse][0] < until:
                next_pulse += 1
            block = tissue.advance(state, until, planned[first:next_pulse])
            bar.update((block.stop_frame - block.start_frame) / tissue.rate)
            yield block
            state = block.state
            if _is_impossible(tissue, block, chunk):
                return


def _is_impossible(tissue: Tissue, block: TissueBlock, chunk: int) -> bool:
    """Return whether a whole chunk was spent above any culture's rate (memory would not last)."""
    return block.spike_frames.size > _IMPOSSIBLE_RATE * tissue.n_units * chunk / tissue.rate


def _recording(
    tissue: Tissue,
    frames: Index,
    units: Index,
    state: TissueState,
    planned: Planned,
    n_frames: int,
    seed: int,
    hidden: Index,
) -> SpikeRecording:
    rate = tissue.rate
    given = [(frame, pulse) for frame, pulse in planned if frame < state.frame]
    runaway = state.frame < n_frames or state.runaway
    metadata: dict[str, Any] = {"simulated": True, "seed": seed, **tissue.describe(), "runaway": runaway}
    if hasattr(tissue.network, "work"):
        metadata |= tissue.network.work(state.network)
    elif (operations := synaptic_operations(tissue.network, units)) is not None:
        metadata["synaptic_operations"] = operations
    if "synaptic_operations" in metadata:
        metadata["synaptic_operations_per_s"] = metadata["synaptic_operations"] * rate / max(state.frame, 1)
    notes = list(tissue.warnings if given else ())
    if runaway:
        metadata["runaway_time_s"] = state.frame / rate
        notes.append(
            f"runaway: the network fired beyond its limit and was stopped at {state.frame / rate:g} s "
            f"of {n_frames / rate:g} s"
        )
    edges = np.concatenate([[0], np.minimum(hidden.ravel(), state.frame), [state.frame]]).reshape(-1, 2)
    return SpikeRecording(
        frames / rate,
        units,
        n_units=tissue.n_units,
        t_start=0.0,
        t_stop=state.frame / rate,
        observed=edges[edges[:, 0] < edges[:, 1]] / rate,
        sampling_rate=rate,
        units=tissue.geometry.units if len(tissue.geometry.units.columns) else None,
        electrodes=tissue.geometry.electrodes,
        stimuli=stimulus_table(
            [frame / rate for frame, _ in given], [pulse for _, pulse in given], tissue.geometry.electrodes
        ),
        metadata=metadata,
        notes=notes,
    )
