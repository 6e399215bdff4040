"""The blocks of every page of the docs: Python runs, TOML parses, commands exist.

Tutorials and the gallery run when the site is built. Of other pages the Python blocks run in order, in one namespace,
in an empty folder that holds `sample_data`. What cannot run (a rig is needed, say) is fenced as
``{.python .not-run}``, which the site shows as such; it is compiled all the same.
"""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

from organoid.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "io/README.md", "benchmarks/README.md")]
PAGES += sorted(DOCS.rglob("*.md"))
QUICK = ("add-a-reader", "file-format")  # seconds; all others are slow


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, fence: str) -> list[tuple[int, str]]:
    """Return (line, text) of each block with this fence."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{re.escape(fence)}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start(1)].count("\n"), block.group(1)) for block in found]


def compiled(page: Path, line: int, code: str):
    return compile("\n" * line + code, str(page), "exec")  # errors point at the page's lines


def runs_elsewhere(page: Path) -> bool:
    """Whether a page runs when the site is built, or (the README) in a test of its own."""
    return page.parent.name == "tutorials" or page.name in ("gallery.md", "README.md")


RUN = [page for page in PAGES if blocks(page, "python") and not runs_elsewhere(page)]


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[] if page.stem in QUICK else pytest.mark.slow) for page in RUN],
    ids=name_of,
)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for line, code in blocks(page, "python"):
        exec(compiled(page, line, code), names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_other_blocks_of_a_page_are_sound(page: Path) -> None:
    for line, code in blocks(page, "{.python .not-run}"):
        compiled(page, line, code)
    for _, text in blocks(page, "toml"):
        tomllib.loads(text)
    fences = re.findall(r"^ *```(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    known = {"python", "{.python .not-run}", "toml", "text", "bash"}
    assert set(fences) <= known, "a block whose fence no test knows"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    group = typer.main.get_command(app)
    for line in re.findall(r"^    (?:\.venv/bin/)?organoid (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        words = shlex.split(line, comments=True)
        if words and words[0] in group.commands:
            taken = {name for each in group.commands[words[0]].params for name in (*each.opts, *each.secondary_opts)}
            used = {word.split("=")[0] for word in words if word.startswith("--")}
            assert used <= taken | {"--help"}, line
        else:
            assert words and words[0].startswith("-"), f"no such command: {line}"


def test_the_commands_the_demo_ends_with_exist() -> None:
    from organoid.demo import NEXT

    group = typer.main.get_command(app)
    named = re.findall(r"\borganoid (\w+)", NEXT)
    assert len(named) >= 3 and set(named) <= set(group.commands)


def test_the_site_loads_no_script_from_a_network() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    scripts = re.search(r"polyfills: \[(.*)\]", text)
    assert scripts and "iframe-worker" in scripts[1], "without one of its own the offline plugin fetches one"
    assert (DOCS / scripts[1]).is_file()
    listed = re.findall(r"^extra_(?:javascript|css): \[(.*)\]", text, re.MULTILINE)
    assert listed and not any("//" in names for names in listed)


def test_one_page_names_every_loss_and_model() -> None:
    from organoid.losses import LOSSES
    from organoid.models import MODELS

    text = (DOCS / "how-to" / "choose-a-loss.md").read_text(encoding="utf-8")
    assert [name for name in (*LOSSES, *MODELS) if f"`{name}`" not in text] == []
