"""How spikes are detected."""

from dataclasses import dataclass

from organoid.errors import RecordingError

SIGNS = ("negative", "positive", "both")


@dataclass(frozen=True)
class DetectionSettings:
    """How spikes are detected.

    Parameters
    ----------
    threshold : float
        Multiple of the noise of each channel.
    band : (float, float) or None, Hz
        Pass band of the zero-phase filter; None: the voltage is filtered already.
    order : int
        Of the Butterworth filter, before it is run both ways.
    sign : str
        "negative", "positive" or "both".
    dead_time : float, s
        A spike is the largest peak within this time on both sides.
    blank_artefacts : bool
        Leave out what is far outside the noise on many channels at once; it becomes a hole in `observed`.
    artefact_threshold : float
        Multiple of the noise that counts as far outside.
    artefact_fraction : float
        Of the channels.
    blank_before, blank_after : float, s
        Blanked around each artefact.
    """

    threshold: float = 5.0
    band: tuple[float, float] | None = (300.0, 3000.0)
    order: int = 3
    sign: str = "negative"
    dead_time: float = 1e-3
    blank_artefacts: bool = True
    artefact_threshold: float = 20.0
    artefact_fraction: float = 0.3
    blank_before: float = 1e-3
    blank_after: float = 4e-3

    def __post_init__(self) -> None:
        if not self.threshold > 0 or not self.dead_time >= 0 or self.sign not in SIGNS:
            raise RecordingError(
                f"threshold is {self.threshold}, dead_time {self.dead_time} s, sign {self.sign!r}; expected a "
                f"threshold above 0, a dead time from 0 on and one of {', '.join(SIGNS)}"
            )
        if self.band is not None and not 0 < self.band[0] < self.band[1]:
            raise RecordingError(f"band is {self.band} Hz; expected (low, high) with 0 < low < high, or None")
        if not 0 < self.artefact_fraction <= 1:
            raise RecordingError(
                f"artefact_fraction is {self.artefact_fraction}; expected a fraction above 0, at most 1"
            )
