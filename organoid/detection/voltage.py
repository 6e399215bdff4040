"""What a source of voltage offers: its channels, when it was recorded, and blocks of samples in volt."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError


@dataclass(frozen=True)
class Run:
    """Samples without a gap: rows ``[begin, end)``, the first of them at `start` s."""

    begin: int
    end: int
    start: float = 0.0


@dataclass
class Voltage(ABC):
    """A source of voltage; each process that reads opens its own.

    Parameters
    ----------
    sampling_rate : float, Hz
    electrodes : DataFrame
        One row per channel: name, and what is known of channel, electrode, x_um, y_um, well.
    runs : sequence of Run
    stimuli : DataFrame or None
        Pulses the file knows.
    metadata, notes
    """

    sampling_rate: float
    electrodes: pd.DataFrame
    runs: Sequence[Run]
    stimuli: pd.DataFrame | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.electrodes)

    @abstractmethod
    def read(self, begin: int, end: int) -> NDArray[np.floating[Any]]:
        """Return the rows ``[begin, end)``, V, shape (rows, n_channels)."""

    def close(self) -> None:
        """Close what is open."""
        return None


class ArrayVoltage(Voltage):
    """Voltage in memory.

    Parameters
    ----------
    voltage : array_like, shape (n_channels, n_samples), V
    sampling_rate : float, Hz
    electrodes : DataFrame, optional
    """

    def __init__(self, voltage: ArrayLike, sampling_rate: float, electrodes: pd.DataFrame | None = None) -> None:
        values = np.asarray(voltage)
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise RecordingError(
                f"voltage has shape {values.shape} and type {values.dtype}; expected (channels, samples)"
            )
        names = pd.DataFrame({"name": [f"ch{k}" for k in range(len(values))]})
        super().__init__(float(sampling_rate), names if electrodes is None else electrodes, [Run(0, values.shape[1])])
        self.values = values

    def read(self, begin: int, end: int) -> NDArray[np.floating[Any]]:
        """Return some rows."""
        return np.asarray(self.values[:, begin:end].T, dtype=np.float64)
