r"""Cultures for users without a recording: synthetic networks with culture-like activity.

60 units on an 8 x 8 grid of electrodes (200 um apart, no units at the corners; the organoid has all 64), one in five
inhibitory, wired at random with a probability that falls with distance. The drive every unit gets
from the population (see `organoid.models.spike_response.terms.population`) is excitatory on a fast field and, in the
bursting culture, inhibitory on slow ones: chance coincidence of spikes starts a network burst, which
depresses the culture for seconds. A brake (`organoid.models.spike_response.terms.brake`) holds down what the culture
never does by itself, however it is stimulated. Every number is a choice, tuned by free runs, not fitted to any
recording.

`organoid_64` is tuned to a human brain organoid, 300 s on a CL1 with 64 channels (MichaelLod/pinkysbrain, published
under the MIT licence), and answers pulses as another one did (`organoid.culture.all_or_none`). In medians of five free
runs of 600 s, its mean rate is 0.28 Hz (recorded 0.30), with 12.8 bursts per minute (7.8) of 0.20 s (0.29) that hold
0.18 of the spikes (0.20), at intervals with a CV of 0.85 (1.26). What is not met: bursts are too many, too short and
too regular, and activity is spread over more units: recorded, five of 64 channels had 70 % of the spikes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from organoid.culture.all_or_none import all_or_none
from organoid.errors import ModelError
from organoid.models.free_running import Advance, FreeRunningNetwork, Injection
from organoid.models.rng import stream_key, uniform
from organoid.models.spike_response.network import SpikeResponseNetwork, plain_parameters
from organoid.models.spike_response.terms.brake import GAIN, TAUS, Brake
from organoid.models.spike_response.terms.population import LOG_GAIN, PopulationFields
from organoid.models.spike_response.terms.stimulus import StimulusKernels

Array = NDArray[np.float64]

_SIDE, _PITCH_UM = 8, 200.0
_DT = 1e-3
_TAU = np.array([0.004, 0.015, 0.12, 1.5])  # s: refractoriness, synapses, two after-currents
_FIELD_TAU = np.array([0.02, 1.0, 3.0])  # s: ignition, two of depression
_REFRACTORY_LOGIT = -8.0
_LARGEST_RATE = 150.0  # Hz per unit over about 2 s; above it the network counts as run away


@dataclass(frozen=True)
class PresetCulture:
    """A network that knows where its units are; usable wherever a network or a fit result is.

    Parameters
    ----------
    name : str
    network : FreeRunningNetwork
    units, electrodes : DataFrame
        As in `SpikeRecording`.
    """

    name: str
    network: FreeRunningNetwork
    units: pd.DataFrame
    electrodes: pd.DataFrame

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.network.n_units

    @property
    def dt(self) -> float:
        """Length of a step, s."""
        return self.network.dt

    @property
    def stimulus(self) -> StimulusKernels | None:
        """Response to pulses, where the preset has one."""
        return getattr(self.network, "stimulus", None)

    def initial_state(self, seed: int) -> Any:
        """Return a resting state whose future is fixed by the seed."""
        return self.network.initial_state(seed)

    def advance(self, state: Any, n_steps: int, injection: Injection | None = None) -> Advance:
        """Run `n_steps` steps; see `FreeRunningNetwork`."""
        return self.network.advance(state, n_steps, injection)

    def describe(self) -> dict[str, Any]:
        """Return the network's description and the preset's name."""
        return {**self.network.describe(), "preset": self.name}


@dataclass(frozen=True)
class Recipe:
    """What makes one preset different from another; all logits are per unit of trace or field.

    Parameters
    ----------
    bias, bias_spread : float, logit
        Mean and standard deviation over units.
    excitation, inhibition : float, logit
        Median size of a synapse.
    reach : float, um
        Distance over which the probability of a synapse falls by e.
    after_currents : tuple of two floats, logit
        Of a unit's own spikes, 120 ms and 1.5 s.
    field_weights : tuple of three floats, logit
        Of the 20 ms, 1 s and 3 s fields.
    field_low : tuple of three floats
        Lower clips of the standardised fields; the upper clip is 3.
    typical_rate : float, Hz
        Rate per unit at which the fields are zero.
    brake_top : tuple of four floats
        Logarithms of the population traces of 0.3, 1, 3 and 10 s above which the brake acts: the largest of two hours
        of free runs, and a fifth of a logarithm more.
    ceiling : float
        Largest logit of a spike in a step.
    seed : int
        Of the wiring.
    corners : bool
        Whether there are units at the corners.
    answer : tuple of float
        Corrections of the all-or-none response (`organoid.culture.all_or_none`); empty: pulses recruit units directly.
    answered_top : tuple of four floats, optional
        `brake_top` while pulses are answered, from runs with single pulses.
    """

    bias: float
    bias_spread: float
    excitation: float
    inhibition: float
    reach: float
    after_currents: tuple[float, float]
    field_weights: tuple[float, float, float]
    field_low: tuple[float, float, float]
    typical_rate: float
    brake_top: tuple[float, float, float, float]
    ceiling: float = -2.2
    seed: int = 1
    corners: bool = False
    answer: tuple[float, ...] = ()
    answered_top: tuple[float, float, float, float] | None = None


BURSTING = Recipe(
    bias=-7.55,
    bias_spread=1.3,
    excitation=0.8,
    inhibition=1.0,
    reach=350.0,
    after_currents=(-0.4, -0.8),
    field_weights=(1.6, -0.7, -1.4),
    field_low=(-0.9, -0.3, -0.3),
    typical_rate=1.5,
    brake_top=(3.77, 2.78, 2.11, 1.90),
)
ASYNCHRONOUS = Recipe(
    bias=-5.3,
    bias_spread=0.8,
    excitation=0.3,
    inhibition=0.6,
    reach=350.0,
    after_currents=(-0.4, -0.4),
    field_weights=(0.2, -0.1, -0.2),
    field_low=(-1.6, -1.6, -1.6),
    typical_rate=3.0,
    brake_top=(2.07, 1.93, 1.86, 1.83),
)
ORGANOID = Recipe(
    bias=-7.7,
    bias_spread=1.8,
    excitation=0.96,
    inhibition=1.0,
    reach=350.0,
    after_currents=(-0.4, -0.8),
    field_weights=(0.5, 0.66, -2.4),
    field_low=(-1.7, -1.27, -0.25),
    typical_rate=0.125,
    brake_top=(3.99, 3.35, 2.90, 2.65),
    ceiling=-3.0,
    corners=True,
    answer=(0.62, 0.70, 0.85, 0.99, 1.13, 1.28, 1.42, 1.55, 1.72, 1.98, 2.31, 2.93, 3.54, 4.0, 4.0),
    answered_top=(5.6, 4.8, 4.0, 3.3),
)


def build(name: str, recipe: Recipe) -> PresetCulture:
    """Return the culture a recipe describes."""
    electrodes = _grid()
    corner = electrodes["x_um"].isin([0.0, _PITCH_UM * (_SIDE - 1)]) & electrodes["y_um"].isin(
        [0.0, _PITCH_UM * (_SIDE - 1)]
    )
    units = electrodes if recipe.corners else electrodes[~corner].reset_index(drop=True)
    return PresetCulture(name, _network(recipe, units[["x_um", "y_um"]].to_numpy(dtype=np.float64)), units, electrodes)


def _grid() -> pd.DataFrame:
    index = np.arange(_SIDE * _SIDE)
    return pd.DataFrame(
        {
            "channel": index,
            "electrode": index,
            "x_um": _PITCH_UM * (index % _SIDE),
            "y_um": _PITCH_UM * (index // _SIDE),
        }
    )


def _network(recipe: Recipe, points: Array) -> SpikeResponseNetwork:
    n = len(points)
    parameters = plain_parameters(
        dt=_DT,
        tau=_TAU,
        weights=_weights(recipe, points),
        bias=recipe.bias + recipe.bias_spread * _normal(recipe.seed, "bias", n),
        fields=_fields(recipe, n),
        field_weights=np.repeat(np.array(recipe.field_weights)[:, None], n, axis=1),
        rate_limit=_LARGEST_RATE * n,
    )
    limited = parameters._replace(ceiling=np.full(n, recipe.ceiling), brake=_brake(recipe, n))
    response = all_or_none(n, _SIDE**2, _DT, recipe.answer) if recipe.answer else None
    return SpikeResponseNetwork(limited, response)


def _weights(recipe: Recipe, points: Array) -> Array:
    """Return ``A[k, pre, post]``: refractoriness, synapses and after-currents."""
    n = len(points)
    distance = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    drawn = uniform(stream_key(recipe.seed, "wiring"), np.arange(n * n)).reshape(n, n)
    wired = (drawn < np.exp(-distance / recipe.reach)) & ~np.eye(n, dtype=bool)
    inhibitory = uniform(stream_key(recipe.seed, "kind"), np.arange(n)) < 0.2
    sign = np.where(inhibitory, -recipe.inhibition, recipe.excitation)
    size = np.exp(0.5 * _normal(recipe.seed, "size", n * n).reshape(n, n))
    weights = np.zeros((_TAU.size, n, n))
    weights[1] = wired * size * sign[:, None]
    for k, own in zip((0, 2, 3), (_REFRACTORY_LOGIT, *recipe.after_currents)):
        np.fill_diagonal(weights[k], own)
    return weights


def _fields(recipe: Recipe, n_units: int) -> PopulationFields:
    """Return fields that are 0 at the typical rate, in units of their natural logarithm."""
    n = _FIELD_TAU.size
    return PopulationFields(
        decay=np.exp(-_DT / _FIELD_TAU),
        mean=n_units * recipe.typical_rate * _FIELD_TAU,
        shift=np.full(n, np.log1p(LOG_GAIN)),
        scale=np.ones(n),
        low=np.array(recipe.field_low),
        high=np.full(n, 3.0),
        product_shift=np.empty(0),
        product_scale=np.empty(0),
    )


def _brake(recipe: Recipe, n_units: int) -> Brake:
    taus, top = np.array(TAUS), np.array(recipe.brake_top)
    answered = top if recipe.answered_top is None else np.array(recipe.answered_top)
    return Brake(GAIN, np.exp(-_DT / taus), n_units * recipe.typical_rate * taus, top, answered)


def _normal(seed: int, name: str, n: int) -> Array:
    drawn = uniform(stream_key(seed, name), np.arange(n))
    return np.asarray(ndtri(np.clip(drawn, 1e-12, 1 - 1e-12)))


PRESETS: dict[str, Callable[[], PresetCulture]] = {
    "bursting_culture": lambda: build("bursting_culture", BURSTING),
    "asynchronous_culture": lambda: build("asynchronous_culture", ASYNCHRONOUS),
    "organoid_64": lambda: build("organoid_64", ORGANOID),
}


def preset(name: str) -> PresetCulture:
    """Return a ready-made culture.

    Parameters
    ----------
    name : str
        "bursting_culture" (network bursts every few seconds), "asynchronous_culture" (none) or "organoid_64" (sparse,
        with weak bursts; answers pulses all or none).

    Returns
    -------
    PresetCulture

    Raises
    ------
    ModelError
        If there is no preset of that name; the choices are listed.

    Examples
    --------
    >>> preset("organoid_64").n_units
    64
    """
    if name not in PRESETS:
        raise ModelError(f"no preset {name!r}; choices: {', '.join(PRESETS)}")
    return PRESETS[name]()
