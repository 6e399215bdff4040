"""Fitting spiking networks to recordings."""

from typing import TYPE_CHECKING, Any

from organoid.errors import FitError
from organoid.fitting.likelihood import BIN_WIDTH, fit_likelihood
from organoid.fitting.result import FitResult, load_fit
from organoid.recording import SpikeRecording

if TYPE_CHECKING:
    from organoid.fitting.gradient import GradientFit

__all__ = ["BIN_WIDTH", "FitResult", "fit", "load_fit"]


def fit(
    rec: SpikeRecording,
    *,
    model: str = "escape_lif",
    loss: str = "likelihood",
    well: str | None = None,
    free_run: bool = True,
    refit: bool = False,
    bin_width: float | None = None,
    seed: int = 0,
    progress: bool = False,
    **settings: Any,
) -> "FitResult | GradientFit":
    """Fit a spiking network to a recording.

    The default, ``escape_lif`` with ``likelihood``, is fitted on recorded history (convex; see
    `organoid.fitting.forced`). Any other model and loss trains by surrogate gradients (see
    `organoid.fitting.gradient`). The last 20 % of the window are the test part: no choice sees them.

    Parameters
    ----------
    rec : SpikeRecording
    model : str
        "escape_lif", or a name in ``organoid.models.MODELS``.
    loss : str
        "likelihood", or a name in ``organoid.losses.LOSSES``.
    well : str, optional
        Which culture, in a recording of several.
    free_run : bool
        Whether to score free runs (five of 10 minutes; likelihood path).
    refit : bool
        Fit again on the whole recording after scoring (likelihood path).
    bin_width : float, optional, s
        Default: 1 ms (likelihood), 2 ms (gradient).
    seed : int
        Same seed, same fit.
    progress : bool
        Show a progress bar.
    **settings
        Of the gradient path: ``compare``, ``settings``.

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
            seed=seed,
            progress=progress,
        )
    from organoid.fitting.gradient import fit_gradient

    if bin_width is not None:
        settings["bin_width"] = bin_width
    return fit_gradient(culture, model=model, loss=loss, seed=seed, progress=progress, **settings)
