"""What can be brought to life: a network alone, or anything that holds one and knows its units."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.culture.calibration import StimulationCalibration
from organoid.errors import ModelError
from organoid.models.free_running import FreeRunningNetwork


@dataclass(frozen=True)
class Source:
    """A network with what is known around it.

    Parameters
    ----------
    network : FreeRunningNetwork
    units, electrodes : DataFrame or None
        As in `SpikeRecording`, where known.
    calibration : StimulationCalibration or None
        Of the response to pulses, where known.
    """

    network: FreeRunningNetwork
    units: pd.DataFrame | None
    electrodes: pd.DataFrame | None
    calibration: StimulationCalibration | None

    @property
    def responding(self) -> NDArray[np.int64] | None:
        """Numbers of the electrodes whose pulses act through fitted kernels; None where none were fitted."""
        kernels = getattr(self.network, "stimulus", None)
        return None if kernels is None else kernels.electrodes

    @property
    def all_respond(self) -> bool:
        """Whether electrodes without a kernel of their own act through the mean one."""
        kernels = getattr(self.network, "stimulus", None)
        return kernels is not None and kernels.default_curve >= 0


def find_source(network_or_result: Any) -> Source:
    """Return the network and the tables of a network, a fit result or a preset.

    Parameters
    ----------
    network_or_result : object
        A `FreeRunningNetwork`, or an object whose ``network`` is one; its ``units``, ``electrodes``
        and ``calibration`` are used where it has them.

    Raises
    ------
    ModelError
        If no network that runs freely is found.
    """
    missing = _missing(network := network_or_result)
    if missing and hasattr(network_or_result, "network"):
        missing = _missing(network := network_or_result.network)
    if missing:
        raise ModelError(
            f"{type(network).__name__} cannot run freely (it has no {', '.join(missing)}); "
            "expected a FreeRunningNetwork, a fit result or a preset"
        )
    calibration = getattr(network_or_result, "calibration", None)
    return Source(
        network,
        _table(getattr(network_or_result, "units", None)),
        _table(getattr(network_or_result, "electrodes", None)),
        calibration if isinstance(calibration, StimulationCalibration) else None,
    )


def _missing(network: Any) -> list[str]:
    return [name for name in ("n_units", "dt", "initial_state", "advance", "describe") if not hasattr(network, name)]


def _table(value: Any) -> pd.DataFrame | None:
    return value if isinstance(value, pd.DataFrame) else None
