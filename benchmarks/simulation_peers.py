"""One network in another simulator: ``python -m benchmarks.simulation_peers PEER NETWORK.npz SECONDS RUNS``.

Prints one line of JSON: seconds of each run itself (building, compiling and loading are not counted), and the spike
statistics of each. Imports numpy and the peer only, so that it runs in an environment of the peer's own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.simulation_statistics import summary

# The same steps as ours: over a step the current stands still and the potential relaxes exponentially.
EQUATIONS = """
dv/dt = (bias + current + push - v) / tau_mem : 1 (unless refractory)
dcurrent/dt = -current / tau_syn : 1
push = {push} : 1{flag}
bias : 1
"""


SPIKES = "spikes.npz"  # of the last run, beside the network
Spikes = tuple[Any, Any]  # times, s, and units
Runs = tuple[list[float], list[Spikes]]


def _brian2_objects(b2: Any, net: Any) -> tuple[Any, ...]:
    noisy = float(net["noise_sd"]) > 0
    push = EQUATIONS.format(
        push=f"{float(net['noise_sd'])!r} * randn()" if noisy else "0", flag=" (constant over dt)" if noisy else ""
    )
    names = {"tau_mem": float(net["tau_mem"]) * b2.second, "tau_syn": float(net["tau_syn"]) * b2.second}
    # Brian2 counts from the end of a step: a spike acts a step after its delay, and a cell is free after n - 1 steps.
    dt = float(net["dt"])
    b2.defaultclock.dt = dt * b2.second
    cells = b2.NeuronGroup(
        int(net["n_units"]),
        push,
        threshold="v >= 1",
        reset="v = 0",
        refractory=(float(net["refractory"]) + dt) * b2.second,
        method="exponential_euler",
        namespace=names,
    )
    cells.bias = net["bias"]
    synapses = b2.Synapses(
        cells, cells, "w : 1", on_pre="current_post += w", delay=(float(net["delay"]) - dt) * b2.second
    )
    synapses.connect(i=net["pre"], j=net["post"])
    synapses.w = net["weight"].astype(np.float64)
    monitor = b2.SpikeMonitor(cells)
    return cells, synapses, monitor, b2.Network(cells, synapses, monitor)


def brian2_cpp(net: Any, seconds: float, runs: int) -> Runs:
    """Brian2's C++ standalone mode; the time is what the binary reports of its own loop."""
    import brian2 as b2

    took, found = [], []
    with tempfile.TemporaryDirectory() as folder:
        b2.set_device("cpp_standalone", build_on_run=False, directory=folder)
        b2.prefs.devices.cpp_standalone.openmp_threads = 0
        b2.seed()  # another one in each run
        *_, monitor, network = _brian2_objects(b2, net)
        network.run(seconds * b2.second)
        b2.device.build(directory=folder, compile=True, run=False, debug=False)
        for _ in range(runs):
            b2.device.run(with_output=False)
            took.append(float((Path(folder) / "results" / "last_run_info.txt").read_text().split()[0]))
            found.append((np.asarray(monitor.t / b2.second), np.asarray(monitor.i)))
        return took, found


def brian2_cython(net: Any, seconds: float, runs: int) -> Runs:
    """Brian2's runtime mode; a first short run compiles."""
    import brian2 as b2

    b2.prefs.codegen.target = "cython"
    took, found = [], []
    *_, monitor, network = _brian2_objects(b2, net)
    network.store()
    network.run(10 * float(net["dt"]) * b2.second)
    for _ in range(runs):
        network.restore()
        began = time.perf_counter()
        network.run(seconds * b2.second)
        took.append(time.perf_counter() - began)
        found.append((np.asarray(monitor.t / b2.second), np.asarray(monitor.i)))
    return took, found


def nest(net: Any, seconds: float, runs: int) -> Runs:
    """NEST on one thread: ``iaf_psc_exp`` in units of the threshold (1 mV), exact integration."""
    import nest as ns

    took, found = [], []
    for _ in range(runs):
        ns.ResetKernel()
        ns.set(resolution=float(net["dt"]) * 1e3, local_num_threads=1, print_time=False)
        ns.set_verbosity("M_ERROR")
        tau, capacity = float(net["tau_mem"]) * 1e3, 100.0
        per_current = capacity / tau
        cells = ns.Create("iaf_psc_exp", int(net["n_units"]))
        cells.set(
            E_L=0.0, V_m=0.0, V_th=1.0, V_reset=0.0, C_m=capacity, tau_m=tau, t_ref=float(net["refractory"]) * 1e3,
            tau_syn_ex=float(net["tau_syn"]) * 1e3, tau_syn_in=float(net["tau_syn"]) * 1e3,
        )  # fmt: skip
        cells.set([{"I_e": float(b) * per_current} for b in net["bias"]])
        delay = np.full(net["pre"].size, float(net["delay"]) * 1e3)
        first = cells[0].global_id
        ns.Connect(
            net["pre"] + first,
            net["post"] + first,
            "one_to_one",
            {"weight": net["weight"].astype(np.float64) * per_current, "delay": delay},
        )
        recorder = ns.Create("spike_recorder")
        ns.Connect(cells, recorder)
        ns.Prepare()
        ns.Run(1.0)
        began = time.perf_counter()
        ns.Run(seconds * 1e3)
        took.append(time.perf_counter() - began)
        ns.Cleanup()
        events = recorder.get("events")
        found.append((events["times"] / 1e3, events["senders"] - first))
    return took, found


PEERS = {"brian2_cpp": brian2_cpp, "brian2_cython": brian2_cython, "nest": nest}


def main(peer: str, path: str, seconds: str, runs: str) -> None:
    """Run and report."""
    with np.load(path) as stored:
        net = {name: stored[name] for name in stored.files}
    took, found = PEERS[peer](net, float(seconds), int(runs))
    np.savez(Path(path).with_name(SPIKES), times=found[-1][0], units=found[-1][1])
    statistics = [summary(*spikes, int(net["n_units"]), float(seconds)) for spikes in found]
    print(json.dumps({"seconds": took, "statistics": statistics}))


if __name__ == "__main__":
    main(*sys.argv[1:])
