"""Damage valid files in thousands of ways and see what the readers make of it.

For every mutation a reader must raise `RecordingError`, or return what the unmutated file holds, or return
something else with a note that the unmutated file does not get. Mutations run in subprocesses with limits
on memory and time. By hand, 20,000 of them::

    PYTHONPATH=. python tests/files/mutations.py --total 20000 --seed 1

prints how many ended in which way. Outcomes: ``error``, ``same``, ``noted``; ``unprotected``: bytes that are
themselves values were overwritten, in a format without checksums, and nobody could tell; ``silent``, ``crash``
(another exception, or the process died) and ``hang`` are failures.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
MEMORY_LIMIT = 3 << 30
SECONDS_EACH, SECONDS_BATCH = 20, 240
BYTE_SHARE = 0.4  # of all mutations
FAILURES = ("silent", "crash", "hang")
CHECKED_BYTES = ("organoid_file", "axion", "phy")  # formats with checksums: a changed byte never goes unnoticed


@dataclass(frozen=True)
class Outcome:
    """How one mutation of one file ended."""

    name: str
    number: int
    mutation: str
    outcome: str
    detail: str = ""


def run(names: list[str], count: int, seed: int) -> Iterator[Outcome]:
    """Mutate each format `count` times, in batches that survive a crash of the process."""
    for name in names:
        start = 0
        while start < count:
            done = list(_batch(name, start, count, seed))
            yield from done
            start = done[-1].number + 1 if done else count


def _batch(name: str, start: int, stop: int, seed: int) -> Iterator[Outcome]:
    arguments = [sys.executable, __file__, "--worker", name, str(start), str(stop), str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    timed_out = False
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            code = subprocess.run(arguments, stdout=out, stderr=err, timeout=SECONDS_BATCH, env=environment).returncode
        except subprocess.TimeoutExpired:
            code, timed_out = -1, True
        out.seek(0)
        err.seek(0)
        lines = [line for line in out.read().splitlines() if line.startswith("{") and line.endswith("}")]
        tail = err.read()[-300:]
    number, mutation = start - 1, ""
    for line in lines:
        held = json.loads(line)
        number, mutation = held["number"], held["mutation"]
        if "outcome" in held:
            yield Outcome(**held)
    if code != 0:
        hung = timed_out or code == -signal.SIGALRM
        yield Outcome(name, max(number, start), mutation, "hang" if hung else "crash", f"exit code {code}: {tail}")


def worker(name: str, start: int, stop: int, seed: int) -> None:
    """Run mutations ``start .. stop`` of one format, one line before and one after each."""
    from file_mutations import mutate
    from reader_files import WRITERS

    from organoid import read_recording

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "valid").mkdir()
        valid = WRITERS[name](Path(folder) / "valid")
        baseline = read_recording(valid)
        for number in range(start, stop):
            rng = np.random.default_rng([seed, number, *name.encode()])
            target = Path(folder) / f"m{number}{valid.suffix}"
            mutation = mutate(name, valid, target, rng, by_bytes=rng.random() < BYTE_SHARE)
            _say(name, number, mutation)
            signal.alarm(SECONDS_EACH)
            outcome, detail = judge(name, target, mutation, baseline)
            signal.alarm(0)
            _say(name, number, mutation, outcome=outcome, detail=detail)
            shutil.rmtree(target) if target.is_dir() else target.unlink()


def _say(name: str, number: int, mutation: str, **more: str) -> None:
    print(json.dumps({"name": name, "number": number, "mutation": mutation, **more}), flush=True)


def judge(name: str, path: Path, mutation: str, baseline: Any) -> tuple[str, str]:
    """Read a mutated file and name the outcome."""
    from organoid import RecordingError, read_recording

    try:
        rec = read_recording(path)
    except RecordingError as error:
        message = str(error).replace(str(path), "FILE")
        return ("error", message) if len(message) > 20 else ("crash", f"the error says too little: {message!r}")
    except Exception as error:
        return "crash", f"{type(error).__name__}: {error}"
    difference = differs(rec, baseline)
    if not difference:
        return "same", ""
    if set(rec.notes) - set(baseline.notes):
        return "noted", sorted(set(rec.notes) - set(baseline.notes))[0]
    if mutation.startswith("bytes") and name not in CHECKED_BYTES:
        return "unprotected", difference
    return "silent", difference


def differs(rec: Any, other: Any) -> str:
    """Name the first part in which two recordings differ, notes aside."""
    for part in ("t_start", "t_stop", "sampling_rate", "n_units", "metadata"):
        if json.dumps(getattr(rec, part), sort_keys=True) != json.dumps(getattr(other, part), sort_keys=True):
            return part
    for part in ("spike_times", "spike_units", "observed"):
        if not np.array_equal(getattr(rec, part), getattr(other, part)):
            return part
    for part in ("units", "electrodes", "stimuli"):
        if not getattr(rec, part).equals(getattr(other, part)):
            return part
    return ""


def table(outcomes: list[Outcome]) -> str:
    """Return the counts of outcomes by format, as text."""
    kinds = ("error", "same", "noted", "unprotected", *FAILURES)
    lines = [f"{'format':16}" + "".join(f"{kind:>12}" for kind in kinds)]
    names = list(dict.fromkeys(one.name for one in outcomes))
    for name in [*names, "all"]:
        counts = Counter(one.outcome for one in outcomes if name in (one.name, "all"))
        lines.append(f"{name:16}" + "".join(f"{counts[kind]:12}" for kind in kinds))
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--total", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--worker", nargs=4, metavar=("NAME", "START", "STOP", "SEED"))
    arguments = parser.parse_args()
    if arguments.worker:
        name, *numbers = arguments.worker
        worker(name, *map(int, numbers))
        return
    from reader_files import WRITERS

    names = arguments.only or list(WRITERS)
    outcomes = list(run(names, -(-arguments.total // len(names)), arguments.seed))
    for one in outcomes:
        if one.outcome in FAILURES:
            print(f"{one.outcome}: {one.name} {one.number} {one.mutation}: {one.detail}")
    print(table(outcomes))


if __name__ == "__main__":
    main()
