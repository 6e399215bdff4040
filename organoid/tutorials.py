"""Tutorials as notebooks: pages of Markdown, whose Python blocks are the cells."""

import json
import re
from pathlib import Path
from typing import Any

from organoid.errors import OrganoidError

_BLOCK = re.compile(r"^```python\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)
_HERE = Path(__file__).resolve().parent


def tutorials() -> dict[str, Path]:
    """Return the pages of all tutorials by name, in an installed package or in a source checkout.

    Examples
    --------
    >>> "quickstart" in tutorials()
    True
    """
    folders = (_HERE / "tutorial_pages", _HERE.parent / "docs" / "tutorials")
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise OrganoidError(f"no tutorials in {' or '.join(map(str, folders))}; install again")
    return {path.stem: path for path in sorted(found.glob("*.md")) if path.stem != "index"}


def title(page: Path) -> str:
    """Return the heading of a page.

    Examples
    --------
    >>> title(tutorials()["quickstart"])
    'Quickstart'
    """
    return page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def cells(page: str) -> list[tuple[str, str]]:
    r"""Cut a page into ("markdown", text) and ("code", text) pieces, in order.

    Examples
    --------
    >>> cells("Two:\n\n```python\n1 + 1\n```\n")
    [('markdown', 'Two:'), ('code', '1 + 1')]
    """
    pieces, at = [], 0
    for block in _BLOCK.finditer(page):
        pieces += [("markdown", page[at : block.start()].strip()), ("code", block.group(1).strip("\n"))]
        at = block.end()
    pieces.append(("markdown", page[at:].strip()))
    return [(kind, text) for kind, text in pieces if text]


def notebook(page: str) -> dict[str, Any]:
    """Return a page as a notebook (nbformat 4.5), without outputs."""
    made: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(cells(page)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def copy_tutorial(name: str, folder: Path) -> Path:
    """Write a tutorial as a notebook into a folder and return its path.

    Raises
    ------
    OrganoidError
        If there is no such tutorial, or the file exists already.
    """
    known = tutorials()
    if name not in known:
        raise OrganoidError(f"no tutorial {name!r}; expected one of {', '.join(known)}")
    target = folder / f"{name}.ipynb"
    if target.exists():
        raise OrganoidError(f"{target} exists already; move it away, or change to another folder")
    target.write_text(json.dumps(notebook(known[name].read_text(encoding="utf-8")), indent=1), encoding="utf-8")
    return target
