"""Small MATLAB spike files in the layouts that readers know."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np


def _cells(values: list[Any]) -> np.ndarray:
    cells = np.empty((1, len(values)), dtype=object)
    cells[0, :] = values
    return cells


def mat_mea_nap(folder: Path) -> Path:
    import scipy.io

    trains = [{"thr4": np.array([[0.01], [0.5], [1.5]])}, {"thr4": np.empty((0, 0))}, {"thr4": np.array([[0.7]])}]
    params = {"fs": 25000.0, "unit": "s", "duration": 2.0}
    held = {
        "spikeTimes": _cells(trains),
        "channels": np.array([[12, 13, 21]]),
        "spikeDetectionResult": {"params": params},
    }
    scipy.io.savemat(folder / "culture_spikes.mat", held, do_compression=True)
    return folder / "culture_spikes.mat"


def mat_wave_clus(folder: Path) -> Path:
    import scipy.io

    rows = np.array([[1, 10.0], [2, 12.5], [0, 600.0], [1, 800.0]])
    scipy.io.savemat(folder / "times_ch1.mat", {"cluster_class": rows, "par": {"sr": 30000.0}}, do_compression=True)
    return folder / "times_ch1.mat"


def mat_cell_explorer(folder: Path) -> Path:
    import scipy.io

    trains = _cells([np.array([[0.01], [0.5], [1.5]]), np.array([[0.7]])])
    spikes = {"times": trains, "UID": np.array([[1, 2]]), "sr": 20000.0, "total": np.array([[3, 1]]), "numcells": 2.0}
    path = folder / "session.spikes.cellinfo.mat"
    scipy.io.savemat(path, {"spikes": spikes}, do_compression=True)
    return path


def mat73(folder: Path) -> Path:
    """Write a cell array of structs as MATLAB does in version 7.3: references to groups."""
    path = folder / "culture73.mat"
    trains = [np.array([[0.01, 0.5, 1.5]]), np.array([[0.7]])]
    with h5py.File(path, "w") as h5:
        references = np.empty((len(trains), 1), dtype=h5py.ref_dtype)
        for k, train in enumerate(trains):
            cell = h5.create_group(f"#refs#/{k}")
            cell.attrs["MATLAB_class"] = np.bytes_(b"struct")
            cell["thr4"] = train
            cell["thr4"].attrs["MATLAB_class"] = np.bytes_(b"double")
            references[k, 0] = cell.ref
        h5.create_dataset("spikeTimes", data=references, dtype=h5py.ref_dtype)
        h5["channels"] = np.array([[12.0], [13.0]])
        unit = np.array([[ord(letter)] for letter in "ms"], dtype="u2")
        h5["spikeDetectionResult/params/unit"], h5["spikeDetectionResult/params/fs"] = unit, np.array([[25000.0]])
        kinds = {"spikeTimes": b"cell", "channels": b"double", "spikeDetectionResult": b"struct"}
        kinds |= {"spikeDetectionResult/params": b"struct", "spikeDetectionResult/params/unit": b"char"}
        for name, kind in kinds.items():
            h5[name].attrs["MATLAB_class"] = np.bytes_(kind)
    return path
