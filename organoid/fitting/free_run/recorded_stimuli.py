"""A network in free run, with the pulses of its recording."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from organoid.errors import ModelError
from organoid.fitting.data.history import History
from organoid.models.free_running import Advance, FreeRunningNetwork, Injection
from organoid.models.rng import stream_key, uniform
from organoid.models.spike_response.terms.pulse_track import PulseTrack
from organoid.models.spike_response.terms.stimulus import StimulusKernels

_CHUNK = 20_000  # steps


class PulsedState(NamedTuple):
    """State of a `PulsedNetwork`: of its network, and where in the recording's pulses it is."""

    network: Any
    at: int


@dataclass(frozen=True)
class PulsedNetwork:
    """A network that gets the recorded pulses while it runs freely, so that it may be compared with the recording.

    Pulses come in their recorded order and distance, round and round, from a place that the seed decides: runs may be
    shorter or longer than the recording.

    Parameters
    ----------
    network : FreeRunningNetwork
    kernels : StimulusKernels
    track : PulseTrack
        Recorded pulses, in steps from the start of the recording.
    period : int
        Steps of the recording.
    """

    network: FreeRunningNetwork
    kernels: StimulusKernels
    track: PulseTrack
    period: int

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.network.n_units

    @property
    def dt(self) -> float:
        """Length of a step, s."""
        return self.network.dt

    def initial_state(self, seed: int) -> PulsedState:
        """Return a resting state whose future, pulses included, is fixed by the seed."""
        place = uniform(stream_key(seed, "recorded pulses"), np.zeros(1, dtype=np.int64))[0]
        return PulsedState(self.network.initial_state(seed), int(place * self.period))

    def advance(self, state: PulsedState, n_steps: int, injection: Injection | None = None) -> Advance:
        """Run `n_steps` steps; nothing but the recorded pulses can be injected."""
        if injection is not None:
            raise ModelError("a PulsedNetwork gets the pulses of its recording; inject into its .network instead")
        parts: list[Advance] = []
        at, done = state.at, 0
        while done < n_steps and not (parts and parts[-1].runaway):
            chunk = min(_CHUNK, n_steps - done)
            part = self.network.advance(parts[-1].state if parts else state.network, chunk, self._pulses(at, chunk))
            parts.append(part)
            at, done = at + part.n_steps, done + part.n_steps
        starts = np.cumsum([0, *(part.n_steps for part in parts)])
        return Advance(
            steps=np.concatenate([np.empty(0, np.int64), *(p.steps + s for p, s in zip(parts, starts))]),
            units=np.concatenate([np.empty(0, np.int64), *(p.units for p in parts)]),
            state=PulsedState(parts[-1].state if parts else state.network, at),
            n_steps=done,
            runaway=bool(parts) and parts[-1].runaway,
        )

    def describe(self) -> dict[str, Any]:
        """Return the network's description."""
        return self.network.describe()

    def _pulses(self, at: int, n_steps: int) -> Injection:
        """Return the drive of the steps ``[at, at + n_steps)``, counted over all rounds."""
        rounds = np.arange((at - self.kernels.memory) // self.period, (at + n_steps) // self.period + 1)
        n = rounds.size
        steps = (self.track.steps + rounds[:, None] * self.period).ravel()
        track = PulseTrack(steps, np.tile(self.track.curves, n), np.tile(self.track.sizes, n))
        none = np.empty(0, dtype=np.int64)
        return Injection(none, none, 1.0, np.zeros(n_steps), *self.kernels.drive(track, at, at + n_steps))


def with_recorded_pulses(network: FreeRunningNetwork, history: History) -> FreeRunningNetwork:
    """Return the network with the pulses of a recording; the network itself where they have no kernels."""
    kernels: StimulusKernels | None = getattr(network, "stimulus", None)
    if kernels is None:
        return network
    return PulsedNetwork(network, kernels, history.pulses.track(kernels), history.n_bins)
