"""The reference page of the command line, from the program itself."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGE = "reference/command-line.md"


def on_files(files: Files, config: Any) -> Files:
    """Add the page."""
    command = [sys.executable, "-m", "typer", "organoid.cli", "utils", "docs", "--name", "organoid"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    text = done.stdout.replace("# `organoid`", "# Command line", 1)
    files.append(File.generated(config, PAGE, content=text))
    return files
