"""The vendor's side: a data source that asks the culture's process, and how to put it in place."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import numpy as np

from organoid.errors import DeviceError, JournalError, MissingPackageError

FACTORY = "organoid.cl_simulator.source:culture_source"
METADATA = {"channel_count": 64, "frames_per_second": 25_000, "duration_frames": None, "seekable": False}
N_SAMPLES, N_BEFORE = 75, 25
_PEAK_UV, _WIDTH_FRAMES = -40.0, 5.0  # a fixed shape: spikes of a simulated culture have no measured waveform


def culture_source(address: str, key: str) -> Any:
    """Return a data source for the vendor's simulator; called by it, in a process of its own.

    Parameters
    ----------
    address, key : str
        Of the culture's process.
    """
    sim = _simulator()

    class CultureSource(sim.SimulatorDataSource):  # type: ignore[misc,name-defined]
        """The vendor's interface over the connection to the culture."""

        metadata = sim.SimulatorDataSourceMetadata(**METADATA)

        def open(self) -> None:
            self._shape = waveform()
            self._connection = Client(address, authkey=bytes.fromhex(key))

        def close(self) -> None:
            self._connection.close()

        def on_stims(self, stims: Any) -> None:
            phases = [tuple(zip(s.phase_durations_us, s.phase_currents_uA, strict=True)) for s in stims]
            told = [(int(s.timestamp), int(s.channel), p) for s, p in zip(stims, phases, strict=True)]
            self._connection.send(("stims", told))

        def read(self, from_timestamp: int, frame_count: int) -> Any:
            self._connection.send(("read", int(from_timestamp), int(frame_count)))
            kind, found = self._connection.recv()
            if kind == "error":
                raise RuntimeError(found)
            spikes = [sim.DataSourceSpike(frame, channel, self._shape, 0.0) for frame, channel in found]
            return sim.DataSourceBatch(frames=None, spikes=spikes)

    return CultureSource()


def waveform() -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Return the shape every spike is given, uV, shape (75,)."""
    t = (np.arange(N_SAMPLES) - N_BEFORE) / _WIDTH_FRAMES
    shape = _PEAK_UV * (np.exp(-(t**2)) - 0.35 * np.exp(-(((t - 2.5) / 1.8) ** 2)))
    return np.asarray(shape, dtype=np.float32)


def use_culture(
    culture: str | os.PathLike[str],
    *,
    seed: int = 0,
    journal: str | os.PathLike[str] | None = None,
    channels: Mapping[str, int] | None = None,
) -> None:
    """Put a culture behind the vendor's simulator, before the first ``cl.open()`` of this process.

    Parameters
    ----------
    culture : str or path
        A fit, or ``preset:NAME``.
    seed : int
    journal : path, optional
        A new file. It is complete when the process ends, as the simulator closes its source only then.
    channels : mapping of str to int, optional
        Channel to electrode; default: see `channel_map`.

    Raises
    ------
    MissingPackageError
        If the vendor's package is not installed.
    JournalError
        If the journal exists.
    DeviceError
        If the culture cannot be loaded, or the channel map does not fit it.
    """
    sim, cl = _simulator(), import_module("cl")
    if journal is not None and Path(journal).exists():
        raise JournalError(f"{journal} exists; a journal never replaces a file: give another name")
    config = {
        "culture": str(culture) if str(culture).startswith("preset:") else str(Path(culture).resolve()),
        "seed": int(seed),
        "journal": None if journal is None else str(Path(journal).resolve()),
        "channels": None if channels is None else {str(key): int(value) for key, value in channels.items()},
    }
    server = start_server(config)
    metadata = sim.SimulatorDataSourceMetadata(**METADATA)
    sim.set_simulator_data_source(FACTORY, config=server.found, metadata=metadata)
    _explain_opens(cl, server)


class ServerProcess:
    """The culture's process, and where it listens."""

    def __init__(self, process: "subprocess.Popen[str]", found: dict[str, str]) -> None:
        self.process, self.found = process, found

    def say(self, text: str) -> None:
        """Say something on stderr and in the culture's journal."""
        print(f"organoid: {text}", file=sys.stderr, flush=True)
        if self.process.stdin is not None and self.process.poll() is None:
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()


def start_server(config: Mapping[str, Any]) -> ServerProcess:
    """Start the culture's process and wait until it is ready.

    Raises
    ------
    DeviceError
        If it cannot be; with its reason.
    """
    root = str(Path(__file__).resolve().parent.parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "organoid.cl_simulator.server", json.dumps(dict(config))]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
    line = process.stdout.readline() if process.stdout is not None else ""
    found = json.loads(line) if line.startswith("{") else {"error": "its process ended; see above"}
    if "error" in found:
        process.wait()
        raise DeviceError(f"the culture cannot be put behind the simulator: {found['error']}")
    return ServerProcess(process, found)


def _explain_opens(cl: Any, server: ServerProcess) -> None:
    """Say what the vendor's words leave out: what a second ``cl.open()`` does, and why frames came too late."""
    opened, n = cl.open, 0

    @contextmanager
    def open(*arguments: Any, **options: Any) -> Iterator[Any]:
        nonlocal n
        n += 1
        if n > 1:
            server.say(f"cl.open() number {n} of this process: time and the culture go on, they are not started again")
        try:
            with opened(*arguments, **options) as neurons:
                yield neurons
        except TimeoutError as error:
            server.say(
                f"the vendor's simulator gave up waiting ({error}): it waits 0.1 s for frames in accelerated time. The "
                "culture was too slow, had stopped with an error, or the machine was busy"
            )
            raise

    cl.open = open


def _simulator() -> Any:
    try:
        sim = import_module("cl.sim")
    except ImportError as error:
        raise MissingPackageError(
            f"a culture inside the vendor's simulator needs cl-sdk 1.0.0 or newer on Python 3.12 or newer ({error})"
        ) from None
    if not hasattr(sim, "set_simulator_data_source"):
        raise MissingPackageError("the installed cl-sdk takes no data source; expected version 1.0.0 or newer")
    return sim
