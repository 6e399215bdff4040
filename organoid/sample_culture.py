"""The packaged sample data: synthetic cultures, pulses, a plate, raw voltage (see sample_data/README.md)."""

from pathlib import Path

from organoid.errors import RecordingError

NAME = "bursting_culture.h5"


def sample_path(name: str = NAME) -> Path:
    """Return where a file of the sample data lies, in an installed package or in a source checkout.

    Parameters
    ----------
    name : str
        Default: the spontaneous bursting culture.

    Raises
    ------
    RecordingError
        If this installation came without it.
    """
    package = Path(__file__).resolve().parent
    folders = (package / "sample", package.parent / "sample_data")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise RecordingError(f"the sample file {name} is in none of {', '.join(map(str, folders))}; install again")
