"""What is known of a culture beside its spikes."""

from typing import Any

from organoid.io.cultures import Culture

_OF_A_WELL = {"units": "dose_unit"}  # names in tables of wells that mean something else beside a recording


def title_of(culture: Culture) -> str:
    """Return file, well and recording, for reading."""
    return " ".join(part for part in (culture.file.name, culture.well, culture.recording) if part)


def metadata_of(culture: Culture) -> dict[str, str | int | float | bool]:
    """Return what the file says of the recording and of this well, single values only."""
    said = culture.rec.metadata
    of_well = said.get("wells", {})
    own: dict[str, Any] = (
        of_well.get(culture.well, {}) if isinstance(of_well, dict) and culture.well is not None else {}
    )
    named: dict[str, Any] = {_OF_A_WELL.get(name, name): value for name, value in own.items()}
    return {str(k): v for k, v in {**said, **named}.items() if isinstance(v, str | int | float | bool)}
