"""Sessions put together from registries and from other sessions: many at once, replay, yoked controls, forks."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import h5py

from organoid.closed_loop import (
    Device,
    Journalled,
    LatencyProfile,
    Protocol,
    ReplayReport,
    Session,
    SessionError,
    read_session,
    run_session,
)
from organoid.closed_loop import replay as replay_with
from organoid.closed_loop.batch import BatchProtocol, Sessions, run_batch
from organoid.closed_loop.checked_protocol import CheckedProtocol
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.reader import open_journal
from organoid.closed_loop.latency import latency_profile
from organoid.closed_loop.random_streams import check_seed
from organoid.closed_loop.session import Plan
from organoid.closed_loop.ticks import TickClock
from organoid.protocols import rebuild_protocol
from organoid.protocols.substituted import ForkedProtocol, SubstitutedStimuli, delivered_in

PRESET = "preset:"


def load_culture(name: str) -> Any:
    """Return a fit from a file, or a preset by ``preset:NAME``."""
    if name.startswith(PRESET):
        from organoid.culture import preset

        return preset(name.removeprefix(PRESET))
    from organoid.fitting import load_fit

    return load_fit(name)


def rebuild_device(name: str, group: h5py.Group) -> Device | None:
    """Return the device a journal holds, or None where it cannot be built again (a rig, a recording).

    Parameters
    ----------
    name : str
        The name it is registered under.
    group : h5py.Group
        What it wrote into the journal.
    """
    from organoid.devices import DEVICES

    kind: Any = DEVICES.get(name)
    if kind is None or not issubclass(kind, Journalled) or not (len(group) or len(group.attrs)):
        return None
    device: Device = kind.read_from(group)
    return device


def replay(
    path: str | PathLike[str], device: Device | None = None, *, protocol: Protocol | None = None
) -> ReplayReport:
    """Run a session again from its journal and say whether, and where first, it differs.

    A session on a simulated culture is simulated again with the seed, network and protocol the journal
    holds, and every dataset but the wall clock's is compared. On the journal of a rig the protocol is fed
    the recorded spikes, and its decisions are compared.

    Parameters
    ----------
    path : path
        A journal, finished or cut short.
    device : Device, optional
        Run on this instead of the device the journal holds.
    protocol : Protocol, optional
        Run this instead of the protocol the journal names.

    Returns
    -------
    ReplayReport
        ``status`` is "same", "different" (with the first difference) or, under other versions or on another
        CPU, "not comparable".

    Raises
    ------
    FileNotFoundError
    OrganoidError
        If it is no journal, or its protocol or device cannot be built again.

    Examples
    --------
    >>> import tempfile, organoid
    >>> from organoid.protocols.periodic_pulses import PeriodicPulses
    >>> culture = organoid.SimulatedCulture(organoid.preset("bursting_culture"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     session = organoid.run_session(PeriodicPulses(), culture, 2.0, journal=f"{folder}/session.h5")
    ...     report = organoid.replay(f"{folder}/session.h5")
    >>> report.status
    'same'
    """
    return replay_with(
        path,
        rebuild_device if device is None else lambda name, group: device,
        rebuild_protocol if protocol is None else lambda description: protocol,
    )


def run_sessions(
    protocols: Protocol | Sequence[Protocol],
    devices: Device | Sequence[Device],
    duration: float | Fraction,
    *,
    seeds: Iterable[int] | None = None,
    journals: Sequence[str | PathLike[str]] | None = None,
    deliver: bool = True,
) -> Sequence[Session]:
    """Run many sessions in one process: session ``k`` of protocol, device and seed ``k``.

    Where one protocol object that decides in batches (`organoid.closed_loop.BatchProtocol`) meets one simulated
    culture with many seeds, all of them advance together, and one call decides for all. Otherwise the sessions run one
    after the other. Each is the same as with `run_session`.

    Parameters
    ----------
    protocols, devices : one, or a sequence of them
        One stands for as many as there are of the others.
    duration : float or Fraction, s
    seeds : iterable of int, optional
        Default: 0, 1, 2, ...
    journals : sequence of path, optional
        One for each session; without them the sessions stay in memory.
    deliver : bool
        As in `run_session`.

    Returns
    -------
    sequence of Session
        After a batch, a session's tables are put together when it is requested; ``outcomes`` has all outcomes.

    Raises
    ------
    SessionError
        If there are different numbers of protocols, devices, seeds and journals.

    Examples
    --------
    >>> import organoid
    >>> from organoid.protocols.periodic_pulses import PeriodicPulses
    >>> culture = organoid.SimulatedCulture(organoid.preset("bursting_culture"))
    >>> len(organoid.run_sessions(PeriodicPulses(), culture, 1.0, seeds=range(4)))
    4
    """
    given = None if seeds is None else [check_seed(seed) for seed in seeds]
    lists = {"protocols": _listed(protocols), "devices": _listed(devices), "seeds": given, "journals": journals}
    n = max(len(values) for values in lists.values() if values is not None)
    for name, values in lists.items():
        one_for_all = name in ("protocols", "devices") and values is not None and len(values) == 1
        if values is not None and len(values) != n and not one_for_all:
            raise SessionError(f"{len(values)} {name} for {n} sessions; give one for each")
    every_protocol, every_device = (list(lists[name] or ()) * n for name in ("protocols", "devices"))
    numbers = list(range(n)) if given is None else given
    paths = [None] * n if journals is None else [Path(path) for path in journals]
    together = _together(every_protocol[:n], every_device[:n], duration, numbers, deliver)
    if together is not None:
        return together if journals is None else [together.write(k, path) for k, path in enumerate(paths)]
    pairs = zip(every_protocol[:n], every_device[:n], numbers, paths, strict=True)
    return [
        run_session(protocol, device, duration, journal=path, seed=seed, deliver=deliver, progress=False)
        for protocol, device, seed, path in pairs
    ]


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, Sequence) else [values]


def _together(
    protocols: Sequence[Any], devices: Sequence[Any], duration: float | Fraction, seeds: Sequence[int], deliver: bool
) -> Sessions | None:
    """Return the sessions of one protocol and one device with many seeds, side by side; None where that cannot be."""
    protocol, device = protocols[0], devices[0]
    same = all(other is protocol for other in protocols) and all(other is device for other in devices)
    decides = isinstance(protocol, BatchProtocol)
    if not (same and len(seeds) > 1 and decides and hasattr(device, "side_by_side")):
        return None
    batch = device.side_by_side(seeds)
    if batch is None:
        return None
    clock = TickClock.of(device.info.frame_rate, CheckedProtocol(protocol).tick_rate, duration)
    plan = Plan(clock, seeds[0], latency_profile("ideal"), deliver, False)
    return run_batch(protocol, device, batch, plan, seeds)


def yoke(
    session: Session | str | PathLike[str],
    device: Device,
    *,
    journal: str | PathLike[str] | None = None,
    seed: int | None = None,
    protocol: Protocol | None = None,
) -> Session:
    """Give a session's pulses to a device at the same frames, whatever the device does: the yoked control.

    The session's protocol runs beside it, so that what it measures is measured again; its commands are dropped.

    Parameters
    ----------
    session : Session or path
        Whose delivered pulses are given again.
    device : Device
        With the same frame rate; another culture, or the same with another seed.
    journal : path, optional
    seed : int, optional
        Default: the session's.
    protocol : Protocol, optional
        Run beside instead of the protocol that the session names.

    Returns
    -------
    Session

    Raises
    ------
    SessionError
        If the device has another frame rate, or the session's protocol cannot be built again.

    Examples
    --------
    >>> control = organoid.yoke(session, organoid.SimulatedCulture(other), seed=2)  # doctest: +SKIP
    """
    known = _session(session)
    header = known.header
    if Fraction(header["frame_rate_hz"]) != device.info.frame_rate:
        raise SessionError(
            f"the session ran at {float(Fraction(header['frame_rate_hz'])):g} frames/s, {device.info.name} has "
            f"{float(device.info.frame_rate):g}; pulses can be given at the same frames only at the same rate"
        )
    inner = rebuild_protocol(header["protocol"]) if protocol is None else protocol
    return run_session(
        SubstitutedStimuli(inner, delivered_in(known)),
        device,
        Fraction(header["duration_s"]),
        journal=journal,
        seed=int(header["seed"]) if seed is None else seed,
        progress=False,
    )


def fork(
    session: Session | str | PathLike[str],
    at: int,
    protocol: Protocol | None = None,
    *,
    duration: float | None = None,
    journal: str | PathLike[str] | None = None,
    device: Device | None = None,
) -> Session:
    """Run a session again up to a tick, and go on from there in another way: what would have happened, had it ...

    Everything before tick `at` is the same, bit for bit. Without another protocol, so is everything after it.

    Parameters
    ----------
    session : Session or path
        On a device that can be built again.
    at : int
        Number of the first tick that may differ.
    protocol : Protocol, optional
        Decides from tick `at` on, from its own first state; of the same tick rate. Default: the session's protocol
        goes on.
    duration : float, s, optional
        Of the whole new session. Default: that of the old one.
    journal : path, optional
    device : Device, optional
        Default: the device that the journal holds.

    Returns
    -------
    Session
        From the beginning, with the fork inside.

    Raises
    ------
    SessionError
        If there is no such tick, or the protocol has another tick rate.
    JournalError, DeviceError
        If the device cannot be built again.

    Examples
    --------
    >>> other = organoid.fork("session.h5", at=500, protocol=PeriodicPulses(rate=5.0))  # doctest: +SKIP
    """
    known = _session(session)
    header = known.header
    if not 0 <= at <= len(known.ticks):
        raise SessionError(f"a fork at tick {at}; the session has ticks 0 to {len(known.ticks) - 1}")
    latency = header["latency"]
    return run_session(
        ForkedProtocol(rebuild_protocol(header["protocol"]), protocol, at),
        _device_of(known) if device is None else device,
        Fraction(header["duration_s"]) if duration is None else duration,
        journal=journal,
        seed=int(header["seed"]),
        latency=LatencyProfile(latency["name"], tuple(latency["probabilities"]), tuple(latency["delays_s"])),
        deliver=bool(header["deliver"]),
        on_missed=header["on_missed"],
        progress=False,
    )


def _session(session: Session | str | PathLike[str]) -> Session:
    return session if isinstance(session, Session) else read_session(session)


def _device_of(session: Session) -> Device:
    """Return the device of a session, built again from its journal."""
    if session.path is None:
        raise SessionError(
            "the session has no journal to build its device from; give device=, or journal= when running"
        )
    with open_journal(Path(session.path)) as h5:
        device = rebuild_device(session.header["device"]["name"], h5[schema.DEVICE_STATE])
    if device is None:
        raise SessionError(f"the device {session.header['device']['name']!r} cannot be built again; give device=")
    return device
