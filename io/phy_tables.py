"""The small files of a phy folder that give its arrays meaning: settings, labels of clusters, channels of templates."""

import ast
import csv
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.io.npy import Files

_LARGEST_TEMPLATES = 1 << 28
_SETTING = re.compile(r"^\s*(\w+)\s*=\s*(.*?)\s*$")
INFO, GROUP = "cluster_info.tsv", "cluster_group.tsv"
_INDEX = ("templates_ind.npy", "template_ind.npy")


def params(files: Files, notes: list[str]) -> dict[str, Any]:
    """Return the constants assigned in params.py, line by line where the whole is no valid Python; nothing is run."""
    if "params.py" not in files.names:
        notes.append("file 'params.py' is missing")
        return {}
    text = files.text("params.py")
    found: dict[str, Any] = {}
    try:
        lines = [
            (line.targets[0].id, line.value)
            for line in ast.parse(text).body
            if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name)
        ]
        found = {name: value for name, node in lines if (value := _constant(node)) is not None}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        pairs = [match.groups() for line in text.splitlines() if (match := _SETTING.match(line))]
        found = {name: value for name, said in pairs if (value := _said(said)) is not None}
        notes.append(
            f"file 'params.py' is not valid Python ({error.args[0]}); {len(found)} settings are read line by line"
        )
    rate = found.get("sample_rate")
    if isinstance(rate, int | float) and not isinstance(rate, bool) and abs(rate) < 1e300:
        found["sample_rate"] = float(rate)
    return found


def _constant(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, str | int | float | bool) else None


