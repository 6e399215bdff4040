"""Imports go one way: the order of the parts, held against every import statement, also those inside functions."""

import ast
import importlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import organoid

ROOT = Path(__file__).parents[2]
FOLDERS = {"organoid": "organoid", "io": "organoid.io", "models": "organoid.models"}

# Each part of the package, and the other parts it may import. A part stands below those that import it.
ERRORS = {"errors", "_version", "jit", "parallel"}
RECORDING = ERRORS | {"recording", "hdf5"}
PARTS = {
    "errors": set(),
    "_version": set(),
    "jit": set(),
    "parallel": {"errors"},
    "recording": {"errors"},
    "hdf5": {"errors", "recording"},
    "models": ERRORS,
    "stimulation": {"errors"},
    "statistics": RECORDING,
    "io": RECORDING,
    "detection": RECORDING | {"io"},
    "losses": ERRORS | {"models"},
    "culture": RECORDING | {"models", "stimulation"},
    "fitting": RECORDING | {"models", "losses", "statistics"},
    "closed_loop": RECORDING | {"stimulation", "statistics"},
    "devices": RECORDING | {"closed_loop", "culture", "stimulation"},
    "protocols": RECORDING | {"closed_loop", "stimulation"},
    "figures": RECORDING | {"statistics"},
}
# On top of them, each may import all parts above this line and those before it here.
TOP = (
    "sample_culture",
    "tutorials",
    "sessions",
    "tasks",
    "cl_simulator",
    "live",
    "experiments",
    "interop",
    "report",
    "wells",
    "analysis",
    "cli",
    "demo",
    "__main__",
)
COMMAND_LINE = ("cli", "demo")  # these two start each other
HEAVY = {"torch", "numba", "plotly"}
LIGHT = ("io", "stimulation", "errors", "_version", "recording", "hdf5", "sample_culture")
LIGHT_MODULES = ("organoid.cli", "organoid.cli.support", "organoid.cli.text")
# Inside fitting: each folder, and the others it may import.
FITTING = {
    "data": set(),
    "evaluation": {"data", "teacher_forced"},
    "teacher_forced": {"data", "evaluation"},
    "connectivity": {"data", "teacher_forced", "evaluation"},
    "free_run": {"data", "teacher_forced", "evaluation"},
    "culture_lif": {"data", "teacher_forced", "evaluation", "free_run"},
    "gradient": {"data", "teacher_forced", "evaluation", "free_run", "connectivity"},
    "evoked": {"data", "teacher_forced", "evaluation", "free_run"},
    "methods": {
        "data",
        "teacher_forced",
        "evaluation",
        "free_run",
        "connectivity",
        "gradient",
        "culture_lif",
        "evoked",
    },
}


def modules():
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            names = [part for part in path.relative_to(ROOT / folder).with_suffix("").parts if part != "__init__"]
            found.append((".".join([package, *names]), path))
    return found


MODULES = modules()
NAMES = {name for name, _ in MODULES}


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


@cache
def arrows(name):
    """Return the modules of this package that a module imports."""
    path = dict(MODULES)[name]
    found = set()
    for other in imported(path):
        if other.split(".")[0] == "organoid":
            found.add(other if other in NAMES else other.rpartition(".")[0])
    return found - {name}


def part_of(name):
    words = name.split(".")
    return words[1] if len(words) > 1 else ""


def allowed(part, other):
    if part == other:
        return True
    if part in TOP:
        both = part in COMMAND_LINE and other in COMMAND_LINE
        return other in PARTS or both or (other in TOP and TOP.index(other) < TOP.index(part))
    return other in PARTS[part]


def test_every_module_has_its_place():
    assert len(MODULES) > 100
    unknown = [name for name in NAMES if name != "organoid" and part_of(name) not in (*PARTS, *TOP)]
    assert unknown == []


@pytest.mark.parametrize("name", sorted(NAMES - {"organoid"}))
def test_imports_go_one_way(name):
    assert [other for other in sorted(arrows(name)) if not allowed(part_of(name), part_of(other))] == []


def test_nothing_imports_the_root_package():
    assert {name: found for name in NAMES - {"organoid"} if (found := arrows(name) & {"organoid"})} == {}


def test_compiled_loops_of_models_stay_behind_their_door():
    through = {name for name in NAMES if any(other.startswith("organoid.models.compiled") for other in arrows(name))}
    assert {name for name in through if part_of(name) != "models"} == set()


def test_no_imports_go_in_circles():
    state, circles = {}, []

    def visit(name, trail):
        if state.get(name) == "open":
            circles.append(trail[trail.index(name) :])
        if name in state:
            return
        state[name] = "open"
        for other in sorted(arrows(name) & NAMES):
            visit(other, [*trail, other])
        state[name] = "done"

    for name in sorted(NAMES):
        visit(name, [name])
    assert circles == []


@pytest.mark.parametrize("name", sorted(name for name in NAMES if name.startswith("organoid.fitting.")))
def test_the_folders_of_fitting_go_one_way(name):
    folder = name.split(".")[2]
    if folder in FITTING:
        others = {other.split(".")[2] for other in arrows(name) if other.startswith("organoid.fitting.")} & set(FITTING)
        assert others - {folder} - FITTING[folder] == set()


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_nothing_imports_the_folders_by_their_bare_names(name, path):
    bare = [other for other in imported(path) if other.split(".")[0] in ("models", "io") and other not in ALLOWED_BARE]
    assert bare == []


ALLOWED_BARE = {"io", "io.BytesIO", "io.StringIO", "io.TextIOWrapper"}  # the standard library's


def test_the_light_modules_stay_light():
    for name, path in MODULES:
        if part_of(name) in LIGHT or name in LIGHT_MODULES:
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


@pytest.mark.parametrize("name", sorted(name for name in NAMES if not name.endswith("__main__")))
def test_every_module_can_be_imported(name):
    assert importlib.import_module(name).__doc__
