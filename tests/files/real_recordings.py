"""Where the real recordings lie that are not part of the repository; tests skip where they are absent."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "recordings"


def real_recording(*parts: str) -> Path:
    """Return the path of a real recording, or skip the test, saying which file is absent."""
    path = FOLDER.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real recording {'/'.join(parts)} is not here (looked in {FOLDER})")
    return path


def all_real_recordings() -> list[Path]:
    """Return every real recording that is here."""
    return sorted(path for path in FOLDER.glob("*/*") if path.is_file())
