"""Imports go one way: the order of the parts, held against every import statement, also those inside functions."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import organoid

ROOT = Path(__file__).parent.parent
FOLDERS = {"organoid": "organoid", "io": "organoid.io", "models": "organoid.models"}

# The modules at the bottom; each may import those before it.
BOTTOM = (
    "errors",
    "compiled",
    "heap_guard",
    "clock",
    "tables",
    "layout_guard",
    "recording_checks",
    "recording",
    "layout",
)
# The parts above them, and which other parts each may import; all may import the bottom.
PARTS = {
    "models": set(),
    "io": set(),
    "statistics": set(),
    "stimulation": set(),
    "losses": {"models"},
    "culture": {"models", "stimulation"},
    "fitting": {"models", "losses", "statistics"},
    "closed_loop": {"stimulation", "statistics"},
    "devices": {"closed_loop", "culture", "stimulation"},
    "protocols": {"closed_loop", "stimulation"},
    "figures": {"statistics"},
}
ONLY_ERRORS = {"models", "losses", "stimulation"}  # of the bottom these know errors and compiled, nothing of recordings
TOP = ("sample_culture", "sessions", "report", "cli", "demo", "__main__", "experiment")
HEAVY = {"torch", "numba", "plotly"}
LIGHT = {"io", "stimulation", *(set(BOTTOM) - {"compiled"}), "cli", "cli_support", "cli_text", "sample_culture"}


def modules():
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            names = [part for part in path.relative_to(ROOT / folder).with_suffix("").parts if part != "__init__"]
            found.append((".".join([package, *names]), path))
    return found


MODULES = modules()


def imported(path):
    """Return the full names a file imports, but for those behind TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {id(node) for branch in ast.walk(tree) if _is_for_types(branch) for node in ast.walk(branch)}
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_for_types(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def part_of(name):
    """Return the part of the package a full name lies in; "" for the package itself and what it promises."""
    words = name.split(".")
    own = words[0] == "organoid" and len(words) > 1
    known = own and (words[1] in (*BOTTOM, *PARTS) or words[1].startswith(TOP))
    return words[1] if known else ""


def is_top(part):
    return part.startswith(TOP)


def allowed(part, other):
    if is_top(part) or other in ("", part):
        return True
    if part in BOTTOM:
        return other in BOTTOM and BOTTOM.index(other) < BOTTOM.index(part)
    if other in BOTTOM:
        return other in ("errors", "compiled") or part not in ONLY_ERRORS
    return other in PARTS[part]


def test_every_module_has_its_place():
    assert len(MODULES) > 100
    unknown = [name for name, _ in MODULES if name != "organoid" and not part_of(name)]
    assert unknown == []


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_imports_go_one_way(name, path):
    part = part_of(name)
    if not part:
        return
    wrong = [other for other in imported(path) if not allowed(part, part_of(other))]
    assert wrong == []


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_nothing_imports_the_folders_by_their_bare_names(name, path):
    bare = [other for other in imported(path) if other.split(".")[0] in ("models", "io") and other not in ALLOWED_BARE]
    assert bare == []


ALLOWED_BARE = {"io", "io.BytesIO", "io.StringIO", "io.TextIOWrapper"}  # the standard library's


def test_the_light_modules_stay_light():
    for name, path in MODULES:
        if part_of(name) in LIGHT:
            assert not {other.split(".")[0] for other in imported(path)} & HEAVY, name


def test_bare_models_are_banned_by_the_linter():
    assert '"models".msg' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", organoid.__all__)
def test_promised_names_resolve(name):
    assert getattr(organoid, name) is not None
    assert name in dir(organoid)


def test_lazy_names_and_promised_names_agree():
    assert set(organoid.__all__) == set(organoid._HOME)
    assert sorted(organoid.__all__) == organoid.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        organoid.nonsense  # noqa: B018


def test_submodules_come_as_attributes():
    code = "import organoid; print(*(getattr(organoid, name).__name__ for name in organoid._SUBMODULES))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == [f"organoid.{name}" for name in organoid._SUBMODULES], done.stderr


def test_the_package_itself_imports_nothing():
    code = "import sys, organoid; sys.exit(' '.join({'numpy', 'pandas', 'h5py', 'torch', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("name", sorted({name for name, _ in MODULES if not name.endswith("__main__")}))
def test_every_module_can_be_imported(name):
    assert importlib.import_module(name).__doc__
