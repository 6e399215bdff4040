"""From the 64 channels of the vendor's interface to the electrodes and units of a culture, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop import DeviceInfo, SessionError
from organoid.devices.cortical_labs import GROUND, N_CHANNELS, SILENT
from organoid.protocols import default_electrodes

Index = NDArray[np.int64]


@dataclass(frozen=True)
class ChannelMap:
    """Which electrode a channel stimulates, and which channel a unit is seen on.

    Parameters
    ----------
    electrode_of : ndarray of int64, shape (64,)
        Row in the culture's table of electrodes; -1 for none.
    channel_of : ndarray of int64, shape (n_units,)
        -1 where a unit cannot be seen.
    rule : str
        How it was chosen, in words.
    """

    electrode_of: Index
    channel_of: Index
    rule: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: channel to electrode, channel of each unit, the rule."""
        pairs = {str(k): int(electrode) for k, electrode in enumerate(self.electrode_of) if electrode >= 0}
        return {"electrode_of_channel": pairs, "channel_of_unit": self.channel_of.tolist(), "rule": self.rule}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must know about it."""
        hidden = int(np.sum(self.channel_of < 0))
        return (f"{hidden} of {self.channel_of.size} units are seen on no channel",) if hidden else ()


def channel_map(info: DeviceInfo, given: Mapping[str, int] | None = None) -> ChannelMap:
    """Return the map of a culture.

    A culture recorded on a CL1 keeps its channels. Otherwise the 59 channels that are neither grounded nor the
    reference get the electrodes nearest to the most units, in the order of their places: column by column.

    Parameters
    ----------
    info : DeviceInfo
        Of the culture.
    given : mapping of str to int, optional
        Channel to electrode (row of the table); nothing else is then mapped.

    Raises
    ------
    SessionError
        If a channel or an electrode does not exist, or a channel is grounded.
    """
    n = len(info.electrodes)
    if given is not None:
        pairs, rule = _checked(given, n), "given"
    elif _is_cl1(info):
        pairs, rule = {k: k for k in range(N_CHANNELS) if k not in GROUND}, "the culture's own channels"
    else:
        pairs = _by_place(info)
        rule = f"the {len(pairs)} electrodes nearest to the most units, in the order of their places"
    electrode_of = np.full(N_CHANNELS, -1, dtype=np.int64)
    electrode_of[list(pairs)] = list(pairs.values())
    return ChannelMap(electrode_of, _channels_of_units(info, pairs), rule)


def _checked(given: Mapping[str, int], n_electrodes: int) -> dict[int, int]:
    pairs = {int(channel): int(electrode) for channel, electrode in given.items()}
    for channel, electrode in pairs.items():
        if not 0 <= channel < N_CHANNELS or channel in GROUND:
            raise SessionError(f"channel {channel} of the channel map; expected 0 to 63 without {GROUND}, grounded")
        if not 0 <= electrode < n_electrodes:
            raise SessionError(f"electrode {electrode} of the channel map; the culture has {n_electrodes}")
    return pairs


def _is_cl1(info: DeviceInfo) -> bool:
    """Return whether electrodes are numbered as a CL1's 64 channels, and no unit is on a silent one."""
    labels = info.electrodes["channel"].to_numpy(dtype=float, na_value=np.nan)
    if not np.array_equal(labels, np.arange(N_CHANNELS)):
        return False
    units = info.units["channel"].to_numpy(dtype=float, na_value=np.nan)
    return bool(np.isfinite(units).all()) and not np.isin(units, SILENT).any()


def _by_place(info: DeviceInfo) -> dict[int, int]:
    free = [channel for channel in range(N_CHANNELS) if channel not in SILENT]
    chosen = np.array(default_electrodes(info, len(free)), dtype=np.int64)
    x, y = (info.electrodes[name].to_numpy(dtype=float, na_value=np.nan)[chosen] for name in ("x_um", "y_um"))
    order = chosen[np.lexsort((chosen, y, x))]
    return dict(zip(free, (int(electrode) for electrode in order), strict=False))


def _channels_of_units(info: DeviceInfo, pairs: Mapping[int, int]) -> Index:
    """Return the channel of each unit: that of its own electrode, else of the nearest one."""
    channel_of_row = {electrode: channel for channel, electrode in pairs.items() if channel not in SILENT}
    rows = [_row_of(info, unit) for unit in range(info.n_units)]
    return np.array([channel_of_row.get(row, -1) for row in rows], dtype=np.int64)


def _row_of(info: DeviceInfo, unit: int) -> int:
    for column in ("electrode", "channel"):
        label = info.units[column].iloc[unit]
        rows = np.flatnonzero((info.electrodes[column] == label).fillna(False).to_numpy(dtype=bool))
        if rows.size == 1:
            return int(rows[0])
    where = info.units[["x_um", "y_um"]].iloc[unit].to_numpy(dtype=float, na_value=np.nan)
    places = info.electrodes[["x_um", "y_um"]].to_numpy(dtype=float, na_value=np.nan)
    distance = np.hypot(*(places - where).T)
    return int(np.nanargmin(distance)) if np.isfinite(distance).any() else -1
