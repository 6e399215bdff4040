"""The mutations: of HDF5 files, of arrays and texts in folders and zips, of lists of lines, and of bytes."""

import gzip
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

Rng = np.random.Generator

# Datasets of each format that hold times or frames, and those whose length something else in the file tells.
OWN_TIMES = ["spikes/time_s", "window", "observed", "stimuli/time_s"]
OWN_COLUMNS = ["spikes/time_s", "spikes/unit", "units/name", "units/x_um", "units/missing/channel", "stimuli/time_s"]
TIMES = {
    "organoid_file": OWN_TIMES,
    "organoid_unsealed": OWN_TIMES,
    "organoid_session": OWN_TIMES,
    "carmen": ["spikes", "recordingtime"],
    "carmen_plate": ["spikes"],
    "maxwell": ["data_store/data0000/spikes", "data_store/data0000/groups/routed/frame_nos"],
    "maxwell_legacy": ["proc0/spikeTimes"],
    "mcs": [f"Data/Recording_0/TimeStampStream/Stream_0/TimeStampEntity_{k}" for k in (0, 1)],
    "mcs_old": [f"Data/Recording_0/EventStream/Stream_1/EventEntity_{k}" for k in (0, 1)],
    "cl1": ["spikes", "stims"],
    "nwb": ["units/spike_times", "units/obs_intervals", "intervals/stimulation/start_time"],
    "bxr3": ["Well_A1/SpikeTimes", "TOC"],
    "bxr2": ["3BResults/3BChEvents/SpikeTimes"],
    "spikelab": ["spike_times"],
    "herdingspikes": ["times"],
    "mat73": ["#refs#/0/thr4"],
}
COUNTED = {
    "organoid_file": [*OWN_COLUMNS, "window"],
    "organoid_unsealed": [*OWN_COLUMNS, "window", "electrodes/channel", "stimuli/missing/electrode"],
    "organoid_session": OWN_COLUMNS,
    "carmen": ["spikes", "sCount", "epos", "names", "recordingtime"],
    "carmen_plate": ["spikes", "sCount", "epos", "names", "treatment"],
    "cl1": ["spikes", "stims", "data_stream/game/data"],
    "nwb": ["units/spike_times", "units/spike_times_index", "units/id", "units/obs_intervals_index"],
    "mcs": ["Data/Recording_0/TimeStampStream/Stream_0/TimeStampEntity_0"],
    "bxr3": ["Well_A1/SpikeTimes", "Well_A1/SpikeChIdxs", "Well_A1/SpikeUnits"],
    "bxr2": ["3BResults/3BChEvents/SpikeTimes", "3BResults/3BChEvents/SpikeChIDs"],
    "spikelab": ["spike_times"],
    "herdingspikes": ["times", "cluster_id"],
    "mat73": ["spikeTimes", "channels"],
}


def mutate(name: str, valid: Path, target: Path, rng: Rng, *, by_bytes: bool) -> str:
    """Write a mutated copy of a valid file and return what was done to it."""
    if valid.is_dir():
        shutil.copytree(valid, target)
        return _mutate_folder(target, rng)
    if by_bytes:
        return _mutate_bytes(valid, target, rng)
    shutil.copyfile(valid, target)
    if target.suffix in (".zip", ".npz"):
        return _mutate_zip(target, rng)
    if target.suffix == ".gz":
        return _mutate_lines(target, rng)
    if not h5py.is_hdf5(target):
        return _mutate_bytes(valid, target, rng)
    with h5py.File(target, "a") as h5:
        return _mutate_hdf5(name, h5, rng)


