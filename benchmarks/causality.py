"""Causality of sessions: ``python -m benchmarks.causality [--pulses N] [--store]``.

At every tick rate and with every latency profile a simulated culture is stimulated in a session, and once more without
ticks: the same pulses at the same frames, one call. What the pulses evoke (spikes that are not there without them) must
be in the session, every spike at its frame, none before the decision that evoked it. Then the same session again: with
one and two threads, observed by somebody who looks at everything, and under a loaded processor.
"""

import argparse
import hashlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.results import store
from organoid.closed_loop import LATENCY_PROFILES, Command, Session, Tick, run_session
from organoid.culture import preset
from organoid.devices import SimulatedCulture
from organoid.protocols import PeriodicPulses, RateClamp
from organoid.stimulation import pulses_from_table

TICK_RATES = (10.0, 30.0, 100.0, 1000.0, 3333.3)
Spikes = set[tuple[int, int]]


class Watcher:
    """Keep what every tick saw: its frames, its spikes, and the frames its commands name."""

    def __init__(self) -> None:
        self.spikes: Spikes = set()
        self.wrong = 0

    def on_tick(self, tick: Tick, commands: Sequence[Command]) -> None:
        """See one tick."""
        block = tick.block
        pairs = set(zip(block.spike_frames.tolist(), block.spike_units.tolist(), strict=True))
        self.wrong += sum(not block.start_frame <= frame < block.stop_frame for frame, _ in pairs)
        self.wrong += len(pairs & self.spikes)
        self.spikes |= pairs


def culture() -> SimulatedCulture:
    return SimulatedCulture(preset("asynchronous_culture"))


def directly(session: Session, seed: int, until: int, *, pulses: bool) -> Spikes:
    """Return the spikes of the same culture in one call, with the session's pulses or without."""
    device = culture()
    device.start(seed)
    if pulses:
        rate = float(device.info.frame_rate)
        for k in range(len(session.stimuli)):  # row by row: two pulses of one frame are not one
            ((time_s, pulse),) = pulses_from_table(session.stimuli.iloc[[k]], session.recording.electrodes)
            assert device.stimulate([Command(pulse, round(time_s * rate))])[0].frame == round(time_s * rate)
    block = device.advance(until)
    return set(zip(block.spike_frames.tolist(), block.spike_units.tolist(), strict=True))


def examine(tick_rate: float, latency: str, n_pulses: int, seed: int) -> dict[str, Any]:
    """Return what was evoked at one tick rate with one latency, and what of it was early, late, lost or too much."""
    watcher, rate = Watcher(), 20.0
    protocol = PeriodicPulses(rate=rate, tick_rate=tick_rate, n_electrodes=8, start=0.2, lookahead=0.0)
    session = run_session(
        protocol, culture(), 0.2 + n_pulses / rate, seed=seed, latency=latency, observers=[watcher], progress=False
    )
    frames = np.rint(session.recording.spike_times * session.recording.sampling_rate).astype(int)
    seen = set(zip(frames.tolist(), session.recording.spike_units.tolist(), strict=True))
    until = round(session.recording.t_stop * (session.recording.sampling_rate or 0.0))
    expected, quiet = (directly(session, seed, until, pulses=on) for on in (True, False))
    evoked, commands = expected - quiet, session.commands
    decided = commands["decided_frame"].to_numpy()
    last_tick = int(session.ticks["frame"].iloc[-1])
    return {
        "ticks/s": tick_rate,
        "latency": latency,
        "pulses": len(session.stimuli),
        "evoked": len(evoked),
        "lost": len(evoked - seen),
        "too many": len(seen - expected),
        "early": int(np.sum(session.stimuli["frame"].to_numpy() < decided[session.stimuli["command"].to_numpy(int)])),
        "outside their tick": watcher.wrong + len({pair for pair in seen if pair[0] < last_tick} ^ watcher.spikes),
    }


def digest(observed: bool = False, seconds: float = 5.0) -> str:
    """Return a hash of everything a session leaves but the wall clock."""
    observers = [Watcher()] if observed else []
    protocol = RateClamp(target_rate=8.0, tick_rate=1000.0, baseline=0.5)
    session = run_session(protocol, culture(), seconds, seed=7, latency="maxone", observers=observers, progress=False)
    rec, found = session.recording, hashlib.sha256()
    for values in (rec.spike_times, rec.spike_units, rec.observed):
        found.update(np.ascontiguousarray(values).tobytes())
    for table in (session.ticks, session.commands, session.stimuli):
        found.update(table.to_csv().encode())
    return found.hexdigest()


def in_process(threads: int) -> str:
    """Return the hash from a process of its own with so many threads."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    code = "from benchmarks.causality import digest; print(digest())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _burn() -> None:
    while True:
        pass


def under_load() -> str:
    """Return the hash with twice as many busy processes as there are processors."""
    context = multiprocessing.get_context("spawn")
    burners = [context.Process(target=_burn, daemon=True) for _ in range(2 * (os.cpu_count() or 1))]
    for burner in burners:
        burner.start()
    try:
        return digest()
    finally:
        for burner in burners:
            burner.terminate()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pulses", type=int, default=500, help="in each of the twenty sessions")
    parser.add_argument("--store", action="store_true", help="keep the table in benchmarks/results/")
    options = parser.parse_args(arguments)
    table = []
    for k, (tick_rate, latency) in enumerate((r, name) for r in TICK_RATES for name in LATENCY_PROFILES):
        table.append(examine(tick_rate, latency, options.pulses, seed=k))
        print(table[-1], flush=True)
    total = {name: sum(row[name] for row in table) for name in ("evoked", "lost", "too many", "early")}
    total["outside their tick"] = sum(row["outside their tick"] for row in table)
    runs = {"one thread": in_process(1), "two threads": in_process(2), "observed": digest(True), "loaded": under_load()}
    same = len({digest(), *runs.values()}) == 1
    notes = [f"Together: {total}.", f"Same bytes with {', '.join(runs)}: {'yes' if same else 'NO'}."]
    print(*notes, sep="\n")
    if options.store:
        title = "Causality: evoked spikes of sessions against the same pulses without ticks"
        store("causality", table, title=title, command="python -m benchmarks.causality --store", notes=notes)


if __name__ == "__main__":
    main()
