"""Fitting spiking networks to recordings.

Names are imported when first used: the command line reads the options of a fit without torch.
"""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from organoid.fitting.methods import METHODS, method_for, settings_for
from organoid.fitting.settings import (
    CultureLIFSettings,
    FitSettings,
    FreeRunSettings,
    GradientSettings,
    LikelihoodSettings,
)

if TYPE_CHECKING:
    from organoid.fitting.gradient.result import GradientFit
    from organoid.fitting.loading import load_fit
    from organoid.fitting.result import Fit, FitResult
    from organoid.losses import SpikeLoss
    from organoid.models import TrainableModel
    from organoid.recording import SpikeRecording

__all__ = [
    "METHODS",
    "CultureLIFSettings",
    "Fit",
    "FitResult",
    "FitSettings",
    "FreeRunSettings",
    "GradientFit",
    "GradientSettings",
    "LikelihoodSettings",
    "fit",
    "load_fit",
]

_HOME = {
    "Fit": "organoid.fitting.result",
    "FitResult": "organoid.fitting.result",
    "GradientFit": "organoid.fitting.gradient.result",
    "load_fit": "organoid.fitting.loading",
}


def fit(
    rec: "SpikeRecording | Sequence[SpikeRecording]",
    *,
    model: "str | TrainableModel" = "escape_lif",
    loss: "str | SpikeLoss" = "likelihood",
    well: str | None = None,
    seed: int = 0,
    progress: bool = False,
    settings: FitSettings | None = None,
    **by_name: Any,
) -> "Fit":
    """Fit a spiking network to a recording.

    How is looked up in `METHODS` by model and loss. The default, ``escape_lif`` with ``likelihood``, is fitted on
    recorded history (convex; see `organoid.fitting.teacher_forced.estimate`), and so is ``culture_lif`` with
    ``likelihood`` (`organoid.fitting.methods.culture_lif`). Any other model and loss trains by
    surrogate gradients (see `organoid.fitting.methods.gradient`); there ``escape_lif`` is
    `organoid.models.EscapeNoiseLIF`, LIF cells whose spikes are drawn. The last 20 % of the window are the test part:
    no choice sees them.

    Several recordings of one culture are given as a list: those without stimuli make the network, joined by
    `organoid.concatenate`, and those with stimuli calibrate its responses to pulses (`FitResult.calibrate`).

    Parameters
    ----------
    rec : SpikeRecording or sequence of SpikeRecording
        Units of several recordings are matched by name.
    model : str or TrainableModel
        A name in ``organoid.models.MODELS``, or a model of the right size and step.
    loss : str or SpikeLoss
        "likelihood", a name in ``organoid.losses.LOSSES``, or a loss made for the bin width.
    well : str, optional
        Which culture, in a recording of several.
    seed : int
        Same seed, same fit.
    progress : bool
        Show a progress bar.
    settings : FitSettings, optional
        Options of the fit: `LikelihoodSettings` for the default, `CultureLIFSettings` for culture_lif with likelihood,
        `GradientSettings` for all others.
    **by_name
        Single options by name, such as ``free_run=False``, ``exact=True`` or ``n_steps=300``; they come before those of
        `settings`.

    Returns
    -------
    Fit
        `FitResult` of the default, `GradientFit` of a fit by gradient. All have ``network`` (to simulate and
        stimulate), ``scores``, ``free_run``, ``edges``, ``per_unit``, ``predict``, ``notes`` and ``save``.

    Raises
    ------
    FitError
        If the recording cannot be fitted, or an option is unknown; says why.
    RecordingError
        If it holds several wells and none is named.

    Examples
    --------
    >>> import numpy as np, organoid
    >>> rng = np.random.default_rng(0)
    >>> rec = organoid.SpikeRecording(rng.uniform(0, 20, 400), rng.integers(0, 3, 400), t_stop=20.0)
    >>> result = organoid.fit(rec, free_run=False)
    >>> result.network.n_units
    3
    """
    method = method_for(model, loss)
    options = settings_for(method, settings, by_name)
    run = partial(method.run, model=model, loss=loss, settings=options, seed=seed, progress=progress)
    if isinstance(rec, Sequence):
        several = import_module("organoid.fitting.methods.several")
        joined: Fit = several.fit_several([each.culture(well) for each in rec], run, seed=seed)
        return joined
    result: Fit = run(rec.culture(well))
    return result


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'organoid.fitting' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
