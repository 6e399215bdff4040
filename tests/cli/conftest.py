"""The command line in this process, a fit, and a recording of two wells."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import organoid
from organoid.cli import main
from organoid.sample_culture import sample_path

ROOT = Path(__file__).parents[2]
SAMPLE = sample_path()


@pytest.fixture
def run(capsys):
    """Run the command line in this process; return exit code, standard output, standard error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return call


@pytest.fixture
def refused(run):
    """Run; expect exit code 2 and one sentence, and return it."""

    def call(*arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), err
        assert err.count("\n") == 1 and "Traceback" not in err
        return err

    return call


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A fit and what the command printed about it."""
    path = tmp_path_factory.mktemp("fit") / "fit.h5"
    command = [sys.executable, "-m", "organoid", "fit", SAMPLE, "--out", path, "--no-free-run", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout), done.stderr


@pytest.fixture
def wells(tmp_path):
    times = np.sort(np.random.default_rng(0).uniform(0, 60, 900))
    units = pd.DataFrame({"well": ["A1", "A1", "B2"]})
    path = tmp_path / "wells.h5"
    organoid.write_recording(organoid.SpikeRecording(times, np.arange(900) % 3, t_stop=60.0, units=units), path)
    return path
