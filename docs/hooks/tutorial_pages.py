"""Tutorials and the gallery run when the site is built; printed text, tables and figures come after their cell.

Each page is also offered as a notebook. ``ORGANOID_DOCS_RUN=0`` leaves outputs out, for a
fast look at the text; names with commas between run those only.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from organoid.tutorials import notebook

FOLDER = "tutorials/"
GALLERY = "gallery.md"
FIGURE = "application/vnd.plotly.v1+json"
FIRST_CELL = "import plotly.io\nplotly.io.renderers.default = 'plotly_mimetype'"
LONGEST_S = 600  # per cell, on a busy machine
MOST_LINES = 40  # of printed text shown per cell


def on_files(files: Files, config: Any) -> Files:
    """Replace each such page by itself with outputs, and add its notebook."""
    for file in [file for file in files if _is_run(file.src_uri)]:
        if Path(file.src_uri).stem == "index":
            continue
        text = file.content_string
        made = notebook(text)
        files.append(File.generated(config, file.src_uri[:-3] + ".ipynb", content=json.dumps(made, indent=1)))
        file.content_string = _page(made, Path(file.src_uri).stem)
    return files


def _is_run(place: str) -> bool:
    return place == GALLERY or (place.startswith(FOLDER) and place.endswith(".md"))


def _page(made: dict[str, Any], name: str) -> str:
    wanted = os.environ.get("ORGANOID_DOCS_RUN", "1")
    run = wanted == "1" or name in wanted.split(",")
    cells = _executed(made, name) if run else made["cells"]
    parts = []
    for cell in cells:
        if cell["cell_type"] == "markdown":
            parts.append(cell["source"])
        else:
            parts += [f"```python\n{cell['source']}\n```", *map(_output, cell["outputs"])]
    link = f"[Download this page as a notebook]({name}.ipynb){{ .md-button }}"
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n{link}\n{rest}\n"


def _executed(made: dict[str, Any], name: str) -> list[Any]:
    book = nbformat.from_dict(json.loads(json.dumps(made)))
    book.cells.insert(0, nbformat.v4.new_code_cell(FIRST_CELL))
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(book, timeout=LONGEST_S, resources={"metadata": {"path": folder}})
        try:
            client.execute()
        except CellExecutionError as error:
            raise PluginError(f"tutorial {name}: {error}") from None
    return list(book.cells[1:])


def _output(output: Any) -> str:
    if output["output_type"] == "stream":
        return _text(output["text"]) if output["name"] == "stdout" else ""
    data = output.get("data", {})
    if FIGURE in data:
        figure = json.dumps(data[FIGURE]).replace("</", "<\\/")
        return f'<div class="figure"><script type="application/json">{figure}</script></div>'
    if "text/html" in data:
        return f'<div class="output">{"".join(data["text/html"].splitlines())}</div>'
    return _text(data.get("text/plain", ""))


def _text(text: str) -> str:
    lines = text.rstrip().splitlines()
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"... ({len(lines) - MOST_LINES} more lines)"]
    return "```text\n" + "\n".join(lines) + "\n```" if lines else ""
