"""Tutorials: pages whose cells run when the site is built, and notebooks that can be copied."""

import ast
import json

import pytest

from organoid import OrganoidError
from organoid.tutorials import cells, copy_tutorial, notebook, title, tutorials

PAGES = tutorials()


def test_there_are_tutorials():
    assert PAGES and all(title(page) for page in PAGES.values())


@pytest.mark.parametrize("name", PAGES)
def test_every_code_cell_is_python(name):
    code = [text for kind, text in cells(PAGES[name].read_text(encoding="utf-8")) if kind == "code"]
    assert code
    for text in code:
        ast.parse(text)


def test_cells_hold_the_whole_page_in_order():
    page = "# One\n\ntext\n\n```python\na = 1\n\nb = 2\n```\n\nbetween\n\n```text\nno code\n```\n\n```python\nb\n```\n"
    found = cells(page)
    assert [kind for kind, _ in found] == ["markdown", "code", "markdown", "code"]
    assert [text for kind, text in found if kind == "code"] == ["a = 1\n\nb = 2", "b"]
    assert found[2][1] == "between\n\n```text\nno code\n```"


def test_a_notebook_is_valid():
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.from_dict(notebook(PAGES["quickstart"].read_text(encoding="utf-8"))))


def test_a_tutorial_is_copied_once(tmp_path):
    written = copy_tutorial("quickstart", tmp_path)
    assert json.loads(written.read_text())["nbformat"] == 4
    with pytest.raises(OrganoidError, match="exists already"):
        copy_tutorial("quickstart", tmp_path)
    with pytest.raises(OrganoidError, match=r"no tutorial 'nonsense'; expected one of .*quickstart"):
        copy_tutorial("nonsense", tmp_path)
