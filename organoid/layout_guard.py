"""Guarded reading of HDF5 datasets, for files that may be damaged or lie about their size."""

from typing import Any

import h5py

from organoid.errors import RecordingError

# Deflate packs at most 1032 to 1; anything claiming more than this holds unwritten values.
_LARGEST_COMPRESSION = 1100
_UNSUSPICIOUS_BYTES = 1 << 24
# What h5py raises on damaged objects, links, types and filters.
DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError, AttributeError, SystemError)


def reason(error: BaseException) -> str:
    """Return the telling part of an HDF5 error."""
    text = str(error)
    if "truncated" in text:
        return "it is cut short (the copy or download did not finish?)"
    return text[text.find("(") + 1 : text.rfind(")")] or text or type(error).__name__


def whole(found: h5py.Dataset, name: str, view: Any = None) -> Any:
    """Read all of a dataset (or of a view on it) after checking that the file really stores it.

    Raises
    ------
    RecordingError
        Naming the dataset, if it claims far more than the file stores, keeps its values elsewhere or
        cannot be read.
    """
    try:
        claimed, stored = int(found.nbytes), int(found.id.get_storage_size())
        if claimed > _UNSUSPICIOUS_BYTES and claimed > _LARGEST_COMPRESSION * stored:
            raise RecordingError(
                f"dataset {name!r} claims {found.size:.3g} values ({claimed / 1e9:.3g} GB), but the file stores "
                f"only {stored} bytes of it"
            )
        if found.external:
            raise RecordingError(f"dataset {name!r} keeps its values in another file, which is not followed")
        return (found if view is None else view)[()]
    except RecordingError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"dataset {name!r} cannot be read: {reason(error)}") from None
