"""`replay`: run a journal's session again and say whether, and where first, it differs."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import h5py

from organoid.closed_loop.contracts import Device, Protocol
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.provenance import describe, package_hash, versions
from organoid.closed_loop.journal.reader import open_journal, outcome_of
from organoid.closed_loop.latency import LatencyProfile
from organoid.closed_loop.replay.compare import Difference, first_difference
from organoid.closed_loop.replay.recorded_device import RecordedDevice
from organoid.closed_loop.session import Plan, run_plan
from organoid.closed_loop.ticks import TickClock
from organoid.hdf5 import layout

SAME, DIFFERENT, NOT_COMPARABLE = "same", "different", "not comparable"
RESIMULATED, DECISIONS = "resimulated", "decisions"

BuildDevice = Callable[[str, h5py.Group], Device | None]
BuildProtocol = Callable[[dict[str, Any]], Protocol]


@dataclass(frozen=True)
class ReplayReport:
    """What a replay found.

    Parameters
    ----------
    status : {"same", "different", "not comparable"}
    mode : {"resimulated", "decisions"}
        Whether device and protocol ran again, or the protocol alone on the recorded spikes.
    difference : Difference or None
        The first one.
    n_datasets, n_ticks : int
        What was compared.
    notes : tuple of str
        Versions that differ, code that has changed, a session cut short.
    """

    status: str
    mode: str
    difference: Difference | None
    n_datasets: int
    n_ticks: int
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the session came out the same, bit for bit."""
        return self.status == SAME

    def __str__(self) -> str:
        found = f"first difference: {self.difference}" if self.difference else "every dataset compared is equal"
        notes = "".join(f"\n  {note}" for note in self.notes)
        return f"{self.status} ({self.mode}, {self.n_ticks} ticks, {self.n_datasets} datasets): {found}{notes}"


def replay(path: str | PathLike[str], build_device: BuildDevice, build_protocol: BuildProtocol) -> ReplayReport:
    """Run a session again from its journal and compare.

    A device that can be built again (a simulated culture) is simulated again with the same seed, and every
    dataset but the wall clock's is compared. Otherwise the protocol is fed the recorded spikes, pulses and
    receipts, and its decisions are compared. A session cut short is run again as far as it came.

    Parameters
    ----------
    path : path
        A journal.
    build_device : callable
        ``build_device(name, group) -> Device``, or None where it cannot be built again; `name` is the device's,
        `group` what it wrote into the journal.
    build_protocol : callable
        ``build_protocol(description) -> Protocol``.

    Returns
    -------
    ReplayReport
        "not comparable" under other versions or on another CPU, where the last bits may differ.

    Raises
    ------
    FileNotFoundError, JournalError
        If there is no journal, or its device or protocol cannot be built again.
    """
    with open_journal(Path(path)) as h5:
        header = json.loads(h5[schema.HEADER].asstr()[()])
        protocol = build_protocol(header["protocol"])
        device = build_device(header["device"]["name"], h5[schema.DEVICE_STATE])
        mode = DECISIONS if device is None else RESIMULATED
        plan = _plan(header, h5)
        with tempfile.TemporaryDirectory() as folder:
            again = Path(folder) / "again.h5"
            run_plan(protocol, RecordedDevice(h5) if device is None else device, plan, again)
            with open_journal(again) as rerun:
                return _report(h5, rerun, mode, plan, _notes(h5, header, protocol))


def _plan(header: dict[str, Any], h5: h5py.File) -> Plan:
    latency = header["latency"]
    clock = TickClock(*(Fraction(header[name]) for name in ("frame_rate_hz", "tick_rate_hz", "duration_s")))
    outcome = outcome_of(h5)
    cut = outcome.get("status") != schema.COMPLETED
    stop = round(float(h5[layout.WINDOW][1]) * float(clock.frame_rate))
    n_ticks = int(outcome.get("n_ticks", clock.ticks_before(stop)))
    return Plan(
        clock,
        int(header["seed"]),
        LatencyProfile(latency["name"], tuple(latency["probabilities"]), tuple(latency["delays_s"])),
        bool(header["deliver"]),
        raise_when_missed=header["on_missed"] == "raise" and not cut,
        cut=(n_ticks, stop) if cut else None,
    )


def _report(h5: h5py.File, rerun: h5py.File, mode: str, plan: Plan, notes: tuple[list[str], list[str]]) -> ReplayReport:
    cut = plan.cut is not None
    only = None if mode == RESIMULATED else (schema.TICKS, schema.COMMANDS, schema.COMMAND_ELECTRODES, schema.WAVEFORMS)
    difference, n = first_difference(h5, rerun, prefix=cut, only=only)
    if difference is None and not cut:
        difference = _outcome_difference(*(_comparable(outcome_of(journal), mode) for journal in (h5, rerun)))
        n += 1
    versions_differ, remarks = notes
    status = DIFFERENT if difference else SAME
    if versions_differ:
        status = NOT_COMPARABLE
    short = [f"the session was cut short; compared as far as it came ({plan.n_ticks} ticks)"] if cut else []
    return ReplayReport(status, mode, difference, n, plan.n_ticks, (*versions_differ, *remarks, *short))


def _comparable(outcome: dict[str, Any], mode: str) -> dict[str, Any]:
    """Leave out, of a rig's session, the missed deadlines: the wall clock counts them."""
    if mode == RESIMULATED or "commands" not in outcome:
        return outcome
    return {**outcome, "commands": {name: n for name, n in outcome["commands"].items() if name != "missed"}}


def _outcome_difference(recorded: dict[str, Any], rerun: dict[str, Any]) -> Difference | None:
    both = recorded.keys() & rerun.keys()
    for key in sorted(recorded.keys() | rerun.keys()):
        if key == "work" and key not in both:  # not counted by a recorded device, nor by versions before
            continue
        if recorded.get(key) != rerun.get(key):
            return Difference(f"{schema.OUTCOME}.{key}", None, recorded.get(key), rerun.get(key))
    return None


def _notes(h5: h5py.File, header: dict[str, Any], protocol: Protocol) -> tuple[list[str], list[str]]:
    """Return what makes the journals incomparable, and what is only worth knowing."""
    recorded = json.loads(h5[schema.VERSIONS].asstr()[()])
    now = versions()
    differ = [
        f"{name} was {recorded.get(name, 'unknown')}, is {now.get(name, 'unknown')}"
        for name in sorted((recorded.keys() | now.keys()) - {"source"})
        if recorded.get(name) != now.get(name)
    ]
    remarks = []
    if recorded.get("source") != package_hash():
        remarks.append("the code of this package has changed since the session")
    if describe(protocol)[0]["source_sha256"] != header["protocol"].get("source_sha256"):
        remarks.append("the source of the protocol has changed since the session")
    return differ, remarks
