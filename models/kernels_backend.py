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
from organoid.models.surrogate import Surrogate
from torch import Tensor

from organoid.errors import ModelError

_chosen: ContextVar[str] = ContextVar("organoid_backend", default="auto")
_said: set[str] = set()
_lock = threading.Lock()

SUPPORT = (
    ("LIF, adaptive LIF; one delay, exponential synapses; CPU", "compiled", "compiled, exact adjoint"),
    ("the same, driven by recorded spikes", "compiled", "compiled, exact adjoint"),
    ("the same cells behind other synapses, driven by recorded spikes", "currents torch, cells compiled", "the same"),
    ("the same cells behind other synapses, free", "torch", "torch"),
    ("AdEx, Izhikevich; plastic networks", "torch", "torch"),
    ("spike function that is no Surrogate", "torch", "torch"),
    ("GPU, other precision than 32 or 64 bits", "torch", "torch"),
    ("second derivatives: with backend('torch')", "torch", "torch"),
    ("escape-noise LIF left alone (EscapeLIF)", "compiled", "closed form in organoid.fit"),
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


def compiled_runs(what: str, spike: object, tensors: tuple[Tensor, ...]) -> bool:
    """Tell whether compiled code can take these tensors; if not, say once why not.

    Parameters
    ----------
    what : str
        What would run, for the announcement.
    spike : object
        Spike function.
    tensors : tuple of Tensor
        Everything that goes in.
    """
    if _chosen.get() == "torch":
        return False
    reason = _obstacle(spike, tensors)
    if reason is not None:
        announce(what, reason)
    return reason is None


def announce(what: str, reason: str) -> None:
    """Warn once in this process that something runs in plain torch, and why."""
    text = f"{what} runs step by step in torch: {reason}"
    with _lock:
        if text in _said:
            return
        _said.add(text)
    warnings.warn(text, stacklevel=2)


def _obstacle(spike: object, tensors: tuple[Tensor, ...]) -> str | None:
    if not isinstance(spike, Surrogate):
        return "its spike function is no Surrogate"
    devices, dtypes = {t.device.type for t in tensors}, {t.dtype for t in tensors}
    if devices != {"cpu"}:
        return f"compiled code is for the CPU, and there are tensors on {', '.join(sorted(devices))}"
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        return f"compiled code takes float32 or float64 and no mixture, not {', '.join(sorted(map(str, dtypes)))}"
    return None
