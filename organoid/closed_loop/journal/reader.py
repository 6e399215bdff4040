"""`Session`: what a session left, in memory, from a journal just written or from any journal file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.writer import Journal
from organoid.errors import JournalError
from organoid.hdf5 import layout
from organoid.recording import SpikeRecording


@dataclass(frozen=True, eq=False)
class Session:
    """What happened in a session.

    Parameters
    ----------
    recording : SpikeRecording
        Spikes, stimuli, window and what was observed.
    ticks : DataFrame
        One row per tick: index, frame, time_s, n_spikes, n_commands, n_accepted and what the protocol reported.
    commands : DataFrame
        One row a command: tick, electrodes, frames, whether it was accepted, and if not where and why.
    deadlines : DataFrame
        One row per tick: planned time, deadline, latency, late commands, wall time of the decision.
    outcome : dict
        ``status`` ("completed", "interrupted", "failed", or "running" where the writer was killed or still
        runs), ``values`` (what the protocol returned), ``commands`` (counts), ``error``.
    header : dict
        Seed, duration, tick rate, latency, protocol and device.
    versions : dict
        What it ran with.
    path : Path or None
        The journal.
    """

    recording: SpikeRecording
    ticks: pd.DataFrame
    commands: pd.DataFrame
    deadlines: pd.DataFrame
    outcome: dict[str, Any]
    header: dict[str, Any]
    versions: dict[str, Any]
    path: Path | None = None

    @property
    def stimuli(self) -> pd.DataFrame:
        """Pulses given, one row for each pulse and electrode (a copy)."""
        return self.recording.stimuli

    @property
    def rejections(self) -> pd.DataFrame:
        """Commands that were not passed on: stage, reason (of the first such), n, most frequent first.

        Reasons that differ in their numbers alone count as one.
        """
        return rejections(self.commands)

    @property
    def lateness(self) -> dict[str, float]:
        """How much later than meant accepted commands were due, ms: ``median``, ``95 %``, ``worst``; empty for none."""
        return lateness(self.commands, self.header)

    def __repr__(self) -> str:
        name = self.header.get("protocol", {}).get("name", "?")
        return f"Session({name!r}, {self.outcome.get('status')}, {len(self.ticks)} ticks, {self.recording!r})"


def session_from(journal: Journal) -> Session:
    """Return the session of a finished journal, and let go of it."""
    if journal.path is not None:
        return read_session(journal.path)
    try:
        return _take(journal.h5, None)
    finally:
        journal.close()


def read_session(path: str | PathLike[str]) -> Session:
    """Read a journal, finished, interrupted, or still being written.

    Raises
    ------
    FileNotFoundError
    JournalError
        If it is no journal.
    """
    with open_journal(Path(path)) as h5:
        return _take(h5, Path(path))


def open_journal(path: Path) -> h5py.File:
    """Open a journal for reading, whatever became of its writer."""
    if not path.exists():
        raise FileNotFoundError(f"no such journal: {path}")
    try:
        h5 = _open(path)
    except OSError as error:
        raise JournalError(f"{path} cannot be opened as a journal: {error}") from None
    if h5.attrs.get(layout.KIND) != "session" or schema.HEADER not in h5:
        kind = h5.attrs.get(layout.KIND, "something else")
        h5.close()
        raise JournalError(f"{path} is not the journal of a session (it holds: {kind})")
    return h5


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError:
        return h5py.File(path, "r", swmr=True)


def _take(h5: h5py.File, path: Path | None) -> Session:
    commands = table(h5, schema.COMMANDS)
    electrodes = h5[schema.COMMAND_ELECTRODES][()]
    firsts, counts = commands.pop("first_electrode"), commands.pop("n_electrodes")
    commands["electrodes"] = [tuple(electrodes[a : a + n].tolist()) for a, n in zip(firsts, counts, strict=True)]
    return Session(
        recording=layout.read_recording(h5, interrupted=True),
        ticks=table(h5, schema.TICKS),
        commands=commands,
        deadlines=table(h5, schema.DEADLINES),
        outcome=outcome_of(h5),
        header=json.loads(h5[schema.HEADER].asstr()[()]),
        versions=json.loads(h5[schema.VERSIONS].asstr()[()]),
        path=path,
    )


def rejections(commands: pd.DataFrame) -> pd.DataFrame:
    """Count the rejected rows of a table of commands by stage and reason; see `Session.rejections`."""
    rejected = commands.loc[~commands["accepted"].astype(bool), ["stage", "reason"]]
    kind = rejected["reason"].str.replace(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", "#", regex=True)
    groups = rejected.groupby(["stage", kind.rename("kind")], sort=False)
    found = groups["reason"].agg(["first", "size"]).reset_index()
    found = found.rename(columns={"first": "reason", "size": "n"})[["stage", "reason", "n"]]
    return found.sort_values("n", ascending=False, kind="stable", ignore_index=True)


def lateness(commands: pd.DataFrame, header: Mapping[str, Any]) -> dict[str, float]:
    """Return quantiles of how late commands of a table were; see `Session.lateness`."""
    taken = commands[commands["accepted"].astype(bool)]
    if not len(taken):
        return {}
    meant = taken[["asked_frame", "decided_frame"]].max(axis=1)
    late = 1e3 * (taken["planned_frame"] - meant).clip(lower=0) / float(Fraction(header["device"]["frame_rate_hz"]))
    return {"median": float(late.median()), "95 %": float(late.quantile(0.95)), "worst": float(late.max())}


def session_summary(path: str | PathLike[str]) -> dict[str, Any]:
    """Return what became of a session, from its journal, as plain JSON values.

    Returns
    -------
    dict
        status ("completed", "failed", "interrupted", or "running" where the writer was killed or still runs), error,
        protocol, device, seed, n_ticks, commands (counts), rejected (stage, reason, n), late, lateness_ms, missed,
        values, warnings about pulses that were given, and runaway_limit_hz (spikes/s of all units at which the session
        stops; None where no reference was given).
    """
    with open_journal(Path(path)) as h5:
        header = json.loads(h5[schema.HEADER].asstr()[()])
        outcome = outcome_of(h5)
        commands, deadlines = table(h5, schema.COMMANDS), table(h5, schema.DEADLINES)
    return {
        "status": outcome.get("status", schema.RUNNING),
        "error": outcome.get("error", ""),
        "protocol": header["protocol"]["name"],
        "device": header["device"]["name"],
        "seed": header["seed"],
        "n_ticks": len(deadlines),
        "n_commands": len(commands),
        "n_accepted": int(commands["accepted"].sum()),
        "rejected": rejections(commands).to_dict("records"),
        "late": int(deadlines["n_late"].sum()),
        "lateness_ms": lateness(commands, header),
        "missed": int(deadlines["missed"].sum()),
        "values": outcome.get("values") or {},
        "warnings": outcome.get("warnings") or [],
        "runaway_limit_hz": header.get("runaway_limit_hz"),
    }


def table(h5: h5py.File, name: str) -> pd.DataFrame:
    """Read one of the session's tables."""
    rows = h5[name][()]
    columns = {field: rows[field] for field in rows.dtype.names}
    return pd.DataFrame({field: _decoded(values) for field, values in columns.items()})


def outcome_of(h5: h5py.File) -> dict[str, Any]:
    """Read the outcome."""
    found: dict[str, Any] = json.loads(h5[schema.OUTCOME][()].tobytes().rstrip(b"\0") or b"{}")
    return found


def _decoded(values: Any) -> Any:
    if values.dtype.kind == "S":
        return pd.Series(np.char.decode(values, "utf-8", "replace") if values.size else [], dtype="str")
    return values
