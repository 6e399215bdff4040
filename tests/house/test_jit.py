"""Compiled loops are made again when a file they were made from has changed."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numba
import pytest

ROOT = Path(__file__).parents[2]
INNER = (
    "from organoid.jit import kernel\nSCALE = {scale}\n"
    "@kernel(inline='{inline}')\ndef inner(x):\n    return x + {add}\n"
)
OUTER = (
    "from inner import SCALE, inner\nfrom organoid.jit import kernel\n"
    "@kernel()\ndef outer(x):\n    return SCALE * inner(x)\n"
    "print(outer(1.0), sum(outer.stats.cache_hits.values()))\n"
)


def run(folder):
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, folder / "outer.py"], env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("inline", ["never", "always"])
def test_a_change_in_another_file_is_noticed(tmp_path, inline):
    (tmp_path / "outer.py").write_text(OUTER)
    for scale, add, expected in [(2.0, 1.0, "4.0"), (2.0, 2.0, "6.0"), (3.0, 2.0, "9.0")]:
        (tmp_path / "inner.py").write_text(INNER.format(scale=scale, add=add, inline=inline))
        assert run(tmp_path) == [expected, "0"]
        assert run(tmp_path) == [expected, "1"]  # and nothing is compiled twice


@pytest.mark.slow
def test_what_another_version_kept_is_made_again(tmp_path):
    (tmp_path / "inner.py").write_text(INNER.format(scale=2.0, add=1.0, inline="never"))
    (tmp_path / "outer.py").write_text(OUTER)
    assert run(tmp_path) == ["4.0", "0"]
    indices = list(tmp_path.rglob("*.nbi"))
    assert indices
    for index in indices:
        version = pickle.dumps(numba.__version__, protocol=-1)
        index.write_bytes(version + b"corganoid.jit\nNoSuchClass\n.")  # a class that is not there any more
    assert run(tmp_path) == ["4.0", "0"]
    assert run(tmp_path) == ["4.0", "1"]


@pytest.mark.slow
def test_what_was_compiled_for_a_class_of_another_package_is_not_kept(tmp_path):
    (tmp_path / "outer.py").write_text(
        "from typing import NamedTuple\nfrom organoid.jit import kernel\n"
        "class Pair(NamedTuple):\n    a: float\n    b: float\n"
        "@kernel()\ndef outer(pairs):\n    return pairs[0].a * pairs[0].b\n"
        "print(outer((Pair(2.0, 3.0),)), sum(outer.stats.cache_hits.values()))\n"
    )
    for _ in range(2):
        assert run(tmp_path) == ["6.0", "0"]
