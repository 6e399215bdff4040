"""One piece of an experiment: an arm on a culture with some seeds; a function that any process can run."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from organoid.closed_loop import Device, Protocol, Session, run_session
from organoid.closed_loop.latency import latency_profile
from organoid.culture import preset, simulate
from organoid.devices import ReplayedRecording, SimulatedCulture
from organoid.experiments.controls import CONTROLS, OTHER_SEED, Control
from organoid.experiments.plan import Condition, ExperimentError, ExperimentPlan
from organoid.fitting import load_fit
from organoid.protocols import load_protocol
from organoid.protocols.substituted import SubstitutedStimuli, delivered_in, from_values, to_values

PRESET = "preset:"


def make_protocol(plan: ExperimentPlan, condition: Condition, changed: Mapping[str, Any] | None = None) -> Protocol:
    """Return the protocol of a condition, with further parameters changed."""
    return load_protocol(plan.protocol.name, **plan.protocol.arguments({**condition.parameters, **(changed or {})}))


@lru_cache(maxsize=4)
def _source(name: str) -> Any:
    return preset(name.removeprefix(PRESET)) if name.startswith(PRESET) else load_fit(name)


@lru_cache(maxsize=4)
def _culture(name: str) -> SimulatedCulture:
    return SimulatedCulture(_source(name))


def run_piece(piece: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run the sessions of a piece and return a row for each, plain JSON values.

    Parameters
    ----------
    piece : mapping
        ``plan`` (as JSON), ``culture``, ``arm``, ``seeds``, and for controls that need it ``pulses``: seed to the
        schedule of its reference session.

    Returns
    -------
    list of dict
        culture, arm, seed, status, outcome, curve, n_spikes, n_pulses, synaptic operations where counted, and, of the
        reference condition, ``pulses``.
    """
    plan = ExperimentPlan.model_validate(piece["plan"])
    return [_run_one(plan, piece, int(seed)) for seed in piece["seeds"]]


def _run_one(plan: ExperimentPlan, piece: Mapping[str, Any], seed: int) -> dict[str, Any]:
    arm, name = piece["arm"], plan.cultures[piece["culture"]]
    control = CONTROLS.get(arm)
    condition = plan.conditions[plan.first if control else arm]
    protocol = make_protocol(plan, condition, control.parameters if control else None)
    device: Device = _culture(name)
    if control is not None and control.frozen:
        device = ReplayedRecording(simulate(_source(name), plan.duration, seed=seed), profile=device.info.profile)
    if control is not None and control.schedule is not None:
        protocol = _substituted(control, protocol, piece["pulses"][str(seed)], seed, plan, device)
    session = run_session(
        protocol,
        device,
        plan.duration,
        seed=seed + (OTHER_SEED if control is not None and control.other_culture else 0),
        latency="ideal" if control is not None and control.needs_reference else latency_profile(condition.latency),
        deliver=condition.deliver and (control is None or control.deliver),
        progress=False,
    )
    keep = arm == plan.first and any(CONTROLS[name].needs_reference for name in plan.controls)
    return {"culture": piece["culture"], "arm": arm, "seed": seed, **_row(plan, session, keep)}


def _substituted(
    control: Control, protocol: Protocol, pulses: Mapping[str, Any], seed: int, plan: ExperimentPlan, device: Device
) -> Protocol:
    assert control.schedule is not None
    n_frames = int(plan.duration * float(device.info.frame_rate))
    rng = np.random.default_rng([seed, OTHER_SEED])
    return SubstitutedStimuli(protocol, control.schedule(from_values(pulses), rng, n_frames))


def _row(plan: ExperimentPlan, session: Session, keep_pulses: bool) -> dict[str, Any]:
    values = session.outcome.get("values") or {}
    if plan.outcome not in values:
        numbers = [name for name, value in values.items() if isinstance(value, int | float) or value is None]
        raise ExperimentError(f"the protocol's outcome has no {plan.outcome!r}; it has: {', '.join(numbers)}")
    value = values[plan.outcome]
    commands = session.outcome["commands"]
    found: dict[str, Any] = {
        "status": session.outcome["status"],
        "outcome": float("nan") if value is None else float(value),
        "numbers": {name: item for name, item in values.items() if isinstance(item, int | float | None)},
        "n_spikes": session.recording.n_spikes,
        "n_pulses": commands["delivered"],
        "n_rejected": commands["given"] - commands["accepted"],
        "curve": _curve(plan, session),
    }
    if keep_pulses:
        found["pulses"] = to_values(delivered_in(session))
    return found


def _curve(plan: ExperimentPlan, session: Session) -> list[float]:
    """Return the mean of the curve's number in each block of the session; a missing column is an error."""
    if plan.curve is None:
        return []
    if plan.curve not in session.ticks:
        raise ExperimentError(f"the protocol reports no {plan.curve!r} for the learning curve")
    parts = np.array_split(session.ticks[plan.curve].to_numpy(dtype=float), plan.blocks)
    return [float(np.nanmean(part)) if part.size and np.isfinite(part).any() else math.nan for part in parts]
