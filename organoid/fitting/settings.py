"""Options of the ways to fit, one frozen dataclass each; the command line makes its options from their fields."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from organoid.errors import FitError
from organoid.fitting.free_run.settings import DEFAULT, FreeRunSettings

__all__ = [
    "CultureLIFSettings",
    "FitSettings",
    "FreeRunSettings",
    "GradientSettings",
    "LikelihoodSettings",
    "settings_from",
]


def _option(default: Any, text: str, **cli: Any) -> Any:
    """Make a field that is also an option of ``organoid fit``, with its help."""
    return field(default=default, metadata={"help": text, **cli})


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Options that every way to fit has.

    Parameters
    ----------
    free_run : bool or FreeRunSettings
        Whether, and how, the network is run freely and compared with the recording.
    """

    free_run: bool | FreeRunSettings = field(default=True, metadata={"help": "Score free runs against the recording."})

    @property
    def free_runs(self) -> FreeRunSettings | None:
        """How free runs are made; None for none."""
        if isinstance(self.free_run, FreeRunSettings):
            return self.free_run
        return DEFAULT if self.free_run else None


@dataclass(frozen=True)
class LikelihoodSettings(FitSettings):
    """Options of the likelihood fit (``model="escape_lif"``, ``loss="likelihood"``).

    Parameters
    ----------
    bin_width : float
        Time step, s.
    exact : bool
        Fit on every bin instead of a sample of 40,000 (slower; for recordings with few spikes).
    refit : bool
        Fit again on the whole recording after scoring.
    edge_null : str
        What connections are tested against: "empirical", the spread of all pairs, or "shifted", recordings whose units
        were shifted in time (ten more fits of connections).
    coupling_prior : str
        "plain", or a structured one: "connections", "senders" or "distance" (see
        `organoid.fitting.teacher_forced.priors`).
    basis : str
        What units are coupled through: "traces", saturating exponentials, or "cosines", raised cosines of the logarithm
        of time over 100 ms. Corrections in free run are made for "traces" without delays only.
    delays : sequence of float
        Of further traces, which begin so long after a spike, in whole bins, s.
    latent_drive : bool
        Add to the network for simulation a slow input shared by all units, for weak correlations that it lacks (see
        `organoid.fitting.free_run.latent_drive`). Predictions do not use it.
    device : str, optional
        Where torch solves the teacher-forced fit and runs the free windows of the correction: "cpu", "cuda". Default:
        torch on the CPU for the one, compiled loops for the other. Same moments, other random numbers.
    free_run : bool or FreeRunSettings
        Whether, and how, the network is run freely, compared with the recording, and corrected.
    """

    bin_width: float = _option(0.001, "Time step, s (1 ms; by gradient 2 ms).", metavar="S")
    exact: bool = _option(False, "Likelihood: fit on every bin instead of a sample (slower; for few spikes).")
    refit: bool = _option(False, "Likelihood: after scoring, fit again on the whole recording.")
    edge_null: str = _option("empirical", "Likelihood: what connections are tested against: empirical, or shifted.")
    coupling_prior: str = _option("plain", "Likelihood: plain, connections, senders or distance.")
    basis: str = _option("traces", "Likelihood: what units are coupled through: traces, or (raised) cosines.")
    delays: Sequence[float] = _option(
        (),
        "Likelihood: a further trace, which begins S seconds after a spike; may be repeated.",
        name="delay",
        metavar="S",
    )
    latent_drive: bool = _option(False, "Likelihood: add a slow input shared by all units, if correlation lacks.")
    device: str | None = _option(None, "Likelihood: where torch computes: cpu, cuda.")


@dataclass(frozen=True)
class CultureLIFSettings(FitSettings):
    """Options of the culture LIF fit (``model="culture_lif"``, ``loss="likelihood"``).

    Parameters
    ----------
    bin_width : float
        Time step, s.
    edge_null : str
        What connections are tested against; see `LikelihoodSettings`.
    dales_law : bool
        Let each unit only excite or only inhibit the others; which of the two is taken from the sum of its outgoing
        weights in a fit without the law.
    free_run : bool or FreeRunSettings
        Whether, and how, the network is run freely, compared with the recording, and corrected.
    """

    bin_width: float = 0.001
    edge_null: str = "empirical"
    dales_law: bool = _option(False, "culture_lif: let each unit only excite or only inhibit the others.")