def _said(text: str) -> Any:
    """Return the constant in the text of one setting; quoted text that Python does not take is kept as it is."""
    try:
        return _constant(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        quoted = re.match(r"^r?(['\"])(.*)\1", text)
        return quoted[2] if quoted else None


def cluster_info(files: Files, notes: list[str]) -> dict[int, dict[str, str]]:
    """Return the columns of the .tsv files for each cluster.

    ``cluster_info.tsv`` holds what the others do, as of its last saving; where it exists the others are left out,
    except labels in a ``cluster_group.tsv`` that was changed after it.
    """
    names = sorted(name for name in files.names if name.endswith((".tsv", "cluster_groups.csv")) and "/" not in name)
    info: dict[int, dict[str, str]] = {}
    for name in [INFO] if INFO in names else names:
        for number, row in _rows(files, name, notes).items():
            info.setdefault(number, {}).update(row)
    if INFO in names and GROUP in names:
        _newer_labels(files, info, notes)
    return info


def _newer_labels(files: Files, info: dict[int, dict[str, str]], notes: list[str]) -> None:
    """Take the labels of ``cluster_group.tsv`` where they differ from those of an older ``cluster_info.tsv``."""
    newer = files.changed(GROUP) > files.changed(INFO)
    labels = {number: row["group"] for number, row in _rows(files, GROUP, notes).items() if row.get("group")}
    other = [number for number, label in labels.items() if info.get(number, {}).get("group", "") != label]
    if not other:
        return
    used = f"those of {GROUP}, changed later, are used" if newer else f"those of {INFO} are used"
    notes.append(f"{INFO} and {GROUP} give {len(other)} clusters different labels; {used}")
    for number in other if newer else []:
        info.setdefault(number, {})["group"] = labels[number]


def _rows(files: Files, name: str, notes: list[str]) -> dict[int, dict[str, str]]:
    try:
        rows = list(csv.DictReader(files.text(name).splitlines(), delimiter="\t"))
    except (csv.Error, RecordingError) as error:
        notes.append(f"{name} left out: {error}")
        return {}
    key = next((key for key in ("cluster_id", "id") if rows and key in rows[0]), None)
    if rows and key is None:
        notes.append(f"{name} left out: it has no column cluster_id")
    found: dict[int, dict[str, str]] = {}
    for row in rows if key is not None else []:
        number = whole(row.get(str(key)))
        if number is not None:
            found[number] = {k: v for k, v in row.items() if isinstance(v, str) and k}
    return found


def whole(cell: Any) -> int | None:
    """Return the integer in a cell, or None."""
    try:
        number = int(str(cell))
    except ValueError:
        return None
    return number if abs(number) < 2**63 else None


def peak_channels(files: Files, numbers: NDArray[np.int64], notes: list[str]) -> list[int | None]:
    """Return the channel where each cluster's template is largest, for clusters that still are templates.

    Templates may be sparse (columns named by ``templates_ind.npy``, -1 where there is none) and are stored whitened, so
    they are unwhitened first where the matrix is there.
    """
    unknown: list[int | None] = [None] * numbers.size
    if "templates.npy" not in files.names or files.size("templates.npy") > _LARGEST_TEMPLATES:
        return unknown
    try:
        templates = files.array("templates.npy")
        channel_map = files.array("channel_map.npy").ravel().astype(np.int64)
        columns = _columns(files, templates, channel_map.size)
        peaks = channel_map[_peaks(files, templates, columns, channel_map.size, notes)]
    except RecordingError as error:
        notes.append(f"channels of clusters unknown: {error}")
        return unknown
    n_new = int(np.sum((numbers < 0) | (numbers >= len(peaks))))
    notes.append(f"channels are those where the templates are largest; unknown for {n_new} merged or split clusters")
    return [int(peaks[number]) if 0 <= number < len(peaks) else None for number in numbers]


def _columns(files: Files, templates: NDArray[Any], n_channels: int) -> NDArray[np.int64]:
    """Return the row of the channel map each column of each template is of, -1 for none."""
    if templates.ndim != 3 or not templates.size:
        raise RecordingError(f"templates.npy has shape {templates.shape}")
    name = next((name for name in _INDEX if name in files.names), None)
    if name is None:
        if templates.shape[2] != n_channels:
            raise RecordingError(
                f"templates.npy has shape {templates.shape} for {n_channels} channels, and no {_INDEX[0]} names its "
                "columns"
            )
        return np.broadcast_to(np.arange(n_channels), (len(templates), n_channels))
    columns = files.array(name)
    if columns.shape != (len(templates), templates.shape[2]) or not np.array_equal(columns, np.rint(columns)):
        raise RecordingError(f"{name} has shape {columns.shape} for templates of shape {templates.shape}")
    columns = columns.astype(np.int64)
    beyond = columns >= n_channels  # some writers pad with the number of channels
    if np.any(columns[beyond] != n_channels):
        raise RecordingError(f"{name} names channels up to {columns.max()}, but there are {n_channels}")
    columns = np.where(beyond, -1, columns)
    if np.any(np.all(columns < 0, axis=1)):
        raise RecordingError(f"{name} names no channel for some templates")
    return columns


def _peaks(
    files: Files, templates: NDArray[Any], columns: NDArray[np.int64], n_channels: int, notes: list[str]
) -> NDArray[np.int64]:
    unwhiten = _unwhitening(files, n_channels, notes)
    peaks = np.empty(len(templates), dtype=np.int64)
    for k, (template, named) in enumerate(zip(templates, columns)):
        held = named >= 0
        shape = template[:, held].astype(np.float64)
        if unwhiten is not None:
            shape = shape @ unwhiten[np.ix_(named[held], named[held])]
        peaks[k] = named[held][int(np.argmax(np.ptp(shape, axis=0)))]
    return peaks


def _unwhitening(files: Files, n_channels: int, notes: list[str]) -> NDArray[np.float64] | None:
    for name, invert in (("whitening_mat_inv.npy", False), ("whitening_mat.npy", True)):
        if name not in files.names:
            continue
        try:
            matrix = files.array(name).astype(np.float64)
            if matrix.shape != (n_channels, n_channels) or not np.isfinite(matrix).all():
                raise RecordingError(f"{name} has shape {matrix.shape} for {n_channels} channels, or holds no numbers")
            return np.asarray(np.linalg.inv(matrix) if invert else matrix)
        except (RecordingError, np.linalg.LinAlgError) as error:
            notes.append(f"channels are those of the whitened templates: {error}")
    return None
