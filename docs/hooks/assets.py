"""plotly.js from the installed plotly, once for the whole site, so that no page needs a network."""

from importlib.resources import files as package_files
from typing import Any

from mkdocs.structure.files import File, Files

PLOTLY = "javascripts/plotly.min.js"


def on_files(files: Files, config: Any) -> Files:
    """Add plotly.js to the files of the site."""
    source = package_files("plotly") / "package_data" / "plotly.min.js"
    files.append(File.generated(config, PLOTLY, content=source.read_text(encoding="utf-8")))
    return files
