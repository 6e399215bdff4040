"""Closed-loop sessions: contracts, runtime, journal, replay, latency profiles, conformance of devices."""

from organoid.closed_loop.batch import BatchProtocol, Sessions, TickBatch, run_batch
from organoid.closed_loop.conformance import check_device
from organoid.closed_loop.contracts import (
    Block,
    Command,
    Delivered,
    Described,
    Device,
    DeviceInfo,
    Journalled,
    Metered,
    Observer,
    Planned,
    Protocol,
    Receipt,
    Reporting,
    RowObserver,
    Tick,
)
from organoid.closed_loop.journal.reader import Session, read_session, session_summary
from organoid.closed_loop.latency import PROFILES as LATENCY_PROFILES
from organoid.closed_loop.latency import LatencyProfile, latency_profile
from organoid.closed_loop.protocol_conformance import check_protocol
from organoid.closed_loop.replay.replay import ReplayReport, replay
from organoid.closed_loop.session import run_session
from organoid.closed_loop.ticks import TickClock
from organoid.errors import JournalError, ProtocolError, SessionError

__all__ = [
    "LATENCY_PROFILES",
    "BatchProtocol",
    "Block",
    "Command",
    "Delivered",
    "Described",
    "Device",
    "DeviceInfo",
    "Journalled",
    "JournalError",
    "LatencyProfile",
    "Metered",
    "Observer",
    "Planned",
    "Protocol",
    "ProtocolError",
    "Receipt",
    "ReplayReport",
    "Reporting",
    "RowObserver",
    "Session",
    "SessionError",
    "Sessions",
    "Tick",
    "TickBatch",
    "TickClock",
    "check_device",
    "check_protocol",
    "latency_profile",
    "read_session",
    "replay",
    "run_batch",
    "run_session",
    "session_summary",
]
