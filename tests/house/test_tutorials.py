"""Tutorials are executed: the Python blocks of a page run in order, in one namespace, in an empty folder."""

import re
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
PAGES = sorted(FOLDER.glob("*.md"))
LONGEST_S = 180  # on a busy machine; a tutorial should take well under a minute on a quiet one


def test_there_are_tutorials():
    assert PAGES


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_tutorial_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    names = {"__name__": page.stem}
    began = time.perf_counter()
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert blocks
    for block in blocks:
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block.group(1), str(page), "exec"), names)  # errors point at the page's lines
    assert time.perf_counter() - began < LONGEST_S
    for written in re.findall(r'write_html\("([\w.-]+)"', text):
        assert (tmp_path / written).stat().st_size > 10_000
