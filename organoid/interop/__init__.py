"""Exchange with other packages: one file each, imported when called; each needs its package (extra ``interop``).

Spikes travel as the partner keeps them; what it has no place for (holes, stimuli, notes) travels beside them where it
offers a place for any text, so that a recording comes back equal.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from organoid.interop.elephant import from_elephant, to_elephant
    from organoid.interop.neo import from_neo, to_neo
    from organoid.interop.nwb import write_nwb
    from organoid.interop.pynapple import from_pynapple, to_pynapple, to_pynapple_intervals
    from organoid.interop.spikedata import from_spikedata, to_spikedata
    from organoid.interop.spikeinterface import from_sorting, to_probe, to_sorting

_HOME = {
    "from_sorting": "spikeinterface",
    "to_sorting": "spikeinterface",
    "to_probe": "spikeinterface",
    "from_neo": "neo",
    "to_neo": "neo",
    "from_elephant": "elephant",
    "to_elephant": "elephant",
    "from_pynapple": "pynapple",
    "to_pynapple": "pynapple",
    "to_pynapple_intervals": "pynapple",
    "from_spikedata": "spikedata",
    "to_spikedata": "spikedata",
    "write_nwb": "nwb",
}

__all__ = [
    "from_elephant",
    "from_neo",
    "from_pynapple",
    "from_sorting",
    "from_spikedata",
    "to_elephant",
    "to_neo",
    "to_probe",
    "to_pynapple",
    "to_pynapple_intervals",
    "to_sorting",
    "to_spikedata",
    "write_nwb",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'organoid.interop' has no attribute {name!r}")
    value = getattr(import_module(f"organoid.interop.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
