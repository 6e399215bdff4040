"""Controls: what a session must be compared with before its outcome is credited to the culture.

Every control is made from the session of the reference condition with the same culture and seed. The protocol itself
always runs, so that its outcome is measured in the same way; what changes is what the culture gets, or who decides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from organoid.protocols.substituted import Schedule, Scheduled

# Another stream of randomness for a control's culture or pulses: far from the seeds people choose.
OTHER_SEED = 1 << 40


@dataclass(frozen=True)
class Control:
    """How a control differs from the reference condition.

    Parameters
    ----------
    says : str
        What a difference from it means.
    deliver : bool
        Whether pulses reach the culture.
    parameters : mapping
        Parameters of the protocol that differ; such a control needs a protocol that has them.
    schedule : callable, optional
        ``schedule(pulses, rng, n_frames)`` makes the pulses that are given, from those of the reference session.
    other_culture : bool
        Whether the culture runs with another seed than the reference's.
    frozen : bool
        Whether spikes are played from a spontaneous run of the culture, so that nothing reaches it.
    """

    says: str
    deliver: bool = True
    parameters: Mapping[str, Any] | None = None
    schedule: Callable[[Schedule, np.random.Generator, int], Schedule] | None = None
    other_culture: bool = False
    frozen: bool = False

    @property
    def needs_reference(self) -> bool:
        """Whether it is made from the pulses of the reference session."""
        return self.schedule is not None


def same_pulses(pulses: Schedule, rng: np.random.Generator, n_frames: int) -> Schedule:
    """Return the pulses as they were."""
    return pulses


def random_times(pulses: Schedule, rng: np.random.Generator, n_frames: int) -> Schedule:
    """Return the same pulses at random times, evenly spread between the first of them and the end."""
    first = min((item.frame for item in pulses), default=0)
    frames = np.sort(rng.integers(first, max(n_frames - 1, first + 1), len(pulses)))
    order = rng.permutation(len(pulses))
    return tuple(pulses[k]._replace(frame=int(frame)) for frame, k in zip(frames, order, strict=True))


def shuffled(pulses: Schedule, rng: np.random.Generator, n_frames: int) -> Schedule:
    """Return the times as they were, and the pulses in random order."""
    order = rng.permutation(len(pulses))
    return tuple(pulses[k]._replace(frame=item.frame) for item, k in zip(pulses, order, strict=True))


def evenly(pulses: Schedule, rng: np.random.Generator, n_frames: int) -> Schedule:
    """Return as many pulses at even intervals, each kind in turn."""
    kinds = list(dict.fromkeys((item.pulse, item.label) for item in pulses))
    if not kinds:
        return ()
    first = min(item.frame for item in pulses)
    frames = np.linspace(first, n_frames - 1, len(pulses), endpoint=False).astype(np.int64)
    return tuple(Scheduled(int(frame), *kinds[k % len(kinds)]) for k, frame in enumerate(frames))


CONTROLS: dict[str, Control] = {
    "silent": Control("stimulation has an effect at all", deliver=False),
    "random": Control("the times of the pulses matter", schedule=random_times),
    "shuffled": Control("which pulse comes when matters", schedule=shuffled),
    "open_loop": Control("stimulating by what the culture does matters", schedule=evenly),
    "yoked": Control("the pulses must answer this culture", schedule=same_pulses, other_culture=True),
    "frozen": Control("the culture must feel the pulses", frozen=True),
    "random_feedback": Control("feedback must tell hits from misses", parameters={"feedback": "random"}),
    "silent_feedback": Control("feedback must be a stimulus", parameters={"feedback": "silent"}),
    "no_feedback": Control("feedback has an effect", parameters={"feedback": "none"}),
    "random_policy": Control("the culture does better than chance", parameters={"policy": "random"}),
    "still_policy": Control("the culture does better than doing nothing", parameters={"policy": "still"}),
    "oracle_policy": Control("how much could be reached", parameters={"policy": "oracle"}),
}
