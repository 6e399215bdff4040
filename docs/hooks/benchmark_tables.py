"""The page of benchmarks: a table for every file in `benchmarks/results/`."""

import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGE = "development/benchmarks.md"
HEAD = """# Benchmarks

Tables made from stored results; each says how to make it again, and on what it was measured. CPU times are the
process's own. What each program measures, and what fell short, is in `benchmarks/README.md`.
"""


def on_files(files: Files, config: Any) -> Files:
    """Add the page."""
    stored = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    parts = [HEAD, *(_section(json.loads(path.read_text(encoding="utf-8"))) for path in stored)]
    files.append(File.generated(config, PAGE, content="\n\n".join(parts)))
    return files


def _section(found: dict[str, Any]) -> str:
    columns = list(dict.fromkeys(name for row in found["rows"] for name in row))
    table = [columns, ["---"] * len(columns), *([_text(row.get(name)) for name in columns] for row in found["rows"])]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    source = f"`{found['command']}`; commit {found['commit']}, {found['date']}, {found['machine']}."
    return "\n\n".join([f"## {found['title']}", "\n".join(lines), source, *found["notes"]])


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")
