"""`RunningCultures`: cultures of one tissue under way, side by side, each with its own seed and pulses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.culture import ticks as compiled
from organoid.culture.ticks import BEGUN, FORCED, FRAME, SAMPLED, STEP, VOLLEYS, Ticks
from organoid.culture.tissue import Tissue
from organoid.culture.tissue_state import TissueState
from organoid.models.spike_response import stepping
from organoid.models.spike_response.network import SpikeResponseNetwork
from organoid.stimulation import Pulse

Index = NDArray[np.int64]
_NONE = np.empty(0, dtype=np.int64)


def network_of(tissue: Tissue) -> SpikeResponseNetwork | None:
    """Return the network of a tissue that `RunningCultures` can run; None for others.

    Such are spike-response networks, alone or in a preset. Responses fitted to pulses are left to `Tissue.advance`.
    """
    inner = getattr(tissue.network, "network", tissue.network)
    return inner if isinstance(inner, SpikeResponseNetwork) and tissue.kernels is None else None


class RunningCultures:
    """Copies of a tissue that advance together; one compiled call does any number of frames of all of them.

    Parameters
    ----------
    tissue : Tissue
        One that `network_of` finds a network in.
    states : sequence of TissueState
        Of each copy, all at the same frame.
    """

    def __init__(self, tissue: Tissue, states: Sequence[TissueState]) -> None:
        network = network_of(tissue)
        assert network is not None
        self.tissue, self.network, self.n_copies = tissue, network, len(states)
        self.keys = [state.keys for state in states]
        self._resource = [state.resource for state in states]
        self._last_pulse = [state.last_pulse for state in states]
        self._brakes = hasattr(tissue.network, "braked")
        self.n_pulses = [state.n_pulses for state in states]
        self._network_keys = [int(state.network.key) for state in states]
        self.state = stepping.copies_of([state.network for state in states])
        self._room = 0
        self.ticks = self._ticks(states)
        self._prepare()
        for c, state in enumerate(states):
            self._take(c, state.direct_frames, state.direct_units, state)

    @property
    def frame(self) -> int:
        """The current frame."""
        return int(self.ticks.at[FRAME])

    @property
    def ran_away(self) -> Index:
        """Frame at which each copy ran away; -1: it has not."""
        return self.ticks.stop

    def _ticks(self, states: Sequence[TissueState]) -> Ticks:
        n, copies = self.network.n_units, self.n_copies
        out = compiled.OUT + 2 * int(self.network.parameters.capacity.sum()) + 8 * n
        own = int(self.network.parameters.capacity.sum())
        zeros = [np.zeros(copies, dtype=np.int64) for _ in range(3)]
        at = np.zeros(7, dtype=np.int64)
        at[STEP], at[FRAME] = states[0].step, states[0].frame
        made = Ticks(
            at=at,
            keys=np.array([state.keys[0] for state in states], dtype=np.uint64),
            activity=np.array([state.network.activity for state in states], dtype=np.float64),
            stop=np.full(copies, -1, dtype=np.int64),
            last=np.concatenate([state.last_spike for state in states]),
            forced_step=_NONE,
            forced_unit=_NONE,
            volley_step=_NONE,
            volley_copy=_NONE,
            volley=np.empty(0),
            n_direct=zeros[0],
            direct_frame=np.empty((copies, 0), dtype=np.int64),
            direct_unit=np.empty((copies, 0), dtype=np.int64),
            n_own=zeros[1],
            own_frame=np.empty((copies, own), dtype=np.int64),
            own_unit=np.empty((copies, own), dtype=np.int64),
            n_out=zeros[2],
            out_frame=np.empty((copies, out), dtype=np.int64),
            out_unit=np.empty((copies, out), dtype=np.int64),
            n_forced=np.zeros(copies),
            taken=np.zeros(copies * n),
        )
        self.ticks = made
        self._grow(8 * n)
        return self.ticks

    def _grow(self, room: int) -> None:
        """Make room for so many direct spikes of each copy, and as many forced ones of all."""
        t = self.ticks
        self._room = room
        wide = {}
        for name in ("forced_step", "forced_unit", "volley_step", "volley_copy", "volley"):
            old = getattr(t, name)
            wide[name] = np.concatenate([old, np.zeros(room * self.n_copies - old.size, dtype=old.dtype)])
        for name in ("direct_frame", "direct_unit"):
            old = getattr(t, name)
            wide[name] = np.concatenate([old, np.zeros((self.n_copies, room - old.shape[1]), dtype=np.int64)], axis=1)
        out = compiled.OUT + 2 * self.ticks.own_frame.shape[1] + room
        for name in ("out_frame", "out_unit"):
            wide[name] = np.zeros((self.n_copies, out), dtype=np.int64)
            wide[name][:, : getattr(t, name).shape[1]] = getattr(t, name)[:, :out]
        self.ticks = t._replace(**wide)

    def _widen(self) -> None:
        """Double the room for what is still to come."""
        self._undo_step()
        self._grow(2 * self._room)
        self._prepare()

    def _prepare(self) -> None:
        """Make the input and the room of the compiled step."""
        gamma = self.tissue.calibration.gamma
        room = self._room * self.n_copies
        self._inputs = stepping.inputs_of(self.network, self._network_keys, gamma, room)
        self._scratch = stepping.scratch_of(self.network, self._inputs)
        self._scratch.going[:] = self.ticks.stop < 0
        self.ticks.at[SAMPLED] = 0
        self._bind()

    def _bind(self) -> None:
        self._bound = compiled.bind(
            *(self.network.parameters, self.state, self._inputs, self._scratch, self.ticks),
            *(self.tissue.frames_per_step, self.tissue.stride),
        )

    def advance(self, until_frame: int) -> list[tuple[Index, Index]]:
        """Let time pass up to a frame; returns frames and units of the spikes of each copy."""
        parts: list[list[tuple[Index, Index]]] = []
        again = False
        while True:
            done = self.call(until_frame)
            counts = self.ticks.n_out.tolist()
            frames, units = self.ticks.out_frame, self.ticks.out_unit
            found = [(frames[c, :m].copy(), units[c, :m].copy()) if m else _NOTHING for c, m in enumerate(counts)]
            if done and not again:
                return found
            parts.append(found)
            again = True
            if done:
                return [tuple(np.concatenate(column) for column in zip(*copy)) for copy in zip(*parts)]  # type: ignore[misc]

    def call(self, until_frame: int) -> bool:
        """Let time pass once; returns whether the frame was reached. Spikes wait in ``ticks.out_...``."""
        return bool(compiled.advance(self._bound, until_frame))

    def give(self, c: int, pulse: Pulse) -> None:
        """Give a pulse to a copy at the current frame; what it does is `Tissue.given`'s to say."""
        before = self._outline(c)
        after = self.tissue.given(before, pulse)
        self.n_pulses[c], self._resource[c], self._last_pulse[c] = after.n_pulses, after.resource, after.last_pulse
        n = after.direct_units.size - before.direct_units.size
        self._take(c, after.direct_frames[-n:] if n else _NONE, after.direct_units[-n:] if n else _NONE, after)

    def _outline(self, c: int) -> TissueState:
        """Return the state of a copy as far as a pulse looks at it; nothing that waits for the network."""
        t, n = self.ticks, self.network.n_units
        m = int(t.n_direct[c])
        return TissueState(
            network=self._network_state(c) if self._brakes else None,
            step=int(t.at[STEP]),
            frame=self.frame,
            keys=self.keys[c],
            forced_steps=_NONE,
            forced_units=_NONE,
            volley_steps=_NONE,
            volleys=np.empty(0),
            direct_frames=t.direct_frame[c, :m],
            direct_units=t.direct_unit[c, :m],
            last_spike=t.last[c * n : (c + 1) * n],
            n_pulses=self.n_pulses[c],
            resource=self._resource[c],
            last_pulse=self._last_pulse[c],
        )

    def _network_state(self, c: int) -> Any:
        key, activity = self._network_keys[c], float(self.ticks.activity[c])
        return stepping.state_of_copy(self.state, c, self.n_copies, key, int(self.ticks.at[STEP]), activity)

    def _take(self, c: int, direct_frames: Index, direct_units: Index, state: TissueState) -> None:
        """Take direct spikes that are still to come, and the forced spikes and volleys of a state."""
        while (
            int(self.ticks.n_direct[c]) + direct_units.size > self.ticks.direct_unit.shape[1]
            or int(self.ticks.at[FORCED]) + state.forced_units.size > self.ticks.forced_step.size
            or int(self.ticks.at[VOLLEYS]) + state.volleys.size > self.ticks.volley.size
        ):
            self._widen()
        t = self.ticks
        m = int(t.n_direct[c])
        t.direct_frame[c, m : m + direct_frames.size] = direct_frames
        t.direct_unit[c, m : m + direct_units.size] = direct_units
        t.n_direct[c] = m + direct_units.size
        m = int(t.at[FORCED])
        t.forced_step[m : m + state.forced_steps.size] = state.forced_steps
        t.forced_unit[m : m + state.forced_steps.size] = state.forced_units + c * self.network.n_units
        t.at[FORCED] = m + state.forced_steps.size
        m = int(t.at[VOLLEYS])
        t.volley_step[m : m + state.volleys.size] = state.volley_steps
        t.volley[m : m + state.volleys.size] = state.volleys
        t.volley_copy[m : m + state.volleys.size] = c
        t.at[VOLLEYS] = m + state.volleys.size
        if state.forced_units.size or state.volleys.size:
            t.at[SAMPLED] = 0

    def _undo_step(self) -> None:
        """Put back what the step under way has taken; it will be begun again."""
        t, future = self.ticks, self.state.memory.future
        if t.at[BEGUN] and future.shape[0]:
            future[t.at[STEP] % future.shape[0]] = t.taken
        t.at[BEGUN] = t.at[SAMPLED] = 0

    def snapshot(self, c: int = 0) -> TissueState:
        """Return the state of a copy, as `Tissue` knows it."""
        self._undo_step()
        t, n = self.ticks, self.network.n_units
        forced, volleys = int(t.at[FORCED]), int(t.at[VOLLEYS])
        mine, sent = t.forced_unit[:forced] // n == c, t.volley_copy[:volleys] == c
        outline = self._outline(c)
        return outline._replace(
            network=self._network_state(c),
            forced_steps=t.forced_step[:forced][mine].copy(),
            forced_units=t.forced_unit[:forced][mine] - c * n,
            volley_steps=t.volley_step[:volleys][sent].copy(),
            volleys=t.volley[:volleys][sent].copy(),
            direct_frames=outline.direct_frames.copy(),
            direct_units=outline.direct_units.copy(),
            last_spike=outline.last_spike.copy(),
            runaway=bool(t.stop[c] >= 0),
        )


_NOTHING = (_NONE, _NONE)
