"""Files written whole or not at all, also where the disk is full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from organoid.hdf5.atomic import new_hdf5, replace_file

ROOT = Path(__file__).parent.parent


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert replace_file(path, b"old") == path
    replace_file(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_an_hdf5_file_is_read_back(tmp_path: Path) -> None:
    with new_hdf5(tmp_path / "a.h5") as h5:
        h5["x"] = np.arange(10_000)
        assert not list(tmp_path.iterdir())
    with h5py.File(tmp_path / "a.h5") as h5:
        assert np.array_equal(h5["x"][()], np.arange(10_000))


def test_an_error_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), new_hdf5(path) as h5:
        h5["x"] = 1 / 0
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import numpy as np
from organoid.hdf5.atomic import new_hdf5
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    with new_hdf5(sys.argv[1]) as h5:
        h5["x"] = np.arange(10_000)
except OSError as error:
    print("an OSError,", error.strerror, error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX")
def test_a_disk_that_takes_no_more_leaves_nothing_behind(tmp_path: Path) -> None:
    """The limit of a process on the size of a file stands for a full disk: `write` fails at the same place."""
    path = tmp_path / "a.h5"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("an OSError,") and str(path) in done.stdout
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