@dataclass(frozen=True)
class GradientSettings(FitSettings):
    """Options of a fit by gradient (any other model and loss).

    Parameters
    ----------
    n_steps : int
        Gradient steps.
    batch : int
        Windows per step.
    window : float
        Length of a window, s.
    warmup : float
        History before each window, s: enough for the slowest synapse to decay.
    learning_rate : float
        Of Adam; constant for the first half, then falling to 0 on a line.
    clip : float
        Largest norm of a gradient.
    held_out : float
        Fraction of the recording, at its end, that is never trained on.
    truncate : float, optional
        Truncated back-propagation: no gradient passes over the ends of pieces of this length, s. The whole window if
        not given.
    checkpoint : float, optional
        Activation checkpointing: only the state between pieces of this length, s, is kept for the gradient, the rest
        is computed again. The same gradient in less memory, for about a third more time.
    bin_width : float
        Bin of the data and step of the model, s.
    compare : bool
        Also train a control on shuffled units, which takes as long again.
    teacher_forced : bool, optional
        Train on recorded history alone, resets included, where the model has such a pass (``forced_voltages``): spikes
        are drawn with the probabilities that follow from it. Otherwise only the input of a unit is recorded, and its
        own spikes reset it. Default: recorded history alone for losses of log-odds, where it predicts better.
    likelihood_weight : float
        Where spikes are compared and recorded history alone is trained on: weight of its likelihood beside the loss,
        both in units of their value before training. A loss of spikes hardly sees how small a small probability is,
        and a prediction depends on it. 0: the loss alone.
    free_run : bool or FreeRunSettings
        Whether, and how, the network is run freely and compared with the recording.

    Raises
    ------
    FitError
        If a number is not positive.
    """

    n_steps: int = _option(150, "Gradient: steps.", metavar="N")
    batch: int = _option(64, "Gradient: windows per step.", metavar="N")
    window: float = _option(0.5, "Gradient: length of a window, s.", metavar="S")
    warmup: float = _option(0.25, "Gradient: history before each window, s.", metavar="S")
    learning_rate: float = _option(0.01, "Gradient: of Adam.", metavar="X")
    clip: float = _option(1.0, "Gradient: largest norm of a gradient.", metavar="X")
    held_out: float = _option(0.2, "Gradient: fraction, at the end, that is never trained on.", metavar="X")
    truncate: float | None = _option(None, "Gradient: cut back-propagation after so many s.", metavar="S")
    checkpoint: float | None = _option(None, "Gradient: keep states so many s apart, for less memory.", metavar="S")
    bin_width: float = _option(0.002, "Time step, s (1 ms; by gradient 2 ms).", metavar="S")
    compare: bool = _option(False, "Gradient: also train a control on shuffled units (as long again).")
    teacher_forced: bool | None = _option(
        None, "Gradient: recorded spikes reset the units in training (default: for losses of log-odds).", pair=True
    )
    likelihood_weight: float = _option(1.0, "Gradient: weight of the likelihood beside a loss of spikes.", metavar="X")

    def __post_init__(self) -> None:
        positive = (self.n_steps, self.batch, self.window, self.warmup, self.learning_rate, self.clip)
        pieces = [value for value in (self.truncate, self.checkpoint) if value is not None]
        if not all(value > 0 for value in (*positive, *pieces)):
            raise FitError(f"every training setting must be positive, got {self}")
        if not self.likelihood_weight >= 0:
            raise FitError(f"likelihood_weight={self.likelihood_weight!r}; expected 0 or more")


S = TypeVar("S", bound=FitSettings)


def settings_from(kind: type[S], given: FitSettings | None, by_name: dict[str, Any], what: str) -> S:
    """Return settings of a kind: those given, or the defaults, with single ones replaced by name.

    Parameters
    ----------
    kind : type
        `LikelihoodSettings`, `GradientSettings` or another subclass of `FitSettings`.
    given : FitSettings or None
    by_name : dict
        Fields by name; they come before those of `given`.
    what : str
        The fit they are for, in words.

    Raises
    ------
    FitError
        If a name is unknown, or the settings given are of another kind.

    Examples
    --------
    >>> settings_from(GradientSettings, None, {"n_steps": 300}, "a fit by gradient").n_steps
    300
    """
    if given is not None and not isinstance(given, kind):
        raise FitError(f"settings={type(given).__name__} does not go with {what}; expected {kind.__name__}")
    known = [each.name for each in fields(kind)]
    unknown = sorted(set(by_name) - set(known))
    if unknown:
        raise FitError(f"unknown settings {unknown} for {what}; known: {', '.join(sorted(known))}")
    return replace(kind() if given is None else given, **by_name)
