"""Where figures of benchmarks are kept: one JSON file per table, with machine and commit."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("results")


def store(name: str, rows: Sequence[Mapping[str, Any]], *, title: str, command: str, notes: Sequence[str] = ()) -> Path:
    """Keep a table; the documentation draws it.

    Parameters
    ----------
    name : str
        Of the file, without suffix.
    rows : sequence of mappings
        Names of columns and plain values; units belong in the names.
    title : str
    command : str
        What makes the table again.
    notes : sequence of str
        What a reader must know beside it.
    """
    FOLDER.mkdir(exist_ok=True)
    found = {
        "title": title,
        "command": command,
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}",
        "notes": list(notes),
        "rows": [dict(row) for row in rows],
    }
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def _commit() -> str:
    command = ["git", "-C", str(FOLDER.parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
