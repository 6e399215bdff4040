"""Sessions put together from registries: devices and protocols by name, replay of a journal by path."""

from os import PathLike
from typing import Any

import h5py

from organoid.closed_loop import Device, Journalled, Protocol, ReplayReport
from organoid.closed_loop import replay as replay_with
from organoid.protocols import rebuild_protocol


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

    A session on a simulated culture is simulated anew with the seed, network and protocol the journal
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
        processor, "not comparable".

    Raises
    ------
    FileNotFoundError
    OrganoidError
        If it is no journal, or its protocol or device cannot be built again.
    """
    return replay_with(
        path,
        rebuild_device if device is None else lambda name, group: device,
        rebuild_protocol if protocol is None else lambda description: protocol,
    )
