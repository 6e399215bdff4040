"""``organoid map``: a mapping proposed from what a file holds, to be looked at and edited."""

from pathlib import Path
from typing import Any

import numpy as np

from organoid.errors import RecordingError
from organoid.io.mapped_source import Arrays, flat_numbers, open_arrays
from organoid.io.packed import unpacked

_WORDS = {
    "times": ("spike_times", "spiketimes", "times", "timestamps", "stamps", "time", "spikes", "trains", "st", "t"),
    "units": ("unit", "units", "unit_id", "cluster", "clusters", "neuron", "cell", "channel", "electrode", "ch", "id"),
    "index": ("index", "ends", "offsets", "idx"),
    "counts": ("counts", "n_spikes", "scount", "sizes"),
    "sampling_rate": ("sampling_rate", "samplingrate", "fs", "sr", "rate", "sample_rate", "samplingfrequency"),
    "names": ("names", "unit_names", "labels", "channel_names"),
    "x_um": ("x_um", "x", "xpos", "pos_x"),
    "y_um": ("y_um", "y", "ypos", "pos_y"),
    "well": ("well", "wells"),
    "stimuli": ("stim_times", "stim", "stimuli", "stimulus", "pulses", "stimulation"),
}
_SHOWN = 40
_SECONDS = 1e5  # longer recordings are rare: times beyond are in another unit
_ENDINGS = {"ms": "ms", "us": "us", "samples": "samples", "frames": "samples", "s": "s"}


def propose(path: Path) -> str:
    """Return a mapping as TOML text with comments: what fits by name and size, and what else the file holds.

    Raises
    ------
    FileNotFoundError
    RecordingError
        If the file is of no kind a mapping reads, or holds no arrays.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    with open_arrays(unpacked(path)) as arrays:
        names = arrays.names()
        if not names:
            raise RecordingError(f"{path} holds no arrays a mapping could name")
        values = {name: _value(arrays, name) for name in names[:2000]}
        kind = arrays.kind
    lines = [
        f"# How to read {path.name} ({kind}); check every line, then: organoid convert --map THIS {path.name} OUT.h5"
    ]
    lines += _lines(values)
    lines += ["", "# what the file holds"] + [f"#   {name}: {_shown(values[name])}" for name in list(values)[:_SHOWN]]
    if len(values) > _SHOWN:
        lines.append(f"#   and {len(values) - _SHOWN} more")
    return "\n".join(lines) + "\n"


def _value(arrays: Arrays, name: str) -> Any:
    try:
        return arrays.get(name)
    except RecordingError:
        return None


def _lines(values: dict[str, Any]) -> list[str]:
    times = _times(values)
    if times is None:
        return ['times = ""            # nothing looks like spike times: name what holds them']
    name, size, largest, whole = times
    lines = [f'times = "{name}"']
    units = [] if name.endswith("/*") or isinstance(values.get(name), list) else _unit_lines(values, name, size)
    lines += units
    unit, why = _unit_of_time(name, largest, whole)
    lines.append(f'time_unit = "{unit}"       # {why}; one of s, ms, us, samples')
    rate = _named(values, "sampling_rate", 1)
    if rate is not None:
        lines.append(f'sampling_rate = "{rate}"')
    elif unit == "samples":
        lines.append("sampling_rate = 20000   # samples need it; nothing in the file looks like it")
    for key in ("names", "x_um", "y_um", "well", "stimuli"):
        found = _named(values, key, None)
        if found is not None and found != name and f'"{found}"' not in "".join(lines):
            lines.append(f'{key} = "{found}"')
    return lines


def _times(values: dict[str, Any]) -> tuple[str, int, float, bool] | None:
    """Return the array that looks most like spike times: its name, size, largest value, and whether all are whole."""
    groups = _groups(values)
    found: list[tuple[int, int, str]] = []
    sizes: dict[str, Any] = {}
    for name, value in [*values.items(), *groups.items()]:
        numbers = _joined(value)
        if numbers is None or numbers.size < 2 or not np.isfinite(numbers).all():
            continue
        sizes[name] = numbers
        rank = _rank(name, "times")
        if rank is not None:
            found.append((rank, -numbers.size, name))
    if not found and len(sizes) == 1:
        found = [(0, 0, next(iter(sizes)))]
    if not found:
        return None
    name = min(found)[2]
    numbers = sizes[name]
    return name, int(numbers.size), float(numbers.max()), bool(np.array_equal(numbers, np.rint(numbers)))


def _groups(values: dict[str, Any]) -> dict[str, Any]:
    """Return groups of several arrays of numbers, as one name with a star."""
    parents: dict[str, list[Any]] = {}
    for name, value in values.items():
        if "/" in name and flat_numbers(value) is not None:
            parents.setdefault(name.rpartition("/")[0], []).append(value)
    return {f"{parent}/*": held for parent, held in parents.items() if len(held) > 1 and _all_numbered(values, parent)}


def _all_numbered(values: dict[str, Any], parent: str) -> bool:
    names = [name.rpartition("/")[2] for name in values if name.rpartition("/")[0] == parent]
    return all(any(letter.isdecimal() for letter in name) for name in names)


def _joined(value: Any) -> Any:
    if isinstance(value, list):
        parts = [part for item in value if (part := flat_numbers(item)) is not None]
        return np.concatenate(parts) if parts and len(parts) == len(value) else None
    return flat_numbers(value)


def _rank(name: str, key: str) -> int | None:
    """Return how well a name fits an entry: the place of the word it is, or holds; None if it fits none."""
    plain = name.removesuffix("/*").lower().lstrip("@")
    last = plain.replace(".", "/").rpartition("/")[2]
    for ending in _ENDINGS if key == "times" else ():
        last = last.removesuffix(f"_{ending}")
    words = _WORDS[key]
    if last in words:
        return words.index(last)
    held = [k for k, word in enumerate(words) if len(word) > 3 and (word in last or (key == "times" and word in plain))]
    return 100 + held[0] if held else None


def _named(values: dict[str, Any], key: str, size: int | None) -> str | None:
    found = []
    for name, value in values.items():
        numbers = flat_numbers(value)
        n = numbers.size if numbers is not None else len(value) if isinstance(value, list) else -1
        rank = _rank(name, key)
        if rank is not None and n > 0 and (size is None or n == size):
            found.append((rank, name))
    return min(found)[1] if found else None


def _unit_lines(values: dict[str, Any], times: str, size: int) -> list[str]:
    others = {name: value for name, value in values.items() if name != times}
    units = _named(others, "units", size)
    if units is not None:
        return [f'units = "{units}"']
    for key in ("index", "counts"):
        found = _named(others, key, None)
        numbers = None if found is None else flat_numbers(others[found])
        if numbers is not None and numbers.size and (numbers[-1] == size if key == "index" else numbers.sum() == size):
            return [f'{key} = "{found}"']
    return ['# units = ""            # nothing of the same length looks like units: all spikes would be of one']


def _unit_of_time(name: str, largest: float, whole: bool) -> tuple[str, str]:
    plain = name.removesuffix("/*").lower()
    for ending, unit in _ENDINGS.items():
        if plain.endswith(f"_{ending}") or plain.endswith(f"/{ending}"):
            return unit, "by its name"
    if whole and largest > 1000:
        return "samples", f"a guess: all are whole numbers, up to {largest:g}"
    if largest > _SECONDS:
        return "ms", f"a guess: they run to {largest:g}"
    return "s", f"a guess: they run to {largest:g}"


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, list | dict):
        return f"{len(value)} items"
    return repr(value)[:60]