def _mutate_bytes(valid: Path, target: Path, rng: Rng) -> str:
    content = bytearray(valid.read_bytes())
    kind = rng.choice(["truncate", "flip", "block", "zeros", "insert"])
    place = int(rng.integers(len(content)))
    if rng.random() < 0.5:  # most of the structure stands at the front
        place = int(rng.integers(min(len(content), 4096)))
    length = int(rng.integers(1, 200))
    if kind == "truncate":
        del content[place:]
    elif kind == "flip":
        for k in {place, *rng.integers(len(content), size=int(rng.integers(0, 4))).tolist()}:
            content[k] ^= int(rng.integers(1, 256))
    elif kind == "insert":
        content[place:place] = rng.bytes(length)
    else:
        length = len(content[place : place + length])
        content[place : place + length] = rng.bytes(length) if kind == "block" else bytes(length)
    target.write_bytes(content)
    return f"bytes {kind} at {place}"


def _mutate_hdf5(name: str, h5: h5py.File, rng: Rng) -> str:
    special: list[tuple[Callable[..., str], str]] = []
    special += [(_negate, path) for path in TIMES.get(name, [])]
    special += [(_spoil, path) for path in TIMES.get(name, [])]
    special += [(_resize, path) for path in COUNTED.get(name, [])]
    if special and rng.random() < 0.35:
        change, path = special[int(rng.integers(len(special)))]
        return change(h5, path, rng)
    attributes = [(h5.name, key) for key in h5.attrs]
    paths: list[str] = []

    def visit(path: str, item: h5py.Group | h5py.Dataset) -> None:
        paths.append(path)
        attributes.extend((path, key) for key in item.attrs)

    h5.visititems(visit)
    paths += [path for path in _links(h5)]
    if attributes and rng.random() < 0.35:
        path, key = attributes[int(rng.integers(len(attributes)))]
        return _mutate_attribute(h5[path], path, key, rng)
    path = paths[int(rng.integers(len(paths)))]
    change = GENERAL[int(rng.integers(len(GENERAL)))]
    return change(h5, path, rng)


def _links(h5: h5py.File) -> list[str]:
    found = []
    for outer in ("wells/well000", "recordings/rec0000"):
        found += [f"{outer}/{name}" for name in (h5[outer] if outer in h5 else [])]
    return found


def _mutate_attribute(owner: h5py.Group | h5py.Dataset, path: str, key: str, rng: Rng) -> str:
    value = owner.attrs[key]
    is_text = isinstance(value, str | bytes | np.bytes_)
    kind = rng.choice(["removed", "other type", "array", "empty", "not a number"])
    if kind == "removed":
        del owner.attrs[key]
    elif kind == "other type":
        owner.attrs[key] = 12.5 if is_text else "mutated"
    elif kind == "array":
        owner.attrs[key] = np.zeros((3, 2))
    elif kind == "empty":
        owner.attrs[key] = h5py.Empty("f8")
    else:
        owner.attrs[key] = rng.choice([np.nan, np.inf, -1.0, 1e300, 0.0])
    return f"attribute {path}@{key} {kind}"


def _remove(h5: h5py.File, path: str, rng: Rng) -> str:
    del h5[path]
    return f"removed {path}"


def _as_group(h5: h5py.File, path: str, rng: Rng) -> str:
    del h5[path]
    h5.create_group(path)
    return f"empty group instead of {path}"


def _dangling(h5: h5py.File, path: str, rng: Rng) -> str:
    del h5[path]
    h5[path] = h5py.SoftLink("/nowhere") if rng.random() < 0.5 else h5py.ExternalLink("absent.h5", "/x")
    return f"link to nowhere instead of {path}"


def _cyclic(h5: h5py.File, path: str, rng: Rng) -> str:
    del h5[path]
    parent = path.rpartition("/")[0]
    h5[path] = h5py.SoftLink("/" + path) if rng.random() < 0.5 else h5[parent or "/"]
    return f"link to itself or its parent instead of {path}"


def _retype(h5: h5py.File, path: str, rng: Rng) -> str:
    n = h5[path].shape[0] if isinstance(h5[path], h5py.Dataset) and h5[path].shape else 1
    was_text = isinstance(h5[path], h5py.Dataset) and h5[path].dtype.kind in "SO"
    del h5[path]
    h5[path] = np.full(n, 12.5) if was_text else np.full(n, b"mutated")
    return f"other type in {path}"


