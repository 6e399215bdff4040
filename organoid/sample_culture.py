"""The packaged sample culture: a synthetic bursting one (see sample_data/README.md)."""

from pathlib import Path

from organoid.errors import RecordingError

NAME = "bursting_culture.h5"


def sample_path() -> Path:
    """Return where the sample culture lies, in an installed package or in a source checkout.

    Raises
    ------
    RecordingError
        If this installation came without it.
    """
    package = Path(__file__).resolve().parent
    folders = (package / "sample", package.parent / "sample_data")
    for folder in folders:
        if (folder / NAME).is_file():
            return folder / NAME
    raise RecordingError(f"the sample culture {NAME} is in none of {', '.join(map(str, folders))}; install again")
