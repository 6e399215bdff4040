"""Small results of spike sorters in the layouts that readers know."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def phy_files() -> dict[str, bytes]:
    templates = np.zeros((3, 10, 4), "f4")
    templates[0, 5, 2], templates[1, 5, 0], templates[2, 5, 3] = -9, -8, -7
    arrays = {
        "spike_times.npy": np.array([[30], [60], [90], [3000], [29999]], dtype="u8"),
        "spike_clusters.npy": np.array([0, 2, 0, 2, 7], dtype="i4"),
        "templates.npy": templates,
        "channel_map.npy": np.array([[4], [5], [6], [7]]),
        "channel_positions.npy": np.array([[0.0, 0.0], [0.0, 20.0], [0.0, 40.0], [0.0, 60.0]]),
    }
    files = {"params.py": b"dat_path = 'a.dat'\nsample_rate = 30000.\nhp_filtered = False\nimport os\n"}
    files["cluster_group.tsv"] = b"cluster_id\tgroup\n0\tgood\n2\tnoise\n9\tmua\n"
    files["odd.tsv"] = b"a\tb\n1\t2\n"
    for name, values in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, values)
        files[name] = buffer.getvalue()
    return files


def phy(folder: Path) -> Path:
    path = folder / "curated.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in phy_files().items():
            archive.writestr(f"sorted/{name}", content)
    return path


def phy_folder(folder: Path) -> Path:
    path = folder / "sorted"
    path.mkdir()
    for name, content in phy_files().items():
        (path / name).write_bytes(content)
    return path


def si_npz(folder: Path) -> Path:
    path = folder / "sorting.npz"
    held: dict[str, Any] = {"unit_ids": np.array([3, 5, 9]), "num_segment": np.array([1])}
    held |= {"sampling_frequency": np.array([20000.0]), "spike_indexes_seg0": np.array([10, 20, 400, 4000])}
    np.savez(path, **held, spike_labels_seg0=np.array([3, 5, 3, 3]))
    return path


def si_folder(folder: Path) -> Path:
    path = folder / "numpy_folder"
    path.mkdir()
    kinds = [("sample_index", "i8"), ("unit_index", "i8"), ("segment_index", "i8")]
    np.save(path / "spikes.npy", np.array([(10, 0, 0), (20, 1, 0), (400, 0, 0)], dtype=kinds))
    info = {"sampling_frequency": 20000.0, "unit_ids": [3, 5, 9], "num_segments": 1}
    (path / "numpysorting_info.json").write_text(json.dumps(info))
    return path
