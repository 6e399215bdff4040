"""Regions of a large array: groups of neighbouring units whose activity has fields of its own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoid.recording import SpikeRecording

Array = NDArray[np.float64]

MIN_UNITS = 120  # with known positions, from which on an array is large enough for regions
UNITS_A_REGION = 20  # about; never fewer than 15
LOCAL_TAUS = (0.010, 0.100, 0.500, 2.0)  # s
N_SEEN = 3  # regions a unit sees: its own and the nearest others


@dataclass(frozen=True)
class Regions:
    """Where units are, and what they see of each other.

    Parameters
    ----------
    home : ndarray of int64, shape (n_units,)
        Region of each unit.
    tau : ndarray, shape (n_tau,), s
        Time constants of the fields of each region.
    seen : ndarray of bool, shape (n_regions, n_units)
        Which regions' fields reach a unit.
    """

    home: NDArray[np.int64]
    tau: Array
    seen: NDArray[np.bool_]

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return int(self.seen.shape[0])


def places(rec: SpikeRecording) -> NDArray[np.float64]:
    """Return the positions of units, um, shape (n_units, 2); NaN where unknown."""
    return rec.units[["x_um", "y_um"]].to_numpy(dtype=np.float64)


def find_regions(place: Array | None) -> Regions | None:
    """Divide a large array into regions of about 20 neighbouring units; None where it is small or places are unknown.

    The units are cut in two across their wider extent, and the parts again, so that parts have equally many units.

    Parameters
    ----------
    place : ndarray, shape (n_units, 2), optional
        Positions, um.
    """
    if place is None or len(place) < MIN_UNITS or not np.isfinite(place).all() or np.ptp(place, axis=0).max() == 0.0:
        return None
    home = np.empty(len(place), dtype=np.int64)
    n_regions = len(place) // UNITS_A_REGION
    _cut(place, np.arange(len(place)), 0, n_regions, home)
    centre = np.stack([place[home == region].mean(0) for region in range(n_regions)])
    distance = np.hypot(*(centre[:, None] - place[None]).transpose(2, 0, 1))
    distance[home, np.arange(len(place))] = -1.0  # a unit's own region comes first
    rank = np.argsort(np.argsort(distance, axis=0, kind="stable"), axis=0)
    return Regions(home, np.array(LOCAL_TAUS), rank < N_SEEN)


def _cut(place: Array, units: NDArray[np.int64], first: int, n_regions: int, home: NDArray[np.int64]) -> None:
    """Give `units` the regions from number `first` on."""
    if n_regions == 1:
        home[units] = first
        return
    axis = int(np.argmax(np.ptp(place[units], axis=0)))
    order = units[np.lexsort((units, place[units, 1 - axis], place[units, axis]))]
    left = n_regions // 2
    middle = round(order.size * left / n_regions)
    _cut(place, order[:middle], first, left, home)
    _cut(place, order[middle:], first + left, n_regions - left, home)
