"""Speed of sessions, CPU time on one core: ``python -m benchmarks.closed_loop [--json] [--store] [FIT.h5]``.

Rate clamp on a simulated culture, journal on disk and guard on, at 100 and 1,000 ticks per second; a large network;
many cultures side by side; and, where it is installed, cleosim on a network of the same size. Best of three.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import organoid
from benchmarks.results import store
from organoid.closed_loop import run_session
from organoid.models.spike_response.network import SpikeResponseNetwork, plain_parameters
from organoid.protocols import PeriodicPulses, RateClamp

REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fit", nargs="?", help="a fit; without it the packaged sample is fitted")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--store", action="store_true", help="keep the table in benchmarks/results/")
    options = parser.parse_args()
    found = measure(options.fit)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for name, row in found.items():
            print(name, row)
    if options.store:
        rows = [{"what": name, **row} for name, row in found.items()]
        command = "python -m benchmarks.closed_loop --store"
        store("closed_loop", rows, title="Speed of sessions, CPU time on one core", command=command, notes=[_load()])


def _load() -> str:
    return f"Best of three; load of the machine (1 min) {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."


def measure(fit: str | None) -> dict[str, Any]:
    result = organoid.load_fit(fit) if fit else organoid.fit(organoid.read_recording(_sample()), free_run=False)
    culture = organoid.SimulatedCulture(result)
    large = organoid.SimulatedCulture(large_network(1000))
    return {
        "network alone": {"times_real_time": _alone(result)},
        f"{culture.info.n_units} units, 100 Hz": session(culture, 100.0, 60.0),
        f"{culture.info.n_units} units, 1 kHz": session(culture, 1000.0, 20.0),
        "1,000 units, 1 kHz": session(large, 1000.0, 4.0),
        "64 x 60 units, 100 Hz": many(64, 20.0),
        "cleosim, same size, 1 kHz": cleo(culture.info.n_units),
    }


def _sample() -> str:
    return str(Path(__file__).parents[1] / "sample_data" / "bursting_culture.h5")


def _alone(result: Any) -> float:
    organoid.simulate(result, 1.0)
    return 60.0 / best(lambda: organoid.simulate(result, 60.0))


def best(work: Any) -> float:
    """Return the least CPU time of three runs, s."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def session(culture: Any, tick_rate: float, duration: float) -> dict[str, float]:
    """Return times real time of a clamped session with a journal, start and end included."""
    protocol = RateClamp(target_rate=6.0, tick_rate=tick_rate, baseline=0.5)
    run_session(protocol, culture, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        names = iter(range(REPEATS))

        def work() -> None:
            run_session(protocol, culture, duration, journal=Path(folder) / f"{next(names)}.h5", progress=False)

        seconds = best(work)
    return {"times_real_time": duration / seconds, "us_per_tick": 1e6 * seconds / (duration * tick_rate)}


def many(n: int, duration: float) -> dict[str, float]:
    """Return culture-seconds per CPU second of many cultures in one process, pulses once a second each."""
    culture = organoid.SimulatedCulture(organoid.preset("bursting_culture"))
    protocol = PeriodicPulses(rate=1.0, n_electrodes=8)
    arguments = ([protocol] * n, [culture] * n)
    organoid.run_sessions(*arguments, 1.0, seeds=range(n))
    seconds = best(lambda: organoid.run_sessions(*arguments, duration, seeds=range(n)))
    return {"culture_seconds_per_second": n * duration / seconds}


def large_network(n: int) -> SpikeResponseNetwork:
    """Return a sparse network of `n` units, 2 % connected, that spikes at about 2 Hz."""
    rng = np.random.default_rng(0)
    weights = np.zeros((2, n, n))
    weights[1] = np.where(rng.random((n, n)) < 0.02, rng.lognormal(-2.0, 0.5, (n, n)), 0.0)
    np.fill_diagonal(weights[0], -8.0)
    np.fill_diagonal(weights[1], 0.0)
    tau = np.array([0.004, 0.015])
    return SpikeResponseNetwork(plain_parameters(dt=1e-3, tau=tau, weights=weights, bias=np.full(n, -6.2)))


def cleo(n: int) -> dict[str, Any]:
    """Return times real time of cleosim on a network of the same size, 1 kHz, Brian's numpy code."""
    try:
        import brian2 as b2
        import cleo as cleosim
    except ImportError:
        return {"times_real_time": None, "reason": "cleosim is not installed"}
    b2.prefs.codegen.target = "numpy"
    group = b2.NeuronGroup(n, "dv/dt = (1.02 - v) / (20 * ms) : 1", threshold="v > 1", reset="v = 0", method="exact")
    synapses = b2.Synapses(group, group, on_pre="v += 0.01")
    synapses.connect(p=0.1)
    simulator = cleosim.CLSimulator(b2.Network(group, synapses))
    monitor = b2.SpikeMonitor(group)
    simulator.network.add(monitor)

    class Loop(cleosim.ioproc.LatencyIOProcessor):
        def process(self, state_dict: dict[str, Any], t_samp: Any) -> tuple[dict[str, Any], Any]:
            return {}, t_samp

    simulator.set_io_processor(Loop(sample_period=1 * b2.ms))
    simulator.run(0.05 * b2.second)
    return {"times_real_time": 0.5 / best(lambda: simulator.run(0.5 * b2.second)), "dt_ms": 0.1}


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    main()
