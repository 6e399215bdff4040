"""What ends up in the package: every folder, the sample culture, doctests that run."""

import doctest
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

import organoid
from organoid.sample_culture import sample_path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"organoid": "organoid", "io": "organoid.io", "models": "organoid.models", "sample_data": "organoid.sample"}


def test_every_folder_with_modules_is_in_the_package():
    found = set()
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            found.add(".".join([package, *path.relative_to(ROOT / folder).parts[:-1]]))
    assert len(found) > 10
    found.add("organoid.tutorial_pages")  # pages of Markdown, no modules
    assert sorted(found) == PROJECT["tool"]["setuptools"]["packages"]


def test_top_level_io_is_not_a_package():
    assert not (ROOT / "io" / "__init__.py").exists()  # it would hide the standard library's; see io/README.md
    assert not [path for path in (ROOT / "io").iterdir() if path.is_dir() and path.name != "__pycache__"]


def test_no_module_of_io_hides_another_package():
    assert not {path.stem for path in (ROOT / "io").glob("*.py")} & {"h5py", "numpy", "pandas", "plotly", "torch"}


def test_version_is_the_same_everywhere():
    assert PROJECT["project"]["version"] == organoid.__version__
    assert re.search(rf"^## {re.escape(organoid.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_everything_required_is_pinned_for_tests():
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = PROJECT["project"]["dependencies"] + [need for some in extras.values() for need in some]
    names = {re.split(r"[<>=!\[ ]", need)[0] for need in wanted} - {"organoid"}
    assert names - set(pinned) == set()


def test_the_sample_culture_is_found():
    path = sample_path()
    assert path.is_file() and path.stat().st_size < 1_000_000


def test_the_command_is_installed():
    assert PROJECT["project"]["scripts"] == {"organoid": "organoid.cli:main"}


def _submodules():
    for package in ("organoid.io", "organoid.models", "organoid"):
        paths = importlib.import_module(package).__path__
        if package == "organoid":  # the source checkout's root is on its path as well
            paths = [str(ROOT / "organoid")]
        walk = pkgutil.walk_packages(paths, f"{package}.")
        yield from (found.name for found in walk if not found.name.endswith("__main__"))


NAMES = sorted(set(_submodules()))


def test_modules_were_found():
    assert "organoid.io.registry" in NAMES and "organoid.models.neurons.lif" in NAMES
    assert "organoid.closed_loop.session" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_doctests(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0
