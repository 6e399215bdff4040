"""Kill sessions at random moments with SIGKILL and look at what their journals hold.

``python tests/closed_loop/kill_journal.py 200`` runs 200 of them and prints a summary as JSON. Each session is a
process forked from this one (nothing heavy is imported here); half of them flush at every tick, so that
the kill mostly falls into a flush. An observer leaves frame and time of every tick in a shared
memory-mapped file: what the session had reached when it was killed.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from closed_loop_fakes import FakeCulture, Prober

import organoid
from organoid.closed_loop import read_session, run_session
from organoid.closed_loop.journal import writer as journal_module

DURATION, TICK_RATE, FRAME_RATE = 2000, 100.0, 20_000
PROMISE_WALL_S, PROMISE_SIMULATED_S = 0.5, 1.0
LONGEST_WAIT_S = (0.01, 0.25, 1.2, 1.2)  # after the journal has its name: a quarter dies in the first 10 ms


def protocol():
    return Prober(tick_rate=TICK_RATE, every=7)


def device():
    return FakeCulture(n_units=20, rate=8.0, blanking=30)


class Footprints:
    """Leave frame and monotonic time of every tick where a kill cannot take it away."""

    def __init__(self, path, mode):
        self.rows = np.memmap(path, dtype=np.int64, mode=mode, shape=(int(DURATION * TICK_RATE), 2))

    def on_tick(self, tick, commands):
        self.rows[tick.index] = tick.block.stop_frame, time.monotonic_ns()


def child(path, marks, seed, always_flush):
    if always_flush:
        journal_module.FLUSH_WALL_S = 0.0
    run_session(protocol(), device(), DURATION, journal=path, seed=seed, observers=[Footprints(marks, "r+")])


@cache
def reference(seed, duration):
    return run_session(protocol(), device(), duration, seed=seed).recording


def kill_one(folder, number, rng):
    path, marks = folder / f"{number}.h5", folder / f"{number}.marks"
    seed, always_flush = number % 3, number % 2 == 0
    rows = Footprints(marks, "w+").rows
    pid = os.fork()
    if pid == 0:
        try:
            child(path, marks, seed, always_flush)
        finally:
            os._exit(3)
    while not path.exists():
        time.sleep(0.0001)
    time.sleep(rng.uniform(0.0, rng.choice(LONGEST_WAIT_S)))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), f"session {number} ended by itself"
    result = look(path, rows, seed) | {"always_flush": always_flush}
    path.unlink()
    marks.unlink()
    return result


def look(path, rows, seed):
    """Check one journal; return what it lacks, in simulated and wall time."""
    rec = organoid.read_recording(path)
    session = read_session(path)
    assert session.outcome["status"] == "running"
    reached = int(np.count_nonzero(rows[:, 1]))
    held = float(rec.observed[-1, 1]) if len(rec.observed) else 0.0
    last = int(np.searchsorted(rows[:reached, 0], round(held * FRAME_RATE), side="right"))
    assert rec.t_stop >= held and list(session.ticks["index"]) == list(range(len(session.ticks)))
    assert len(session.ticks) >= last
    check_content(rec, held, seed)
    simulated = rows[reached - 1, 0] / FRAME_RATE - held if reached else 0.0
    lacking = rows[last:reached, 1] * 1e-9
    pauses = np.diff(lacking)  # the longest is left out: a busy machine may let a session stand still in any tick
    wall = pauses.sum() - pauses.max() if pauses.size else 0.0
    return {"simulated_s": float(simulated), "wall_s": float(wall), "held_s": held}


def check_content(rec, held, seed):
    """What a journal calls observed must be exactly what an undisturbed session holds."""
    duration = 50
    while duration < held:
        duration *= 2
    whole = reference(seed, duration)
    for mine, theirs in ((rec.spike_times, whole.spike_times), (rec.stimuli["time_s"], whole.stimuli["time_s"])):
        mine, theirs = np.asarray(mine), np.asarray(theirs)
        assert np.array_equal(mine[mine < held], theirs[theirs < held])
    n = int(np.searchsorted(whole.spike_times, held))
    assert np.array_equal(rec.spike_units[:n], whole.spike_units[:n])
    n = max(len(rec.observed) - 1, 0)
    assert np.array_equal(rec.observed[:n], whole.observed[:n])


def main(n):
    rng = random.Random(20)
    failures, results = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(n):
            try:
                results.append(kill_one(Path(folder), number, rng))
            except Exception as error:
                failures.append(f"{number}: {type(error).__name__}: {error}"[:300])
    late = [r for r in results if r["simulated_s"] > PROMISE_SIMULATED_S and r["wall_s"] > PROMISE_WALL_S]
    summary = {
        "kills": n,
        "opened": len(results),
        "within_promise": len(results) - len(late),
        "failures": failures,
        "worst_wall_s": max((r["wall_s"] for r in results), default=None),
        "worst_simulated_s": max((r["simulated_s"] for r in results), default=None),
        "median_held_s": float(np.median([r["held_s"] for r in results])) if results else None,
    }
    print(json.dumps(summary, indent=1))
    return summary


if __name__ == "__main__":
    found = main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
    sys.exit(0 if found["within_promise"] == found["kills"] else 1)
