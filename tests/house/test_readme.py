"""The README and the reference pages: their Python runs, their names exist, their commands are the ones promised."""

import os
import re
from pathlib import Path

import pytest

import organoid
import organoid.errors
from organoid.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "io/README.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)


MADE_WITH_THE_SITE = ("reference/command-line.md", "development/benchmarks.md", ".ipynb")


def python_blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_ten_lines_run(tmp_path, monkeypatch):
    blocks = python_blocks(README)
    assert len(blocks) == 1
    code = blocks[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    os.symlink(ROOT / "sample_data", tmp_path / "sample_data")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert organoid.replay("session.h5").same


def test_the_two_commands():
    commands = re.findall(r"^    (python3 .*)$", README, re.MULTILINE)
    start = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt "
    assert [command.startswith(start) for command in commands] == [True, True]
    assert commands[0].endswith("&& .venv/bin/organoid demo")
    assert commands[1].endswith("&& .venv/bin/python -m pytest")


def test_the_torch_the_readme_names_is_the_one_that_is_pinned():
    (pinned,) = re.findall(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert f"torch=={pinned}`" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.endswith(MADE_WITH_THE_SITE):
            assert (page.parent / target).exists(), target


def test_pictures_are_small():
    pictures = list((ROOT / "docs" / "images").glob("*.png"))
    assert pictures and all(path.stat().st_size < 300_000 for path in pictures)


def test_every_promised_name_is_in_the_reference():
    pages = (ROOT / "docs" / "reference").glob("*.md")
    described = set(re.findall(r"^::: organoid\.(\w+)$", "\n".join(page.read_text() for page in pages), re.MULTILINE))
    described |= set(organoid_errors())
    assert [name for name in organoid.__all__ if name not in described] == []


def organoid_errors():
    return [name for name in vars(organoid.errors) if name.endswith("Error")]


def test_the_command_line_says_what_every_command_does():
    assert app.registered_commands and all(command.callback.__doc__ for command in app.registered_commands)


def test_every_loss_model_and_format_has_its_way_to_be_added():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for kind in ("format", "model", "loss", "statistic", "protocol", "device"):
        assert f"| {kind} |" in text
    for path in re.findall(r"`((?:io|models|organoid)/[\w/]+\.py)`", text):
        assert (ROOT / path).exists() or path == "io/__init__.py", path
