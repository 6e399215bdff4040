"""Fitting spiking networks to recordings."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from organoid.errors import FitError
from organoid.fitting.loading import load_fit
from organoid.fitting.methods.gradient import GradientFit, GradientSettings, fit_gradient
from organoid.fitting.methods.likelihood import BIN_WIDTH, fit_likelihood
from organoid.fitting.result import FitResult
from organoid.recording import SpikeRecording

if TYPE_CHECKING:
    from organoid.losses import SpikeLoss
    from organoid.models import TrainableModel

__all__ = ["BIN_WIDTH", "FitResult", "GradientFit", "GradientSettings", "fit", "load_fit"]

_OPTIONS = ("compare", "settings")


def fit(
    rec: SpikeRecording,
    *,
    model: "str | TrainableModel" = "escape_lif",
    loss: "str | SpikeLoss" = "likelihood",
    well: str | None = None,
    free_run: bool = True,
    refit: bool = False,
    exact: bool = False,
    edge_null: str = "empirical",
    coupling_prior: str = "plain",
    basis: str = "traces",
    delays: Sequence[float] = (),
    latent_drive: bool = False,
    bin_width: float | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = False,
    **settings: Any,
) -> FitResult | GradientFit:
    """Fit a spiking network to a recording.

    The default, ``escape_lif`` with ``likelihood``, is fitted on recorded history (convex; see
    `organoid.fitting.teacher_forced.estimate`). Any other model and loss trains by surrogate gradients (see
    `organoid.fitting.methods.gradient`); there ``escape_lif`` is `organoid.models.EscapeNoiseLIF`, LIF cells whose
    spikes are drawn. The last 20 % of the window are the test part: no choice sees them. Both kinds of
    result have ``network`` (to simulate and stimulate), ``scores``, ``free_run``, ``predict``, ``notes`` and ``save``.

    Parameters
    ----------
    rec : SpikeRecording
    model : str or TrainableModel
        A name in ``organoid.models.MODELS``, or a model of the right size and step.
    loss : str or SpikeLoss
        "likelihood", a name in ``organoid.losses.LOSSES``, or a loss made for the bin width.
    well : str, optional
        Which culture, in a recording of several.
    free_run : bool
        Whether to score free runs (five of 10 minutes, one where a model has no compiled form and runs slowly); the
        likelihood path also corrects the network by them.
    refit : bool
        Fit again on the whole recording after scoring (likelihood path).
    exact : bool
        Fit on every bin instead of a sample of 40,000 (likelihood path; slower, for recordings with few spikes).
    edge_null : str
        What connections are judged against (likelihood path): "empirical", the spread of all pairs, or "shifted",
        recordings whose units were shifted in time (ten more fits of connections).
    coupling_prior : str
        "plain", or a structured one: "connections", "senders" or "distance" (likelihood path; see
        `organoid.fitting.teacher_forced.priors`).
    basis : str
        What units are coupled through (likelihood path): "traces", saturating exponentials, or "cosines", raised
        cosines of the logarithm of time over 100 ms. Corrections in free run are made for "traces" without delays
        only.
    delays : sequence of float, s
        Of further traces, which begin so long after a spike, in whole bins (likelihood path).
    latent_drive : bool
        Add to the network for simulation a slow drive shared by all units, for weak correlations it lacks
        (likelihood path; see `organoid.fitting.free_run.latent_drive`). Predictions do not know it.
    bin_width : float, optional, s
        Default: 1 ms (likelihood), 2 ms (gradient).
    seed : int
        Same seed, same fit.
    device : str, optional
        Where torch solves the forced fit and runs the free windows of the correction (likelihood path): "cpu", "cuda".
        Default: torch on the processors for the one, compiled loops for the other. Same moments, other random numbers.
    progress : bool
        Show a progress bar.
    **settings
        Of the gradient path: ``compare`` (bool: also train a control on shuffled units, which takes as long again)
        and ``settings`` (a `GradientSettings`), or any field of `GradientSettings` by its name, such as
        ``n_steps=300``.

    Returns
    -------
    FitResult or GradientFit

    Raises
    ------
    FitError
        If the recording cannot be fitted; says why.
    RecordingError
        If it holds several wells and none is named.

    Examples
    --------
    >>> import organoid
    >>> rec = organoid.read_recording("sample_data/bursting_culture.h5")  # doctest: +SKIP
    >>> result = organoid.fit(rec)  # doctest: +SKIP
    """
    culture = rec.culture(well)
    if model == "escape_lif" and loss == "likelihood":
        if settings:
            raise FitError(f"unknown settings {sorted(settings)} for the likelihood fit")
        return fit_likelihood(
            culture,
            free_run=free_run,
            bin_width=BIN_WIDTH if bin_width is None else bin_width,
            refit=refit,
            exact=exact,
            edge_null=edge_null,
            coupling_prior=coupling_prior,
            basis=basis,
            delays=delays,
            latent_drive=latent_drive,
            seed=seed,
            device=device,
            progress=progress,
        )
    given = {
        "refit": refit,
        "exact": exact,
        "edge_null": edge_null,
        "coupling_prior": coupling_prior,
        "latent_drive": latent_drive,
        "device": device,
    }
    _refuse_likelihood_options({**given, "basis": basis, "delays": tuple(np.ravel(delays).tolist())})
    options = _gradient_options(settings)
    if bin_width is not None:
        options["bin_width"] = bin_width
    return fit_gradient(culture, model=model, loss=loss, free_run=free_run, seed=seed, progress=progress, **options)


_LIKELIHOOD_OPTIONS = {
    "refit": False,
    "exact": False,
    "edge_null": "empirical",
    "coupling_prior": "plain",
    "basis": "traces",
    "delays": (),
    "latent_drive": False,
    "device": None,
}


def _refuse_likelihood_options(given: dict[str, Any]) -> None:
    """Refuse, for a fit by gradient, options of the likelihood fit that are not at their defaults."""
    found = [f"{name}={value!r}" for name, value in given.items() if value != _LIKELIHOOD_OPTIONS[name]]
    if found:
        raise FitError(
            f"{', '.join(found)} belongs to the likelihood fit (model='escape_lif', loss='likelihood'); a fit by "
            "gradient keeps what it learned on 80 %, has no edges, and runs where its model is"
        )


def _gradient_options(given: dict[str, Any]) -> dict[str, Any]:
    """Sort what was given into arguments of `fit_gradient`, fields of `GradientSettings` among them."""
    known = [field.name for field in fields(GradientSettings)]
    unknown = sorted(set(given) - set(known) - set(_OPTIONS))
    if unknown:
        raise FitError(f"unknown settings {unknown} for a fit by gradient; known: {', '.join((*_OPTIONS, *known))}")
    options = {name: value for name, value in given.items() if name in _OPTIONS}
    own = {name: value for name, value in given.items() if name in known}
    if own and options.get("settings") is not None:
        raise FitError(f"give settings=GradientSettings(...) or {sorted(own)} by name, not both")
    return options | ({"settings": GradientSettings(**own)} if own else {})
