"""Run a CL application unmodified, with a culture of ours behind the vendor's simulator."""

import argparse
import os
import runpy
import sys

from organoid.cl_simulator.source import use_culture
from organoid.errors import OrganoidError


def main(arguments: list[str] | None = None) -> int:
    """Put the culture in place and run the application; returns the exit code."""
    usage = "python -m organoid.cl_simulator --culture CULTURE [options] APP.py [arguments of the application]"
    parser = argparse.ArgumentParser(usage=usage, description=__doc__)
    parser.add_argument("application", metavar="APP.py", help="a script that uses the package cl")
    parser.add_argument("--culture", required=True, metavar="CULTURE", help="FIT.h5, or preset:NAME")
    parser.add_argument("--journal", metavar="FILE", help="a new file: spikes, pulses, lateness, channel map")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument(
        "--accelerated", action="store_true", help="simulated time: exact latencies, the same every time"
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="arguments of the application")
    found = parser.parse_args(arguments)
    if found.accelerated:
        os.environ["CL_SDK_ACCELERATED_TIME"] = "1"
    try:
        use_culture(found.culture, seed=found.seed, journal=found.journal)
    except (OrganoidError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    sys.argv = [found.application, *found.rest]
    runpy.run_path(found.application, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