def _reaxis(h5: h5py.File, path: str, rng: Rng) -> str:
    if not isinstance(h5[path], h5py.Dataset) or h5py.check_ref_dtype(h5[path].dtype) is not None:
        return _remove(h5, path, rng)
    values = np.asarray(h5[path][()])
    kind = h5py.string_dtype() if values.dtype.kind == "O" else None
    del h5[path]
    h5.create_dataset(path, data=np.stack([values] * 2, axis=int(rng.integers(values.ndim + 1))), dtype=kind)
    return f"one axis more in {path}"


def _absurd(h5: h5py.File, path: str, rng: Rng) -> str:
    if not isinstance(h5[path], h5py.Dataset):
        return _as_group(h5, path, rng)
    shape, dtype = tuple(max(1, size) for size in h5[path].shape or (1,)), h5[path].dtype
    del h5[path]
    huge = (10**12, *shape[1:]) if rng.random() < 0.5 else (*shape[:-1], 10**12)
    h5.create_dataset(path, huge, dtype, chunks=tuple(max(1, min(size, 1024)) for size in huge))
    return f"10^12 values claimed in {path}"


def _rewritten(h5: h5py.File, path: str, values: object, dtype: object) -> None:
    """Write a dataset anew, its attributes kept."""
    attributes = dict(h5[path].attrs)
    del h5[path]
    h5.create_dataset(path, data=values, dtype=dtype).attrs.update(attributes)


def _scalar(h5: h5py.File, path: str, rng: Rng) -> str:
    if not isinstance(h5[path], h5py.Dataset) or not h5[path].size:
        return _as_group(h5, path, rng)
    _rewritten(h5, path, np.ravel(h5[path][()])[0], h5[path].dtype)
    return f"one value without axes in {path}"


def _null(h5: h5py.File, path: str, rng: Rng) -> str:
    del h5[path]
    h5[path] = h5py.Empty("f8")
    return f"null space in {path}"


def _swapped_bytes(h5: h5py.File, path: str, rng: Rng) -> str:
    """Store the same numbers with the other order of bytes: the content stays."""
    if not isinstance(h5[path], h5py.Dataset) or h5[path].dtype.kind not in "iuf":
        return _retype(h5, path, rng)
    _rewritten(h5, path, h5[path][()], h5[path].dtype.newbyteorder())
    return f"bytes swapped in {path}"


GENERAL = (_remove, _as_group, _dangling, _cyclic, _retype, _reaxis, _absurd, _scalar, _null, _swapped_bytes)


def _field(values: np.ndarray) -> np.ndarray:
    """Return the times of a dataset: itself, or its first column."""
    return values[values.dtype.names[0]] if values.dtype.names else values


def _negate(h5: h5py.File, path: str, rng: Rng) -> str:
    values = h5[path][()]
    times = _field(values)
    if times.dtype.kind == "u":
        values = values.astype("i8")
        times = values
    k = tuple(int(rng.integers(size)) for size in times.shape)
    if rng.random() < 0.5:
        times[...] = -times - 1
    else:
        times[k] = -times[k] - 1
    del h5[path]
    h5[path] = values
    return f"negative times in {path}"


def _spoil(h5: h5py.File, path: str, rng: Rng) -> str:
    values = h5[path][()]
    times = _field(values)
    k = tuple(int(rng.integers(size)) for size in times.shape)
    bad = [np.nan, np.inf, 1e300] if times.dtype.kind == "f" else [np.iinfo(times.dtype).max]
    times[k] = rng.choice(bad)
    del h5[path]
    h5[path] = values
    return f"NaN or absurd time in {path}"


def _stored_kind(dataset: h5py.Dataset) -> object:
    """Return the type to write values of a dataset again with, where numpy does not know it."""
    if h5py.check_ref_dtype(dataset.dtype) is not None:
        return h5py.ref_dtype
    return h5py.string_dtype() if dataset.dtype.kind == "O" else None


