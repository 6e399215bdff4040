"""Which code runs a network: compiled where there is a form for it, else plain torch, said once.

The plain torch code is the reference for everything and runs on any device, in any precision, and can be
differentiated as often as one likes. `backend` chooses it where the compiled code would run.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor

from organoid.errors import ModelError
from organoid.models.surrogate import Sigmoid, Surrogate

_chosen: ContextVar[str] = ContextVar("organoid_backend", default="auto")
_said: set[str] = set()
_lock = threading.Lock()

SUPPORT = (
    (
        "(adaptive) LIF, LIF with escape noise; one delay, exponential or short-term synapses; CPU",
        "compiled",
        "compiled, exact adjoint",
    ),
    ("the same, driven by recorded spikes", "compiled", "compiled, exact adjoint"),
    ("the same, reset by recorded spikes (forced_voltages)", "compiled", "compiled, exact adjoint"),
    ("the same cells behind other synapses, driven by recorded spikes", "currents torch, cells compiled", "the same"),
    ("the same cells behind other synapses (sparse, delays of their own), free", "torch", "torch"),
    ("short-term release on recorded spikes, any synapses", "compiled", "compiled, exact adjoint"),
    ("AdEx, Izhikevich; plastic networks", "torch", "torch"),
    ("spike function that is no Surrogate", "torch", "torch"),
    ("GPU, other precision than 32 or 64 bits", "torch", "torch"),
    ("second derivatives: with backend('torch')", "torch", "torch"),
    ("forced_voltages wherever the table says torch", "torch, a scan over time", "a scan over time"),
    ("escape-noise LIF in free run (SpikeResponseNetwork)", "compiled", "closed form in organoid.fit"),
)
"""What runs where: case, forward, backward."""


@contextmanager
def backend(name: Literal["auto", "torch"]) -> Iterator[None]:
    """Choose the code that runs networks inside the ``with``, for this thread.

    Parameters
    ----------
    name : {"auto", "torch"}
        "auto" takes compiled code where there is any, "torch" the plain reference.

    Raises
    ------
    ModelError
        For any other name.
    """
    if name not in ("auto", "torch"):
        raise ModelError(f"unknown backend {name!r}; choose 'auto' or 'torch'")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def support_table() -> str:
    """Return what runs where, as text."""
    rows = (("network", "forward", "backward"), *SUPPORT)
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)


def refused(what: str, reason: str | None) -> bool:
    """Return whether plain torch runs this: because it was chosen, or for a reason, which is said once.

    Parameters
    ----------
    what : str
        What runs.
    reason : str or None
        Why compiled code cannot.
    """
    if _chosen.get() == "torch":
        return True
    if reason is not None:
        _say_once(f"{what} runs in plain torch: {reason}")
    return reason is not None


def obstacle(spike: object, drawn: bool, tensors: tuple[Tensor, ...]) -> str | None:
    """Return why compiled code cannot take a spike function and tensors, or None.

    Parameters
    ----------
    spike : object
        Spike function.
    drawn : bool
        Whether spikes are drawn with the probability ``spike.smooth``.
    tensors : tuple of Tensor
        Everything that goes in.
    """
    if not isinstance(spike, Surrogate):
        return "its spike function is no Surrogate"
    if drawn and not isinstance(spike, Sigmoid):
        return "spikes are drawn by compiled code only where their probability is a Sigmoid"
    return misplaced(tensors)


def misplaced(tensors: tuple[Tensor, ...]) -> str | None:
    """Return why compiled code cannot take tensors, or None."""
    devices, dtypes = {t.device.type for t in tensors}, {t.dtype for t in tensors}
    if devices != {"cpu"}:
        return f"compiled code is for the CPU, and there are tensors on {', '.join(sorted(devices))}"
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        return f"compiled code takes float32 or float64 and no mixture, not {', '.join(sorted(map(str, dtypes)))}"
    return None


def _say_once(text: str) -> None:
    with _lock:
        if text in _said:
            return
        _said.add(text)
    warnings.warn(text, stacklevel=2)
