"""States of models: tensors, and tuples, dicts and dataclasses of them, nested at will."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor


def tensors(state: Any) -> list[Tensor]:
    """Return every tensor of a state, in order."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, Mapping):
        return flat(state.values())
    if isinstance(state, list | tuple):
        return flat(state)
    return flat(vars(state).values()) if hasattr(state, "__dict__") else []


def flat(parts: Iterable[Any]) -> list[Tensor]:
    """Return the tensors of several states, in order."""
    return [t for part in parts for t in tensors(part)]


def mapped(change: Callable[[Tensor], Tensor], state: Any) -> Any:
    """Return a state of the same form with every tensor changed; what is no tensor stays."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, Mapping):
        return {key: mapped(change, part) for key, part in state.items()}
    if isinstance(state, list | tuple):
        parts = [mapped(change, part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    if is_dataclass(state) and not isinstance(state, type):
        return replace(state, **{f.name: mapped(change, getattr(state, f.name)) for f in fields(state)})
    return state


def joined(states: Sequence[Any]) -> Any:
    """Return states of one form as one, their batches behind each other."""
    parts = [iter(tensors(state)) for state in states]
    return mapped(lambda _: torch.cat([next(part) for part in parts]), states[0])
