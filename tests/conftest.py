"""Settings of all tests: no time limits, one thread a worker, the same examples in every continuous integration."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # threads of workers that share the cores wait for one another, for minutes
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")

from hypothesis import settings  # after the above: libraries read it when they are imported

settings.register_profile("default-here", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("default-here")
