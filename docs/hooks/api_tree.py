r"""The package as one tree, for the reference: `io/` and `models/` lie beside `organoid/` in a source checkout.

Docstrings write equations for `help()` and for Sphinx; here they become ``$...$``, which the site draws.
"""

import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "build" / "api"
_BLOCK = re.compile(r"^( *)\.\. math::(.*)\n((?:[ ]*\n|\1[ ]+.*\n)*)", re.MULTILINE)


def on_startup(command: str, dirty: bool) -> None:
    """Make the folder before the reference looks for it: paths that are not there yet are dropped."""
    TREE.mkdir(parents=True, exist_ok=True)


def on_config(config: Any) -> Any:
    """Put the tree together before pages are read."""
    shutil.rmtree(TREE, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "organoid", TREE / "organoid", ignore=ignored)
    for part in ("io", "models"):
        shutil.copytree(ROOT / part, TREE / "organoid" / part, ignore=ignored)
    (TREE / "organoid" / "io" / "__init__.py").touch()  # the reader of docstrings knows no folders without one
    for path in TREE.rglob("*.py"):
        path.write_text(_with_equations(path.read_text(encoding="utf-8")), encoding="utf-8")
    return config


def _with_equations(source: str) -> str:
    source = re.sub(r":math:`([^`]+)`", r"$\1$", source)
    return _BLOCK.sub(_block, source)


def _block(match: re.Match[str]) -> str:
    indent, first, rest = match.groups()
    tex = (first.strip() + "\n" + textwrap.dedent(rest).strip()).strip()
    lines = ["$$", *tex.splitlines(), "$$"]
    return "\n" + "".join(f"{indent}{line}\n" for line in lines) + "\n"
