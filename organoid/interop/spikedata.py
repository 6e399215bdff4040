"""SpikeLab: a recording to and from its SpikeData (milliseconds)."""

from typing import Any

import numpy as np

from organoid.errors import RecordingError
from organoid.interop.partner import partner
from organoid.io.exchange import as_text, from_context, trains
from organoid.recording import SpikeRecording

_KEPT = "organoid_context"


def to_spikedata(rec: SpikeRecording) -> Any:
    """Return a SpikeData: trains in ms, unit columns as neuron attributes, everything else in its metadata.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    spikelab.SpikeData
    """
    spikelab = partner("spikelab.spikedata")
    attributes = [{name: None if value != value else value for name, value in row.items()} for row in _rows(rec)]
    return spikelab.SpikeData(
        [times * 1000 for times in trains(rec)],
        N=rec.n_units,
        length=rec.duration * 1000,
        start_time=rec.t_start * 1000,
        neuron_attributes=attributes,
        metadata={_KEPT: as_text(rec)},
    )


def _rows(rec: SpikeRecording) -> list[dict[str, Any]]:
    table = rec.units
    return [
        {str(name): value for name, value in row.items()}
        for row in table.astype(object).where(table.notna(), None).to_dict("records")
    ]


def from_spikedata(data: Any) -> SpikeRecording:
    """Return the recording of a SpikeData (of SpikeLab, spikedata or braingeneers: trains in ms).

    Parameters
    ----------
    data : SpikeData
        Anything with ``train`` (a list of arrays, ms) and ``length`` (ms).

    Returns
    -------
    SpikeRecording
        Equal to the one `to_spikedata` was given, if it comes from there; times to a rounding of ms.
    """
    if not hasattr(data, "train") or not hasattr(data, "length"):
        raise RecordingError(f"{type(data).__name__} is no SpikeData: it has no train and length")
    parts = [np.asarray(train, dtype=np.float64) / 1000 for train in data.train]
    units = np.repeat(np.arange(len(parts)), [part.size for part in parts])
    times = np.concatenate([np.empty(0), *parts])
    kept = (getattr(data, "metadata", None) or {}).get(_KEPT)
    if kept is not None:
        return _on_the_grid(times, units, kept)
    start = float(getattr(data, "start_time", 0.0)) / 1000
    stop = start + float(data.length) / 1000
    stop = max(stop, float(times.max(initial=start)) + 1e-6) if times.size else stop
    attributes = getattr(data, "neuron_attributes", None) or []
    names = [str(_attribute(item, "name", k)) for k, item in enumerate(attributes)] or None
    return SpikeRecording(
        times,
        units,
        n_units=len(parts),
        t_start=start,
        t_stop=stop,
        units={"name": names} if names and len(names) == len(parts) else None,
        metadata={"format": "spikedata"},
        notes=["from a SpikeData, whose times are in milliseconds"],
    )


def _attribute(item: Any, name: str, default: Any) -> Any:
    return item.get(name, default) if isinstance(item, dict) else getattr(item, name, default)


def _on_the_grid(times: Any, units: Any, kept: str) -> SpikeRecording:
    """Return the recording with times back on the samples they were on: ms and back rounds the last bit."""
    rec = from_context(times, units, kept)
    return rec if rec.sampling_rate is None else rec.replace(spike_times=rec.spike_ticks / rec.sampling_rate)
