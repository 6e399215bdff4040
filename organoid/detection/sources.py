"""Voltage of a file: which layout it is; the layouts are in `hdf5_voltage`."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import h5py

from organoid.detection import hdf5_voltage as layouts
from organoid.detection.voltage import Voltage
from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, reason
from organoid.io.packed import unpacked
from organoid.io.source import is_hdf5

Opener = Callable[[h5py.File, str | None, str | None], Voltage]
LAYOUTS: tuple[tuple[Callable[[h5py.File], bool], Opener], ...] = (
    (lambda h5: "McsHdf5ProtocolType" in h5.attrs, layouts.mcs),
    (lambda h5: "version" in h5 and ("data_store" in h5 or "wells" in h5), layouts.maxwell),
    (lambda h5: "mapping" in h5 and "sig" in h5, layouts.maxwell_legacy),
    (lambda h5: "3BRecInfo" in h5, layouts.threebrain_v3),
    (lambda h5: any(name.startswith("Well_") for name in h5), layouts.threebrain_v4),
    (lambda h5: "PYTABLES_FORMAT_VERSION" in h5.attrs and "frames_per_second" in h5.attrs, layouts.cl1),
    (lambda h5: "nwb_version" in h5.attrs, layouts.nwb),
)


def open_voltage(path: str | PathLike[str], *, well: str | None = None, recording: str | None = None) -> Voltage:
    """Open the voltage of a file.

    Parameters
    ----------
    path : path
        MaxWell, Multi Channel Systems, 3Brain BRW, Cortical Labs or NWB; or a folder that SpikeInterface saved.
    well, recording : str, optional
        Which one, where the file holds several.

    Returns
    -------
    Voltage

    Raises
    ------
    FileNotFoundError
    RecordingError
        If it holds no voltage of a known layout, or a compression that is not installed.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"no such file or folder: {place}")
    if place.is_dir():
        from organoid.detection.spikeinterface_voltage import load_folder

        return load_folder(place)
    real = unpacked(place)
    if not is_hdf5(real):
        raise RecordingError(
            f"{place} is not an HDF5 file; open it with SpikeInterface and give that to organoid.detection.detect"
        )
    try:
        h5 = h5py.File(real, "r")
    except DAMAGE as error:
        raise RecordingError(f"{place} cannot be opened: {reason(error)}") from None
    try:
        for fits, opener in LAYOUTS:
            if fits(h5):
                return opener(h5, well, recording)
        raise RecordingError(
            f"the layout is not one whose voltage is read; top-level names are {', '.join(list(h5)[:8])}"
        )
    except RecordingError as error:
        h5.close()
        raise RecordingError(f"{place}: {error}") from None
    except DAMAGE as error:
        h5.close()
        raise RecordingError(f"{place}: {reason(error)}") from error