def _resize(h5: h5py.File, path: str, rng: Rng) -> str:
    values = h5[path][()]
    kind = _stored_kind(h5[path])
    attributes = dict(h5[path].attrs)
    del h5[path]
    axis = values.ndim - 1
    if rng.random() < 0.5:
        values = np.delete(values, np.s_[-1 if rng.random() < 0.5 else 0 :], axis=axis)
    else:
        more = int(rng.choice([1, 2, values.shape[axis]]))
        values = np.concatenate([values, np.take(values, [-1] * more, axis=axis)], axis=axis)
    h5.create_dataset(path, data=values, dtype=kind).attrs.update(attributes)
    return f"values more or less in {path}"


def _mutate_array(content: bytes, rng: Rng) -> tuple[bytes, str]:
    values = np.load(io.BytesIO(content))
    kinds = ["axis", "longer", "empty", "text", "object", "huge header", "cut"]
    if values.dtype.kind in "iu":  # another position or template is as good as the one before
        kinds += ["float", "negative"]
    kind = rng.choice(kinds)
    if kind == "float":
        values = values + 0.25
    elif kind == "axis":
        values = np.stack([values] * 2)
    elif kind == "longer":
        values = np.concatenate([values, values[:1]])
    elif kind == "empty":
        values = values[:0]
    elif kind == "negative":
        values = -values.astype("f8") - 1
    elif kind == "text":
        values = np.full(values.shape, "x")
    elif kind == "object":
        values = np.full(values.shape, None, dtype=object)
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    result = buffer.getvalue()
    if kind == "huge header":
        result = result.replace(b"'shape': (", b"'shape': (99999999999, ", 1)
    return (result[: len(result) // 2] if kind == "cut" else result), str(kind)


def _mutate_content(name: str, content: bytes, rng: Rng) -> tuple[bytes, str]:
    if name.endswith(".npy"):
        return _mutate_array(content, rng)
    kind = rng.choice(["empty", "binary", "garbled"])
    if kind == "empty":
        return b"", "empty"
    return (
        (rng.bytes(200), "binary")
        if kind == "binary"
        else (content.replace(b"=", b"(").replace(b"\t", b"|"), "garbled")
    )


def _mutate_folder(folder: Path, rng: Rng) -> str:
    path = sorted(folder.iterdir())[int(rng.integers(len(list(folder.iterdir()))))]
    if rng.random() < 0.3 and not path.name.startswith("ptrain"):  # a channel fewer is a valid recording
        path.unlink()
        return f"removed {path.name}"
    content, kind = _mutate_content(path.name, path.read_bytes(), rng)
    path.write_bytes(content)
    return f"{path.name} {kind}"


def _mutate_zip(path: Path, rng: Rng) -> str:
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(held)[int(rng.integers(len(held)))]
    kind = "removed"
    if rng.random() < 0.3:
        del held[name]
    else:
        held[name], kind = _mutate_content(name, held[name], rng)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, content in held.items():
            archive.writestr(other, content)
    return f"{name} {kind}"


def _mutate_lines(path: Path, rng: Rng) -> str:
    lines = gzip.decompress(path.read_bytes()).decode().split("\r")
    k = int(rng.integers(len(lines) - 1))
    kind = rng.choice(["removed", "NaN", "negative", "text", "quote", "fewer cells", "nul"])
    cells = lines[k].split(",")
    if kind == "removed" and k < 3:  # a spike fewer is a valid list
        lines[k] = ""
    elif kind == "NaN":
        cells[-3] = "nan"
    elif kind == "negative":
        cells[-3] = "-5.5"
    elif kind == "text":
        cells[-3 if rng.random() < 0.5 else -2] = "mutated"
    elif kind == "fewer cells":
        cells = cells[:-2]
    elif kind == "quote":
        cells[0] = '"' + cells[0]
    elif kind == "nul":
        cells[-2] = "\x00" + cells[-2]
    if kind != "removed":
        lines[k] = ",".join(cells)
    path.write_bytes(gzip.compress("\r".join(lines).encode()))
    return f"line {k} {kind}"
